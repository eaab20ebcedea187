/**
 * Sites without Redis: destinations on the same hosts share connections and breaker, a closed one
 * costs nothing, a probe opens it again, and what reaches the end of its lifetime has an answer.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Breaker } from '../../src/queue/breaker.ts';
import { Bench } from './queue-bench.ts';

const AWAY = { away: 'mx.example[192.0.2.1]: connection refused' };

/** All turns that are asked are taken, and one attempt is made in each. */
async function takeAll(bench: Bench) {
  const begun = [];
  for (let turn = bench.take(); turn; turn = bench.take()) {
    const delivery = await bench.dispatcher.next(turn);
    if (delivery) begun.push({ turn, delivery });
    else bench.dispatcher.end(turn);
  }
  return begun;
}

async function closeSite(bench: Bench, destination: string): Promise<void> {
  for (let n = 0; n < bench.breaker.failures; n += 1) {
    const begun = await bench.begin(destination);
    bench.attempted(begun, AWAY);
    bench.dispatcher.end(begun.turn);
  }
}

describe('a breaker', () => {
  const settings = { failures: 3, probeEvery: 1000 };

  test('opens after so many failures in a row, probes, and closes when one gets through', () => {
    const breaker = new Breaker(() => settings);
    assert.equal(breaker.failed(0), false);
    assert.equal(breaker.failed(1), false);
    breaker.succeeded();
    assert.deepEqual(
      [breaker.failed(2), breaker.failed(3), breaker.failed(4)],
      [false, false, true],
    );
    assert.deepEqual([breaker.state(5), breaker.probeAtMs], ['open', 1004]);
    assert.equal(breaker.failed(500), false, 'an attempt that was under way');
    assert.equal(breaker.probeAtMs, 1004, 'does not put the probe off');
    assert.equal(breaker.state(1004), 'half-open');
    assert.equal(breaker.failed(1010), false, 'it is open already');
    assert.deepEqual([breaker.state(2009), breaker.state(2010)], ['open', 'half-open']);
    assert.equal(breaker.succeeded(), true);
    assert.deepEqual([breaker.state(2011), breaker.failures], ['closed', 0]);
    assert.equal(breaker.succeeded(), false);
  });

  test('a clock that is set back, or other settings, never keep it open for longer', () => {
    let now = settings;
    const breaker = new Breaker(() => now);
    for (let n = 0; n < 3; n += 1) breaker.failed(1_000_000);
    assert.equal(breaker.state(5000), 'half-open', 'the clock was set back');
    now = { failures: 3, probeEvery: 10 };
    assert.equal(breaker.state(1_000_000), 'half-open', 'probes are wanted more often');
    now = { failures: 50, probeEvery: 1000 };
    assert.equal(breaker.state(1_000_000), 'half-open', 'more failures are taken');
  });
});

describe('destinations on the same hosts', () => {
  test('share the connections, and go round', async () => {
    const bench = new Bench(3);
    const domains = ['a.example', 'b.example', 'c.example'];
    for (const domain of domains) for (let n = 0; n < 5; n += 1) bench.enter(domain);
    const first = await takeAll(bench);
    assert.equal(first.length, 9, 'before anybody knew');
    const admitted = first.filter((one) => bench.dispatcher.place(one.delivery, 'mx.example'));
    assert.equal(admitted.length, 3, 'then it is too late for the others');
    for (const one of first) {
      if (admitted.includes(one)) continue;
      bench.putOff(one);
      assert.equal(await bench.dispatcher.next(one.turn), undefined);
      bench.dispatcher.end(one.turn);
    }
    for (const one of admitted) {
      bench.attempted(one, 'answered');
      bench.dispatcher.end(one.turn);
    }
    const seen = new Set<string>();
    for (let round = 0; round < 6; round += 1) {
      const begun = await takeAll(bench);
      assert.ok(begun.length <= 3, `${begun.length} at once`);
      for (const one of begun) {
        seen.add(one.turn.lane.destination);
        bench.attempted(one, 'answered');
        bench.dispatcher.end(one.turn);
      }
    }
    assert.deepEqual([...seen].sort(), ['a.example', 'b.example', 'c.example']);
    assert.equal(bench.ledger.messageCount, 0);
    assert.equal([...bench.sites].length, 0, 'nothing is kept of it');
  });

  test('a connection that rests makes way for another destination', async () => {
    const bench = new Bench(1);
    for (const domain of ['a.example', 'b.example']) {
      bench.enter(domain);
      bench.place(domain, 'mx.example');
      const one = await bench.begin(domain);
      bench.attempted(one, 'answered');
      bench.dispatcher.end(one.turn);
    }
    bench.enter('a.example');
    const one = await bench.begin('a.example');
    bench.attempted(one, 'answered');
    const resting = bench.dispatcher.next(one.turn);
    await new Promise(setImmediate);
    bench.enter('b.example');
    assert.deepEqual(bench.ofKind('turn'), [], 'there is one connection');
    assert.equal(await resting, undefined);
    bench.dispatcher.end(one.turn);
    assert.equal((await bench.begin('b.example')).turn.lane.destination, 'b.example');
  });

  test('all together have as many as the one that may have most', async () => {
    const bench = new Bench(2);
    bench.limitOf = (destination) => (destination === 'a.example' ? 5 : 2);
    for (let n = 0; n < 30; n += 1) bench.enter('a.example', 'b.example');
    for (const domain of ['a.example', 'b.example']) bench.place(domain, 'mx.example');
    for (let round = 0; round < 3; round += 1) {
      const taken = await takeAll(bench);
      const ofB = taken.filter(({ turn }) => turn.lane.destination === 'b.example').length;
      assert.ok(taken.length === 5 && ofB <= 2, `${taken.length}, of these ${ofB}`);
      for (const one of taken) {
        bench.attempted(one, 'answered');
        bench.dispatcher.end(one.turn);
      }
    }
  });
});

describe('a destination whose mail goes to other hosts from now on', () => {
  /** Nine attempts hang at hosts of its own, when its MX records come to name those of others. */
  async function moved(): Promise<{ bench: Bench; hung: Begun }> {
    const bench = new Bench(10);
    for (let n = 0; n < 12; n += 1) bench.enter('evil.example');
    const hung = (await takeAll(bench)).slice(1);
    for (const { delivery } of hung) assert.ok(bench.dispatcher.place(delivery, 'mx.evil.example'));
    bench.enter('victim.example');
    bench.place('victim.example', 'mx.victim.example');
    bench.place('evil.example', 'mx.victim.example');
    return { bench, hung };
  }

  test('says nothing of these by what it still does at its own', async () => {
    const { bench, hung } = await moved();
    bench.breaker = { failures: 3, probeEvery: 60_000 };
    for (const one of hung) bench.attempted(one, AWAY);
    assert.match(bench.told.join(), /^mx\.evil\.example opened[^,]*$/);
  });

  test('takes no connection away from them by those it still has at its own', async () => {
    const { bench } = await moved();
    for (let n = 0; n < 20; n += 1) bench.enter('victim.example');
    assert.equal(bench.ofKind('turn', 'victim.example').length, 10);
  });
});

describe('a site whose hosts are away', () => {
  test('is closed: no job, no attempt; then one probe, and all of it when that gets through', async () => {
    const bench = new Bench(3);
    bench.breaker = { failures: 2, probeEvery: 60_000 };
    for (let n = 0; n < 50; n += 1) bench.enter('a.example');
    bench.enter('b.example');
    bench.place('a.example', 'mx.example');
    bench.place('b.example', 'mx.example');
    const begun = await takeAll(bench);
    for (const one of begun) bench.attempted(one, AWAY);
    for (const { turn } of begun) {
      assert.equal(await bench.dispatcher.next(turn), undefined);
      bench.dispatcher.end(turn);
    }
    assert.deepEqual(bench.told, ['mx.example opened: mx.example[192.0.2.1]: connection refused']);
    assert.deepEqual(bench.ofKind('turn'), []);
    bench.enter('a.example', 'b.example');
    assert.deepEqual(bench.ofKind('turn'), [], 'nor for what comes in meanwhile');

    for (let probe = 0; probe < 3; probe += 1) {
      bench.clock.advance(60_000);
      const [one, ...more] = await takeAll(bench);
      assert.ok(one && more.length === 0, `${more.length} beside the probe`);
      bench.attempted(one, AWAY);
      assert.equal(await bench.dispatcher.next(one.turn), undefined);
      bench.dispatcher.end(one.turn);
      assert.deepEqual(bench.ofKind('turn'), []);
    }
    bench.clock.advance(60_000);
    const [probe] = await takeAll(bench);
    assert.ok(probe);
    bench.attempted(probe, 'answered');
    assert.match(bench.told.at(-1) ?? '', /^mx\.example closed after 240000$/);
    assert.ok(bench.ofKind('turn').length > 0, 'at once');
  });

  test('an attempt that asked nobody says nothing about it', async () => {
    const bench = new Bench(1);
    bench.breaker = { failures: 1, probeEvery: 60_000 };
    for (let n = 0; n < 3; n += 1) bench.enter('a.example');
    await closeSite(bench, 'a.example');
    bench.clock.advance(60_000);
    const probe = await bench.begin('a.example');
    bench.attempted(probe);
    bench.dispatcher.end(probe.turn);
    assert.equal(bench.ofKind('turn').length, 1, 'the next one is the probe');
  });

  test('is tried with the one that somebody asked for, not with the oldest', async () => {
    const bench = new Bench(1);
    bench.breaker = { failures: 1, probeEvery: 60_000 };
    for (let n = 0; n < 5; n += 1) bench.enter('a.example');
    await closeSite(bench, 'a.example');
    const [tried, , , wanted, other] = bench.ledger.entered;
    assert.ok(tried && wanted && other);
    bench.ledger.putFirst(new Set([tried, wanted]), bench.clock.now());
    bench.clock.advance(60_000);
    const probe = await bench.begin('a.example');
    assert.equal(probe.delivery, wanted, 'it fell due before the one that was tried');
    bench.attempted(probe, 'answered');
    assert.equal(await bench.dispatcher.next(probe.turn), tried, 'an hour before its time');
    assert.equal(bench.ledger.lane('a.example')?.waiting.dueCount, 3);
  });

  test('what was asked for and is put off stays before the others until it was tried', async () => {
    const bench = new Bench(2);
    for (let n = 0; n < 5; n += 1) bench.enter('a.example');
    const [first, second, , , last] = bench.ledger.entered;
    assert.ok(first && second && last);
    bench.ledger.putFirst(new Set([last]), bench.clock.now());
    const begun = await bench.begin('a.example');
    assert.equal(begun.delivery, last);
    bench.putOff(begun);
    assert.equal(await bench.dispatcher.next(begun.turn), last, 'again');
    const now = bench.clock.now();
    const tried = { attempts: 1, causeClass: 'other', triedAtMs: now } as const;
    bench.ledger.postpone(last, now, now, tried);
    const next = [await bench.dispatcher.next(begun.turn), await bench.dispatcher.next(begun.turn)];
    assert.equal(next.includes(last), false, 'it had its attempt');
  });

  test('gives what reaches its lifetime an answer, wherever it stands in the line', async () => {
    const bench = new Bench(1);
    bench.breaker = { failures: 2, probeEvery: 60_000 };
    for (let n = 0; n < 10; n += 1) bench.enter('a.example');
    await closeSite(bench, 'a.example');
    const waiting = bench.ledger.entered.slice(2);
    const old = [waiting[0], waiting[4], waiting[7]].flatMap((one) => one ?? []);
    for (const delivery of old) bench.expired.add(delivery);
    bench.clock.advance(60_000);
    assert.deepEqual([...bench.givenUp.keys()], old);
    const [reason] = bench.givenUp.values();
    assert.match(reason ?? '', /connection refused/);
    assert.equal(bench.ledger.lane('a.example')?.waiting.dueCount, waiting.length - old.length);
    for (const delivery of old) bench.ledger.close(delivery);
    assert.equal(
      bench.take('a.example')?.lane.destination,
      'a.example',
      'beside it the probe goes on',
    );
  });

  test('does so without a probe, and when one takes its time', async () => {
    const bench = new Bench(1);
    bench.breaker = { failures: 1, probeEvery: 86_400_000 };
    for (let n = 0; n < 5; n += 1) bench.enter('a.example');
    await closeSite(bench, 'a.example');
    const [, second, third] = bench.ledger.entered;
    assert.ok(second && third);
    bench.expired.add(second);
    bench.clock.advance(10_000);
    assert.deepEqual([...bench.givenUp.keys()], [second]);
    bench.clock.advance(86_400_000);
    await bench.begin('a.example');
    const last = bench.ledger.entered.at(-1);
    assert.ok(last);
    bench.expired.add(last);
    bench.clock.advance(10_000);
    assert.deepEqual([...bench.givenUp.keys()], [second, last]);
  });

  test('is not told of when it has no mail', async () => {
    const bench = new Bench(1);
    bench.breaker = { failures: 1, probeEvery: 60_000 };
    bench.enter('a.example');
    const { turn, delivery } = await bench.begin('a.example');
    bench.watch.heard(turn.site.key, AWAY);
    assert.deepEqual(bench.watch.counts(), { open: 1, halfOpen: 0 });
    bench.ledger.close(delivery);
    bench.dispatcher.end(turn);
    assert.deepEqual(bench.watch.counts(), { open: 0, halfOpen: 0 });
    bench.clock.advance(60_000);
    bench.enter('a.example');
    assert.deepEqual(bench.watch.counts(), { open: 0, halfOpen: 1 });
  });

  test('is remembered when its mail is gone, and for the destination that comes back', async () => {
    const bench = new Bench(1);
    bench.breaker = { failures: 2, probeEvery: 60_000 };
    bench.enter('a.example');
    bench.enter('a.example');
    bench.place('a.example', 'mx.example');
    await closeSite(bench, 'a.example');
    for (const delivery of bench.ledger.entered) {
      const lane = bench.ledger.lane('a.example');
      if (!lane) break;
      delivery.nextAttemptMs = 0;
    }
    assert.equal(bench.watch.counts().open, 1);
    bench.enter('b.example');
    const one = await bench.begin('b.example');
    assert.equal(bench.dispatcher.place(one.delivery, 'mx.example'), false);
    bench.putOff(one);
    assert.equal(await bench.dispatcher.next(one.turn), undefined);
    bench.dispatcher.end(one.turn);
    bench.enter('b.example');
    assert.deepEqual(bench.ofKind('turn'), []);
  });

  test('50,000 messages for it cost neither jobs nor time', async () => {
    const bench = new Bench(10);
    for (let n = 0; n < 10; n += 1) bench.enter('dead.example');
    await closeSite(bench, 'dead.example');
    let jobs = 0;
    const { put } = bench.outbox;
    bench.outbox.put = (job) => {
      jobs += 1;
      put(job);
    };
    for (let n = 0; n < 50_000; n += 1) bench.enter('dead.example');
    assert.equal(jobs, 0);
    bench.enter('alive.example');
    const one = await bench.begin('alive.example');
    assert.equal(one.turn.lane.destination, 'alive.example');
  });
});

test('whatever happens, the turns of a site are those of its lanes, and no more than it may have', async () => {
  const domains = ['a.example', 'b.example', 'c.example'];
  const step = fc.oneof(
    fc.record({ does: fc.constant('enter' as const), which: fc.nat(2) }),
    fc.record({ does: fc.constantFrom('answered' as const, 'away' as const), which: fc.nat(9) }),
    fc.record({ does: fc.constant('place' as const), which: fc.nat(9), site: fc.nat(1) }),
    fc.record({ does: fc.constant('pass' as const), which: fc.nat(90_000) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const bench = new Bench(2);
      bench.breaker = { failures: 3, probeEvery: 60_000 };
      let begun = await takeAll(bench);
      for (const one of steps) {
        const domain = domains[one.which % 3] ?? '';
        if (one.does === 'enter') bench.enter(domain);
        else if (one.does === 'pass') bench.clock.advance(one.which);
        else if (one.does === 'place') begun = await route(bench, begun, one);
        else {
          const [made] = begun.splice(one.which % Math.max(1, begun.length), 1);
          if (made) {
            bench.attempted(made, one.does === 'away' ? AWAY : 'answered');
            const next = await nextNow(bench, made.turn);
            if (next) begun.push({ turn: made.turn, delivery: next });
            else bench.dispatcher.end(made.turn);
          }
        }
        begun = [...begun, ...(await takeAll(bench))];
        const turns = [...bench.gate.asked(), ...begun.map(({ turn }) => turn)];
        for (const site of bench.sites) {
          assert.equal(site.turns, turns.filter((turn) => turn.site === site).length);
          assert.ok(site.turns <= 2);
        }
      }
      // In the end everything gets through.
      for (let round = 0; round < 500 && bench.ledger.messageCount > 0; round += 1) {
        for (const made of begun) {
          bench.attempted(made, 'answered');
          bench.dispatcher.end(made.turn);
        }
        bench.clock.advance(3_600_000);
        for (const job of bench.ofKind('wake')) {
          bench.jobs.delete(job.jobId);
          bench.dispatcher.wake(job.destination, job.jobId);
        }
        begun = await takeAll(bench);
      }
      assert.equal(bench.ledger.messageCount, 0);
    }),
    { numRuns: 100 },
  );
});

type Begun = Awaited<ReturnType<typeof takeAll>>;

/** One of those begun has its route now: it goes on, or is put off. */
async function route(bench: Bench, begun: Begun, { which, site }: { which: number; site: number }) {
  const one = begun[which % Math.max(1, begun.length)];
  if (!one || (await bench.dispatcher.place(one.delivery, `mx${site}.example`))) return begun;
  bench.putOff(one);
  const others = begun.filter((other) => other !== one);
  const next = await nextNow(bench, one.turn);
  if (next) return [...others, { turn: one.turn, delivery: next }];
  bench.dispatcher.end(one.turn);
  return others;
}

/** The next delivery of a turn, if it need not rest for it. */
async function nextNow(bench: Bench, turn: Parameters<Bench['dispatcher']['next']>[0]) {
  if (turn.lane.waiting.dueCount === 0) return undefined;
  return bench.dispatcher.next(turn);
}
