/**
 * Gate and dispatcher without Redis: how many turns a lane gets, who goes next, and that nothing
 * is lost or counted wrongly whatever happens to the jobs.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { connectionLimits } from '../../src/queue/connection-limit.ts';
import type { Turn } from '../../src/queue/gate.ts';
import type { Delivery } from '../../src/queue/lane.ts';
import { Bench } from './queue-bench.ts';

const DOMAINS = ['a.example', 'b.example', 'c.example'];

describe('the gate', () => {
  test('a lane has as many turns as are due, and no more than its limit', () => {
    const bench = new Bench(3);
    bench.enter('a.example');
    bench.enter('a.example', 'b.example');
    assert.equal(bench.ofKind('turn', 'a.example').length, 2);
    for (let i = 0; i < 10; i++) bench.enter('a.example');
    assert.equal(bench.ofKind('turn', 'a.example').length, 3);
    assert.equal(bench.ofKind('turn', 'b.example').length, 1);
    bench.take('a.example');
    assert.equal(bench.ofKind('turn', 'a.example').length, 2);
  });

  test('a turn is taken once, and by its own job', async () => {
    const bench = new Bench();
    bench.enter('a.example');
    const [job] = bench.ofKind('turn');
    const turn = bench.take();
    assert.equal(turn?.lane.destination, 'a.example');
    assert.equal(bench.dispatcher.take(job?.jobId ?? ''), undefined);
    assert.equal(bench.dispatcher.take('another'), undefined);
    assert.equal((turn && (await bench.dispatcher.next(turn)))?.destination, 'a.example');
  });

  test('a turn that ends while more is due is followed by another, at the end of the line', async () => {
    const bench = new Bench(1);
    for (const domain of ['a.example', 'a.example', 'b.example']) bench.enter(domain);
    const { turn, delivery } = await bench.begin('a.example');
    bench.ledger.close(delivery);
    bench.dispatcher.end(turn);
    bench.dispatcher.end(turn);
    const line = bench.ofKind('turn').map(({ destination }) => destination);
    assert.deepEqual(line, ['b.example', 'a.example']);
  });

  test('another limit counts at the next decision', async () => {
    const bench = new Bench(2);
    for (let i = 0; i < 9; i++) bench.enter('a.example');
    const [one, two] = [await bench.begin('a.example'), await bench.begin('a.example')];
    bench.limit = 1;
    bench.ledger.close(one.delivery);
    assert.equal(await bench.dispatcher.next(one.turn), undefined);
    bench.dispatcher.end(one.turn);
    assert.deepEqual(bench.ofKind('turn'), []);
    bench.limit = 5;
    bench.ledger.close(two.delivery);
    bench.dispatcher.supply(two.turn.lane);
    assert.equal(bench.ofKind('turn').length, 4);
  });

  test('half of the slots are for lanes that have none', () => {
    const bench = new Bench(10, 8);
    for (let i = 0; i < 20; i++) bench.enter('a.example');
    assert.equal(bench.ofKind('turn', 'a.example').length, 4);
    for (const domain of ['b.example', 'b.example', 'c.example']) bench.enter(domain);
    assert.equal(bench.ofKind('turn', 'b.example').length, 1);
    assert.equal(bench.ofKind('turn', 'c.example').length, 1);
  });

  test('who was refused a second turn gets it when there is room, without having to ask', async () => {
    const bench = new Bench(10, 4);
    for (let i = 0; i < 2; i++) bench.enter('a.example');
    for (let i = 0; i < 2; i++) bench.enter('b.example');
    assert.equal(bench.ofKind('turn', 'b.example').length, 1);
    for (let i = 0; i < 2; i++) {
      const { turn, delivery } = await bench.begin('a.example');
      bench.ledger.close(delivery);
      bench.dispatcher.end(turn);
    }
    assert.equal(bench.ofKind('turn', 'b.example').length, 2);
  });

  test('a turn is waited for only where another lane would gain by its end', () => {
    const bench = new Bench(3, 8);
    const { dispatcher } = bench;
    for (let i = 0; i < 3; i++) bench.enter('a.example');
    bench.enter('b.example');
    const [a, ofA, b] = [bench.take('a.example'), bench.take('a.example'), bench.take('b.example')];
    assert.ok(a && ofA && b);
    assert.ok(![a, b].some((turn) => dispatcher.isWaitedFor(turn)), 'nobody was refused');
    bench.enter('b.example', 'c.example'); // b is refused a second turn
    assert.equal(bench.ofKind('turn', 'b.example').length, 0);
    assert.ok(dispatcher.isWaitedFor(a), 'one of the three');
    assert.ok(!dispatcher.isWaitedFor(b), 'it would ask for the next one at once');
    dispatcher.end(a);
    dispatcher.end(ofA);
    assert.equal(
      bench.ofKind('turn', 'b.example').length,
      1,
      'what the end of others was good for',
    );
    assert.ok(!dispatcher.isWaitedFor(b));
  });

  test('when every slot is in use, any turn is waited for', () => {
    const bench = new Bench(3, 2);
    bench.enter('a.example');
    const turn = bench.take('a.example');
    assert.ok(turn && !bench.dispatcher.isWaitedFor(turn));
    bench.enter('b.example');
    assert.ok(bench.dispatcher.isWaitedFor(turn));
  });

  test('limits by domain, else the default; other settings count at once', () => {
    let settings = {
      default: { connections: 10 },
      domains: [{ domain: 'a.example', connections: 2 }, { domain: 'b.example' }],
    };
    const limit = connectionLimits(() => settings);
    assert.deepEqual(DOMAINS.map(limit), [2, 10, 10]);
    settings = {
      default: { connections: 5 },
      domains: [{ domain: 'c.example', connections: 1 }],
    };
    assert.deepEqual(DOMAINS.map(limit), [5, 5, 1]);
  });
});

describe('a destination that is paused', () => {
  test('gets no turn, and those it has end after the attempt they are at', async () => {
    const bench = new Bench(3);
    for (let n = 0; n < 5; n += 1) bench.enter('a.example');
    const one = await bench.begin('a.example');
    bench.paused.add('a.example');
    bench.attempted(one, 'answered');
    assert.equal(await bench.dispatcher.next(one.turn), undefined);
    bench.dispatcher.end(one.turn);
    for (let turn = bench.take('a.example'); turn; turn = bench.take('a.example')) {
      assert.equal(await bench.dispatcher.next(turn), undefined, 'one that was asked before');
      bench.dispatcher.end(turn);
    }
    bench.enter('a.example', 'b.example');
    assert.deepEqual(
      bench.ofKind('turn').map(({ destination }) => destination),
      ['b.example'],
    );
    const isPaused = (destination: string) => bench.paused.has(destination);
    const { parked, due } = bench.ledger.summary(bench.clock.now(), isPaused);
    assert.deepEqual([parked, due], [5, 1]);
    bench.paused.clear();
    const lane = bench.ledger.lane('a.example');
    assert.ok(lane);
    bench.dispatcher.supply(lane);
    assert.equal(bench.ofKind('turn', 'a.example').length, 3);
  });
});

test('a turn that rests when its destination is paused gets nothing that comes in', async () => {
  const bench = new Bench(3);
  bench.enter('a.example');
  const one = await bench.begin('a.example');
  bench.attempted(one, 'answered');
  const resting = bench.dispatcher.next(one.turn);
  await new Promise(setImmediate);
  bench.paused.add('a.example');
  bench.enter('a.example');
  await bench.clock.advanceAsync(5000);
  assert.equal(await resting, undefined);
  bench.dispatcher.end(one.turn);
  assert.deepEqual(bench.ofKind('turn'), []);
  assert.equal(bench.ledger.lane('a.example')?.waiting.dueCount, 1);
});

describe('the dispatcher', () => {
  test('a turn with nothing left to do rests, and gets what comes in meanwhile', async () => {
    const bench = new Bench();
    bench.enter('a.example');
    const { turn, delivery } = await bench.begin('a.example');
    bench.ledger.close(delivery);
    const resting = bench.dispatcher.next(turn);
    await new Promise(setImmediate);
    bench.enter('a.example');
    assert.equal((await resting)?.destination, 'a.example');
    assert.deepEqual(bench.ofKind('turn'), [], 'no job was needed');
    assert.equal(bench.clock.pending, 0);
  });

  test('a rest ends after a moment, and when there is no room at all', async () => {
    const bench = new Bench(3, 1);
    bench.enter('a.example');
    const { turn, delivery } = await bench.begin('a.example');
    bench.ledger.close(delivery);
    assert.equal(await bench.dispatcher.next(turn), undefined, 'others may want the slot');
    const roomy = new Bench();
    roomy.enter('a.example');
    const begun = await roomy.begin('a.example');
    roomy.ledger.close(begun.delivery);
    const resting = roomy.dispatcher.next(begun.turn);
    await roomy.clock.advanceAsync(5000);
    assert.equal(await resting, undefined);
    roomy.dispatcher.end(begun.turn);
    assert.equal(roomy.ledger.laneCount, 0);
  });

  test('stopping ends rests and gives out nothing more', async () => {
    const bench = new Bench(2);
    for (let i = 0; i < 3; i++) bench.enter('a.example');
    bench.enter('b.example');
    const busy = await bench.begin('a.example');
    const idle = await bench.begin('b.example');
    bench.ledger.close(idle.delivery);
    const resting = bench.dispatcher.next(idle.turn);
    await new Promise(setImmediate);
    bench.dispatcher.stop();
    assert.equal(await resting, undefined);
    bench.ledger.close(busy.delivery);
    assert.equal(await bench.dispatcher.next(busy.turn), undefined);
    assert.equal(bench.take('a.example'), undefined);
  });

  test('one job wakes a lane when its next delivery falls due, however many wait', async () => {
    const bench = new Bench(2);
    for (let i = 0; i < 5; i++) bench.enter('a.example');
    const turn = bench.take();
    assert.ok(turn);
    const now = bench.clock.now();
    for (const [i, delay] of [5000, 3000, 4000, 3000, 9000].entries()) {
      const delivery = await bench.dispatcher.next(turn);
      assert.ok(delivery, `${i}`);
      bench.ledger.postpone(delivery, now + delay, now);
      bench.dispatcher.supply(turn.lane);
    }
    const [wake, ...more] = bench.ofKind('wake');
    assert.deepEqual([wake?.atMs, more], [now + 3000, []]);
    bench.dispatcher.end(turn);
    bench.take();
    bench.clock.advance(3000);
    bench.jobs.delete(wake?.jobId ?? '');
    bench.dispatcher.wake('a.example', 'of another time');
    assert.deepEqual(bench.ofKind('wake'), []);
    bench.dispatcher.wake('a.example', wake?.jobId ?? '');
    assert.equal(bench.ofKind('wake')[0]?.atMs, now + 4000);
    assert.equal(bench.ledger.lane('a.example')?.turns, 2, 'for the two that are due');
  });
});

/** What can happen. */
type Step =
  | { readonly does: 'enter'; readonly lanes: readonly number[] }
  | { readonly does: 'hand-out' | 'hand-out-twice' | 'lose'; readonly which: number }
  | { readonly does: 'close' | 'crash' | 'defer'; readonly which: number; readonly ms: number }
  | { readonly does: 'limit'; readonly to: number }
  | { readonly does: 'pass'; readonly ms: number }
  | { readonly does: 'flush' | 'look-after' };

const which = fc.nat(50);
const ms = fc.nat(20_000);
const steps: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      does: fc.constant('enter' as const),
      lanes: fc.subarray([0, 1, 2], { minLength: 1 }),
    }),
  },
  { weight: 6, arbitrary: fc.record({ does: fc.constant('hand-out' as const), which }) },
  fc.record({ does: fc.constantFrom('hand-out-twice' as const, 'lose' as const), which }),
  {
    weight: 4,
    arbitrary: fc.record({
      does: fc.constantFrom('close' as const, 'crash' as const, 'defer' as const),
      which,
      ms,
    }),
  },
  fc.record({ does: fc.constant('limit' as const), to: fc.integer({ min: 1, max: 5 }) }),
  fc.record({ does: fc.constant('pass' as const), ms }),
  fc.record({ does: fc.constantFrom('flush' as const, 'look-after' as const) }),
);

/** Runs steps, and knows all the while what should be. */
class Play {
  readonly bench = new Bench(3, 12);
  /** Deliveries that must not be lost: what became of each. */
  readonly known = new Map<Delivery, 'waits' | 'in flight' | 'closed'>();
  readonly turns: { readonly turn: Turn; readonly delivery: Delivery }[] = [];
  readonly handedOut: string[] = [];

  async do(step: Step): Promise<void> {
    const { bench } = this;
    switch (step.does) {
      case 'enter':
        this.enter(step.lanes);
        break;
      case 'limit':
        bench.limit = step.to;
        break;
      case 'pass':
        bench.clock.advance(step.ms);
        break;
      case 'flush':
        bench.jobs.clear();
        break;
      case 'look-after':
        this.lookAfter();
        break;
      case 'lose':
        bench.jobs.delete([...bench.jobs.keys()][step.which] ?? '');
        break;
      case 'hand-out':
        await this.handOut(step.which);
        break;
      case 'hand-out-twice':
        assert.equal(bench.dispatcher.take(this.handedOut[step.which] ?? ''), undefined);
        break;
      default:
        await this.endAttempt(step);
    }
    this.check();
  }

  enter(lanes: readonly number[]): void {
    const { ledger } = this.bench;
    this.bench.enter(...lanes.map((lane) => DOMAINS[lane] ?? ''));
    for (const delivery of ledger.entered.splice(0)) this.known.set(delivery, 'waits');
  }

  /** What the reconciler does: every turn and wake-up has a job. */
  lookAfter(): void {
    const { bench } = this;
    for (const lane of bench.ledger.lanes()) {
      if (lane.wake && lane.wake.atMs <= bench.clock.now()) bench.dispatcher.rouse(lane);
      else bench.dispatcher.supply(lane);
    }
    for (const turn of [...bench.gate.asked()]) {
      if (!bench.jobs.has(turn.jobId)) bench.dispatcher.askAgain(turn);
    }
    for (const job of bench.dispatcher.jobs()) bench.jobs.set(job.jobId, job);
  }

  async handOut(index: number): Promise<void> {
    const { bench } = this;
    const ready = [...bench.jobs.values()].filter(({ atMs = 0 }) => atMs <= bench.clock.now());
    const job = ready[index % Math.max(1, ready.length)];
    if (!job) return;
    bench.jobs.delete(job.jobId);
    this.handedOut.push(job.jobId);
    if (job.kind === 'wake') return bench.dispatcher.wake(job.destination, job.jobId);
    const turn = bench.dispatcher.take(job.jobId);
    assert.ok(turn, 'every job that was asked for is worth a turn');
    await this.goOn(turn);
  }

  /** The turn's next delivery, or its end. */
  async goOn(turn: Turn): Promise<void> {
    const { dispatcher } = this.bench;
    const resting = dispatcher.next(turn);
    for (const resume of turn.lane.resting) resume(undefined); // no rests here
    const delivery = await resting;
    if (!delivery) return dispatcher.end(turn);
    assert.equal(this.known.get(delivery), 'waits');
    assert.ok(delivery.nextAttemptMs <= this.bench.clock.now());
    this.known.set(delivery, 'in flight');
    this.turns.push({ turn, delivery });
  }

  async endAttempt({ does, which, ms }: Extract<Step, { ms: number; which: number }>) {
    const [run] = this.turns.splice(which % Math.max(1, this.turns.length), 1);
    if (!run) return;
    const { ledger, clock, dispatcher } = this.bench;
    const { turn, delivery } = run;
    if (does === 'close') {
      ledger.close(delivery);
      this.known.set(delivery, 'closed');
    } else {
      ledger.postpone(delivery, clock.now() + ms, clock.now());
      this.known.set(delivery, 'waits');
    }
    dispatcher.supply(delivery.lane);
    if (does === 'crash') dispatcher.end(turn);
    else await this.goOn(turn);
  }

  check(): void {
    const { ledger, clock, jobs, gate } = this.bench;
    const now = clock.now();
    const open = [...this.known].filter(([, state]) => state !== 'closed');
    const waits = open.filter(([, state]) => state === 'waits').map(([delivery]) => delivery);
    const due = waits.filter(({ nextAttemptMs }) => nextAttemptMs <= now).length;
    const { overdue, oldestDueSeconds, parked, ...counts } = ledger.summary(now);
    assert.equal(parked, 0);
    const expected = { inFlight: this.turns.length, due, held: 0, delayed: waits.length - due };
    assert.deepEqual(counts, expected);
    assert.ok(overdue <= due && oldestDueSeconds >= 0);
    assert.equal(ledger.messageCount, new Set(open.map(([{ id }]) => id)).size);
    const asked = [...gate.asked()];
    for (const lane of ledger.lanes()) {
      const taken = this.turns.filter(({ turn }) => turn.lane === lane).length;
      const lanesOwn = asked.filter((turn) => turn.lane === lane).length;
      assert.deepEqual([lane.turnsTaken, lane.turnsAsked, lane.inFlight], [taken, lanesOwn, taken]);
      assert.ok(lane.turns <= 5, 'never above the highest limit');
      assert.ok(!lane.isEmpty);
    }
    assert.ok(jobs.size <= 3 * (5 + 1), `${jobs.size} jobs`);
  }
}

describe('whatever happens to the jobs', () => {
  test('counts are right, limits hold, nothing is lost, and everything comes to an end', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(steps, { maxLength: 150, size: 'max' }), async (all) => {
        const play = new Play();
        for (const step of all) await play.do(step);
        for (let round = 0; play.bench.ledger.messageCount > 0; round++) {
          assert.ok(round < 5000, 'it comes to an end');
          if (play.turns.length > 0) await play.do({ does: 'close', which: 0, ms: 0 });
          else if (play.bench.jobs.size > 0) {
            play.bench.clock.advance(1000);
            await play.do({ does: 'hand-out', which: 0 });
          }
          play.lookAfter();
        }
        assert.ok([...play.known.values()].every((state) => state === 'closed'));
        // The turns that are left find nothing to do.
        while (play.bench.ofKind('turn').length > 0) {
          play.bench.jobs.forEach(({ kind }, jobId) => {
            if (kind === 'wake') play.bench.jobs.delete(jobId);
          });
          await play.do({ does: 'hand-out', which: 0 });
        }
        assert.equal(play.bench.ledger.laneCount, 0);
      }),
      { numRuns: 150 },
    );
  });
});
