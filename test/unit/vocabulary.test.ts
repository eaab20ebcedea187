/** The log has the events that are declared, and no others (src/telemetry/vocabulary). */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { EventEntry } from '../../src/telemetry/vocabulary/entry.ts';
import { EVENTS } from '../../src/telemetry/vocabulary/events.ts';
import { FIELDS } from '../../src/telemetry/vocabulary/fields.ts';

const SRC = fileURLToPath(new URL('../../src/', import.meta.url));

/** The names that calls of `write` and of what leads to it have, as texts of the code. */
function written(): ReadonlySet<string> {
  const names = new Set<string>();
  for (const path of globSync('**/*.ts', { cwd: SRC })) {
    if (path.includes('vocabulary')) continue;
    const text = readFileSync(join(SRC, path), 'utf8');
    const calls = /\b(?:write|tellStranger)\(\s*(?:[^,]+,\s*)?'([a-z]+\.[a-z_]+)'/g;
    for (const [, name = ''] of text.matchAll(calls)) names.add(name);
  }
  return names;
}

test('every event that is written is declared', () => {
  const undeclared = [...written()].filter((name) => !Object.hasOwn(EVENTS, name));
  assert.deepEqual(undeclared, []);
});

/** Stages with names that are put together when they are written: the states of a report. */
const COMPOSED = ['report'];

test('every event that is declared is written', () => {
  const names = written();
  assert.ok(names.size > 50);
  assert.deepEqual(
    Object.keys(EVENTS).filter(
      (name) => !names.has(name) && !COMPOSED.includes(name.split('.')[0] ?? ''),
    ),
    [],
  );
});

test('every field is used, and says what it means', () => {
  const used = new Set(Object.values<EventEntry>(EVENTS).flatMap(({ fields }) => fields));
  for (const [name, means] of Object.entries(FIELDS)) {
    if (name === 'trace_id') continue; // on any line about a message
    assert.ok(used.has(name as keyof typeof FIELDS), `${name} is in no event`);
    assert.ok(means.length > 3, name);
  }
});
