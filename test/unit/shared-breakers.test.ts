/**
 * Breakers of several nodes without Redis: what one found out holds for the others, one of them probes, in turn; and a
 * node whose own network is broken closes nothing for those that get through.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AwayFacts, SharedBreakers, SiteNews } from '../../src/queue/shared-breakers.ts';
import { Bench } from './queue-bench.ts';

const AWAY = { away: 'mx.example[192.0.2.1]: connection refused' };
const SITE = 'mx.example';

/** What nodes have in common, at once. */
class Common {
  readonly #news = new Map<string, SiteNews>();
  readonly #watchers = new Map<string, (key: string, news: SiteNews) => void>();
  readonly #claims = new Map<string, { node: string; untilMs: number }>();
  nowMs: () => number = () => 0;

  of(node: string): SharedBreakers {
    const say = (key: string, news: SiteNews) => {
      this.#news.set(key, news);
      for (const [name, heard] of this.#watchers) if (name !== node) heard(key, news);
    };
    return {
      of: (key) => this.#news.get(key),
      away: (key, facts: AwayFacts) => say(key, { kind: 'away', node, ...facts }),
      answered: (key) => say(key, { kind: 'answered', node }),
      claimProbe: async (key, probeEveryMs) => {
        const now = this.nowMs();
        const claim = this.#claims.get(key);
        if (claim && claim.node !== node && claim.untilMs > now) return claim.untilMs - now;
        this.#claims.set(key, { node, untilMs: now + 0.9 * probeEveryMs });
        return undefined;
      },
      watch: (heard) => void this.#watchers.set(node, heard),
    };
  }
}

function nodes(...names: string[]) {
  const common = new Common();
  const benches = names.map((name) => new Bench(3, 1000, common.of(name)));
  common.nowMs = () => benches[0]?.clock.now() ?? 0;
  const advance = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 100) {
      for (const { clock } of benches) clock.advance(100);
      for (let i = 0; i < 5; i += 1) await Promise.resolve();
    }
  };
  return { benches, advance };
}

/** Mail of a destination at the site, and an attempt that ends so. */
async function attempt(bench: Bench, heard: typeof AWAY | 'answered'): Promise<boolean> {
  bench.enter('a.example');
  bench.place('a.example', SITE);
  const turn = bench.take('a.example');
  if (!turn) return false;
  const delivery = await bench.dispatcher.next(turn);
  if (delivery) bench.attempted({ turn, delivery }, heard);
  bench.dispatcher.end(turn);
  return delivery !== undefined;
}

async function open(bench: Bench): Promise<void> {
  for (let n = 0; n < bench.breaker.failures; n += 1) await attempt(bench, AWAY);
}

test('what one node found out holds for the others, with mail and without', async () => {
  const { benches, advance } = nodes('a', 'b', 'c');
  const [a, b, c] = benches as [Bench, Bench, Bench];
  b.enter('b.example');
  b.place('b.example', SITE);
  await open(a);
  assert.match(b.told[0] ?? '', /opened/);
  assert.deepEqual(b.watch.counts(), { open: 1, halfOpen: 0 });
  assert.equal(b.gateAdmits('b.example'), false);
  assert.equal(await attempt(c, AWAY), false, 'the first message there finds it closed');
  // a had the last word, so b or c probes first.
  await advance(61_000);
  const probing = benches.filter((bench) => bench.ofKind('turn').length > 0);
  assert.equal(probing.length, 1, 'one of them probes');
  assert.notEqual(probing[0], a);
});

test('the one that gets through opens it for all', async () => {
  const { benches, advance } = nodes('a', 'b');
  const [a, b] = benches as [Bench, Bench];
  b.enter('b.example');
  b.place('b.example', SITE);
  await open(a);
  await advance(61_000);
  const begun = await b.begin('b.example');
  b.attempted(begun, 'answered');
  b.dispatcher.end(begun.turn);
  assert.match(b.told.at(-1) ?? '', /closed/);
  // a failed there itself: it looks for itself, at once.
  assert.deepEqual(a.watch.counts(), { open: 0, halfOpen: 1 });
  assert.equal(a.ofKind('turn').length, 0, 'what it has is tried later');
  assert.equal(await attempt(a, 'answered'), true);
  assert.match(a.told.at(-1) ?? '', /closed/);
});

test('a node that got an answer a moment ago believes itself, and the one that fails keeps it to itself', async () => {
  const { benches, advance } = nodes('broken', 'well', 'idle');
  const [broken, well, idle] = benches as [Bench, Bench, Bench];
  assert.equal(await attempt(well, 'answered'), true);
  await open(broken);
  assert.deepEqual(well.told, [], 'it goes on');
  assert.equal(await attempt(idle, AWAY), false, 'one that knows nothing waits');
  assert.equal(await attempt(well, 'answered'), true);
  assert.match(idle.told.at(-1) ?? '', /closed/, 'and goes on when another got through');
  for (let round = 0; round < 3; round += 1) {
    await advance(61_000);
    await attempt(broken, AWAY);
  }
  assert.equal(idle.told.length, 2, 'the broken one closes nothing for others again');
  assert.equal(broken.watch.counts().open, 1);
});
