/**
 * The fold of a message's records: fates never change, repeated records are harmless, and a
 * message is finished only when everybody has an answer and every DSN is paid.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { newMessageId } from '../../src/mail/message-id.ts';
import {
  type AttemptRecord,
  foldRecords,
  groupByDestination,
  NO_DESTINATION,
  type SpoolRecord,
} from '../../src/spool/message-state.ts';
import { attempt, destinationOf, FAILURE, RECEIVED_AT, sampleEnvelope } from './sample-mail.ts';

const [DSN, OTHER_DSN] = [newMessageId(1), newMessageId(2)];
const failed = (...indexes: number[]) => indexes.map((index) => ({ index, failure: FAILURE }));
const envelope = sampleEnvelope({
  recipients: ['a@dest.example', 'b@other.example', 'c@dest.example', 'no domain'].map(
    (address) => ({ address }),
  ),
});
const fold = (...records: SpoolRecord[]) => foldRecords(envelope, records, destinationOf);
const pendingOf = (...records: SpoolRecord[]) =>
  Object.fromEntries(fold(...records).pending.map((one) => [one.destination, one.pending]));

describe('foldRecords', () => {
  test('a new message is pending everywhere, due when it was received', () => {
    assert.deepEqual(pendingOf(), { 'dest.example': [0, 2], 'other.example': [1], '': [3] });
    const { pending, finished, unreported } = fold();
    assert.ok(pending.every((one) => one.attempts === 0 && one.nextAttemptMs === RECEIVED_AT));
    assert.ok(pending.every((one) => one.lastFailure === undefined));
    assert.deepEqual([finished, unreported], [false, []]);
  });

  test('recipients without a usable domain form a delivery of their own', () => {
    assert.deepEqual([...groupByDestination(envelope, destinationOf)].at(-1), [
      NO_DESTINATION,
      [3],
    ]);
    const gone = attempt({ destination: NO_DESTINATION, bounced: failed(3) });
    assert.deepEqual(pendingOf(gone), { 'dest.example': [0, 2], 'other.example': [1] });
  });

  test('a transaction that others were to follow is no attempt: the rest is as due as it was', () => {
    const before = attempt({ deferred: failed(0, 2), nextAttemptMs: 5000 });
    const part = attempt({ delivered: [0], more: true });
    const [dest] = fold(before, part).pending;
    assert.deepEqual(dest?.pending, [2]);
    assert.deepEqual([dest?.attempts, dest?.nextAttemptMs], [1, 5000]);
    const [first] = fold(part).pending;
    assert.deepEqual([first?.attempts, first?.nextAttemptMs], [0, RECEIVED_AT]);
  });

  test('delivered and bounced recipients have their fate, deferred ones wait', () => {
    const first = attempt({ delivered: [0], deferred: failed(2), nextAttemptMs: 5000 });
    const { pending } = fold(first);
    const dest = pending.find(({ destination }) => destination === 'dest.example');
    assert.deepEqual(dest, {
      destination: 'dest.example',
      pending: [2],
      attempts: 1,
      nextAttemptMs: 5000,
      triedAtMs: first.atMs,
      lastFailure: FAILURE,
      heldBy: undefined,
    });
    assert.deepEqual(
      pending.find(({ destination }) => destination === 'other.example')?.attempts,
      0,
    );
    assert.deepEqual(pendingOf(first, attempt({ bounced: failed(2) })), {
      'other.example': [1],
      '': [3],
    });
  });

  test('the last attempt says when the next one is', () => {
    const one = attempt({ deferred: failed(0, 2), nextAttemptMs: 5000 });
    const two = attempt({ deferred: failed(0, 2), nextAttemptMs: 9000 });
    const [dest] = fold(one, two).pending;
    assert.deepEqual([dest?.attempts, dest?.nextAttemptMs], [2, 9000]);
  });

  test('a DSN is owed until it is noted as paid', () => {
    const bounced = attempt({ bounced: failed(0, 2), dsnId: DSN });
    const rest = [
      attempt({ destination: 'other.example', delivered: [1] }),
      attempt({ destination: NO_DESTINATION, bounced: failed(3), dsnId: OTHER_DSN }),
    ];
    const unpaid = fold(bounced, ...rest);
    assert.deepEqual(unpaid.pending, []);
    assert.equal(unpaid.finished, false);
    assert.deepEqual(unpaid.unreported, [bounced, rest[1]]);
    const half = fold(bounced, ...rest, { kind: 'notified', atMs: 1, dsnId: DSN });
    assert.deepEqual([half.finished, half.unreported], [false, [rest[1]]]);
    const paid = fold({ kind: 'notified', atMs: 1, dsnId: OTHER_DSN }, bounced, ...rest, {
      kind: 'notified',
      atMs: 1,
      dsnId: DSN,
    });
    assert.deepEqual([paid.finished, paid.unreported], [true, []]);
  });

  test('an attempt that was recorded twice owes one DSN', () => {
    const bounced = attempt({ bounced: failed(0), dsnId: DSN });
    assert.equal(fold(bounced, bounced).unreported.length, 1);
  });

  test('ten thousand attempts are folded at once', () => {
    const many = Array.from({ length: 10_000 }, (_, n) =>
      attempt({ deferred: failed(0, 2), nextAttemptMs: n }),
    );
    const before = process.cpuUsage();
    assert.equal(fold(...many).pending[0]?.attempts, 10_000);
    assert.ok(process.cpuUsage(before).user < 1_000_000);
  });
});

describe('any records', () => {
  const index = fc.nat({ max: 5 });
  const failures = fc.array(
    index.map((one) => ({ index: one, failure: FAILURE })),
    { maxLength: 4 },
  );
  const record: fc.Arbitrary<SpoolRecord> = fc.oneof(
    fc
      .record({
        destination: fc.constantFrom('dest.example', 'other.example', NO_DESTINATION),
        delivered: fc.array(index, { maxLength: 3 }),
        bounced: failures,
        deferred: failures,
        dsnId: fc.option(fc.constantFrom(DSN, OTHER_DSN)),
      })
      .map(({ dsnId, ...change }): AttemptRecord => attempt(dsnId ? { ...change, dsnId } : change)),
    fc
      .constantFrom(DSN, OTHER_DSN)
      .map((dsnId): SpoolRecord => ({ kind: 'notified', atMs: 1, dsnId })),
  );
  const records = fc.array(record, { maxLength: 8 });
  const waiting = (...some: SpoolRecord[]) =>
    new Set(fold(...some).pending.flatMap(({ pending }) => pending));

  test('a fate never goes back', () => {
    fc.assert(
      fc.property(records, record, (before, next) => {
        const [earlier, later] = [waiting(...before), waiting(...before, next)];
        for (const one of later) assert.ok(earlier.has(one));
      }),
    );
  });

  test('records that come twice, or in another order, leave the same recipients waiting', () => {
    fc.assert(
      fc.property(records, (some) => {
        assert.deepEqual(waiting(...some, ...some), waiting(...some));
        assert.deepEqual(waiting(...some.toReversed()), waiting(...some));
        const owed = (list: SpoolRecord[]) => new Set(fold(...list).unreported.map((r) => r.dsnId));
        assert.deepEqual(owed([...some, ...some]), owed(some));
      }),
    );
  });

  test('finished means: nobody waits and nothing is owed', () => {
    fc.assert(
      fc.property(records, (some) => {
        const { finished, pending, unreported } = fold(...some);
        assert.equal(finished, pending.length === 0 && unreported.length === 0);
      }),
    );
  });
});
