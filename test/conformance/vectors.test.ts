/**
 * The test vectors against the relay's modules, one test a case, as `make vectors` runs them. Two
 * lists say where the relay does otherwise; neither can grow old: what is on LEFT_OUT must
 * really fail, what is on CHOSEN must really give an `alt` answer.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readVectorFiles } from '../support/vectors/files.ts';
import { KINDS, kindOfFile } from '../support/vectors/registry.ts';
import { type CaseResult, runCase } from '../support/vectors/run-case.ts';
import type { Vector, VectorKind } from '../support/vectors/vector.ts';

/** Kinds that are not run at all. */
const KINDS_LEFT_OUT: Readonly<Record<string, string>> = {};

const LEFT_OUT: Readonly<Record<string, string>> = {};

/** Where we give an `alt` answer on purpose. */
const CHOSEN: Readonly<Record<string, string>> = {
  'dsn-087': 'an ORCPT of type utf-8 goes on in ASCII, which every host understands',
  'rrep-046': 'a session has one result, the first fault that is found',
  'smxm-036': 'a host spelled with a star is no host name, so no policy can allow it',
};

const directory = fileURLToPath(new URL('../fixtures/vectors', import.meta.url));
const context = { fixtures: fileURLToPath(new URL('../fixtures/certs', import.meta.url)) };
const files = readVectorFiles(directory);
const known = new Set<string>();

function addTest(kind: VectorKind, vector: Vector): void {
  const { id, rule, note } = vector;
  known.add(id);
  const title = [id, rule, note].filter(Boolean).join(' ');
  if (id in LEFT_OUT) {
    test(`${title} (left out: ${LEFT_OUT[id]})`, async () => {
      const { kind: result } = await runCase(kind, vector, context);
      assert.equal(result, 'failed', 'passes now: take it off the list');
    });
    return;
  }
  test(title, async () => {
    const result = await runCase(kind, vector, context);
    const wanted = id in CHOSEN ? 'alternative' : 'met';
    assert.equal(result.kind, wanted, explanation(result, vector));
  });
}

function explanation(result: CaseResult, { expect }: Vector): string {
  if (result.kind === 'met') return 'meets `expect` now: take it off the list';
  if (result.kind === 'alternative') return 'meets an `alt` only, which nobody has chosen';
  const { why, came } = result;
  return [...why, `expected ${JSON.stringify(expect)}`, `came ${JSON.stringify(came)}`].join('\n');
}

for (const file of files) {
  const name = kindOfFile(file.name) ?? '';
  const kind = KINDS[name];
  describe(file.name, () => {
    test('holds vectors of a kind that is run, or left out', () => {
      assert.equal(file.kind, 'vectors');
      assert.equal(kind === undefined, name in KINDS_LEFT_OUT, `kind "${name}"`);
    });
    if (file.kind !== 'vectors' || !kind) return;
    for (const vector of file.vectors) addTest(kind, vector);
  });
}

test('all ten files are there, and every case on a list', () => {
  const kinds = files.map(({ name }) => kindOfFile(name));
  assert.deepEqual(kinds.sort(), Object.keys(KINDS).sort());
  for (const id of [...Object.keys(LEFT_OUT), ...Object.keys(CHOSEN)]) assert.ok(known.has(id), id);
});
