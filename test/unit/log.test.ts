/**
 * Lines of the log while stdout takes nothing, e.g. a file on a full disk: kept, counted beyond that, and
 * written when there is room again.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { createLog } from '../../src/telemetry/log.ts';

test('what cannot be written is kept up to a limit, and goes out when there is room again', (context) => {
  let isFull = true;
  let written = '';
  const log = createLog({ level: 'info', format: 'json' });
  context.mock.method(fs, 'writeSync', (_fd: number, text: string | Buffer) => {
    if (isFull) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
    written += text;
    return Buffer.byteLength(text);
  });
  const LINES = 6000;
  // Warnings are written at once.
  for (let n = 0; n < LINES; n += 1) log.write('warn', `full.n${n}`, { text: 'x'.repeat(1000) });
  const lost = log.lostLines();
  assert.ok(lost > 0 && lost < LINES / 2, `${lost} lost`);
  isFull = false;
  for (let n = 0; n < 3; n += 1) log.write('warn', `room.n${n}`, { text: 'x'.repeat(1000) });
  const events = [...written.matchAll(/"event":"([^"]+)"/g)].map(([, event]) => event);
  assert.equal(events.length + log.lostLines(), LINES + 3);
  assert.equal(events[0], 'full.n0');
  assert.equal(events.at(-1), 'room.n2');
  assert.ok(log.lostLines() <= lost + 1);
});
