/** What runs the test vectors: that a case can fail, and every rule of comparison. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { tempDir } from '../support/temp-dir.ts';
import { differences } from '../support/vectors/compare.ts';
import { dsnDifferences } from '../support/vectors/dsn-compare.ts';
import { kindFor, kindOfFile } from '../support/vectors/registry.ts';
import { runCase } from '../support/vectors/run-case.ts';
import { onlyKeys } from '../support/vectors/vector.ts';

const PROGRAM = fileURLToPath(new URL('../support/vectors/run.ts', import.meta.url));
const CONTEXT = { fixtures: '/nowhere' };

const match = (id: string, expect: boolean, alt?: readonly boolean[]) => ({
  id,
  rule: 'R059',
  note: 'a note',
  input: { pattern: '*.example.com', host: 'mx.example.com' },
  expect,
  ...(alt ? { alt } : {}),
});

function run(directory: string) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, directory], {
    encoding: 'utf8',
  });
  return { status, stderr, lines: stdout.trimEnd().split('\n') };
}

describe('comparison', () => {
  const equal: readonly (readonly [string, unknown, unknown])[] = [
    ['only what is expected', { a: 1, b: { c: [1], d: 2 } }, { b: { c: [1] } }],
    ['reasons are advisory', { ok: false, reason: 'x' }, { ok: false, reason: 'y' }],
    ['host names', { via: 'MX.Example.com.' }, { via: 'mx.example.com' }],
    [
      'lists of host names',
      { groups: [['A.example'], ['b']] },
      { groups: [['a.example.'], ['b']] },
    ],
  ];
  for (const [name, answer, expected] of equal) {
    test(name, () => assert.deepEqual(differences(answer, expected), []));
  }

  const different: readonly (readonly [string, unknown, unknown])[] = [
    ['what is not answered', {}, { a: 1 }],
    ['null is an answer of its own', { a: undefined }, { a: null }],
    ['lists are in order', { mx: ['a', 'b'] }, { mx: ['b', 'a'] }],
    ['other names have case', { id: 'A' }, { id: 'a' }],
    ['an object where there is none', null, { a: 1 }],
  ];
  for (const [name, answer, expected] of different) {
    test(name, () => assert.equal(differences(answer, expected).length, 1));
  }

  test('a DSN has fields without case, blocks in any order, and fields it must not have', () => {
    const block = (to: string) => ({ 'final-recipient': `rfc822;${to}`, action: 'failed' });
    const ours = { per_message: {}, recipients: [block('a@x'), block('b@x')], envelope: {} };
    const wanted = (recipients: readonly object[], more = {}) => ({
      dsn: { per_message: {}, recipients, ...more },
    });
    const given = { dsn: ours };
    const b = { 'Final-Recipient': 'rfc822; b@x', Action: 'failed' };
    assert.deepEqual(
      dsnDifferences(given, wanted([b, { ...b, 'Final-Recipient': 'rfc822; a@x' }])),
      [],
    );
    assert.equal(dsnDifferences(given, wanted([b])).length, 1);
    assert.equal(dsnDifferences(given, wanted([b, { ...b, Action: 'delayed' }])).length, 1);
    assert.equal(dsnDifferences(given, wanted([b, b], { absent: ['Action: fail'] })).length, 1);
    assert.deepEqual(dsnDifferences(given, wanted([b, b], { absent: ['Action: smtp'] })), []);
    assert.equal(dsnDifferences(given, { dsn: null }).length, 1);
    assert.equal(dsnDifferences({ dsn: null }, wanted([b])).length, 1);
  });
});

describe('a case', () => {
  const kind = kindFor('sts-mx-match.json');

  test('is met, met by an alternative, or failed', async () => {
    assert.equal((await runCase(kind, match('a', true), CONTEXT)).kind, 'met');
    assert.equal((await runCase(kind, match('a', false, [true]), CONTEXT)).kind, 'alternative');
    assert.equal((await runCase(kind, match('a', false), CONTEXT)).kind, 'failed');
  });

  test('with something that nobody knows fails', async () => {
    const vector = { ...match('a', true), input: { ...match('a', true).input, depth: 3 } };
    const result = await runCase(kind, vector, CONTEXT);
    assert.ok(result.kind === 'failed' && result.unsupported);
    assert.match(result.why.join(), /input\.depth/);
    onlyKeys('input', { known: 1, dane: null, requiretls: false }, ['known']);
  });
});

test('files are known by the longest kind in their names', () => {
  assert.equal(kindOfFile('sts-txt.json'), 'sts-txt');
  assert.equal(kindOfFile('sts-txt-2.json'), 'sts-txt');
  assert.equal(kindOfFile('heldout_tlsrpt_report.json'), 'tlsrpt-report');
  assert.equal(kindOfFile('dsn-sts-flow.json'), 'sts-flow');
  assert.equal(kindOfFile('other.json'), undefined);
});

describe('the program', () => {
  test('prints failures, a line a file and the sum', () => {
    using dir = tempDir();
    const write = (name: string, content: unknown) =>
      writeFileSync(dir.file(name), JSON.stringify(content));
    write('sts-mx-match.json', [match('m-1', true), match('m-2', false), { id: 'm-3' }]);
    write('tlsrpt-report.json', [{ id: 'd-1', input: {}, expect: {} }]);
    write('mystery.json', [{ id: 'y-1', input: {}, expect: {} }]);
    write('certificates.json', { root: 'x' });
    writeFileSync(dir.file('torn.json'), '[{');
    mkdirSync(dir.file('directory.json'));
    const { status, lines } = run(dir.path);
    assert.equal(status, 1);
    assert.deepEqual(lines.slice(-5), [
      'FAIL mystery.json: 0 passed, 1 failed',
      'FAIL sts-mx-match.json: 1 passed, 2 failed',
      'FAIL tlsrpt-report.json: 0 passed, 1 failed',
      'FAIL torn.json: 0 passed, 1 failed',
      '1 passed, 5 failed',
    ]);
    const at = lines.indexOf('sts-mx-match.json: m-2 R059 a note');
    assert.deepEqual(lines.slice(at + 1, at + 3), ['    expected false', '    came     true']);
    assert.ok(lines.some((line) => line.startsWith('torn.json: cannot be read')));
  });

  test('says when all is well, and when there is nothing to run', () => {
    using dir = tempDir();
    const empty = run(dir.path);
    assert.equal(empty.status, 2);
    assert.match(empty.stderr, /no vector files/);
    writeFileSync(dir.file('sts-mx-match.json'), JSON.stringify([match('m-1', false, [true])]));
    const { status, lines } = run(dir.path);
    assert.equal(status, 0);
    assert.deepEqual(lines, [
      'ok   sts-mx-match.json: 1 passed, 0 failed (1 by an alternative answer)',
      '1 passed, 0 failed',
    ]);
  });
});
