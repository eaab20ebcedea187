/** One attempt, top to bottom, with every stage in the hands of the test. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { SessionPlan } from '../../src/delivery/session.ts';
import { type LocalCause, localFailure } from '../../src/mail/failure.ts';
import type { MessageId } from '../../src/mail/message-id.ts';
import type { Route } from '../../src/mail/route.ts';
import type { RecipientReply, SessionResult } from '../../src/mail/session-result.ts';
import type { AttemptOutcomes } from '../../src/outcome/settle.ts';
import {
  attemptDelivery,
  expireDelivery,
  giveUpDelivery,
  type Stages,
} from '../../src/pipeline.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { withDeadline } from '../../src/platform/deadline.ts';
import type { PolicyCheck } from '../../src/policy/last-check.ts';
import { parseReply, type Reply } from '../../src/protocol/smtp/reply.ts';
import type { AttemptEnd } from '../../src/queue/attempts.ts';
import { NO_DESTINATION, type SpoolRecord } from '../../src/spool/message-state.ts';
import { type Spool, SpoolError, type StoredMessage } from '../../src/spool/store.ts';
import { domain } from './policy-parts.ts';
import { attempt, destinationOf, FAILURE, RECEIVED_AT, sampleEnvelope } from './sample-mail.ts';

const NEXT = RECEIVED_AT + 60_000;
const OK = parseReply('250 2.0.0 ok');
assert.ok(OK);
const [FIRST, SECOND] = ['mx1.dest.example', 'mx2.dest.example'].map((host) => ({
  host: domain(host),
  preference: 10,
  port: 25,
}));
assert.ok(FIRST && SECOND);
const ROUTE: Route = {
  destination: 'dest.example',
  policyDomain: domain('dest.example'),
  kind: 'mx',
  candidates: [FIRST, SECOND],
};
const REQUIREMENT = {
  level: 'verify',
  minVersion: 'TLSv1.2',
  source: { kind: 'default' },
} as const;

function factsOf({ candidate, address, requirement }: SessionPlan) {
  return { candidate, address, localAddress: undefined, requirement, tls: undefined };
}
function accepts(plan: SessionPlan, recipients: readonly number[]): SessionResult {
  const accepted = { kind: 'accepted', reply: OK, dsnOffered: false } as const;
  const replies = new Map(recipients.map((index) => [index, accepted]));
  return { kind: 'transacted', facts: factsOf(plan), recipients: replies as never };
}

/** Stages that deliver, with a log of what was called. */
class Bench {
  readonly calls: string[] = [];
  readonly settled: AttemptOutcomes[] = [];
  readonly stopping = new AbortController();
  readonly stages: Stages;
  message: StoredMessage | undefined;
  nextAttemptMs: number | undefined;
  /** When the queue has it attempted. */
  dueMs = RECEIVED_AT;

  constructor(message?: StoredMessage, change: Partial<Stages> = {}) {
    this.message = message;
    this.stages = this.#watched({
      spool: { read: async () => this.message } as unknown as Spool,
      destinationOf,
      findRoute: async () => ({ kind: 'route', route: ROUTE }),
      tlsPolicy: async () => ({
        kind: 'decided',
        requirementFor: () => ({ kind: 'allowed', requirement: REQUIREMENT }),
      }),
      addressesOf: async () => ({ kind: 'addresses', addresses: ['192.0.2.1'] }),
      credentialsFor: async () => ({ kind: 'none' }),
      runSession: async (plan, { recipients }) => accepts(plan, recipients),
      policyToCheck: () => undefined,
      recheckPolicy: async () => 'unchanged',
      settle: async (made) => {
        this.settled.push(made);
        const { nextAttemptMs } = this;
        return attempt(nextAttemptMs === undefined ? {} : { nextAttemptMs });
      },
      isExpired: () => true,
      finish: async () => {},
      onFirstAttempt: () => {},
      hasRoomFor: () => true,
      onSession: () => {},
      onSessions: () => {},
      ...change,
    });
  }

  #watched(stages: Stages): Stages {
    return new Proxy(stages, {
      get: (target, name) => {
        const member = target[name as keyof Stages] as unknown;
        if (typeof member !== 'function' || name === 'destinationOf') return member;
        return (...args: unknown[]) => {
          this.calls.push(String(name));
          return member(...args);
        };
      },
    });
  }

  run(destination = 'dest.example', id: MessageId = sampleEnvelope().id) {
    const delivery = { id, destination, nextAttemptMs: this.dueMs };
    return attemptDelivery(delivery, this.stages, this.stopping.signal);
  }

  /** Kinds and causes by recipient, as they were settled. */
  get outcomes(): Record<number, string> {
    const all = [...(this.settled[0]?.outcomes ?? [])].map(([index, outcome]) => {
      if (outcome.kind === 'delivered') return [index, 'delivered'];
      const { failure } = outcome.diagnosis;
      const cause = failure.kind === 'local' ? failure.cause : failure.reply.code;
      return [index, `${outcome.kind} ${cause}`];
    });
    return Object.fromEntries(all) as Record<number, string>;
  }
}

function message(records: readonly SpoolRecord[] = [], ...addresses: string[]): StoredMessage {
  const recipients = (addresses.length > 0 ? addresses : ['a@dest.example']).map((address) => ({
    address,
  }));
  return { envelope: sampleEnvelope({ recipients }), sizeBytes: 10, records };
}

const DELIVERS = [
  'onFirstAttempt',
  'findRoute',
  'hasRoomFor',
  'tlsPolicy',
  'credentialsFor',
  'addressesOf',
  'runSession',
  'onSession',
  'onSessions',
];

describe('an attempt', () => {
  test('goes through the stages in order, and is settled before anything ends', async () => {
    const bench = new Bench(message());
    assert.deepEqual(await bench.run(), { kind: 'closed' });
    assert.deepEqual(bench.calls, [...DELIVERS, 'policyToCheck', 'settle', 'finish']);
    assert.deepEqual(bench.outcomes, { 0: 'delivered' });
    assert.deepEqual(
      [bench.settled[0]?.attempts, bench.settled[0]?.destination],
      [1, 'dest.example'],
    );
  });

  test('is put off where its hosts leave no room, and does not count', async () => {
    const bench = new Bench(message(), { hasRoomFor: () => false });
    assert.equal((await bench.run()).kind, 'again');
    assert.deepEqual(bench.calls, ['onFirstAttempt', 'findRoute', 'hasRoomFor']);
  });

  test('waits for the record before it finishes', async () => {
    const { promise: recorded, resolve } = Promise.withResolvers<void>();
    const bench = new Bench(message(), {
      settle: async () => {
        await recorded;
        return attempt();
      },
    });
    const running = bench.run();
    await new Promise((done) => setImmediate(done));
    assert.deepEqual(bench.calls.at(-1), 'settle');
    resolve();
    await running;
    assert.deepEqual(bench.calls.at(-1), 'finish');
  });

  test('that leaves recipients says when the next one is', async () => {
    const bench = new Bench(message());
    bench.nextAttemptMs = NEXT;
    const { tried, ...end } = (await bench.run()) as Extract<AttemptEnd, { kind: 'again' }>;
    assert.deepEqual(end, { kind: 'again', atMs: NEXT });
    assert.deepEqual([tried?.attempts, tried?.causeClass], [1, 'other']);
    assert.equal(bench.calls.at(-1), 'finish');
  });

  test('is for its destination’s recipients that have no fate yet', async () => {
    const records = [
      attempt({ delivered: [0], deferred: [{ index: 2, failure: FAILURE }], nextAttemptMs: NEXT }),
    ];
    const addresses = ['a@dest.example', 'b@other.example', 'c@dest.example'];
    const bench = new Bench(message(records, ...addresses));
    await bench.run();
    assert.deepEqual(bench.outcomes, { 2: 'delivered' });
    assert.equal(bench.settled[0]?.attempts, 2);
    assert.ok(!bench.calls.includes('onFirstAttempt'));
  });

  test('for a message that is gone closes', async () => {
    const bench = new Bench();
    assert.deepEqual(await bench.run(), { kind: 'closed' });
    assert.deepEqual(bench.calls, []);
  });

  test('for a destination that is through only finishes', async () => {
    for (const destination of ['dest.example', 'unheard-of.example']) {
      const bench = new Bench(message([attempt({ delivered: [0] })]));
      assert.deepEqual(await bench.run(destination), { kind: 'closed' });
      assert.deepEqual(bench.calls, ['finish']);
    }
  });

  test('for addresses without a usable domain bounces without a look outside', async () => {
    const bench = new Bench(message([], 'a@dest.example', 'nowhere'));
    await bench.run(NO_DESTINATION);
    assert.deepEqual(bench.outcomes, { 1: 'bounced malformed-address' });
    assert.deepEqual(bench.calls, ['onFirstAttempt', 'policyToCheck', 'settle', 'finish']);
  });

  test('that finds no way is settled with the reason', async () => {
    const bench = new Bench(message(), {
      findRoute: async () => ({ kind: 'failed', failure: localFailure('null-mx', 'x') }),
    });
    await bench.run();
    assert.deepEqual(bench.outcomes, { 0: 'bounced null-mx' });
    assert.ok(!bench.calls.includes('tlsPolicy'));
  });

  test('that does not know the policy connects to nobody', async () => {
    const bench = new Bench(message(), {
      tlsPolicy: async () => ({
        kind: 'undecided',
        failure: localFailure('policy-unknown', 'SERVFAIL'),
      }),
    });
    await bench.run();
    assert.deepEqual(bench.outcomes, { 0: 'deferred policy-unknown' });
    assert.ok(!bench.calls.includes('runSession'));
  });

  test('goes on to the next host where that may do better, and tells of every session', async () => {
    const tried: string[] = [];
    const bench = new Bench(message(), {
      runSession: async (plan, { recipients }) => {
        tried.push(plan.candidate.host ?? '');
        if (plan.candidate === SECOND) return accepts(plan, recipients);
        const failure = localFailure('connect-refused', 'x');
        return { kind: 'ended-early', facts: factsOf(plan), failure };
      },
    });
    await bench.run();
    assert.deepEqual(tried, ['mx1.dest.example', 'mx2.dest.example']);
    assert.deepEqual(bench.outcomes, { 0: 'delivered' });
    assert.equal(bench.calls.filter((name) => name === 'onSession').length, 2);
  });

  test('all hosts outside the policy: nobody is connected to, and that is the reason', async () => {
    const failure = localFailure('mx-outside-policy', 'not listed');
    const bench = new Bench(message(), {
      tlsPolicy: async () => ({
        kind: 'decided',
        requirementFor: () => ({ kind: 'refused', requirement: REQUIREMENT, failure }),
      }),
    });
    await bench.run();
    assert.deepEqual(bench.outcomes, { 0: 'deferred mx-outside-policy' });
    assert.ok(!bench.calls.includes('runSession') && !bench.calls.includes('addressesOf'));
  });

  test('with a spool that cannot be read is the worker’s to repeat', async () => {
    const spool = {
      read: () => Promise.reject(new SpoolError('failed', 'EIO')),
    } as unknown as Spool;
    await assert.rejects(new Bench(message(), { spool }).run(), SpoolError);
  });
});

describe('a delivery that is given up without an attempt', () => {
  const giveUp = (bench: Bench) => {
    const delivery = { id: sampleEnvelope().id, destination: 'dest.example', nextAttemptMs: NEXT };
    return expireDelivery(delivery, bench.stages, 'mx.dest.example does not answer');
  };

  test('is settled with the reason, and nobody is asked', async () => {
    const bench = new Bench(message());
    assert.deepEqual(await giveUp(bench), { kind: 'closed' });
    assert.deepEqual(bench.calls, ['isExpired', 'settle', 'finish']);
    assert.deepEqual(bench.outcomes, { 0: 'deferred destination-closed' });
    const [settled] = bench.settled;
    assert.deepEqual([settled?.attempts, settled?.untried], [0, true], 'it is no attempt');
  });

  test('waits on when its time is not over after all', async () => {
    const bench = new Bench(message(), { isExpired: () => false });
    assert.deepEqual(await giveUp(bench), { kind: 'again', atMs: NEXT });
    assert.deepEqual(bench.settled, []);
  });

  test('is closed when it is done, or gone, already', async () => {
    const done = new Bench(message([attempt({ delivered: [0], deferred: [] })]));
    assert.deepEqual(await giveUp(done), { kind: 'closed' });
    assert.deepEqual(done.calls, ['isExpired', 'finish']);
    assert.deepEqual(await giveUp(new Bench()), { kind: 'closed' });
  });
});

describe('a delivery that an administrator gives up', () => {
  const waiting = attempt({ deferred: [{ index: 0, failure: FAILURE }], nextAttemptMs: NEXT });
  const giveUp = (bench: Bench, isMeant?: (address: string) => boolean) =>
    giveUpDelivery(
      { id: sampleEnvelope().id, destination: 'dest.example', nextAttemptMs: NEXT },
      bench.stages,
      { how: 'bounced', reason: 'they moved', isMeant },
    );

  test('is settled without an attempt', async () => {
    const bench = new Bench(message([waiting]));
    assert.deepEqual(await giveUp(bench), { kind: 'closed' });
    assert.deepEqual(bench.calls, ['settle', 'finish']);
    assert.deepEqual(bench.outcomes, { 0: 'bounced bounced-by-administrator' });
    const [settled] = bench.settled;
    assert.deepEqual([settled?.attempts, settled?.untried, settled?.more], [1, true, undefined]);
  });

  test('waits on for those who are not meant', async () => {
    const bench = new Bench(message([waiting], 'a@dest.example', 'b@dest.example'));
    const end = await giveUp(bench, (address) => address === 'b@dest.example');
    assert.deepEqual(end, { kind: 'again', atMs: NEXT });
    assert.deepEqual(bench.outcomes, { 1: 'bounced bounced-by-administrator' });
  });
});

describe('an attempt that is cut short', () => {
  const stages: readonly (keyof Stages)[] = ['findRoute', 'tlsPolicy', 'runSession'];

  /** A bench on which `stage` sees the end of the attempt's time and then fails. */
  function cutAt(stage: keyof Stages, stop: (bench: Bench) => void): Bench {
    const failure = localFailure('timeout', 'cut');
    const bench: Bench = new Bench(message(), {
      [stage]: async (plan: SessionPlan) => {
        stop(bench);
        if (stage === 'findRoute') return { kind: 'failed', failure };
        if (stage === 'tlsPolicy') return { kind: 'undecided', failure };
        return { kind: 'ended-early', facts: factsOf(plan), failure };
      },
    });
    return bench;
  }

  test('since there is no room: waits as the queue had it, not as it is on record', async () => {
    const bench = new Bench(message(), { hasRoomFor: () => false });
    bench.dueMs = RECEIVED_AT + 17;
    assert.deepEqual(await bench.run(), { kind: 'again', atMs: RECEIVED_AT + 17 });
    assert.deepEqual(bench.settled, []);
  });

  for (const stage of stages) {
    test(`by the end of the relay at ${stage}: is not settled, and made again`, async () => {
      const bench = cutAt(stage, ({ stopping }) => stopping.abort());
      assert.deepEqual(await bench.run(), { kind: 'again', atMs: RECEIVED_AT });
      assert.deepEqual(bench.settled, []);
      assert.ok(!bench.calls.includes('finish'));
    });

    test(`by its own time at ${stage}: is settled like any failure, or it would never expire`, async () => {
      const timeout = new DOMException('over', 'TimeoutError');
      const bench = cutAt(stage, ({ stopping }) => stopping.abort(timeout));
      assert.deepEqual(await bench.run(), { kind: 'closed' });
      assert.deepEqual(bench.outcomes, { 0: 'deferred timeout' });
    });
  }

  test('behind the transaction: what was delivered is settled all the same', async () => {
    const bench: Bench = new Bench(message(), {
      runSession: async (plan, { recipients }) => {
        bench.stopping.abort();
        return accepts(plan, recipients);
      },
    });
    assert.deepEqual(await bench.run(), { kind: 'closed' });
    assert.deepEqual(bench.outcomes, { 0: 'delivered' });
  });

  test('by the deadline that the engine sets', async () => {
    const bench = new Bench(message());
    const end = await withDeadline(
      { clock: systemClock, waitMs: 5 },
      bench.stopping.signal,
      (signal) => {
        const aborted = new Promise<void>((done) => {
          signal.addEventListener('abort', () => done());
        });
        const stages: Stages = {
          ...new Bench(message()).stages,
          spool: bench.stages.spool,
          settle: bench.stages.settle,
          runSession: async (plan) => {
            await aborted;
            const failure = localFailure('timeout', 'cut');
            return { kind: 'ended-early', facts: factsOf(plan), failure };
          },
        };
        return attemptDelivery(
          { id: sampleEnvelope().id, destination: 'dest.example', nextAttemptMs: RECEIVED_AT },
          stages,
          signal,
        );
      },
    );
    assert.deepEqual(end, { kind: 'closed' });
    assert.deepEqual(bench.outcomes, { 0: 'deferred timeout' });
  });
});

describe('the last attempt, when a policy holds the message back', () => {
  const source = {
    kind: 'mta-sts',
    domain: domain('dest.example'),
    policyId: 'one',
    policyText: 'x',
    mode: 'enforce',
    listed: true,
  } as const;
  const FAILS = 'certificate-expired';
  /** Every host fails as `cause` until the policy is checked, then as `after` says. */
  function bench(check: PolicyCheck, after = 'fails', cause: LocalCause = FAILS) {
    const state = { checked: 0 };
    const made: Bench = new Bench(message(), {
      tlsPolicy: async () => ({
        kind: 'decided',
        requirementFor: () => ({ kind: 'allowed', requirement: { ...REQUIREMENT, source } }),
      }),
      runSession: async (plan, { recipients }) =>
        state.checked > 0 && after === 'delivers'
          ? accepts(plan, recipients)
          : { kind: 'ended-early', facts: factsOf(plan), failure: localFailure(cause, 'x') },
      policyToCheck: ({ outcomes }) => {
        const [first] = outcomes.values();
        const isHeld = first?.kind === 'deferred' && first.diagnosis.causeClass === 'tlsPolicy';
        return isHeld ? { domain: source.domain, text: source.policyText } : undefined;
      },
      recheckPolicy: async (used) => {
        assert.deepEqual(used, { domain: 'dest.example', text: 'x' });
        state.checked++;
        return check;
      },
    });
    return { made, state };
  }

  test('a changed policy gives it another attempt', async () => {
    const { made, state } = bench('changed', 'delivers');
    await made.run();
    assert.equal(state.checked, 1);
    assert.deepEqual(made.outcomes, { 0: 'delivered' });
    assert.equal(made.calls.filter((name) => name === 'tlsPolicy').length, 2);
    assert.deepEqual(
      made.settled[0]?.sessions?.map(({ kind }) => kind),
      ['ended-early', 'ended-early', 'transacted'],
    );
  });

  test('a changed policy that is not met either is the end', async () => {
    const { made, state } = bench('changed');
    await made.run();
    assert.equal(state.checked, 1);
    assert.deepEqual(made.outcomes, { 0: `deferred ${FAILS}` });
    assert.equal(made.settled[0]?.policyCheck, 'changed');
  });

  test('one that could not be checked is said to be so', async () => {
    const { made } = bench('unchecked');
    await made.run();
    assert.equal(made.settled[0]?.policyCheck, 'unchecked');
  });

  test('what is no matter of the policy is not checked', async () => {
    const { made, state } = bench('changed', 'fails', 'connect-refused');
    await made.run();
    assert.equal(state.checked, 0);
  });
});

describe('an attempt at a server that takes two recipients in a transaction', () => {
  const FIVE = ['a', 'b', 'c', 'd', 'e'].map((name) => `${name}@dest.example`);

  interface Asked {
    readonly host: string | undefined;
    readonly address: string;
    readonly recipients: readonly number[];
    readonly settledBefore: number;
  }

  /** What it was asked for, and answers by `reply`, which says nothing where the recipient is taken. */
  function limited(reply: (index: number) => string | undefined = () => undefined) {
    const asked: Asked[] = [];
    const bench: Bench = new Bench(message([], ...FIVE), {
      addressesOf: async ({ address }) => ({
        kind: 'addresses',
        addresses: [address ?? '192.0.2.1', '192.0.2.2'],
      }),
      runSession: async (plan, { recipients }) => {
        const { candidate, address } = plan;
        const settledBefore = bench.settled.length;
        asked.push({ host: candidate.host, address, recipients, settledBefore });
        if (address === '192.0.2.1') {
          const failure = localFailure('connect-refused', 'x');
          return { kind: 'ended-early', facts: factsOf(plan), failure };
        }
        const named = recipients.slice(0, 2);
        const replies = named.map((index): [number, RecipientReply] => {
          const refusal = reply(index);
          if (refusal === undefined) {
            return [index, { kind: 'accepted', reply: OK as Reply, dsnOffered: false }];
          }
          const parsed = parseReply(refusal) as Reply;
          const stage = refusal.includes('whole') ? 'end-of-data' : 'rcpt';
          return [index, { kind: 'failed', failure: { kind: 'reply', stage, reply: parsed } }];
        });
        const left = recipients.slice(2);
        const recipientsOf = { recipients: new Map(replies), ...(left.length > 0 ? { left } : {}) };
        return { kind: 'transacted', facts: factsOf(plan), ...recipientsOf };
      },
    });
    return { bench, asked };
  }

  const settledOutcomes = ({ settled }: Bench) =>
    settled.map(({ outcomes, more = false, attempts }) => ({
      more,
      attempts,
      outcomes: [...outcomes].map(([index, { kind }]) => `${index} ${kind}`),
    }));

  test('has one transaction after the other, each recorded before the next', async () => {
    const { bench, asked } = limited();
    assert.deepEqual(await bench.run(), { kind: 'closed' });
    assert.deepEqual(settledOutcomes(bench), [
      { more: true, attempts: 1, outcomes: ['0 delivered', '1 delivered'] },
      { more: true, attempts: 1, outcomes: ['2 delivered', '3 delivered'] },
      { more: false, attempts: 1, outcomes: ['4 delivered'] },
    ]);
    const sessions = asked.filter(({ address }) => address !== '192.0.2.1');
    assert.deepEqual(
      sessions.map(({ recipients, settledBefore }) => [recipients, settledBefore]),
      [
        [[0, 1, 2, 3, 4], 0],
        [[2, 3], 1], // no more than it took before
        [[4], 2],
      ],
    );
    assert.equal(bench.calls.filter((name) => name === 'onFirstAttempt').length, 1);
    assert.equal(bench.calls.filter((name) => name === 'finish').length, 1);
  });

  test('is settled with its sessions, each once', async () => {
    const { bench } = limited();
    await bench.run();
    const told = bench.settled.map(({ sessions, sessionBefore }) => [
      sessions?.map(({ facts }) => facts.address),
      sessionBefore?.facts.address,
    ]);
    assert.deepEqual(told, [
      [['192.0.2.1', '192.0.2.2'], undefined],
      [['192.0.2.2'], '192.0.2.2'],
      [['192.0.2.2'], '192.0.2.2'],
    ]);
    // Nobody was delivered to: all of them with the one record there is.
    const refused = limited(() => '554 5.6.0 whole message never').bench;
    await refused.run();
    assert.deepEqual(
      refused.settled.map(({ sessions }) => sessions?.length),
      [4],
    );
  });

  test('stays with the host and address that took the first, and asks route and policy anew', async () => {
    const { bench, asked } = limited();
    await bench.run();
    assert.deepEqual(
      asked.map(({ address }) => address),
      ['192.0.2.1', '192.0.2.2', '192.0.2.2', '192.0.2.2'],
    );
    for (const name of ['findRoute', 'tlsPolicy']) {
      assert.equal(bench.calls.filter((call) => call === name).length, 3, name);
    }
  });

  test('refuses some: they are settled at the end, each with its own reply', async () => {
    const { bench } = limited((index) =>
      index === 1 ? '550 5.1.1 gone' : index === 2 ? '450 4.2.1 busy' : undefined,
    );
    await bench.run();
    assert.deepEqual(settledOutcomes(bench), [
      { more: true, attempts: 1, outcomes: ['0 delivered'] },
      { more: true, attempts: 1, outcomes: ['3 delivered'] },
      { more: false, attempts: 1, outcomes: ['1 bounced', '2 deferred', '4 delivered'] },
    ]);
  });

  for (const [what, words] of [
    ['the message for now', '451 4.3.0 whole message not now'],
    ['everything (421)', '421 4.3.2 closing'],
  ] as const) {
    test(`refuses ${what}: those left wait with the others`, async () => {
      const { bench, asked } = limited(() => words);
      await bench.run();
      assert.equal(asked.filter(({ address }) => address !== '192.0.2.1').length, 1);
      const [only, ...rest] = settledOutcomes(bench);
      assert.deepEqual(rest, []);
      assert.deepEqual(only, {
        more: false,
        attempts: 1,
        outcomes: [0, 1, 2, 3, 4].map((index) => `${index} deferred`),
      });
    });
  }

  test('refuses the message for good: everybody is asked about, and bounces', async () => {
    const { bench, asked } = limited(() => '554 5.6.0 whole message never');
    await bench.run();
    assert.equal(asked.filter(({ address }) => address !== '192.0.2.1').length, 3);
    assert.deepEqual(settledOutcomes(bench)[0]?.outcomes.length, 5);
  });

  test('ends with the relay after the first: made again, and the first is on record', async () => {
    const { bench } = limited();
    const { stages } = bench;
    const stopping: Stages = {
      ...stages,
      runSession: async (plan, consignment, signal) => {
        if (bench.settled.length > 0) bench.stopping.abort();
        return stages.runSession(plan, consignment, signal);
      },
      findRoute: (destination, signal) => stages.findRoute(destination, signal),
      settle: (made) => {
        bench.stopping.abort();
        return stages.settle(made);
      },
    };
    const id = sampleEnvelope().id;
    const end = await attemptDelivery(
      { id, destination: 'dest.example', nextAttemptMs: RECEIVED_AT },
      stopping,
      bench.stopping.signal,
    );
    assert.deepEqual(end, { kind: 'again', atMs: RECEIVED_AT });
    assert.deepEqual(settledOutcomes(bench), [
      { more: true, attempts: 1, outcomes: ['0 delivered', '1 delivered'] },
    ]);
  });
});
