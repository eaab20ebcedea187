/** Holding, letting go and giving up queued mail: what races with it, what the disk does not take, many recipients. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { MessageId } from '../../src/mail/message-id.ts';
import { type AttemptEnd, Attempts } from '../../src/queue/attempts.ts';
import { type HoldRule, HoldRules } from '../../src/queue/hold-rules.ts';
import type { Delivery } from '../../src/queue/lane.ts';
import { Ledger } from '../../src/queue/ledger.ts';
import { QueueControl } from '../../src/queue/queue-control.ts';
import { foldRecords, type SpoolRecord } from '../../src/spool/message-state.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { MemorySpool } from '../support/memory-spool.ts';
import { tempDir } from '../support/temp-dir.ts';
import { destinationOf, sampleEnvelope } from './sample-mail.ts';

class Bench implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly spool = new MemorySpool();
  readonly dir = tempDir();
  readonly crashed: string[] = [];
  /** What giving up comes to. */
  giveUp: (delivery: Delivery) => Promise<AttemptEnd> = async () => ({ kind: 'closed' });
  /** Appends that the disk does not take. */
  refuses: (id: MessageId) => boolean = () => false;
  rules!: HoldRules;
  ledger!: Ledger;
  attempts!: Attempts;
  control!: QueueControl;

  async open(): Promise<this> {
    const { clock } = this;
    this.rules = await HoldRules.open({
      ...{ file: this.dir.file('holds.json'), clock },
      events: { holdOver: () => {}, holdsUnreadable: () => {} },
      onOver: () => this.control.holds.rulesChanged(),
    });
    this.ledger = new Ledger(undefined, undefined, (delivery, recipients, nowMs) => {
      const { destination, sender, heldBy, hold } = delivery;
      return this.rules.holdOf({ destination, sender, recipients, heldBy, hold }, nowMs);
    });
    const { ledger, spool, rules } = this;
    const dispatcher = { supply: () => {} };
    const events = {
      attemptCrashed: (_: object, error: Error) => void this.crashed.push(error.message),
    };
    this.attempts = new Attempts({ ledger, dispatcher, clock, events });
    this.control = new QueueControl({
      ...{ ledger, rules, clock, dispatcher, destinationOf, attempts: this.attempts },
      gates: { stateOf: ({ hold }) => (hold ? 'held' : 'due'), isClosed: () => false },
      spool: {
        read: (id) => spool.read(id),
        append: async (id: MessageId, records: readonly SpoolRecord[]) => {
          if (this.refuses(id)) throw new Error('no room');
          await spool.append(id, records);
        },
      },
      giveUp: async (delivery, { onDone }) => {
        const end = await this.giveUp(delivery);
        onDone(1);
        return end;
      },
    });
    return this;
  }

  /** A message to `count` recipients `r0@`, `r1@` and so on. */
  async enter(count = 1, sender = 'ann@home.example'): Promise<Delivery> {
    const recipients = Array.from({ length: count }, (_, n) => ({ address: `r${n}@dest.example` }));
    const change = { recipients, reversePath: sender, receivedAtMs: this.clock.now() };
    const envelope = sampleEnvelope(change);
    await (await this.spool.begin(envelope.id)).commit(envelope);
    const state = foldRecords(envelope, [], destinationOf);
    const [delivery] = this.ledger.enter(state, this.clock.now());
    assert.ok(delivery);
    return delivery;
  }

  async hold(pattern: HoldRule['pattern'], more: Partial<HoldRule> = {}) {
    const rule = { pattern, reason: '', by: 'ann', since: this.clock.now(), ...more };
    return this.control.holds.add(rule, await this.control.find(pattern));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.control.holds.stop();
    await this.rules.close();
    this.dir[Symbol.dispose]();
  }
}
const MANY = 30;
const TO_R7 = { recipient: 'r7@*' };
const OF_ANN = { sender: 'ann@*' };

describe('a rule by recipient, with more of them than are kept in memory', () => {
  test('holds what came in between the search and the rule', async () => {
    await using bench = await new Bench().open();
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
    await using bench = await new Bench().open();
    const one = await bench.enter(MANY);
    await bench.hold(TO_R7);
    assert.ok(one.hold && one.hold.untilMs === undefined);
    await bench.hold(TO_R7, { expires: bench.clock.now() + 1000 });
    bench.clock.advance(2000);
    bench.control.holds.watch();
    assert.equal(one.hold, undefined);
  });

  test('goes on where another one that held the same ends; and the other way round', async () => {
    await using bench = await new Bench().open();
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
    await using bench = await new Bench().open();
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
    await using bench = await new Bench().open();
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
    await using bench = await new Bench().open();
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
    await using bench = await new Bench().open();
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
    await using bench = await new Bench().open();
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
    await using bench = await new Bench().open();
    const { id } = await bench.enter();
    assert.equal((await bench.control.find({ ids: [id, id] })).length, 1);
  });
});
