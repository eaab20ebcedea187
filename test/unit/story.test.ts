/** The story of a message: whatever is on record is told, once, and within bounds. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Notify } from '../../src/mail/envelope.ts';
import type { Destination } from '../../src/mail/route.ts';
import { storyOf } from '../../src/outcome/story.ts';
import type { SpoolRecord } from '../../src/spool/message-state.ts';
import type { StoredMessage } from '../../src/spool/store.ts';
import { attempt, destinationOf, FAILURE, RECEIVED_AT } from './sample-mail.ts';
import {
  BREACHES,
  DAY,
  DSN_ID,
  failedFor,
  GOOD,
  GREY,
  HELD,
  HOUR,
  ID,
  MINUTE,
  messageWith,
  NO_DNS,
  RETRY,
  said,
  to,
} from './story-samples.ts';

const tell = (message: StoredMessage) => storyOf(message, { retry: RETRY, destinationOf });
const only = (message: StoredMessage) => {
  const [destination, ...more] = tell(message).destinations;
  assert.ok(destination && more.length === 0);
  return destination;
};

describe('a story tells', () => {
  test('of one that was never tried: the envelope, and when it is due and given up', () => {
    const recipients = [
      { address: 'bob@dest.example', notify: ['NEVER' as const], orcpt: 'rfc822;b@home.example' },
    ];
    const client = { address: '192.0.2.7', helo: 'x', tls: false };
    const envelope = { recipients, client, ret: 'HDRS', envid: 'q1', smtpUtf8: true } as const;
    assert.deepEqual(tell(messageWith(envelope)), {
      id: ID,
      received: '2026-01-15T12:00:00.000Z',
      sender: 'ann@sender.example',
      sizeBytes: 4321,
      client,
      ret: 'HDRS',
      envid: 'q1',
      eightBitMime: false,
      smtpUtf8: true,
      counts: { waiting: 1, delivered: 0, bounced: 0 },
      recipients: [{ ...recipients[0], destination: 'dest.example', fate: 'waiting' }],
      destinations: [
        {
          destination: 'dest.example',
          counts: { waiting: 1, delivered: 0, bounced: 0 },
          attempts: 0,
          nextAttempt: '2026-01-15T12:00:00.000Z',
          expires: '2026-01-20T12:00:00.000Z',
          recipients: [{ fate: 'waiting', count: 1, recipients: ['bob@dest.example'] }],
          history: [],
        },
      ],
      dsns: [],
    });
  });

  test('why the last attempt failed, when the next one is, and until when', () => {
    const message = messageWith({ reversePath: '' }, failedFor([0], NO_DNS), failedFor([0], GREY));
    const { attempts, nextAttempt, expires, lastFailure } = only(message);
    assert.deepEqual([attempts, lastFailure], [2, GREY]);
    assert.equal(nextAttempt, '2026-01-15T12:15:01.000Z');
    assert.equal(expires, '2026-01-17T12:00:00.000Z', 'a bounce lives shorter');
  });

  test('every attempt with its sessions, each with what was asked of it', () => {
    const message = messageWith({}, failedFor([0], HELD, { sessions: BREACHES }));
    const [first] = only(message).history;
    assert.equal(first?.at, '2026-01-15T12:00:01.000Z');
    const [expired, outside] = first?.sessions ?? [];
    assert.equal(expired?.tls?.certValidTo, '2026-01-01T00:00:00.000Z');
    assert.equal(outside?.asked?.text, expired?.asked?.text);
    assert.equal(outside?.address, undefined);
    assert.deepEqual(first?.results, [
      {
        fate: 'waiting',
        at: first?.at,
        failure: HELD,
        count: 1,
        recipients: ['bob@dest.example'],
      },
    ]);
  });

  test('attempts that an older version recorded, which have no sessions', () => {
    const [first] = only(messageWith({}, failedFor([0], GREY))).history;
    assert.deepEqual(first?.sessions, []);
    assert.equal(first?.results.length, 1);
  });

  test('a certificate without an end that is a date', () => {
    const tls = { version: 'TLSv1.3', cipher: 'X', certValidToMs: 1e300 };
    const sessions = [{ ...GOOD, tls }];
    const [first] = only(messageWith({}, failedFor([0], GREY, { sessions }))).history;
    assert.deepEqual(first?.sessions[0]?.tls, { version: 'TLSv1.3', cipher: 'X' });
  });

  test('who has which fate, by which host and reply, and why; those who wait first', () => {
    const recipients = to('a', 'b', 'c', 'd@other.example');
    const gone = said('550 5.1.1 no such user');
    const taken = { ...GOOD, end: { kind: 'transacted', reply: '250 2.0.0 queued' } } as const;
    const message = messageWith(
      { recipients },
      attempt({
        delivered: [0],
        bounced: [{ index: 1, failure: gone }],
        deferred: [{ index: 2, failure: GREY }],
        nextAttemptMs: RECEIVED_AT + HOUR,
        sessions: [taken],
      }),
      attempt({
        destination: 'other.example',
        delivered: [3],
        relayed: [{ index: 3, host: 'mx.other.example', reply: '250 thanks' }],
      }),
    );
    const story = tell(message);
    assert.deepEqual(story.counts, { waiting: 1, delivered: 2, bounced: 1 });
    const at = '2026-01-15T12:00:01.000Z';
    assert.deepEqual(story.recipients, [
      {
        address: 'c@dest.example',
        destination: 'dest.example',
        fate: 'waiting',
        at,
        failure: GREY,
      },
      {
        address: 'b@dest.example',
        destination: 'dest.example',
        fate: 'bounced',
        at,
        failure: gone,
      },
      {
        address: 'a@dest.example',
        destination: 'dest.example',
        fate: 'delivered',
        at,
        by: { host: 'mx1.dest.example', address: '192.0.2.1' },
        reply: '250 2.0.0 queued',
      },
      {
        address: 'd@other.example',
        destination: 'other.example',
        fate: 'delivered',
        at,
        by: { host: 'mx.other.example' },
        reply: '250 thanks',
      },
    ]);
    const [waits, done] = story.destinations;
    assert.deepEqual([waits?.destination, done?.destination], ['dest.example', 'other.example']);
    assert.deepEqual([done?.nextAttempt, done?.expires], [undefined, undefined]);
  });

  test('a fate once: the first record of it counts', () => {
    const twice = attempt({ delivered: [0], bounced: [{ index: 0, failure: GREY }] });
    assert.deepEqual(tell(messageWith({}, twice)).counts, { waiting: 0, delivered: 1, bounced: 0 });
  });

  test('of who was given up while waiting the fate, and no attempt', () => {
    const failure = { ...FAILURE, cause: 'bounced-by-administrator', source: 'local' as const };
    const bounced = [{ index: 0, failure }];
    const givenUp = attempt({ atMs: RECEIVED_AT + HOUR, untried: true, bounced });
    const recipients = to('a', 'b');
    for (const before of [[], [attempt({ deferred: [{ index: 1, failure: FAILURE }] })]]) {
      const story = only(messageWith({ recipients }, ...before, givenUp));
      assert.deepEqual([story.attempts, story.history.length], [before.length, before.length]);
      assert.deepEqual(story.counts, { waiting: 1, delivered: 0, bounced: 1 });
    }
  });

  test('the transactions of an attempt as one attempt, over one session', () => {
    const recipients = to('a', 'b', 'c');
    const again = {
      host: GOOD.host,
      address: GOOD.address,
      continued: true,
      end: GOOD.end,
    } as const;
    const part = attempt({ delivered: [0], more: true, sessions: [GOOD] as const });
    const next = attempt({ delivered: [1], more: true, sessions: [again] as never });
    const last = failedFor([2], GREY, { sessions: [again] as never });
    const { attempts, history } = only(messageWith({ recipients }, part, next, last));
    assert.deepEqual([attempts, history.length], [1, 1]);
    assert.deepEqual(
      history[0]?.sessions.map(({ transactions }) => transactions),
      [3],
    );
    assert.equal(history[0]?.results.length, 2);
    assert.equal(history[0]?.unfinished, undefined);
    const cut = only(messageWith({ recipients }, part));
    assert.deepEqual([cut.attempts, cut.history[0]?.unfinished], [0, true]);
  });

  test('the reports that were sent, and those that are owed', () => {
    const bounced = [{ index: 0, failure: said('550 5.1.1 gone') }];
    const at = RECEIVED_AT + HOUR;
    const waiting = [{ destination: 'dest.example' as Destination, recipients: [0], untilMs: 1 }];
    const message = messageWith(
      {},
      { kind: 'delay', atMs: at, waiting, dsnId: DSN_ID },
      { kind: 'notified', atMs: at + MINUTE, dsnId: DSN_ID },
      attempt({ atMs: at + HOUR, bounced, dsnId: ID }),
      attempt({ atMs: at + HOUR, bounced, dsnId: ID }),
    );
    const { delayWarning, dsns } = tell(message);
    assert.equal(delayWarning, '2026-01-15T13:00:00.000Z');
    assert.deepEqual(dsns, [
      {
        id: DSN_ID,
        actions: ['delayed'],
        at: '2026-01-15T13:00:00.000Z',
        queued: '2026-01-15T13:01:00.000Z',
      },
      { id: ID, actions: ['failed'], at: '2026-01-15T14:00:00.000Z', destination: 'dest.example' },
    ]);
  });
});

describe('what the sender of a message that waits will be told', () => {
  const toldOf = (
    change: Parameters<typeof messageWith>[0],
    { delayWarning = 4 * HOUR, records = [] }: ToldParts = {},
  ) => {
    const retry = { ...RETRY, delayWarning: delayWarning === 0 ? undefined : delayWarning };
    const { delayWarningDue, tellsOfFailure } = storyOf(messageWith(change, ...records), {
      retry,
      destinationOf,
    });
    return [delayWarningDue, tellsOfFailure];
  };
  const DUE = '2026-01-15T16:00:00.000Z';
  const notify = (...events: readonly Notify[]) => ({
    recipients: [{ address: 'bob@dest.example', notify: events }],
  });

  test('by default: of the delay, and of the failure', () => {
    assert.deepEqual(toldOf({}), [DUE, true]);
  });
  test('what its NOTIFY asks for', () => {
    assert.deepEqual(toldOf(notify('NEVER')), [undefined, undefined]);
    assert.deepEqual(toldOf(notify('FAILURE')), [undefined, true]);
    assert.deepEqual(toldOf(notify('DELAY')), [DUE, undefined]);
  });
  test('nothing where there is no sender, or nobody waits', () => {
    assert.deepEqual(toldOf({ reversePath: '' }), [undefined, undefined]);
    const records = [attempt({ delivered: [0] })];
    assert.deepEqual(toldOf({}, { records }), [undefined, undefined]);
  });
  test('of no delay where that was told, is switched off, or comes after the end', () => {
    const told = { kind: 'delay', atMs: RECEIVED_AT + HOUR, waiting: [], dsnId: DSN_ID } as const;
    assert.deepEqual(toldOf({}, { records: [told] }), [undefined, true]);
    assert.deepEqual(toldOf({}, { delayWarning: 0 }), [undefined, true]);
    assert.deepEqual(toldOf({}, { delayWarning: 6 * DAY }), [undefined, true]);
  });
});

interface ToldParts {
  /** 0: off. */
  readonly delayWarning?: number;
  readonly records?: readonly SpoolRecord[];
}

describe('a story is bounded', () => {
  test('500 recipients with one reply are one line, also where it names each of them', () => {
    const recipients = to(...Array.from({ length: 500 }, (_, n) => `r${n}`));
    const deferred = recipients.map(({ address }, index) => ({
      index,
      failure: said(`450 4.7.1 <${address}>: Greylisted`),
    }));
    const record = attempt({ deferred, nextAttemptMs: RECEIVED_AT + HOUR });
    const { recipients: now, history } = only(messageWith({ recipients }, record));
    for (const groups of [now, history[0]?.results]) {
      assert.equal(groups?.length, 1);
      assert.equal(groups?.[0]?.count, 500);
      assert.equal(groups?.[0]?.recipients.length, 5);
      assert.equal(groups?.[0]?.failure?.text, '450 4.7.1 <(address)>: Greylisted');
    }
    const single = only(messageWith({ recipients: recipients.slice(0, 1) }, record));
    const text = single.recipients[0]?.failure?.text;
    assert.equal(text, '450 4.7.1 <r0@dest.example>: Greylisted', 'one is quoted as it is');
  });

  test('100,000 recipients with an answer each', () => {
    const recipients = to(
      ...Array.from({ length: 100_000 }, (_, n) => `r${n}@d${n % 7000}.example`),
    );
    const records = Array.from({ length: 50 }, (_, d) =>
      attempt({
        destination: `d${d}.example`,
        deferred: recipients.flatMap((_one, index) =>
          index % 7000 === d ? [{ index, failure: said(`450 4.0.0 busy ${index}`) }] : [],
        ),
        nextAttemptMs: RECEIVED_AT + HOUR,
      }),
    );
    const story = tell(messageWith({ recipients }, ...records));
    assert.deepEqual([story.recipients.length, story.recipientsLeftOut], [1000, 99_000]);
    assert.deepEqual([story.destinations.length, story.destinationsLeftOut], [100, 6900]);
    assert.equal(story.counts.waiting, 100_000);
    assert.ok(JSON.stringify(story).length < 1024 * 1024);
  });

  test('a reply of its own for each recipient', () => {
    const recipients = to(...Array.from({ length: 30 }, (_, n) => `r${n}`));
    const deferred = recipients.map((_, index) => ({ index, failure: said(`450 busy ${index}`) }));
    const record = attempt({ deferred, nextAttemptMs: RECEIVED_AT + HOUR });
    const {
      recipients: now,
      recipientsLeftOut,
      history,
    } = only(messageWith({ recipients }, record));
    assert.deepEqual([now.length, recipientsLeftOut, history[0]?.resultsLeftOut], [20, 10, 10]);
  });

  test('thousands of attempts: the first few and the last', () => {
    const records = Array.from({ length: 5000 }, (_, n) =>
      failedFor([0], GREY, { afterMs: n * MINUTE }),
    );
    const { attempts, history, historyLeftOut } = only(messageWith({}, ...records));
    assert.deepEqual([attempts, history.length, historyLeftOut], [5000, 60, 4940]);
    const numbers = history.map(({ number }) => number);
    assert.deepEqual([numbers[0], numbers[9], numbers[10], numbers[59]], [1, 10, 4951, 5000]);
  });
});
