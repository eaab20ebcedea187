/** The ledger: what is to be delivered, by destination, given out once and in order, and counted. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Delivery, Lane } from '../../src/queue/lane.ts';
import { Ledger } from '../../src/queue/ledger.ts';
import { TimeHeap } from '../../src/queue/time-heap.ts';
import { WaitingLine } from '../../src/queue/waiting-line.ts';
import { foldRecords, type SpoolRecord } from '../../src/spool/message-state.ts';
import { attempt, destinationOf, FAILURE, RECEIVED_AT, sampleEnvelope } from './sample-mail.ts';

const envelope = sampleEnvelope({
  recipients: [{ address: 'a@dest.example' }, { address: 'b@other.example' }],
});

function enter(ledger: Ledger, ...records: SpoolRecord[]): Delivery[] {
  return ledger.enter(foldRecords(envelope, records, destinationOf), RECEIVED_AT);
}

/** A message for dest.example that is due at `atMs`. */
function enterOne(ledger: Ledger, atMs: number, nowMs = RECEIVED_AT): Delivery {
  const one = sampleEnvelope({ receivedAtMs: Math.min(atMs, nowMs) });
  const deferred = [{ index: 0, failure: FAILURE }];
  const records = atMs > nowMs ? [attempt({ deferred, nextAttemptMs: atMs })] : [];
  const [delivery] = ledger.enter(foldRecords(one, records, destinationOf), nowMs);
  assert.ok(delivery);
  return delivery;
}

function laneOf(ledger: Ledger, destination = 'dest.example'): Lane {
  const lane = ledger.lane(destination);
  assert.ok(lane);
  return lane;
}

describe('the ledger', () => {
  test('enters what is pending, once, each in the lane of its destination', () => {
    const ledger = new Ledger();
    const entered = enter(ledger);
    assert.deepEqual(
      entered.map(({ id, destination, nextAttemptMs }) => [id, destination, nextAttemptMs]),
      [
        [envelope.id, 'dest.example', RECEIVED_AT],
        [envelope.id, 'other.example', RECEIVED_AT],
      ],
    );
    assert.deepEqual(enter(ledger), []);
    assert.deepEqual([ledger.messageCount, ledger.laneCount], [1, 2]);
    assert.equal(entered[0]?.lane, ledger.lane('dest.example'));
  });

  test('takes what is settled and the next time from the spool', () => {
    const ledger = new Ledger();
    const nextAttemptMs = RECEIVED_AT + 77;
    const deferred = attempt({ deferred: [{ index: 0, failure: FAILURE }], nextAttemptMs });
    const delivered = attempt({ destination: 'other.example', delivered: [1] });
    const [delivery, ...more] = enter(ledger, deferred, delivered);
    assert.deepEqual([delivery?.nextAttemptMs, more.length], [nextAttemptMs, 0]);
    assert.equal(ledger.claim(laneOf(ledger), RECEIVED_AT + 76), undefined);
    assert.equal(ledger.claim(laneOf(ledger), RECEIVED_AT + 77), delivery);
  });

  test('gives a delivery to one attempt at a time, and again at its time', () => {
    const ledger = new Ledger();
    const [delivery] = enter(ledger);
    const lane = laneOf(ledger);
    assert.equal(ledger.claim(lane, RECEIVED_AT), delivery);
    assert.equal(ledger.claim(lane, RECEIVED_AT), undefined);
    assert.ok(delivery?.inFlight);
    ledger.postpone(delivery, RECEIVED_AT + 99, RECEIVED_AT + 1);
    assert.equal(delivery.inFlight, false);
    assert.equal(ledger.claim(lane, RECEIVED_AT + 98), undefined);
    assert.equal(ledger.claim(lane, RECEIVED_AT + 99), delivery);
  });

  test('first come, first served; one that waits for its time holds nobody up', () => {
    const ledger = new Ledger();
    const now = RECEIVED_AT + 1000;
    const later = enterOne(ledger, now + 5000, now);
    const due = [1, 2, 3].map((at) => enterOne(ledger, RECEIVED_AT + at, now));
    const lane = laneOf(ledger);
    for (const delivery of due) assert.equal(ledger.claim(lane, now), delivery);
    assert.equal(ledger.claim(lane, now), undefined);
    const [first, second] = due as [Delivery, Delivery, Delivery];
    ledger.postpone(first, now + 6000, now);
    ledger.postpone(second, now + 4000, now);
    const order = [0, 0, 0].map(() => ledger.claim(lane, now + 6000));
    assert.deepEqual(order, [second, later, first]);
  });

  test('what is found at start falls due in the order of its times, however it is listed', () => {
    const ledger = new Ledger();
    for (const at of [30, 10, 20]) {
      const one = sampleEnvelope({ receivedAtMs: RECEIVED_AT + at });
      ledger.recover(foldRecords(one, [], destinationOf), RECEIVED_AT + 100);
    }
    const lane = laneOf(ledger);
    const order = [0, 0, 0].map(() => ledger.claim(lane, RECEIVED_AT + 1000)?.nextAttemptMs);
    assert.deepEqual(
      order,
      [10, 20, 30].map((at) => RECEIVED_AT + at),
    );
  });

  test('forgets what is closed, the message with its last delivery, the lane with its last', () => {
    const ledger = new Ledger();
    const [delivery, other] = enter(ledger) as [Delivery, Delivery];
    ledger.close(delivery);
    assert.equal(ledger.laneCount, 2, 'what was not attempted is not closed');
    ledger.claim(delivery.lane, RECEIVED_AT);
    ledger.close(delivery);
    ledger.close(delivery);
    ledger.postpone(delivery, 1, RECEIVED_AT);
    assert.deepEqual([ledger.messageCount, ledger.laneCount], [1, 1]);
    ledger.claim(other.lane, RECEIVED_AT);
    ledger.close(other);
    assert.deepEqual([ledger.messageCount, ledger.laneCount], [0, 0]);
    assert.equal(enter(ledger).length, 2, 'and would know it as new');
  });

  test('counts messages, not deliveries', () => {
    const ledger = new Ledger();
    enter(ledger);
    enterOne(ledger, RECEIVED_AT);
    assert.equal(ledger.messageCount, 2);
  });

  test('sums up what is in flight, due, delayed and overdue', () => {
    const ledger = new Ledger();
    const now = RECEIVED_AT + 200_000;
    enter(ledger);
    ledger.claim(laneOf(ledger), now);
    const other = ledger.claim(laneOf(ledger, 'other.example'), now);
    ledger.close(other as Delivery);
    for (const due of [0, 60_000, 60_001, 120_000, -1, -5000]) enterOne(ledger, now - due, 0);
    assert.deepEqual(ledger.summary(now), {
      inFlight: 1,
      due: 4,
      parked: 0,
      held: 0,
      delayed: 2,
      overdue: 2,
      oldestDueSeconds: 120,
    });
    assert.deepEqual(new Ledger().summary(now), {
      inFlight: 0,
      due: 0,
      parked: 0,
      held: 0,
      delayed: 0,
      overdue: 0,
      oldestDueSeconds: 0,
    });
  });
});

describe('the waiting line', () => {
  test('keeps its order while thousands come and go, and gives back their room', () => {
    const line = new WaitingLine<{ id: string; nextAttemptMs: number }>();
    let [came, went] = [0, 0];
    for (let round = 0; round < 3000; round++) {
      for (let i = 0; i < round % 4; i++) line.add({ id: `${came}`, nextAttemptMs: came++ }, came);
      const one = round % 2 === 0 ? line.shift(came) : undefined;
      if (one) assert.equal(one.id, `${went++}`);
    }
    assert.equal(line.dueCount, came - went);
    assert.equal(line.countDueBefore(went + 7), 7);
    assert.equal(line.countDueBefore(came + 1), came - went);
    assert.equal(line.countDueBefore(0), 0);
  });

  test('those that somebody asked for go before all others, and are counted and taken with them', () => {
    const line = new WaitingLine<{ id: string; nextAttemptMs: number }>();
    for (let n = 5; n < 9; n++) line.add({ id: `${n}`, nextAttemptMs: n }, 10);
    line.add({ id: 'later', nextAttemptMs: 30 }, 10);
    for (const n of [10, 4, 9]) line.addFirst({ id: `asked ${n}`, nextAttemptMs: n });
    assert.deepEqual([line.dueCount, line.laterCount, line.oldestDueMs], [7, 1, 4]);
    assert.equal(line.countDueBefore(8), 4);
    assert.deepEqual(
      line.takeDueWhere(({ id }) => id === '6' || id === 'asked 9').map(({ id }) => id),
      ['asked 9', '6'],
    );
    const order = Array.from({ length: 6 }, () => line.shift(30)?.id);
    assert.deepEqual(order, ['asked 4', 'asked 10', '5', '7', '8', 'later']);
    assert.equal(line.oldestDueMs, undefined);
  });

  test('the same time: in the order of the ids', () => {
    const heap = new TimeHeap<{ id: string; nextAttemptMs: number }>();
    for (const id of ['c', 'a', 'd', 'b']) heap.push({ id, nextAttemptMs: 5 });
    const order = [0, 0, 0, 0, 0].map(() => heap.pop()?.id);
    assert.deepEqual(order, ['a', 'b', 'c', 'd', undefined]);
    assert.equal(heap.size, 0);
  });
});

test('those taken out of the line are asked about once: time passes meanwhile', () => {
  const line = new WaitingLine<{ id: string; nextAttemptMs: number }>();
  for (let n = 0; n < 10; n++) line.add({ id: `${n}`, nextAttemptMs: 0 }, 1);
  line.shift(1);
  let asked = 0;
  const taken = line.takeDueWhere(({ id }) => id === '3' || ++asked > 8);
  assert.deepEqual(
    taken.map(({ id }) => id),
    ['3'],
  );
  const left = Array.from({ length: line.dueCount }, () => line.shift(1)?.id);
  assert.deepEqual(left, ['1', '2', '4', '5', '6', '7', '8', '9']);
});

test('nobody waits for a time from before the clock was set back', () => {
  const ledger = new Ledger(() => 3_600_000);
  const now = RECEIVED_AT;
  const state = (nextAttemptMs: number, attempts: number) => ({
    envelope: sampleEnvelope(),
    pending: [
      {
        ...{ destination: 'a.example', pending: [0], attempts, nextAttemptMs },
        ...{ lastFailure: undefined, triedAtMs: undefined, heldBy: undefined },
      },
    ],
    unreported: [],
    finished: false,
  });
  const due = () => ledger.summary(now).due;
  ledger.enter(state(now + 60_000, 0), now); // received by a clock that was ahead
  assert.equal(due(), 1);
  ledger.enter(state(now + 3_600_000, 1), now);
  assert.equal(due(), 1, 'within the schedule');
  ledger.recover(state(now + 8 * 3_600_000, 1), now);
  assert.equal(due(), 1, 'behind the one that is first');
  assert.equal(ledger.summary(now + 3_600_000).due, 3);
  const back = new Ledger(() => 3_600_000);
  back.enter(state(now + 1000, 1), now);
  assert.equal(back.summary(now).due, 0);
  assert.equal(back.summary(now - 8 * 3_600_000).due, 1);
});
