/** Holding, letting go and giving up queued mail: what races with it, what the disk does not take, many recipients. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { AttemptEnd } from '../../src/queue/attempts.ts';
import { ControlBench } from './queue-control-bench.ts';

const MANY = 30;
const TO_R7 = { recipient: 'r7@*' };
const OF_ANN = { sender: 'ann@*' };

describe('a rule by recipient, with more of them than are kept in memory', () => {
  test('holds what came in between the search and the rule', async () => {
    await using bench = await new ControlBench().open();
    const { rules, control } = bench;
    const pattern = TO_R7;
    const late = await bench.enter(MANY);
    const other = await bench.enter(3);
    const rule = { pattern, reason: '', by: 'ann', since: bench.clock.now() };
    await control.holds.add(rule, []); // found before
    assert.deepEqual([late.hold?.rule, other.hold], ['mail to r7@*', undefined]);
    assert.equal(rules.list().length, 1);
  });

  test('made anew with an end is over for all', async () => {
    await using bench = await new ControlBench().open();
    const one = await bench.enter(MANY);
    await bench.hold(TO_R7);
    assert.ok(one.hold && one.hold.untilMs === undefined);
    await bench.hold(TO_R7, { expires: bench.clock.now() + 1000 });
    bench.clock.advance(2000);
    bench.control.holds.watch();
    assert.equal(one.hold, undefined);
  });

  test('goes on where another one that held the same ends; and the other way round', async () => {
    await using bench = await new ControlBench().open();
    const one = await bench.enter(MANY);
    await bench.hold(OF_ANN);
    bench.clock.advance(10);
    await bench.hold(TO_R7);
    assert.equal(one.hold?.rule, 'mail from ann@*');
    await bench.control.holds.end(OF_ANN);
    assert.equal(one.hold?.rule, 'mail to r7@*');
    bench.clock.advance(10);
    await bench.hold(OF_ANN);
    await bench.control.holds.end(TO_R7);
    assert.equal(one.hold?.rule, 'mail from ann@*');
    await bench.control.holds.end(OF_ANN);
    assert.equal(one.hold, undefined);
  });
});

describe('a hold', () => {
  test('that the disk takes a part of holds that part, now as after a restart', async () => {
    await using bench = await new ControlBench().open();
    const all = await Promise.all(Array.from({ length: 6 }, () => bench.enter()));
    const [bad] = all;
    bench.refuses = (id) => id === bad?.id;
    const hold = { reason: '', by: 'ann', sinceMs: bench.clock.now() };
    await assert.rejects(bench.control.holds.hold(all, hold), /no room/);
    for (const delivery of all) {
      const stored = await bench.spool.read(delivery.id);
      const isRecorded = (stored?.records.length ?? 0) > 0;
      assert.equal(delivery.hold !== undefined, isRecorded);
      assert.equal(isRecorded, delivery !== bad);
      assert.equal(delivery.lane.held.has(delivery), isRecorded);
    }
  });

  test('of what ended meanwhile touches nothing; of what is attempted it counts apart', async () => {
    await using bench = await new ControlBench().open();
    const [ended, flying, waiting] = [
      await bench.enter(),
      await bench.enter(),
      await bench.enter(),
    ];
    const now = bench.clock.now();
    const all = [ended, flying, waiting];
    bench.ledger.claim(ended.lane, now);
    bench.ledger.close(ended);
    bench.ledger.claim(ended.lane, now);
    const hold = { reason: '', by: 'ann', sinceMs: now };
    const told = await bench.control.holds.hold(all, hold);
    assert.deepEqual(told, { matched: 3, touched: 1, underWay: 1 });
    bench.ledger.postpone(flying, now, now);
    assert.deepEqual([...flying.lane.held], [waiting, flying]);
    assert.equal(bench.control.retry([ended]).touched, 0);
  });
});

describe('giving up', () => {
  test('what is attempted: each order is done after it, and who is left waits as the attempt said', async () => {
    await using bench = await new ControlBench().open();
    const { attempts, control, ledger, clock } = bench;
    const one = await bench.enter();
    const { promise: going, resolve: end } = Promise.withResolvers<AttemptEnd>();
    ledger.claim(one.lane, clock.now());
    const tried = { attempts: 1, causeClass: 'other', triedAtMs: clock.now() } as const;
    const made = attempts.make(one, () => going);
    let orders = 0;
    bench.giveUp = async ({ nextAttemptMs }) => {
      orders += 1;
      return { kind: 'again', atMs: nextAttemptMs };
    };
    for (const reason of ['a', 'b']) {
      const done = await control.giveUp([one], { how: 'dropped', reason });
      assert.deepEqual([done.touched, done.underWay], [0, 1]);
    }
    const atMs = clock.now() + 3_600_000;
    end({ kind: 'again', atMs, tried });
    await made;
    assert.deepEqual([orders, one.nextAttemptMs, one.tried], [2, atMs, tried]);
    assert.equal(one.inFlight, false);
  });

  test('an attempt that crashed does not lose the order', async () => {
    await using bench = await new ControlBench().open();
    const { attempts, control, ledger, clock } = bench;
    const one = await bench.enter();
    const { promise: going, reject } = Promise.withResolvers<AttemptEnd>();
    ledger.claim(one.lane, clock.now());
    const made = attempts.make(one, () => going);
    await control.giveUp([one], { how: 'dropped', reason: '' });
    reject(new Error('a bug'));
    await made;
    assert.deepEqual([bench.crashed, ledger.messageCount], [['a bug'], 0]);
  });

  test('what the disk does not take is told, and waits', async () => {
    await using bench = await new ControlBench().open();
    const [one, other] = [await bench.enter(), await bench.enter()];
    bench.giveUp = async (delivery) => {
      if (delivery === one) throw new Error('no room');
      return { kind: 'closed' };
    };
    const done = await bench.control.giveUp([one, other], { how: 'dropped', reason: '' });
    assert.deepEqual(done, { matched: 2, touched: 1, underWay: 0, recipients: 1, failed: 1 });
    assert.deepEqual([bench.ledger.messageCount, one.inFlight], [1, false]);
  });

  test('an id that is named twice is one', async () => {
    await using bench = await new ControlBench().open();
    const { id } = await bench.enter();
    assert.equal((await bench.control.find({ ids: [id, id] })).length, 1);
  });
});
