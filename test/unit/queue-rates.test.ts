/**
 * Rates without Redis: a window holds so many attempts and no more, who shares one, that what waits for
 * the next costs nothing, has its answer in time and goes on in turn, and that settings count at once.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { settingsFrom } from '../../src/config/load.ts';
import { toInput } from '../../src/config/settings.ts';
import type { Delivery } from '../../src/queue/lane.ts';
import { bucketsOf, type RateSettings } from '../../src/queue/rate-bucket.ts';
import { Bench } from './queue-bench.ts';

const MINUTE_MS = 60_000;
const perMinute = (count: number) => ({ count, perMs: MINUTE_MS });

function forAll(count: number | undefined, domains: RateSettings['domains'] = []): RateSettings {
  return { default: { rate: count === undefined ? undefined : perMinute(count) }, domains };
}

function own(...rates: readonly (readonly [string, number | undefined])[]): RateSettings {
  const domains = rates.map(([domain, count]) => ({
    domain,
    rate: count === undefined ? undefined : perMinute(count),
  }));
  return { default: { rate: undefined }, domains };
}

function enter(bench: Bench, domain: string, count: number, site?: string): void {
  for (let n = 0; n < count; n += 1) bench.enter(domain);
  if (site !== undefined) bench.place(domain, site);
}

/** Turns are handed out, attempts made and answered, until nobody has a turn: who was attempted, in order. */
async function run(bench: Bench, siteOf = (domain: string) => `mx.${domain}`): Promise<Delivery[]> {
  const attempted: Delivery[] = [];
  for (let turn = bench.take(); turn; turn = bench.take()) {
    while (turn.lane.waiting.dueCount > 0) {
      const delivery: Delivery | undefined = await bench.dispatcher.next(turn);
      if (!delivery) break;
      if (await bench.dispatcher.place(delivery, siteOf(delivery.destination))) {
        attempted.push(delivery);
        bench.attempted({ turn, delivery }, 'answered');
      } else bench.putOff({ turn, delivery });
    }
    bench.dispatcher.end(turn);
  }
  return attempted;
}

function perDomain(deliveries: readonly Delivery[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { destination } of deliveries) counts[destination] = (counts[destination] ?? 0) + 1;
  return counts;
}

const shared = () => 'mx.example';

describe('a rate of its own', () => {
  test('lets so many attempts go in a window, tells of it once, and more in the next', async () => {
    const bench = new Bench(10);
    bench.rateSettings = own(['a.example', 3]);
    enter(bench, 'a.example', 8);
    for (const expected of [3, 3, 2]) {
      assert.equal((await run(bench)).length, expected);
      assert.equal((await run(bench)).length, 0, 'nothing more in this window');
      bench.clock.advance(MINUTE_MS);
    }
    const start = bench.reached[0]?.untilMs ?? 0;
    assert.deepEqual(bench.reached, [
      { scope: 'domain', key: 'a.example', rate: '3/1m', untilMs: start },
      { scope: 'domain', key: 'a.example', rate: '3/1m', untilMs: start + MINUTE_MS },
    ]);
    assert.equal(bench.ledger.messageCount, 0);
    bench.clock.advance(10 * MINUTE_MS);
    assert.equal(bench.clock.pending, 0, 'nothing is kept of it');
  });

  test('is not told of where nothing waits', async () => {
    const bench = new Bench(10);
    bench.rateSettings = own(['a.example', 3]);
    enter(bench, 'a.example', 3);
    assert.equal((await run(bench)).length, 3);
    assert.deepEqual(bench.reached, []);
    assert.deepEqual(bench.rates.counts(), { domain: 0, site: 0 });
    bench.enter('a.example');
    assert.equal(bench.reached.length, 1, 'until something does');
    assert.deepEqual(bench.rates.counts(), { domain: 1, site: 0 });
  });

  test('leaves other domains on the same hosts theirs', async () => {
    const bench = new Bench(10);
    bench.rateSettings = forAll(2, own(['a.example', 5], ['free.example', undefined]).domains);
    for (const domain of ['a.example', 'b.example', 'c.example', 'free.example']) {
      enter(bench, domain, 20, 'mx.example');
    }
    const { 'a.example': a, 'free.example': free, ...others } = perDomain(await run(bench, shared));
    assert.deepEqual([a, free], [5, 20]);
    assert.equal(
      Object.values(others).reduce((sum, n) => sum + n, 0),
      2,
    );
    const scopes = bench.reached.map(({ scope, key }) => `${scope} ${key}`).sort();
    assert.deepEqual(scopes, ['domain a.example', 'site mx.example']);
  });

  test('that another node used up puts attempts off, without asking again', async () => {
    const bench = new Bench(2);
    bench.rateSettings = own(['a.example', 3]);
    const bucket = { scope: 'domain', name: 'a.example', rate: perMinute(3) } as const;
    for (let n = 0; n < 3; n += 1) await bench.count.take(bucket);
    enter(bench, 'a.example', 50);
    assert.deepEqual(await run(bench), []);
    assert.ok(bench.count.asked <= 3 + 2, `${bench.count.asked}`);
    assert.equal(bench.ledger.lane('a.example')?.waiting.dueCount, 50);
    bench.clock.advance(MINUTE_MS);
    assert.equal((await run(bench)).length, 3);
  });
});

test('what was put off goes on where it stood', async () => {
  const bench = new Bench(4);
  bench.rateSettings = own(['a.example', 5]);
  const bucket = { scope: 'domain', name: 'a.example', rate: perMinute(5) } as const;
  for (let n = 0; n < 20; n += 1) {
    bench.enter('a.example');
    bench.clock.advance(1);
  }
  const entered = [...bench.ledger.entered];
  const went: Delivery[] = [];
  for (let window = 0; window < 12 && bench.ledger.messageCount > 0; window += 1) {
    // Two in each window are another node's.
    for (let n = 0; n < 2; n += 1) await bench.count.take(bucket);
    const begun = [];
    for (let turn = bench.take(); turn; turn = bench.take()) {
      const delivery = await bench.dispatcher.next(turn);
      if (delivery) begun.push({ turn, delivery });
      else bench.dispatcher.end(turn);
    }
    for (const one of begun) {
      if (await bench.dispatcher.place(one.delivery, 'mx.a.example')) {
        went.push(one.delivery);
        bench.attempted(one, 'answered');
      } else bench.putOff(one);
    }
    for (const { turn } of begun) bench.dispatcher.end(turn);
    bench.clock.advance(MINUTE_MS);
  }
  assert.deepEqual(
    went.map(({ id }) => id),
    entered.map(({ id }) => id),
  );
});

describe('destinations on the same hosts', () => {
  test('share one, and have their turns one after the other', async () => {
    const bench = new Bench(3);
    bench.rateSettings = forAll(2);
    const domains = Array.from({ length: 6 }, (_, n) => `d${n}.example`);
    for (const domain of domains) enter(bench, domain, 10, 'mx.example');
    const first = await run(bench, shared);
    assert.equal(first.length, 2);
    const all = [...first];
    for (let window = 0; window < 5; window += 1) {
      bench.clock.advance(MINUTE_MS);
      const attempted = await run(bench, shared);
      assert.equal(attempted.length, 2);
      all.push(...attempted);
    }
    assert.ok(Object.keys(perDomain(all)).length >= 5, JSON.stringify(perDomain(all)));
  });

  test('that are new there find it used up, and join the others', async () => {
    const bench = new Bench(3);
    bench.rateSettings = forAll(2);
    enter(bench, 'a.example', 5, 'mx.example');
    await run(bench, shared);
    const { asked } = bench.count;
    enter(bench, 'new.example', 5);
    assert.deepEqual(await run(bench, shared), []);
    assert.equal(bench.count.asked, asked, 'that is known here');
    bench.clock.advance(MINUTE_MS);
    bench.rateSettings = forAll(100);
    assert.equal((await run(bench, shared)).length, 8);
  });

  test('elsewhere notice nothing, and without a rate nobody is asked or waited for', async () => {
    const bench = new Bench(3);
    bench.rateSettings = own(['a.example', 1]);
    enter(bench, 'a.example', 100);
    await run(bench);
    const { asked } = bench.count;
    enter(bench, 'b.example', 100);
    const { turn, delivery } = await bench.begin('b.example');
    assert.equal(bench.dispatcher.place(delivery, 'mx.b.example'), true, 'at once');
    bench.attempted({ turn, delivery }, 'answered');
    bench.dispatcher.end(turn);
    assert.equal((await run(bench)).length, 99);
    assert.equal(bench.count.asked, asked);
  });
});

describe('mail that waits for a rate', () => {
  test('50,000 of it cost neither jobs, nor questions, nor more than one timer', async () => {
    const bench = new Bench(10);
    bench.rateSettings = own(['a.example', 5]);
    enter(bench, 'a.example', 10);
    await run(bench);
    const { asked } = bench.count;
    let jobs = 0;
    const { put } = bench.outbox;
    bench.outbox.put = (job) => {
      jobs += 1;
      put(job);
    };
    const lane = bench.ledger.lane('a.example');
    assert.ok(lane);
    for (let n = 0; n < 50_000; n += 1) bench.enter('a.example');
    for (let n = 0; n < 1000; n += 1) bench.dispatcher.supply(lane);
    bench.clock.advance(MINUTE_MS - 1);
    assert.deepEqual([jobs, bench.count.asked, bench.clock.pending], [0, asked, 1]);
    bench.clock.advance(1);
    assert.equal(jobs, 10, 'as many turns as it may have');
  });

  test('of 2000 domains costs no more', async () => {
    const bench = new Bench(10);
    bench.rateSettings = forAll(5);
    enter(bench, 'a.example', 10, 'mx.example');
    await run(bench, shared);
    for (let n = 0; n < 2000; n += 1) enter(bench, `d${n}.example`, 1);
    for (const lane of [...bench.ledger.lanes()]) bench.sites.move(lane, 'mx.example');
    const turns = await run(bench, shared);
    assert.deepEqual(turns, []);
    let supplied = 0;
    const { supply } = bench.dispatcher;
    bench.dispatcher.supply = (lane) => {
      supplied += 1;
      supply.call(bench.dispatcher, lane);
    };
    for (const lane of [...bench.ledger.lanes()]) supply.call(bench.dispatcher, lane);
    bench.clock.advance(MINUTE_MS);
    assert.equal((await run(bench, shared)).length, 5);
    assert.ok(supplied < 100, `${supplied} lanes looked at`);
  });

  test('is parked, and not overdue, also while a window goes by', async () => {
    const bench = new Bench(3);
    bench.rateSettings = own(['a.example', 2]);
    enter(bench, 'a.example', 10);
    await run(bench);
    const summary = () =>
      bench.ledger.summary(bench.clock.now(), (destination) => {
        const lane = bench.ledger.lane(destination);
        return lane !== undefined && bench.rates.isHolding(lane);
      });
    for (const parked of [8, 6]) {
      const lane = bench.ledger.lane('a.example');
      assert.ok(lane);
      const untilMs = bench.gate.rateClosedUntilMs(lane, bench.clock.now());
      assert.equal(untilMs, bench.reached.at(-1)?.untilMs);
      for (const passMs of [MINUTE_MS - 1, 1]) {
        bench.clock.advance(passMs);
        const { due, overdue, parked: now } = summary();
        assert.deepEqual({ due, overdue, now }, { due: 0, overdue: 0, now: parked });
      }
      assert.equal(bench.gate.rateClosedUntilMs(lane, bench.clock.now()), undefined);
      await run(bench);
    }
    // Open again, and nobody makes attempts: that is worth a look.
    bench.clock.advance(3 * MINUTE_MS);
    assert.deepEqual([summary().parked, summary().overdue], [0, 4]);
  });

  test('gets no turn that rests, and one whose turn was asked already gets nothing', async () => {
    const bench = new Bench(2);
    bench.rateSettings = own(['a.example', 1]);
    enter(bench, 'a.example', 1);
    const [one, idle] = [await bench.begin('a.example'), bench.take('a.example')];
    assert.equal(idle, undefined);
    assert.ok(await bench.dispatcher.place(one.delivery, 'mx.a.example'));
    bench.attempted(one, 'answered');
    assert.equal(await bench.dispatcher.next(one.turn), undefined, 'it does not rest');
    bench.dispatcher.end(one.turn);
    bench.clock.advance(MINUTE_MS);
    enter(bench, 'a.example', 3);
    const first = await bench.begin('a.example');
    assert.ok(await bench.dispatcher.place(first.delivery, 'mx.a.example'));
    const second = bench.take('a.example');
    assert.ok(second);
    assert.equal(await bench.dispatcher.next(second), undefined);
    bench.dispatcher.end(second);
    assert.deepEqual(bench.ofKind('turn'), []);
  });

  test('is not woken for what falls due meanwhile, and is afterwards', async () => {
    const bench = new Bench(3);
    bench.rateSettings = forAll(1);
    enter(bench, 'a.example', 2, 'mx.example');
    await run(bench, shared);
    const lane = bench.ledger.lane('a.example');
    assert.ok(lane);
    const delivery = bench.ledger.claim(lane, bench.clock.now());
    assert.ok(delivery);
    const later = bench.clock.now() + 90_000;
    bench.ledger.postpone(delivery, later, bench.clock.now());
    bench.dispatcher.supply(lane);
    assert.deepEqual(bench.ofKind('wake'), []);
    bench.clock.advance(MINUTE_MS);
    assert.deepEqual(
      bench.ofKind('wake').map(({ atMs }) => atMs),
      [later],
    );
  });

  test('has its answer when its lifetime ends', async () => {
    const bench = new Bench(3);
    bench.rateSettings = forAll(1, own(['b.example', 1]).domains);
    enter(bench, 'a.example', 3, 'mx.example');
    enter(bench, 'b.example', 3, 'mx.example');
    await run(bench, shared);
    for (const delivery of bench.ledger.entered) bench.expired.add(delivery);
    for (const { lane, reason } of bench.rates.holding()) bench.watch.expireOf(lane, reason);
    const reasons = [...bench.givenUp.values()].sort();
    assert.deepEqual(reasons, [
      ...Array(2).fill('delivery to a.example waits for the rate of its hosts (mx.example), 1/1m'),
      ...Array(2).fill('delivery to b.example waits for its rate, 1/1m'),
    ]);
  });

  test('waits for hosts that are away, too: a probe has its unit', async () => {
    const bench = new Bench(3);
    bench.breaker = { failures: 1, probeEvery: 10_000 };
    bench.rateSettings = forAll(1);
    enter(bench, 'a.example', 5, 'mx.example');
    const one = await bench.begin('a.example');
    assert.ok(await bench.dispatcher.place(one.delivery, 'mx.example'));
    bench.attempted(one, { away: 'refused' });
    bench.dispatcher.end(one.turn);
    for (const turn of [bench.take(), bench.take()]) if (turn) bench.dispatcher.end(turn);
    bench.clock.advance(MINUTE_MS - 1);
    assert.deepEqual(bench.ofKind('turn'), [], 'no probe before the next window');
    bench.clock.advance(1);
    assert.equal(bench.ofKind('turn').length, 1, 'then one');
  });
});

test('a domain without a rate in its entry shares the default; with an empty one it has none', () => {
  const domains = [
    { domain: 'a.example', connections: 2 },
    { domain: 'b.example', rate: '5/1s' },
    { domain: 'free.example', rate: '' },
  ];
  const read = settingsFrom({ destinations: { default: { rate: '100/1m' }, domains } });
  for (const settings of [read, settingsFrom(toInput(read))]) {
    const buckets = bucketsOf(() => settings.destinations);
    const bench = new Bench();
    const found = ['a.example', 'b.example', 'free.example', 'other.example'].map((domain) => {
      enter(bench, domain, 1, 'mx.example');
      const lane = bench.ledger.lane(domain);
      return lane && buckets.lane(lane);
    });
    const site = { scope: 'site', name: 'mx.example', rate: perMinute(100) };
    const own = { scope: 'domain', name: 'b.example', rate: { count: 5, perMs: 1000 } };
    assert.deepEqual(found, [site, own, undefined, site]);
    assert.deepEqual(buckets.site('mx.example'), site);
  }
});

describe('settings', () => {
  async function reached(): Promise<Bench> {
    const bench = new Bench(10);
    bench.rateSettings = forAll(4, own(['b.example', 4]).domains);
    enter(bench, 'a.example', 50, 'mx.example');
    enter(bench, 'b.example', 50, 'mx.example');
    assert.deepEqual(perDomain(await run(bench, shared)), { 'a.example': 4, 'b.example': 4 });
    return bench;
  }

  /** As when the configuration was read again. */
  async function changed(bench: Bench, settings: RateSettings): Promise<Record<string, number>> {
    bench.rateSettings = settings;
    for (const lane of [...bench.ledger.lanes()]) bench.dispatcher.supply(lane);
    return perDomain(await run(bench, shared));
  }

  test('that allow more count at once, less what was used', async () => {
    const bench = await reached();
    const more = forAll(6, own(['b.example', 7]).domains);
    assert.deepEqual(await changed(bench, more), { 'a.example': 2, 'b.example': 3 });
  });

  test('with other windows begin a new one', async () => {
    const bench = await reached();
    const rate = { count: 1, perMs: 1000 };
    const other = { default: { rate }, domains: [{ domain: 'b.example', rate }] };
    assert.deepEqual(await changed(bench, other), { 'a.example': 1, 'b.example': 1 });
    bench.clock.advance(1000);
    assert.deepEqual(perDomain(await run(bench, shared)), { 'a.example': 1, 'b.example': 1 });
  });

  test('without a rate let everything go; with less nothing more', async () => {
    const bench = await reached();
    assert.deepEqual(await changed(bench, forAll(3, own(['b.example', 1]).domains)), {});
    assert.deepEqual(await changed(bench, forAll(undefined)), {
      'a.example': 46,
      'b.example': 46,
    });
  });

  test('by which a domain gets a rate of its own take it out of those that wait', async () => {
    const bench = await reached();
    const settings = forAll(4, own(['a.example', 9], ['b.example', 4]).domains);
    assert.deepEqual(await changed(bench, settings), { 'a.example': 9 });
  });

  test('a clock that is set back closes nothing for longer than a window', async () => {
    const bench = await reached();
    bench.clock.set(bench.clock.now() - 3_600_000);
    const [lane] = bench.ledger.lanes();
    assert.ok(lane);
    assert.equal(bench.gate.rateClosedUntilMs(lane, bench.clock.now()), undefined);
  });

  test('when the relay stops nothing is opened any more', async () => {
    const bench = await reached();
    bench.rates.stop();
    bench.clock.advance(10 * MINUTE_MS);
    assert.deepEqual(bench.ofKind('turn'), []);
    assert.equal(bench.clock.pending, 0);
  });
});

test('whatever happens, no window holds more than its rate, and in the end all of it went', async () => {
  const domains = ['a.example', 'b.example', 'c.example', 'free.example'];
  const step = fc.oneof(
    fc.record({ does: fc.constant('enter' as const), which: fc.nat(3), count: fc.nat(6) }),
    fc.record({ does: fc.constant('run' as const), which: fc.constant(0), count: fc.nat(1) }),
    fc.record({ does: fc.constant('pass' as const), which: fc.nat(90_000), count: fc.nat(1) }),
  );
  const siteOf = (domain: string) => (domain === 'c.example' ? 'mx.c.example' : 'mx.example');
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const bench = new Bench(2);
      bench.rateSettings = forAll(3, own(['b.example', 2], ['free.example', undefined]).domains);
      const windows = new Map<string, { beganMs: number; count: number }>();
      const most: Record<string, number> = { 'mx.example': 3, 'mx.c.example': 3, 'b.example': 2 };
      const attempt = async () => {
        for (const { destination } of await run(bench, siteOf)) {
          if (destination === 'free.example') continue;
          const key = destination === 'b.example' ? destination : siteOf(destination);
          const now = bench.clock.now();
          let window = windows.get(key);
          if (!window || now - window.beganMs >= MINUTE_MS) window = { beganMs: now, count: 0 };
          window.count += 1;
          windows.set(key, window);
          assert.ok(window.count <= (most[key] ?? 0), `${window.count} for ${key}`);
        }
      };
      for (const { does, which, count } of steps) {
        if (does === 'enter') enter(bench, domains[which] ?? '', count);
        else if (does === 'run') await attempt();
        else bench.clock.advance(which);
      }
      for (let round = 0; round < 200 && bench.ledger.messageCount > 0; round += 1) {
        await attempt();
        bench.clock.advance(MINUTE_MS);
      }
      assert.equal(bench.ledger.messageCount, 0);
      assert.equal([...bench.sites].length, 0, 'nothing is kept of it');
    }),
    { numRuns: 40 },
  );
});
