/**
 * The pure parts of the crash campaign: the ledger sees every broken promise and calls nothing
 * broken that is not; mail is the same for the same seed; DSNs are read; the choice follows the
 * seed.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { Random } from '../fuzz/engine/random.ts';
import { contentViolations } from '../support/smtp-input.ts';
import { choose, DISTURBANCES, randomOf } from '../torture/choice.ts';
import { readDsn } from '../torture/dsn-reading.ts';
import { Ledger } from '../torture/ledger.ts';
import type { Arrival } from '../torture/ledger-facts.ts';
import { Composer, digestOf, kindOf, type Mail, tokenOf } from '../torture/mail.ts';
import { PROGRESS_HEADING, tallyTable } from '../torture/tally.ts';

const composer = new Composer(new Random(1), ['safe.test', 'plain.test']);

/** A ledger, a message in it, and what it calls broken. */
function book({ address = 'takes.t1.0@safe.test' } = {}) {
  const violations: string[] = [];
  let nowMs = 0;
  const ledger = new Ledger({
    mustBeSecure: ['safe.test'],
    onViolation: ({ message }) => violations.push(message),
    now: () => nowMs,
  });
  const [kind, domain] = [kindOf(address) ?? 'takes', 'safe.test'];
  const content = Buffer.from('X-Torture: t1\r\n\r\nx\r\n');
  const digest = digestOf(content);
  const mail: Mail = { token: 't1', from: '', to: [{ address, kind, domain }], content, digest };
  ledger.begin(mail);
  const arrival = { token: 't1', recipients: [address], digest, overTls: true, host: 'mx' };
  return {
    ledger,
    violations,
    pass: (ms: number) => {
      nowMs += ms;
    },
    acknowledge: () => ledger.answered('t1', { kind: 'acknowledged', id: 'A', to: [address] }),
    arrive: (over: Partial<Arrival> = {}) => ledger.arrived({ ...arrival, isLate: false, ...over }),
    bounce: () => ledger.bounced(address, false),
    record: () => ledger.recorded(address),
  };
}

describe('the ledger', () => {
  test('acknowledged, arrived, recorded: nothing is broken, whichever came first', () => {
    for (const order of ['acknowledge arrive record', 'arrive record acknowledge'] as const) {
      const it = book();
      for (const step of order.split(' ') as ('acknowledge' | 'arrive' | 'record')[]) it[step]();
      it.ledger.judgeWaiting();
      assert.deepEqual(it.violations, []);
      assert.equal(it.ledger.waiting, 0);
      assert.equal(it.ledger.counts.delivered, 1);
    }
  });

  const broken: readonly [string, RegExp, (it: ReturnType<typeof book>) => void][] = [
    [
      'lost',
      /without an end: takes\.t1\.0@safe\.test/,
      (it) => {
        it.acknowledge();
        it.ledger.judgeWaiting();
      },
    ],
    [
      'not in the spool',
      /not in the spool/,
      (it) => {
        it.acknowledge();
        it.ledger.judgeSpool(new Set(['B']));
      },
    ],
    ['changed', /took t1 changed/, (it) => it.arrive({ digest: 'other' })],
    ['nobody sent it', /nobody sent/, (it) => it.arrive({ token: 't2' })],
    ['for somebody else', /arrived for/, (it) => it.arrive({ recipients: ['x@safe.test'] })],
    ['in clear', /went in clear/, (it) => it.arrive({ overTls: false })],
    [
      'twice',
      /again after 10 ms, and nothing had happened/,
      (it) => {
        it.arrive();
        it.pass(10);
        it.arrive();
      },
    ],
    [
      'twice, around a disturbance that is no reason',
      /disturbance: restart/,
      (it) => {
        it.arrive();
        it.ledger.disturb('restart', false)();
        it.arrive();
      },
    ],
    [
      'twice, long after a crash',
      /again/,
      (it) => {
        it.ledger.disturb('kill-all', true)();
        it.pass(60_000);
        it.arrive();
        it.arrive();
      },
    ],
    [
      'recorded, yet repeated',
      /and once more/,
      (it) => {
        it.arrive();
        it.record();
        it.ledger.disturb('kill-all', true)();
        it.arrive();
        it.record();
      },
    ],
    [
      'refused, yet delivered',
      /which was answered 452/,
      (it) => {
        it.ledger.answered('t1', { kind: 'refused', reply: '452 no' });
        it.arrive();
      },
    ],
    [
      'broken off, yet delivered',
      /not sent to its end/,
      (it) => {
        it.arrive();
        it.ledger.answered('t1', { kind: 'cut-off' });
      },
    ],
    ['bounced, though it would be taken', /its host takes mail/, (it) => it.bounce()],
  ];
  for (const [name, expected, steps] of broken) {
    test(`sees: ${name}`, () => {
      const it = book();
      steps(it);
      assert.match(it.violations.join('\n'), expected);
    });
  }

  test('twice after a crash, or when the host was late, is counted and no more', () => {
    const crashed = book();
    crashed.arrive();
    crashed.ledger.disturb('kill-all', true)();
    crashed.arrive();
    const late = book();
    late.arrive({ isLate: true });
    late.pass(60_000);
    late.arrive();
    for (const it of [crashed, late]) {
      assert.deepEqual(it.violations, []);
      assert.equal(it.ledger.counts.duplicates, 1);
    }
  });

  test('a bounce is an end for whom no host takes mail', () => {
    const it = book({ address: 'refuses.t1.0@safe.test' });
    it.acknowledge();
    it.bounce();
    it.ledger.judgeWaiting();
    assert.deepEqual(it.violations, []);
    assert.equal(it.ledger.counts.bounced, 1);
    it.bounce();
    assert.match(it.violations.join('\n'), /bounced again/);
  });
});

describe('the mail', () => {
  test('is the same for the same seed, and other for another', () => {
    const digests = [1, 1, 2].map((seed) => composer.compose('t1', new Random(seed)).digest);
    assert.equal(digests[0], digests[1]);
    assert.notEqual(digests[0], digests[2]);
  });

  test('has its token, its sizes, and no bare CR, LF or NUL', () => {
    const random = new Random(3);
    const sizes: number[] = [];
    for (let number = 0; number < 300; number += 1) {
      const { content, token, to } = composer.compose(`t${number}`, random);
      sizes.push(content.length);
      assert.equal(tokenOf(content), token);
      assert.ok(content.subarray(-2).equals(Buffer.from('\r\n')));
      const stuffed = content.toString('latin1').replace(/^\./gm, '..');
      assert.deepEqual(contentViolations(Buffer.from(stuffed, 'latin1')), []);
      assert.ok(!content.includes(0));
      for (const { address, kind } of to) assert.equal(kindOf(address), kind);
      const isSpurned = to.some(({ kind }) => kind === 'spurns');
      assert.ok(!isSpurned || to.every(({ kind }) => kind === 'spurns'));
    }
    assert.ok(Math.min(...sizes) < 4096 && Math.max(...sizes) > 256 * 1024);
  });
});

describe('a DSN', () => {
  const dsn = [
    'From: x@relay',
    'Content-Type: multipart/report; report-type=delivery-status; boundary=b',
    '',
    '--b',
    '',
    'Final-Recipient: rfc822; prose@safe.test',
    '--b',
    'Content-Type: message/delivery-status',
    '',
    'Reporting-MTA: dns; relay',
    '',
    'Final-Recipient: rfc822;',
    ' Refuses.t1.0@safe.test',
    'Action: failed',
    'Status: 5.1.1',
    '',
    'Final-Recipient: rfc822; takes.t1.1@safe.test',
    'Action: delayed',
    '',
    '--b',
    'Content-Type: message/rfc822',
    '',
    'Final-Recipient: rfc822; original@safe.test',
    'Action: failed',
    '--b--',
    '',
  ].join('\r\n');

  test('tells about each recipient, from its machine part alone', () => {
    assert.deepEqual(readDsn(Buffer.from(dsn)), [
      { recipient: 'refuses.t1.0@safe.test', action: 'failed' },
      { recipient: 'takes.t1.1@safe.test', action: 'delayed' },
    ]);
  });
  test('is no other message', () => {
    assert.deepEqual(readDsn(Buffer.from('Subject: x\r\n\r\nAction: failed\r\n')), []);
  });
});

describe('the choice of disturbances', () => {
  const names = (seed: number) =>
    Array.from({ length: 200 }, (_, round) => choose(DISTURBANCES, randomOf(seed, round)).name);

  test('follows the seed', () => {
    assert.deepEqual(names(1), names(1));
    assert.notDeepEqual(names(1), names(2));
  });
  test('has every disturbance come in 200 rounds, and some together', () => {
    const chosen = names(3).flatMap((name) => name.split('+'));
    assert.deepEqual(new Set(chosen), new Set(DISTURBANCES.map(({ name }) => name)));
    assert.ok(names(3).some((name) => name.includes('+')));
  });
});

test('docs/torture.md explains each column of the tally', () => {
  const text = readFileSync(new URL('../../docs/torture.md', import.meta.url), 'utf8');
  const [tally = ''] = tallyTable([]);
  const columns = `${PROGRESS_HEADING} ${tally}`.split(/ +/).filter(Boolean);
  assert.ok(columns.length > 10);
  const explained = text.split('\n').flatMap((line) => line.split('|')[1]?.match(/`[^`]+`/g) ?? []);
  assert.deepEqual(
    columns.filter((column) => !explained.includes(`\`${column}\``)),
    [],
  );
});
