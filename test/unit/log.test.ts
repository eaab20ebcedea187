/**
 * Lines of the log while stdout takes nothing, e.g. a file on a full disk: kept, counted beyond that, and
 * written when there is room again.
 */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { createInterface } from 'node:readline';
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

test('a reader that stands still holds up nothing, and gets all of it when it goes on', async () => {
  const LINES = 2000;
  const child = fork(new URL('../support/log-writer.ts', import.meta.url), [String(LINES)], {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  // Far more than a pipe holds, and nobody reads.
  const [message] = await once(child, 'message');
  assert.equal(message, 'written');
  const { stdout } = child;
  assert.ok(stdout);
  let seen = 0;
  for await (const line of createInterface({ input: stdout })) {
    assert.equal(JSON.parse(line).n, seen);
    seen += 1;
    if (seen === LINES) child.disconnect();
  }
  assert.equal(seen, LINES);
});
