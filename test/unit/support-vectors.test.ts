/** What runs the test vectors: that a case can fail, and every rule of comparison. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { TlsReport } from '../../src/protocol/tlsrpt/report.ts';
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

describe('what may be spelled in more than one way', () => {
  const answered = async (file: string, input: unknown, expect: unknown) => {
    const result = await runCase(kindFor(file), { id: 'v', input, expect }, CONTEXT);
    assert.equal(result.kind, 'met', JSON.stringify(result));
  };
  const txt = (qname: string, record: string) => ({
    ...{ domain: 'Example.COM', qname, rcode: 'NOERROR', txt: [[record]] },
  });

  test('names that are asked for', async () => {
    const id = { outcome: 'id', id: '7' };
    await answered('sts-txt', txt('_mta-sts.Example.COM.', 'v=STSv1; id=7'), id);
    const rua = { outcome: 'rua', rua: ['mailto:a@b.example'] };
    const record = 'v=TLSRPTv1; rua=mailto:a@b.example';
    await answered('tlsrpt-txt', txt('_smtp._tls.Example.com', record), rua);
  });

  test('addresses: a peer by its IPv6 literal, To with and without brackets', async () => {
    const peer = '[IPv6:2001:db8::1]';
    const event = { kind: 'remote', stage: 'RCPT', peer, code: 550, enhanced: '5.1.1', text: 'no' };
    const recipients = [{ rcpt: `bob@${peer}`, event }];
    const to = '"two words"@sender.example';
    const block = { 'Final-Recipient': `rfc822; bob@${peer}`, 'Remote-MTA': `dns; ${peer}` };
    const report = { per_message: {}, recipients: [block], headers: { To: to } };
    await answered('dsn', { message: { mail_from: to }, recipients }, { dsn: report });
  });

  test('TLSA records', async () => {
    const kind = kindFor('dane');
    const hex = 'ab'.repeat(32);
    const answer = { matched: `3 1 1 ${hex}` };
    const upper = `3 1 1 ${hex.slice(0, 8).toUpperCase()} ${hex.slice(8).toUpperCase()}`;
    assert.deepEqual(kind.differences?.(answer, { matched: upper }), []);
    assert.equal(kind.differences?.(answer, { matched: `3 1 1 ${'ac'.repeat(32)}` }).length, 1);
  });

  function typesOf(policy: object, event: object): readonly TlsReport['policies'][number][] {
    const reporter = {
      'organization-name': 'O',
      'contact-info': 'a@b.example',
      'report-id': '1@b',
    };
    const day = { reporter, day: '2026-03-14', report_domain: 'Example.com' };
    const events = [{ t: '2026-03-14T01:00:00Z', applied: 'p', ...event }];
    const { answer } = kindFor('tlsrpt-report');
    const input = { ...day, policies: { p: policy }, events };
    return (answer(input as never, CONTEXT) as { report: TlsReport }).report.policies;
  }

  test('the reason of a failure beside a session that is none', () => {
    const outcome = 'tls-ok-tlsa-unusable';
    const event = { kind: 'session', outcome, mx: 'mx.example.com', reason: 'r' };
    const [only] = typesOf({ type: 'tlsa', domain: 'MX.Example.com', rrs: ['0 0 1 00'] }, event);
    assert.deepEqual(only?.['failure-details'], [
      {
        'result-type': 'tlsa-invalid',
        'receiving-mx-hostname': 'mx.example.com',
        'failed-session-count': 1,
        'failure-reason-code': 'r',
      },
    ]);
    assert.equal(only?.policy['policy-domain'], 'mx.example.com');
  });

  const WORDS: readonly (readonly ['session' | 'policy', string, string])[] = [
    ['policy', 'fetch-self-signed', 'sts-webpki-invalid'],
    ['policy', 'fetch-http-404', 'sts-policy-fetch-error'],
    ['policy', 'policy-no-mx', 'sts-policy-invalid'],
    ['session', 'cert-not-yet-valid', 'certificate-expired'],
    ['session', 'cert-self-signed', 'certificate-not-trusted'],
  ];
  for (const [kind, outcome, expected] of WORDS) {
    test(`the outcome ${outcome}`, () => {
      const policy = { type: 'sts', domain: 'example.com', mode: 'enforce', lines: [], mx: [] };
      const [only] = typesOf(policy, { kind, outcome });
      assert.equal(only?.['failure-details'][0]?.['result-type'], expected);
    });
  }
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
    write('mystery.json', [{ id: 'y-1', input: {}, expect: true }]);
    write('dsn.json', { vectors: [] });
    write('certificates.json', { root: 'x' });
    writeFileSync(dir.file('torn.json'), '[{');
    mkdirSync(dir.file('directory.json'));
    const { status, lines } = run(dir.path);
    assert.equal(status, 1);
    assert.ok(lines.includes('     certificates.json: no vectors'));
    assert.deepEqual(lines.slice(-6), [
      'FAIL dsn.json: 0 passed, 1 failed',
      'FAIL mystery.json: 0 passed, 1 failed',
      'FAIL sts-mx-match.json: 1 passed, 2 failed',
      'FAIL tlsrpt-report.json: 0 passed, 1 failed',
      'FAIL torn.json: 0 passed, 1 failed',
      '1 passed, 6 failed',
    ]);
    const at = lines.indexOf('sts-mx-match.json: m-2 R059 a note');
    assert.deepEqual(lines.slice(at + 1, at + 3), ['    expected false', '    came     true']);
    assert.ok(lines.some((line) => line.startsWith('torn.json: cannot be read')));
  });

  test('fails a case that is none, or has nothing to compare, and goes on', () => {
    using dir = tempDir();
    const good = match('m-1', true);
    const { expect: _, ...withoutExpect } = good;
    const cases = [
      ...[{ ...good, alt: null }, withoutExpect, { ...good, expect: {} }, { ...good, id: 7 }],
      ...[{ ...match('m-5', false), alt: {} }, { ...match('m-6', false), alt: [{}] }, 'x', null],
      ...[
        { ...good, input: null },
        { ...good, input: 'x' },
      ],
    ];
    writeFileSync(dir.file('sts-mx-match.json'), JSON.stringify(cases));
    const { status, lines } = run(dir.path);
    assert.equal(status, 1);
    assert.equal(lines.at(-1), `1 passed, ${cases.length - 1} failed`);
    assert.ok(lines.includes('sts-mx-match.json: entry 4'), lines.join('\n'));
  });

  test('runs what is in directories below, whatever the case of its name', () => {
    using dir = tempDir();
    mkdirSync(dir.file('heldout/sts-txt'), { recursive: true });
    const vectors = JSON.stringify([match('m-1', true)]);
    writeFileSync(dir.file('heldout/STS-MX-MATCH.JSON'), vectors);
    writeFileSync(dir.file('heldout/sts-txt/mystery.json'), vectors);
    const { lines } = run(dir.path);
    assert.deepEqual(lines.slice(-3), [
      'ok   heldout/STS-MX-MATCH.JSON: 1 passed, 0 failed',
      'FAIL heldout/sts-txt/mystery.json: 0 passed, 1 failed',
      '1 passed, 1 failed',
    ]);
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
