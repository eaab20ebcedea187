/**
 * Policies fetched without a delivery that needs them: by an administrator, in the background, and
 * before a message is given up (RFC 8461 §3.3, §5.1, §10.2).
 */
import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import type { RedisClient } from '../../src/platform/redis.ts';
import { checkPolicy, type PolicyCheck } from '../../src/policy/last-check.ts';
import { policyInForce } from '../../src/policy/sts-entry.ts';
import { type RefreshResult, refreshPolicy } from '../../src/policy/sts-refresh.ts';
import { type RefresherSettings, StsRefresher } from '../../src/policy/sts-refresher.ts';
import { StsStore } from '../../src/policy/sts-store.ts';
import type { DomainName } from '../../src/protocol/domain.ts';
import type { PolicyEvents, RefreshCause } from '../../src/telemetry/policy-events.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';
import {
  domain,
  keptPolicy,
  MapRedis,
  NO_TXT,
  PolicyHost,
  policy,
  SERVFAIL,
  TxtResolver,
  txt,
} from './policy-parts.ts';
import { recordEvents } from './sample-mail.ts';

const W = domain('w.example');
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const { signal } = new AbortController();

/** A node: store, DNS, policy host and clock; nodes may share a Redis. */
class Node {
  readonly dir: TempDir;
  readonly clock: FakeClock;
  readonly redis: MapRedis;
  readonly dns = new TxtResolver();
  readonly host: PolicyHost;
  readonly recorded = recordEvents<PolicyEvents>();
  readonly storeEvents: ReturnType<typeof recordEvents<PolicyEvents>>;
  readonly suspected: string[] = [];
  readonly store: StsStore;
  readonly settings: { -readonly [K in keyof RefresherSettings]: RefresherSettings[K] } = {
    enabled: true,
    refreshEveryMs: DAY,
    forgetUnusedAfterMs: 180 * DAY,
    fetchTimeoutMs: MINUTE,
  };
  refresher: StsRefresher | undefined;

  private constructor(parts: Pick<Node, 'clock' | 'redis' | 'store' | 'dir' | 'storeEvents'>) {
    const { clock, redis, store, dir, storeEvents } = parts;
    this.storeEvents = storeEvents;
    this.dir = dir;
    this.clock = clock;
    this.host = new PolicyHost(clock);
    this.redis = redis;
    this.store = store;
    this.dns.answer = () => txt('v=STSv1; id=one;');
    this.host.serve(policy('enforce'));
  }

  static async start(shared: { clock?: FakeClock; redis?: MapRedis } = {}): Promise<Node> {
    const { clock = new FakeClock(), redis = new MapRedis() } = shared;
    const dir = tempDir();
    const storeEvents = recordEvents<PolicyEvents>();
    const store = await StsStore.open({
      directory: dir.path,
      redis: redis as unknown as RedisClient,
      keyPrefix: 'test',
      clock,
      events: storeEvents.events,
    });
    return new Node({ clock, redis, store, dir, storeEvents });
  }

  refresh(cause: RefreshCause, name: DomainName = W): Promise<RefreshResult> {
    const { dns, store, host, clock, recorded } = this;
    const detector = {
      suspect: (about: string, sign: string) => void this.suspected.push(`${about} ${sign}`),
    };
    const parts = { store, clock, detector, fetch: host.fetch, events: recorded.events };
    return refreshPolicy(name, { ...parts, resolver: dns, cause }, signal);
  }

  /** For an attempt that was made under `used`. */
  check(used = policy('enforce')): Promise<PolicyCheck> {
    const refresh = () => this.refresh('last-attempt');
    const under = { domain: W, text: used.text };
    return checkPolicy(under, { refresh, events: this.recorded.events }, signal);
  }

  /** A policy as a delivery fetched it, now. */
  async knows(id = 'one', of = policy('enforce'), name: DomainName = W): Promise<void> {
    await this.store.keepPolicy(name, keptPolicy(id, of, this.clock.now()));
  }

  async kept(name: DomainName = W) {
    return policyInForce(await this.store.get(name), this.clock.now());
  }

  startRefresher(random: () => number): StsRefresher {
    const { store, clock, recorded, settings } = this;
    this.refresher = new StsRefresher({
      store,
      clock,
      random,
      events: recorded.events,
      settings: () => settings,
      refresh: (name) => this.refresh('background', name),
    });
    this.refresher.start();
    return this.refresher;
  }

  /** Turn the clock as far, in steps, with everything that falls due done in between. */
  async pass(ms: number, stepMs = 10 * MINUTE): Promise<void> {
    for (let left = ms; left > 0; left -= stepMs) {
      await this.clock.advanceAsync(Math.min(stepMs, left));
      await this.refresher?.idle();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.refresher?.stop();
    this.dir.remove();
  }
}

describe('a refresh that an administrator asks for', () => {
  test('fetches in any case, the pause after a failure or not', async () => {
    await using node = await Node.start();
    node.host.break();
    assert.equal((await node.refresh('admin')).kind, 'failed');
    assert.equal((await node.refresh('admin')).kind, 'failed');
    assert.equal(node.host.asked.length, 2);
    node.host.serve(policy('testing'));
    const answer = await node.refresh('admin');
    assert.ok(answer.kind === 'refreshed' && answer.changed);
    assert.equal((await node.kept())?.policy.mode, 'testing');
  });

  test('asks DNS anew, whatever is cached', async () => {
    await using node = await Node.start();
    await node.refresh('admin');
    await node.refresh('last-attempt');
    assert.deepEqual(node.dns.options, [{ fresh: true }, { fresh: false }]);
  });

  test('without record and without a policy: says what is missing, fetches nothing', async () => {
    await using node = await Node.start();
    node.dns.answer = () => NO_TXT;
    const answer = await node.refresh('admin');
    assert.ok(answer.kind === 'failed');
    assert.equal(answer.reason, 'no TXT record');
    assert.deepEqual(node.host.asked, []);
  });

  test('mends a file that cannot be read', async () => {
    await using node = await Node.start();
    writeFileSync(node.dir.file('w.example.json'), '{');
    assert.equal((await node.refresh('admin')).kind, 'refreshed');
    assert.equal((await node.kept())?.id, 'one');
  });

  test('is forgotten nowhere when Redis cannot forget it', async () => {
    await using node = await Node.start();
    await node.knows();
    node.redis.isDown = true;
    await assert.rejects(node.store.forget(W, { shared: true }), /nothing was forgotten/);
    assert.equal((await node.kept())?.id, 'one');
    node.redis.isDown = false;
    assert.equal(await node.store.forget(W, { shared: true }), true);
    assert.equal(await node.kept(), undefined);
    assert.equal(await node.store.forget(W, { shared: true }), false);
  });

  test('does not bring back an expired policy without its record', async () => {
    await using node = await Node.start();
    await node.knows('one', policy('enforce', ['*.w.example'], 60));
    node.clock.advance(HOUR);
    node.dns.answer = () => NO_TXT;
    assert.equal((await node.refresh('admin')).kind, 'failed');
    assert.equal(await node.kept(), undefined);
    assert.deepEqual(node.host.asked, []);
  });

  test('that fails takes nothing away, and is counted until one succeeds', async () => {
    await using node = await Node.start();
    await node.knows();
    node.host.break('connection refused');
    await node.refresh('admin');
    node.clock.advance(HOUR);
    const answer = await node.refresh('admin');
    assert.ok(answer.kind === 'failed' && answer.kept?.policy.mode === 'enforce');
    const entry = await node.store.get(W);
    assert.equal(entry?.failedRefresh?.failures, 2);
    assert.equal(entry.failedRefresh.lastMs - entry.failedRefresh.sinceMs, HOUR);
    assert.equal(node.recorded.of('refreshFailed').length, 2);
    assert.deepEqual(node.suspected, ['w.example fetch-failed', 'w.example fetch-failed']);
    node.host.serve(policy('enforce'));
    await node.refresh('admin');
    assert.equal((await node.store.get(W))?.failedRefresh, undefined);
  });

  test('a policy of mode none that cannot be refreshed worries nobody', async () => {
    await using node = await Node.start();
    await node.knows('one', policy('none', []));
    node.host.break();
    await node.refresh('admin');
    assert.deepEqual(node.suspected, []);
    const [, facts] = node.recorded.of('refreshFailed')[0] ?? [];
    assert.equal((facts as { inForce: string }).inForce, 'none');
  });

  test('a failure of DNS is not "no record": the policy host is asked all the same', async () => {
    await using node = await Node.start();
    await node.knows();
    node.dns.answer = () => SERVFAIL;
    const answer = await node.refresh('admin');
    assert.equal(answer.kind, 'refreshed');
    assert.equal((await node.kept())?.id, 'one');
    assert.deepEqual(node.suspected, ['w.example record-lookup-failed']);
  });
});

describe('a response that was long under way', () => {
  test('does not take the place of a policy that was asked for later', async () => {
    await using node = await Node.start();
    await node.knows('one', policy('testing'));
    node.clock.advance(HOUR);
    const held = Promise.withResolvers<void>();
    node.host.answer = async () => {
      await held.promise;
      return { kind: 'fetched', policy: policy('testing') };
    };
    const refreshing = node.refresh('background');
    await waitFor('the request', () => node.host.asked.length === 1);
    node.clock.advance(5000);
    await node.knows('two', policy('enforce'));
    node.clock.advance(5000);
    held.resolve();
    await refreshing;
    const kept = await node.kept();
    assert.deepEqual([kept?.id, kept?.policy.mode], ['two', 'enforce']);
  });
});

describe('in the background', () => {
  test('every policy is fetched anew in the second half of its day, at a random time', async () => {
    await using node = await Node.start();
    const names = Array.from({ length: 8 }, (_, n) => domain(`d${n}.example`));
    for (const name of names) await node.knows('one', policy('enforce'), name);
    const start = node.clock.now();
    const asked: number[] = [];
    node.host.answer = () => {
      asked.push(node.clock.now() - start);
      return { kind: 'fetched', policy: policy('enforce') };
    };
    node.startRefresher(Math.random);
    await node.refresher?.ready;
    await node.pass(12 * HOUR - MINUTE);
    assert.deepEqual(asked, []);
    await node.pass(12 * HOUR + 2 * MINUTE);
    assert.ok(asked.length >= 8, `${asked.length} of 8`);
    assert.ok(new Set(asked.slice(0, 8)).size > 1, 'not all at the same time');
    assert.equal(node.recorded.of('refreshed').length, asked.length);
  });

  test('a policy with a short life is fetched before it ends', async () => {
    await using node = await Node.start();
    node.host.serve(policy('enforce', ['*.w.example'], 3600));
    await node.knows('one', policy('enforce', ['*.w.example'], 3600));
    node.startRefresher(() => 0.999);
    await node.pass(3 * HOUR, MINUTE);
    assert.ok(node.host.asked.length >= 5, `${node.host.asked.length} fetches`);
    assert.equal((await node.kept())?.policy.mode, 'enforce');
  });

  test('one that cannot be had is tried again, not more often than every five minutes', async () => {
    await using node = await Node.start();
    await node.knows();
    node.host.break();
    node.startRefresher(() => 0);
    await node.pass(12 * HOUR - MINUTE);
    const times: number[] = [];
    node.host.answer = () => {
      times.push(node.clock.now());
      return { kind: 'failed', resultType: 'sts-policy-fetch-error', reason: 'away' };
    };
    await node.pass(6 * HOUR, MINUTE);
    assert.ok(times.length > 3, `${times.length} tries`);
    for (let i = 1; i < times.length; i++) {
      assert.ok((times[i] ?? 0) - (times[i - 1] ?? 0) >= 5 * MINUTE);
    }
    assert.equal((await node.kept())?.id, 'one');
    node.host.serve(policy('testing'));
    await node.pass(HOUR, MINUTE);
    assert.equal((await node.kept())?.policy.mode, 'testing');
  });

  test('what another node fetched is taken over instead', async () => {
    await using one = await Node.start();
    await using other = await Node.start({ clock: one.clock, redis: one.redis });
    await one.knows();
    await other.knows();
    one.clock.advance(6 * HOUR);
    await other.knows('two', policy('testing'));
    one.startRefresher(() => 0);
    await one.pass(7 * HOUR);
    assert.deepEqual(one.host.asked, []);
    const kept = await one.kept();
    assert.equal(kept?.id, 'two');
    assert.equal(kept.source, 'shared');
  });

  test('what nobody asked for in 180 days is forgotten; use is remembered over restarts', async () => {
    await using node = await Node.start();
    const used = domain('used.example');
    await node.knows();
    await node.knows('one', policy('enforce'), used);
    node.settings.enabled = false;
    node.clock.advance(100 * DAY);
    await node.store.noteUsed(used);
    node.clock.advance(81 * DAY);
    node.startRefresher(() => 0);
    await node.pass(2 * HOUR);
    await waitFor('the end of one', () => node.recorded.of('forgotten').length > 0);
    assert.deepEqual(readdirSync(node.dir.path), ['used.example.json']);
    assert.deepEqual(node.recorded.of('forgotten'), [['w.example', 'unused']]);
    assert.deepEqual(node.refresher?.domains(), [used]);
  });

  test('a clock that jumps takes nothing with it', async () => {
    await using node = await Node.start();
    const year = 31_557_600;
    await node.knows('one', policy('enforce', ['*.w.example'], year));
    await node.knows('one', policy('enforce'), domain('week.example'));
    node.settings.enabled = false;
    const start = node.clock.now();
    node.startRefresher(() => 0);
    await node.refresher?.ready;
    node.clock.set(start + 200 * DAY);
    await node.pass(30 * MINUTE);
    node.clock.set(start);
    await node.pass(2 * HOUR);
    assert.equal((await node.kept())?.id, 'one');
    assert.equal((await node.kept(domain('week.example')))?.id, 'one');
  });

  test('what is in force is kept, unused or not, and only not refreshed any more', async () => {
    await using node = await Node.start();
    await node.knows('one', policy('enforce', ['*.w.example'], 31_557_600));
    node.clock.advance(181 * DAY);
    node.startRefresher(() => 0);
    await node.pass(2 * DAY, HOUR);
    assert.deepEqual(node.host.asked, []);
    assert.equal((await node.kept())?.id, 'one');
  });

  test('who waits longest has the first turn, however many others are due', async () => {
    await using node = await Node.start();
    const start = node.clock.now();
    const names = Array.from({ length: 40 }, (_, n) => domain(`d${n}.example`));
    // Those that are entered last are due first.
    for (const [n, name] of names.entries()) {
      await node.store.keepPolicy(name, keptPolicy('one', policy('enforce'), start - n * MINUTE));
    }
    node.settings.enabled = false;
    const refresher = node.startRefresher(() => 0);
    await refresher.ready;
    await node.pass(12 * HOUR);
    assert.equal(refresher.overdueSeconds(), 0);
    node.settings.enabled = true;
    assert.equal(refresher.overdueSeconds(), 39 * 60);
    const held = Promise.withResolvers<void>();
    node.host.answer = async () => {
      await held.promise;
      return { kind: 'fetched', policy: policy('enforce') };
    };
    await node.clock.advanceAsync(MINUTE);
    await waitFor('as many as may be at once', () => node.host.asked.length === 32);
    const first = node.host.asked.toSorted();
    held.resolve();
    assert.deepEqual(first, names.slice(8).toSorted());
    await node.pass(MINUTE, 1000);
    assert.equal(node.host.asked.length, 40);
  });

  test('after a long absence everything is caught up with, spread over minutes', async () => {
    await using node = await Node.start();
    const names = Array.from({ length: 6 }, (_, n) => domain(`d${n}.example`));
    for (const name of names) await node.knows('one', policy('enforce'), name);
    node.clock.advance(3 * DAY);
    const asked = new Set<number>();
    node.host.answer = () => {
      asked.add(node.clock.now());
      return { kind: 'fetched', policy: policy('enforce') };
    };
    node.startRefresher(Math.random);
    await node.refresher?.ready;
    await node.pass(11 * MINUTE, MINUTE);
    assert.equal(node.host.asked.length, 6);
    assert.ok(asked.size > 1);
  });

  test('after a failure five minutes are the least, however short its life', async () => {
    await using node = await Node.start();
    await node.knows('one', policy('enforce', ['*.w.example'], 1800));
    node.host.break();
    node.startRefresher(() => 0);
    const times: number[] = [];
    node.host.answer = () => {
      times.push(node.clock.now());
      return { kind: 'failed', resultType: 'sts-policy-fetch-error', reason: 'away' };
    };
    await node.pass(30 * MINUTE, 10_000);
    assert.ok(times.length >= 3, `${times.length} tries`);
    for (let i = 1; i < times.length; i++) {
      assert.ok((times[i] ?? 0) - (times[i - 1] ?? 0) >= 5 * MINUTE);
    }
  });

  test('one with a short life is left alone when no mail asks for it any more', async () => {
    await using node = await Node.start();
    const short = policy('enforce', ['*.w.example'], 120);
    await node.knows('one', short);
    node.host.serve(short);
    node.startRefresher(() => 0.5);
    await node.pass(3 * HOUR, 10_000);
    const asked = node.host.asked.length;
    assert.ok(asked > 50 && asked < 250, `${asked} fetches`);
    await node.pass(HOUR, MINUTE);
    assert.equal(node.host.asked.length, asked);
  });

  test('one that no mail ever asked for ages like the others', async () => {
    await using node = await Node.start();
    assert.equal((await node.refresh('admin')).kind, 'refreshed');
    const firstMs = (await node.store.get(W))?.lastUsedMs;
    node.clock.advance(DAY);
    await node.refresh('admin');
    assert.equal((await node.store.get(W))?.lastUsedMs, firstMs);
  });

  test('one from the future is fetched anew at once', async () => {
    await using node = await Node.start();
    const atMs = node.clock.now() + 12 * HOUR;
    await node.store.keepPolicy(W, keptPolicy('one', policy('testing'), atMs));
    node.startRefresher(() => 0);
    await node.pass(2 * MINUTE, 1000);
    assert.equal((await node.kept())?.policy.mode, 'enforce');
  });

  test('a fetch that another node made of the same text is as good', async () => {
    await using one = await Node.start();
    await using other = await Node.start({ clock: one.clock, redis: one.redis });
    await one.knows();
    one.clock.advance(6 * HOUR);
    await other.knows();
    one.startRefresher(() => 0);
    await one.pass(6 * HOUR + 2 * MINUTE);
    assert.deepEqual(one.host.asked, []);
  });

  test('mail that asks for it at the last moment keeps it', async () => {
    await using node = await Node.start();
    await node.knows();
    const isOld = () => true;
    const keeping = node.knows('two');
    const forgetting = node.store.forget(W, {
      shared: false,
      when: ({ kept }) => kept?.id === 'one',
    });
    await keeping;
    assert.equal(await forgetting, false);
    assert.equal((await node.kept())?.id, 'two');
    assert.equal(await node.store.forget(W, { shared: false, when: isOld }), true);
  });

  test('a file that cannot be read is told, and hides no other', async () => {
    await using node = await Node.start();
    await node.knows();
    writeFileSync(node.dir.file('broken.example.json'), '{');
    const refresher = node.startRefresher(() => 0);
    await refresher.ready;
    assert.deepEqual(refresher.domains(), [W]);
    assert.equal(node.storeEvents.of('cacheError').length, 1);
  });

  test('a shorter refreshEvery counts at once; counts are by mode and of what is in force', async () => {
    await using node = await Node.start();
    await node.knows();
    await node.knows('one', policy('testing', ['*.w.example'], 60), domain('short.example'));
    const refresher = node.startRefresher(() => 0.5);
    await refresher.ready;
    assert.deepEqual(refresher.counts(), { enforce: 1, testing: 1, none: 0 });
    node.settings.refreshEveryMs = HOUR;
    await node.pass(HOUR + 2 * MINUTE, MINUTE);
    assert.ok(node.host.asked.includes('w.example'));
    await node.store.forget(domain('short.example'), { shared: true });
    assert.deepEqual(refresher.counts(), { enforce: 1, testing: 0, none: 0 });
  });
});

describe('before a message is given up', () => {
  test('another policy is noticed', async () => {
    await using node = await Node.start();
    await node.knows();
    node.clock.advance(HOUR);
    node.host.serve(policy('testing'));
    assert.equal(await node.check(), 'changed');
    assert.equal((await node.kept())?.policy.mode, 'testing');
  });

  test('one that others noticed during the attempt is another than it was made under', async () => {
    await using one = await Node.start();
    await using other = await Node.start({ clock: one.clock, redis: one.redis });
    await one.knows();
    await other.knows();
    one.clock.advance(HOUR);
    one.host.serve(policy('none', []));
    assert.equal(await one.check(), 'changed');
    // The next message of the burst, under the old policy as well; at once, and a while after.
    assert.equal(await one.check(), 'changed');
    one.clock.advance(HOUR);
    assert.equal(await one.check(), 'changed');
    // Another node, whose policy host is away.
    other.host.break();
    assert.equal(await other.check(), 'changed');
  });

  test('a policy that ended during the attempt is none any more', async () => {
    await using node = await Node.start();
    const short = policy('enforce', ['*.w.example'], 60);
    await node.knows('one', short);
    node.clock.advance(HOUR);
    node.dns.answer = () => NO_TXT;
    assert.equal(await node.check(short), 'changed');
  });

  test('the same policy is the same, and is not fetched again for the next message', async () => {
    await using node = await Node.start();
    await node.knows();
    node.clock.advance(HOUR);
    assert.equal(await node.check(), 'unchanged');
    assert.equal(await node.check(), 'unchanged');
    assert.equal(node.host.asked.length, 1);
  });

  test('DNS that fails, and no policy host: it could not be checked', async () => {
    await using node = await Node.start();
    await node.knows();
    node.clock.advance(HOUR);
    node.dns.answer = () => SERVFAIL;
    node.host.break();
    assert.equal(await node.check(), 'unchecked');
    assert.equal(node.recorded.of('lastCheckFailed').length, 1);
  });

  test('DNS that names another policy, which cannot be fetched or may not be yet: not checked', async () => {
    await using node = await Node.start();
    await node.knows();
    node.clock.advance(HOUR);
    node.dns.answer = () => txt('v=STSv1; id=two;');
    node.host.break();
    assert.equal(await node.check(), 'unchecked');
    // Within the pause after that failure no fetch is made.
    node.host.serve(policy('none', []));
    assert.equal(await node.check(), 'unchecked');
    assert.equal(node.host.asked.length, 1);
    node.clock.advance(6 * MINUTE);
    assert.equal(await node.check(), 'changed');
  });

  test('DNS that knows no newer id, and no policy host: it was checked', async () => {
    await using node = await Node.start();
    await node.knows();
    node.clock.advance(HOUR);
    node.host.break();
    assert.equal(await node.check(), 'unchanged');
    node.dns.answer = () => NO_TXT;
    assert.equal(await node.check(), 'unchanged');
    assert.equal((await node.kept())?.policy.mode, 'enforce');
  });

  test('a disk that cannot be read: it could not be checked', async () => {
    const refresh = async () => Promise.reject(new Error('EIO'));
    const { events, of } = recordEvents<PolicyEvents>();
    assert.equal(
      await checkPolicy({ domain: W, text: 'x' }, { refresh, events }, signal),
      'unchecked',
    );
    assert.deepEqual(of('lastCheckFailed'), [['w.example', 'EIO']]);
  });
});
