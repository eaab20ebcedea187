/** Settling: the record of an attempt, on disk before anybody is told, and what it decides. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Envelope } from '../../src/mail/envelope.ts';
import { type Failure, type LocalCause, localFailure } from '../../src/mail/failure.ts';
import type { Outcome } from '../../src/mail/outcome.ts';
import type { SessionFacts, SessionResult } from '../../src/mail/session-result.ts';
import { conclude, concludeWithoutSession } from '../../src/outcome/conclude.ts';
import { policyToCheck, settle } from '../../src/outcome/settle.ts';
import type { PolicyCheck } from '../../src/policy/last-check.ts';
import { parseDomain } from '../../src/protocol/domain.ts';
import { parseReply } from '../../src/protocol/smtp/reply.ts';
import type { RetrySettings } from '../../src/queue/retry-schedule.ts';
import {
  type AttemptRecord,
  foldRecords,
  type SpoolRecord,
} from '../../src/spool/message-state.ts';
import { type Spool, SpoolError } from '../../src/spool/store.ts';
import type { OutcomeEvents } from '../../src/telemetry/outcome-events.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { domain } from './policy-parts.ts';
import {
  attempt,
  destinationOf,
  FAILURE,
  RECEIVED_AT,
  recordEvents,
  sampleEnvelope,
} from './sample-mail.ts';

const HOUR = 3_600_000;
const RETRY: RetrySettings = {
  schedule: [HOUR],
  lifetime: 24 * HOUR,
  bounceLifetime: 2 * HOUR,
  classes: {},
  domains: [],
};
const HOST = parseDomain('mx.dest.example');
const FACTS = {
  candidate: { host: HOST, preference: 1, port: 25 },
  address: '192.0.2.1',
  localAddress: undefined,
  requirement: {
    level: 'opportunistic',
    minVersion: 'TLSv1.2',
    source: { kind: 'default' },
  },
  tls: undefined,
} as const;

const STS = {
  kind: 'mta-sts',
  domain: domain('dest.example'),
  policyId: 'one',
  policyText: 'x',
  mode: 'enforce',
  listed: true,
} as const;

function reply(raw: string) {
  const parsed = parseReply(raw);
  assert.ok(parsed);
  return parsed;
}
const rcpt = (raw: string): Failure => ({ kind: 'reply', stage: 'rcpt', reply: reply(raw) });
const outcome = (failure: Failure, facts: SessionFacts = FACTS): Outcome => {
  const recipients = new Map([[0, { kind: 'failed' as const, failure }]]);
  const made = conclude([{ kind: 'transacted', facts, recipients }], [0]).get(0);
  assert.ok(made);
  return made;
};
const DELIVERED: Outcome = {
  kind: 'delivered',
  facts: FACTS,
  reply: reply('250 2.0.0 ok'),
  dsnOffered: false,
};

/** A spool that only takes records, and may refuse the first ones. */
function recordSpool(refusals = 0) {
  const records: SpoolRecord[] = [];
  let left = refusals;
  const spool = {
    append: async (_id: string, some: readonly SpoolRecord[]) => {
      if (left-- > 0) throw new SpoolError('full', 'no room');
      records.push(...some);
    },
  } as unknown as Spool;
  return { spool, records };
}

interface Situation {
  readonly outcomes: ReadonlyMap<number, Outcome>;
  readonly envelope?: Partial<Envelope>;
  readonly ageMs?: number;
  readonly refusals?: number;
  readonly policyCheck?: PolicyCheck;
  readonly more?: true;
  readonly untried?: true;
  readonly sessions?: readonly SessionResult[];
  readonly before?: readonly SpoolRecord[];
}

function run({ outcomes, envelope, ageMs = 0, refusals = 0, ...rest }: Situation) {
  const { policyCheck, more, untried, sessions = [], before = [] } = rest;
  const clock = new FakeClock(RECEIVED_AT + ageMs);
  const { spool, records } = recordSpool(refusals);
  const recorded = recordEvents<OutcomeEvents>();
  const message = { envelope: sampleEnvelope(envelope), sizeBytes: 1, records: before };
  const check = {
    ...(policyCheck ? { policyCheck } : {}),
    ...(more ? { more } : {}),
    ...(untried ? { untried } : {}),
  };
  const made = { message, destination: 'dest.example', attempts: 3, outcomes, sessions, ...check };
  const parts = { spool, clock, retry: () => RETRY, events: recorded.events };
  return { settled: settle(made, parts), clock, records, recorded, envelope: message.envelope };
}

const one = (made: Outcome) => new Map([[0, made]]);

describe('settle', () => {
  test('records delivered recipients, and those nobody confirms from there on', async () => {
    const outcomes = new Map([
      [0, DELIVERED],
      [1, { ...DELIVERED, dsnOffered: true }],
    ]);
    const { settled, records } = run({ outcomes });
    const record = await settled;
    assert.deepEqual(records, [record]);
    assert.deepEqual(record.delivered, [0, 1]);
    assert.deepEqual(record.relayed, [{ index: 0, host: HOST, reply: '250 2.0.0 ok' }]);
    assert.deepEqual(
      [record.deferred, record.nextAttemptMs, record.dsnId],
      [[], undefined, undefined],
    );
  });

  test('a deferred recipient waits for the next attempt', async () => {
    const { settled, envelope } = run({ outcomes: one(outcome(rcpt('450 4.2.0 busy'))) });
    const record = await settled;
    assert.deepEqual(record.deferred, [
      {
        index: 0,
        failure: {
          text: '450 4.2.0 busy',
          source: 'remote',
          cause: 'rcpt',
          status: '4.2.0',
          causeClass: 'other',
          host: HOST,
          address: '192.0.2.1',
        },
      },
    ]);
    const next = record.nextAttemptMs ?? 0;
    assert.ok(next >= RECEIVED_AT + HOUR && next <= RECEIVED_AT + 1.1 * HOUR);
    assert.equal(record.dsnId, undefined);
    const { pending } = foldRecords(envelope, [record], destinationOf);
    assert.deepEqual(pending[0]?.nextAttemptMs, next);
  });

  test('a bounced one owes a DSN whose id is fixed at once', async () => {
    const { settled } = run({ outcomes: one(outcome(rcpt('550 5.1.1 gone'))) });
    const record = await settled;
    assert.match(String(record.dsnId), /^[0-9A-Z]{16}$/);
    assert.equal(record.bounced[0]?.failure.expired, undefined);
  });

  test('nobody is told about a message from <>, or who asked not to be', async () => {
    const outcomes = one(outcome(rcpt('550 5.1.1 gone')));
    for (const envelope of [
      { reversePath: '' },
      { recipients: [{ address: 'a@dest.example', notify: ['NEVER' as const] }] },
      {
        recipients: [{ address: 'a@dest.example', notify: ['SUCCESS' as const, 'DELAY' as const] }],
      },
    ]) {
      assert.equal((await run({ outcomes, envelope }).settled).dsnId, undefined);
    }
  });

  test('a report of our own that is 8-bit, where that alone was in its way, is owed anew', async () => {
    const failure: Failure = localFailure('eightbitmime-not-offered', 'it lacks 8BITMIME');
    const owes = async (envelope: Partial<Envelope>, why: Failure = failure) => {
      const { settled } = run({ outcomes: one(outcome(why)), envelope });
      return (await settled).dsnId !== undefined;
    };
    const own = { reversePath: '', eightBitMime: true };
    assert.equal(await owes(own), true);
    assert.equal(await owes(own, rcpt('550 5.1.1 gone')), false);
    const client = { address: '192.0.2.1', helo: 'mail.example', tls: false };
    assert.equal(await owes({ ...own, client }), false, 'a report of somebody else');
    for (const change of [
      { eightBitMime: false },
      { smtpUtf8: true },
      { tlsReport: true } as const,
    ])
      assert.equal(await owes({ ...own, ...change }), false, JSON.stringify(change));
  });

  test('success is told where it was asked for and the next hop does not', async () => {
    const recipients = [{ address: 'a@dest.example', notify: ['SUCCESS' as const] }];
    const relayed = run({ outcomes: one(DELIVERED), envelope: { recipients } });
    assert.ok((await relayed.settled).dsnId);
    const taken = one({ ...DELIVERED, dsnOffered: true });
    assert.equal(
      (await run({ outcomes: taken, envelope: { recipients } }).settled).dsnId,
      undefined,
    );
  });

  test('at the end of its lifetime what is deferred bounces, with what kept it waiting', async () => {
    const outcomes = new Map([
      [0, DELIVERED],
      [1, outcome(rcpt('450 4.2.0 busy'))],
    ]);
    const { settled, recorded } = run({ outcomes, ageMs: 24 * HOUR });
    const record = await settled;
    assert.deepEqual([record.deferred, record.nextAttemptMs], [[], undefined]);
    assert.equal(record.bounced[0]?.index, 1);
    const { text, status, expired } = record.bounced[0]?.failure ?? {};
    assert.deepEqual([text, status, expired], ['450 4.2.0 busy', '4.2.0', true]);
    assert.deepEqual(recorded.of('deferred'), []);
    const [[facts] = []] = recorded.of('bounced');
    assert.equal((facts as { lifetimeOver: boolean }).lifetimeOver, true);
  });

  /** Held back by a policy. */
  const held = one(
    outcome(localFailure('certificate-expired', 'x'), {
      ...FACTS,
      requirement: { level: 'verify', minVersion: 'TLSv1.2', source: STS },
    }),
  );

  for (const policyCheck of ['unchecked', undefined] as const) {
    test(`a policy that was ${policyCheck ?? 'not'} checked holds it a day longer, no more (RFC 8461 §5.1)`, async () => {
      const check = policyCheck ? { policyCheck } : {};
      const late = run({ outcomes: held, ageMs: 24 * HOUR, ...check });
      const record = await late.settled;
      assert.deepEqual(record.bounced, []);
      assert.ok(record.nextAttemptMs !== undefined && record.nextAttemptMs > late.clock.now());
      const over = await run({ outcomes: held, ageMs: 48 * HOUR, ...check }).settled;
      assert.equal(over.bounced.length, 1);
    });
  }

  for (const policyCheck of ['unchanged', 'changed'] as const) {
    test(`a policy that was checked and is ${policyCheck} lets it bounce`, async () => {
      const record = await run({ outcomes: held, ageMs: 24 * HOUR, policyCheck }).settled;
      assert.equal(record.bounced.length, 1);
    });
  }

  test('a policy has to be checked when it holds somebody back at the end of the lifetime', () => {
    const toCheck = (outcomes: ReadonlyMap<number, Outcome>, ageMs: number) => {
      const message = { envelope: sampleEnvelope(), sizeBytes: 1, records: [] };
      const attempt = { message, destination: 'dest.example', attempts: 1, outcomes };
      const clock = new FakeClock(RECEIVED_AT + ageMs);
      return policyToCheck(attempt, { clock, retry: () => RETRY });
    };
    assert.equal(toCheck(held, 23 * HOUR), undefined);
    assert.deepEqual(toCheck(held, 24 * HOUR), { domain: STS.domain, text: STS.policyText });
    assert.equal(toCheck(one(DELIVERED), 24 * HOUR), undefined);
    const away = outcome(localFailure('connect-refused', 'x'));
    assert.equal(toCheck(one(away), 24 * HOUR), undefined);
  });

  test('the status of an expired message: the host’s, the missing TLS’s, else delivery time expired', async () => {
    const statusOf = async (made: Outcome) => {
      const record = await run({ outcomes: one(made), ageMs: 24 * HOUR }).settled;
      return record.bounced[0]?.failure.status;
    };
    assert.equal(await statusOf(outcome(localFailure('certificate-expired', 'x'))), '4.7.5');
    assert.equal(await statusOf(outcome(localFailure('connect-refused', 'x'))), '4.4.7');
    assert.equal(await statusOf(outcome(localFailure('dns-failed', 'x'))), '4.4.7');
    assert.equal(await statusOf(outcome(rcpt('450 4.2.1 x'))), '4.2.1');
  });

  test('under REQUIRETLS, TLS that was never there is missing encryption (RFC 8689 §4.2.1)', async () => {
    const under = (cause: LocalCause, requireTls: 'required' | 'preferred'): Outcome => {
      const facts = { ...FACTS, requirement: { ...FACTS.requirement, requireTls } };
      const failure = localFailure(cause, 'x');
      const made = conclude([{ kind: 'ended-early', facts, failure }], [0]).get(0);
      assert.ok(made);
      return made;
    };
    const statusOf = async (made: Outcome, ageMs: number) => {
      const record = await run({ outcomes: one(made), ageMs }).settled;
      return (record.bounced[0] ?? record.deferred[0])?.failure.status;
    };
    for (const cause of ['starttls-not-offered', 'tls-handshake-failed'] as const) {
      assert.equal(await statusOf(under(cause, 'required'), HOUR), '4.7.10');
      assert.equal(await statusOf(under(cause, 'required'), 24 * HOUR), '5.7.10');
      assert.notEqual(await statusOf(under(cause, 'preferred'), HOUR), '4.7.10');
    }
    const expired = under('certificate-expired', 'required');
    assert.equal(await statusOf(expired, 24 * HOUR), '4.7.5');
    const missing = under('requiretls-unsupported', 'required');
    assert.equal(await statusOf(missing, HOUR), '5.7.30');
  });

  test('a message from <> lives shorter', async () => {
    const outcomes = one(outcome(rcpt('450 4.2.0 busy')));
    const young = await run({ outcomes, envelope: { reversePath: '' } }).settled;
    assert.equal(young.deferred.length, 1);
    const old = run({ outcomes, ageMs: 2 * HOUR, envelope: { reversePath: '' } });
    const record = await old.settled;
    assert.deepEqual([record.bounced.length, record.dsnId], [1, undefined]);
  });

  test('an attempt without a session names no host', async () => {
    const outcomes = concludeWithoutSession(localFailure('null-mx', 'takes no mail'), [0]);
    const record = await run({ outcomes }).settled;
    const { host, address, source, cause } = record.bounced[0]?.failure ?? {};
    assert.deepEqual([host, address, source, cause], [undefined, undefined, 'local', 'null-mx']);
  });

  test('the texts of strangers are kept on one line, and not without bound', async () => {
    const made = outcome(
      localFailure('certificate-invalid', `issued by\r\nBcc: x\0${'y'.repeat(70_000)}`),
    );
    const record = await run({ outcomes: one(made) }).settled;
    const text = record.deferred[0]?.failure.text ?? '';
    assert.match(text, /^issued by Bcc: x y+$/);
    assert.ok(text.length <= 1000);
  });

  test('while the disk takes no record it waits, and tells nobody', async () => {
    const { settled, clock, records, recorded } = run({ outcomes: one(DELIVERED), refusals: 3 });
    for (let failures = 1; failures <= 3; failures++) {
      await clock.advanceAsync(1000);
      assert.deepEqual(recorded.of('delivered').length, records.length);
    }
    const record = await settled;
    assert.deepEqual(records, [record]);
    assert.equal(recorded.of('recordDelayed').length, 3);
    assert.equal(recorded.of('delivered').length, 1);
    assert.equal(clock.pending, 0);
  });

  test('a message that is gone from the disk keeps nobody waiting', async () => {
    const clock = new FakeClock(RECEIVED_AT);
    const spool = {
      append: () => Promise.reject(new SpoolError('gone', 'no such message')),
    } as unknown as Spool;
    const message = { envelope: sampleEnvelope(), sizeBytes: 1, records: [] };
    const made = { message, destination: 'dest.example', attempts: 1, outcomes: one(DELIVERED) };
    const { events } = recordEvents<OutcomeEvents>();
    const record = await settle(made, { spool, clock, retry: () => RETRY, events });
    assert.deepEqual(record.delivered, [0]);
  });

  test('a transaction that others follow is recorded as no attempt, with those it delivered', async () => {
    const { settled, recorded } = run({ outcomes: one(DELIVERED), more: true });
    const record = await settled;
    assert.deepEqual([record.more, record.delivered, record.nextAttemptMs], [true, [0], undefined]);
    assert.equal(recorded.of('delivered').length, 1);
  });

  test('what was given up while it waited is recorded as no attempt', async () => {
    const failure = localFailure('bounced-by-administrator', 'gave it up');
    const outcomes = concludeWithoutSession(failure, [1]);
    const recipients = ['a', 'b'].map((name) => ({ address: `${name}@dest.example` }));
    const deferred = [{ index: 0, failure: FAILURE }];
    const before = [attempt({ deferred, nextAttemptMs: RECEIVED_AT + HOUR })];
    const { settled, envelope } = run({
      ...{ outcomes, before, ageMs: HOUR, untried: true },
      envelope: { recipients },
    });
    const record = await settled;
    assert.equal(record.untried, true);
    const [waiting] = foldRecords(envelope, [...before, record], destinationOf).pending;
    const { pending, attempts, triedAtMs, nextAttemptMs } = waiting ?? {};
    assert.deepEqual(
      [pending, attempts, triedAtMs, nextAttemptMs],
      [[0], 1, RECEIVED_AT + 1000, RECEIVED_AT + HOUR],
    );
  });

  describe('the sessions', () => {
    const sessions: readonly SessionResult[] = [
      { kind: 'ended-early', facts: FACTS, failure: localFailure('connect-refused', 'x') },
    ];
    const recipients = ['a@dest.example', 'b@dest.example'].map((address) => ({ address }));
    const two = { recipients };
    const gone = outcome(rcpt('550 5.1.1 gone'));
    const busy = outcome(rcpt('450 4.2.0 busy'));
    const both = (first: Outcome, second: Outcome) =>
      new Map([
        [0, first],
        [1, second],
      ]);
    const earlier = [attempt({ destination: 'other.example', delivered: [1] })];
    const kept: readonly [string, Situation][] = [
      ['somebody is deferred', { outcomes: one(busy) }],
      ['some are', { outcomes: both(DELIVERED, busy), envelope: two }],
      ['another destination waits', { outcomes: one(DELIVERED), envelope: two }],
      ['more transactions follow', { outcomes: one(DELIVERED), envelope: two, more: true }],
    ];
    for (const [when, situation] of kept) {
      test(`are kept when ${when}`, async () => {
        const record = await run({ ...situation, sessions }).settled;
        assert.deepEqual(
          record.sessions?.map(({ end }) => end),
          [{ kind: 'local', cause: 'connect-refused', text: 'x' }],
        );
      });
    }
    const over: readonly [string, Situation][] = [
      ['it is delivered', { outcomes: one(DELIVERED) }],
      ['it bounced', { outcomes: one(gone) }],
      ['its lifetime is over', { outcomes: one(busy), ageMs: 24 * HOUR }],
      ['all have a fate', { outcomes: both(DELIVERED, gone), envelope: two }],
      ['others had theirs', { outcomes: one(DELIVERED), envelope: two, before: earlier }],
    ];
    for (const [when, situation] of over) {
      test(`cost nothing when ${when}`, async () => {
        const [withThem, without] = [
          await run({ ...situation, sessions }).settled,
          await run(situation).settled,
        ];
        const plain = (record: AttemptRecord) => JSON.stringify({ ...record, dsnId: undefined });
        assert.equal(plain(withThem), plain(without));
      });
    }
  });

  test('every recipient is told of once', async () => {
    const outcomes = new Map([
      [0, DELIVERED],
      [1, outcome(rcpt('550 5.1.1 gone'))],
      [2, outcome(rcpt('450 4.2.0 busy'))],
    ]);
    const recipients = ['a', 'b', 'c'].map((name) => ({ address: `${name}@dest.example` }));
    const { settled, recorded, envelope } = run({ outcomes, envelope: { recipients } });
    await settled;
    const facts = (name: string) =>
      recorded.of(name).map(([first]) => first as { recipient: string });
    assert.deepEqual(
      ['delivered', 'bounced', 'deferred'].map((name) => facts(name).map((f) => f.recipient)),
      [['a@dest.example'], ['b@dest.example'], ['c@dest.example']],
    );
    const [first] = facts('delivered') as unknown as { id: string; attempt: number }[];
    assert.deepEqual([first?.id, first?.attempt], [envelope.id, 3]);
  });
});
