/**
 * The policy in force: kept through everything DNS, the policy host, Redis and restarts do, until
 * its max_age ends or another one is published (RFC 8461 §3.1, §3.3, §5.1).
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import type { RedisClient } from '../../src/platform/redis.ts';
import { formatEntry, parseEntry } from '../../src/policy/sts-entry.ts';
import type { FetchResult } from '../../src/policy/sts-fetch.ts';
import { createStsLookup, type StsLookup } from '../../src/policy/sts-lookup.ts';
import { StsStore } from '../../src/policy/sts-store.ts';
import type { DomainName } from '../../src/protocol/domain.ts';
import type { PolicyEvents } from '../../src/telemetry/policy-events.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { redisMissing, startRedis } from '../support/redis.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';
import {
  domain,
  failedFetch,
  keptPolicy,
  MapRedis,
  NO_TXT,
  PolicyHost,
  policy,
  SERVFAIL,
  type TxtAnswer,
  TxtResolver,
  txt,
} from './policy-parts.ts';
import { recordEvents } from './sample-mail.ts';

const W = domain('w.example');
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const WHY = { reason: 'x', resultType: 'sts-policy-fetch-error' } as const;
const RECORD = txt('v=STSv1; id=one;');

class Bench {
  readonly dir: TempDir = tempDir();
  readonly clock = new FakeClock();
  readonly dns = new TxtResolver();
  readonly host = new PolicyHost(this.clock);
  readonly recorded = recordEvents<PolicyEvents>();
  /** Signs of a downgrade, by domain and signal. */
  readonly suspected: string[] = [];
  redis: MapRedis | RedisClient = new MapRedis();
  store: StsStore | undefined;
  #lookup: ReturnType<typeof createStsLookup> | undefined;

  /** A process of its own on the same directory, clock and Redis. */
  async restart(): Promise<void> {
    this.store = await StsStore.open({
      directory: this.dir.file('policies'),
      redis: this.redis as RedisClient,
      keyPrefix: 'stsrelay',
      clock: this.clock,
      events: this.recorded.events,
    });
    this.renewLookup();
  }

  /** As a reload does: another look-up over the same store. */
  renewLookup(): void {
    assert.ok(this.store);
    this.#lookup = createStsLookup({
      resolver: this.dns,
      store: this.store,
      fetch: this.host.fetch,
      clock: this.clock,
      events: this.recorded.events,
      detector: {
        suspect: (name, signal) => void this.suspected.push(`${name} ${signal}`),
      },
      dnsFailureGraceMs: () => HOUR,
      spellGapMs: () => 5 * HOUR,
    });
  }

  async look(name: DomainName = W, signal = new AbortController().signal): Promise<StsLookup> {
    if (!this.#lookup) await this.restart();
    assert.ok(this.#lookup);
    return this.#lookup(name, signal);
  }

  /** `enforce one`, `absent`, `unknown`. */
  async see(name: DomainName = W): Promise<string> {
    const found = await this.look(name);
    return found.kind === 'policy' ? `${found.kept.policy.mode} ${found.kept.id}` : found.kind;
  }

  /** An enforce policy with id `one` is published, and known from now on. */
  static async withPolicy(): Promise<Bench> {
    const bench = new Bench();
    bench.dns.answer = () => RECORD;
    bench.host.serve(policy('enforce'));
    assert.equal(await bench.see(), 'enforce one');
    bench.host.asked.length = 0;
    bench.dns.asked.length = 0;
    return bench;
  }

  [Symbol.dispose](): void {
    this.dir.remove();
  }
}

describe('first contact', () => {
  test('record and policy: fetched once, then known', async () => {
    using bench = new Bench();
    bench.dns.answer = () => RECORD;
    bench.host.serve(policy('testing'));
    assert.equal(await bench.see(), 'testing one');
    assert.equal(await bench.see(), 'testing one');
    assert.deepEqual(bench.dns.asked, ['_mta-sts.w.example', '_mta-sts.w.example']);
    assert.deepEqual(bench.host.asked, ['w.example']);
    assert.equal(bench.recorded.of('fetched').length, 1);
  });

  test('no record: absent, nobody is fetched from, nothing is kept', async () => {
    using bench = new Bench();
    for (const answer of [NO_TXT, txt('v=spf1 -all'), txt('v=STSv1; id=a;', 'v=STSv1; id=b;')]) {
      bench.dns.answer = () => answer;
      assert.equal(await bench.see(), 'absent');
    }
    assert.deepEqual(bench.host.asked, []);
    assert.deepEqual(readdirSync(bench.dir.file('policies')), []);
  });

  test('the policy cannot be had: as without one (RFC 8461 §3.3)', async () => {
    using bench = new Bench();
    bench.dns.answer = () => RECORD;
    assert.equal(await bench.see(), 'absent');
    assert.equal(bench.recorded.of('fetchFailed').length, 1);
  });
});

describe('a policy in force', () => {
  const troubles: Readonly<Record<string, TxtAnswer>> = {
    'its record is gone': NO_TXT,
    'its record cannot be looked up': SERVFAIL,
    'its record is broken': txt('v=STSv1; id=b-a-d;'),
    'its record has no id': txt('v=STSv1;'),
    'there are two records': txt('v=STSv1; id=one;', 'v=STSv1; id=two;'),
    'something else stands there': txt('v=spf1 -all'),
  };
  for (const [trouble, answer] of Object.entries(troubles)) {
    test(`stays when ${trouble}, over a restart and without Redis, until it ends`, async () => {
      using bench = await Bench.withPolicy();
      bench.dns.answer = () => answer;
      assert.equal(await bench.see(), 'enforce one');
      bench.redis = new MapRedis();
      await bench.restart();
      assert.equal(await bench.see(), 'enforce one');
      bench.clock.advance(7 * DAY - 1);
      assert.equal(await bench.see(), 'enforce one');
      assert.equal(bench.recorded.of('recordGone').length, 3);
      bench.clock.advance(1);
      assert.equal(await bench.see(), answer.kind === 'failed' ? 'unknown' : 'absent');
      assert.deepEqual(bench.host.asked, []);
    });
  }

  test('is fetched again for a new id, and replaced by weaker ones, too', async () => {
    using bench = await Bench.withPolicy();
    for (const mode of ['testing', 'none', 'enforce'] as const) {
      bench.dns.answer = () => txt(`v=STSv1; id=${mode};`);
      bench.host.serve(policy(mode));
      assert.equal(await bench.see(), `${mode} ${mode}`);
      await bench.restart();
      assert.equal(await bench.see(), `${mode} ${mode}`);
    }
    assert.equal(bench.host.asked.length, 3);
  });

  test('stays when the one of a new id cannot be had; that is asked for every five minutes', async () => {
    using bench = await Bench.withPolicy();
    bench.dns.answer = () => txt('v=STSv1; id=two;');
    bench.host.break();
    for (let n = 0; n < 3; n++) assert.equal(await bench.see(), 'enforce one');
    assert.equal(bench.host.asked.length, 1);
    assert.deepEqual(bench.recorded.of('fetchFailed')[0]?.[1], {
      id: 'two',
      ...failedFetch('connection refused'),
      inForce: 'enforce',
    });
    bench.clock.advance(5 * MINUTE - 1);
    await bench.restart(); // the pause survives
    await bench.see();
    assert.equal(bench.host.asked.length, 1);
    bench.clock.advance(1);
    assert.equal(await bench.see(), 'enforce one');
    assert.equal(bench.host.asked.length, 2);
    bench.dns.answer = () => txt('v=STSv1; id=three;'); // another id is asked for at once
    await bench.see();
    assert.equal(bench.host.asked.length, 3);
    bench.dns.answer = () => RECORD; // the operator went back
    assert.equal(await bench.see(), 'enforce one');
    assert.equal(bench.host.asked.length, 3);
  });

  test('a pause that lies in the future is none', async () => {
    using bench = await Bench.withPolicy();
    bench.dns.answer = () => txt('v=STSv1; id=two;');
    bench.host.break();
    await bench.see();
    bench.clock.set(bench.clock.now() - DAY);
    bench.host.serve(policy('testing'));
    assert.equal(await bench.see(), 'testing two');
  });

  test('is not applied past its max_age, and renewed when it is still published', async () => {
    using bench = await Bench.withPolicy();
    bench.clock.advance(7 * DAY);
    assert.equal(await bench.see(), 'enforce one');
    assert.equal(bench.host.asked.length, 1);
    bench.clock.advance(7 * DAY);
    bench.host.break();
    assert.equal(await bench.see(), 'absent');
  });

  test('max_age 0 ends at once, the policy before it included', async () => {
    using bench = await Bench.withPolicy();
    bench.dns.answer = () => txt('v=STSv1; id=zero;');
    bench.host.serve(policy('enforce', ['*.w.example'], 0));
    assert.equal(await bench.see(), 'absent');
    assert.equal(await bench.see(), 'absent');
    assert.equal(bench.host.asked.length, 1, 'which is no reason to ask at each delivery');
    bench.clock.advance(5 * MINUTE);
    assert.equal(await bench.see(), 'absent');
    assert.equal(bench.host.asked.length, 2);
    bench.dns.answer = () => NO_TXT;
    assert.equal(await bench.see(), 'absent');
  });

  test('is one domain’s, not its parent’s or its child’s', async () => {
    using bench = await Bench.withPolicy();
    bench.dns.answer = () => NO_TXT;
    assert.equal(await bench.see(domain('dept.w.example')), 'absent');
    assert.equal(await bench.see(domain('example')), 'absent');
    assert.equal(await bench.see(), 'enforce one');
  });

  test('is kept under names longer than a file name may be', async () => {
    using bench = new Bench();
    const long = domain(`${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(40)}`);
    bench.dns.answer = () => RECORD;
    bench.host.serve(policy('enforce'));
    await bench.see(long);
    bench.dns.answer = () => NO_TXT;
    bench.redis = new MapRedis();
    await bench.restart();
    assert.equal(await bench.see(long), 'enforce one');
  });
});

describe('Redis', () => {
  test('brings a policy to another node, which keeps it itself', async () => {
    using bench = await Bench.withPolicy();
    using other = new Bench();
    other.redis = bench.redis;
    other.clock.set(bench.clock.now());
    assert.equal(await other.see(), 'enforce one');
    other.redis = new MapRedis();
    await other.restart();
    assert.equal(await other.see(), 'enforce one');
    assert.deepEqual(other.host.asked, []);
  });

  test('that fails takes nothing away, and is reported', async () => {
    using bench = await Bench.withPolicy();
    (bench.redis as MapRedis).isDown = true;
    await bench.restart();
    assert.equal(await bench.see(), 'enforce one');
    bench.dns.answer = () => txt('v=STSv1; id=two;');
    bench.host.serve(policy('testing'));
    assert.equal(await bench.see(), 'testing two');
    await bench.restart();
    assert.equal(await bench.see(), 'testing two');
    assert.ok(bench.recorded.of('cacheError').every(([place]) => place === 'redis'));
    assert.ok(bench.recorded.of('cacheError').length >= 3);
  });

  test('with the troubles of a node that knows no policy takes none from one that does', async () => {
    using bench = await Bench.withPolicy();
    const redis = new MapRedis(); // emptied
    using other = new Bench();
    other.redis = redis;
    other.clock.set(bench.clock.now() + HOUR);
    other.dns.answer = () => SERVFAIL;
    assert.equal(await other.see(), 'unknown');
    other.dns.answer = () => RECORD;
    assert.equal(await other.see(), 'absent'); // and its fetch fails
    bench.redis = redis;
    bench.dns.answer = () => NO_TXT;
    await bench.restart();
    assert.equal(await bench.see(), 'enforce one');
  });

  test('with an older policy than disk has is not believed', async () => {
    using bench = await Bench.withPolicy();
    const old = new Map((bench.redis as MapRedis).values);
    bench.clock.advance(HOUR);
    bench.dns.answer = () => txt('v=STSv1; id=two;');
    bench.host.serve(policy('testing'));
    await bench.see();
    for (const [key, value] of old) (bench.redis as MapRedis).values.set(key, value);
    await bench.restart();
    assert.equal(await bench.see(), 'testing two');
  });

  test('what a clock that was ahead by hours left in it does not come back', async () => {
    using bench = new Bench();
    bench.clock.advance(12 * HOUR);
    bench.dns.answer = () => RECORD;
    bench.host.serve(policy('testing'));
    assert.equal(await bench.see(), 'testing one');
    bench.clock.set(bench.clock.now() - 12 * HOUR);
    bench.dns.answer = () => txt('v=STSv1; id=two;');
    bench.host.serve(policy('enforce'));
    assert.equal(await bench.see(), 'enforce two');
    await bench.restart();
    bench.dns.answer = () => SERVFAIL;
    bench.host.break();
    assert.equal(await bench.see(), 'enforce two');
  });

  const entry = {
    domain: W,
    changedAtMs: 1,
    kept: keptPolicy('x', policy('none', []), 1),
  };
  const hostile: Readonly<Record<string, string>> = {
    nothing: '',
    'no JSON': '{"version":1',
    null: 'null',
    'a list': '[]',
    'another version': formatEntry(entry).replace('"version":1', '"version":2'),
    'another domain': formatEntry({ ...entry, domain: domain('evil.example') }),
    'a policy of lies': formatEntry(entry).replace('mode: none', 'mode: nonsense'),
    'a policy that is no text': formatEntry(entry).replace(/"text":"[^"]*"/, '"text":{}'),
    'a policy from the far future': JSON.stringify({
      ...JSON.parse(formatEntry(entry)),
      changedAtMs: 9e15,
      policy: { id: 'x', text: entry.kept.policy.text, fetchedAtMs: 9e15 },
    }),
    'times that are none': formatEntry(entry).replace(/"fetchedAtMs":1/, '"fetchedAtMs":"1"'),
    'negative times': formatEntry(entry).replace(/"fetchedAtMs":1/, '"fetchedAtMs":-1'),
    'an entry without a policy, from the future': formatEntry({ domain: W, changedAtMs: 9e15 }),
    'a prototype': '{"version":1,"domain":"w.example","changedAtMs":9e15,"__proto__":{"policy":1}}',
  };
  for (const [what, value] of Object.entries(hostile)) {
    test(`with ${what} in it changes nothing`, async () => {
      using bench = await Bench.withPolicy();
      const redis = bench.redis as MapRedis;
      for (const key of redis.values.keys()) redis.values.set(key, value);
      bench.dns.answer = () => NO_TXT;
      await bench.restart();
      assert.equal(await bench.see(), 'enforce one');
      await bench.restart();
      assert.equal(await bench.see(), 'enforce one', 'nor on disk');
    });
  }

  test('a real one gives way in what is from the future, and in nothing else', {
    skip: redisMissing,
  }, async () => {
    await using redis = await startRedis();
    using bench = new Bench();
    bench.redis = redis.client();
    const idThere = async () => {
      const json = String(await redis.command('GET', 'stsrelay:sts:w.example'));
      return parseEntry(W, json)?.kept?.id;
    };
    await bench.restart();
    const now = bench.clock.now();
    const keep = (id: string, atMs: number) =>
      bench.store?.keepPolicy(W, keptPolicy(id, policy('enforce'), atMs));
    await keep('ahead', now + 12 * HOUR);
    assert.equal(await idThere(), 'ahead');
    await keep('right', now);
    assert.equal(await idThere(), 'right');
    // Another node that fetched before does not take its place.
    using other = new Bench();
    other.redis = bench.redis;
    await other.restart();
    await other.store?.keepPolicy(W, keptPolicy('older', policy('enforce'), now - HOUR));
    assert.equal(await idThere(), 'right');
    bench.redis.disconnect();
  });

  test('a real one: known to the other node, flushed, killed', { skip: redisMissing }, async () => {
    await using redis = await startRedis();
    using bench = new Bench();
    bench.redis = redis.client();
    bench.dns.answer = () => RECORD;
    bench.host.serve(policy('enforce'));
    await bench.see();
    assert.ok(Number(await redis.command('TTL', 'stsrelay:sts:w.example')) > 100 * 86_400);
    using other = new Bench();
    other.redis = bench.redis;
    other.clock.set(bench.clock.now());
    assert.equal(await other.see(), 'enforce one');
    await redis.flushAll();
    bench.dns.answer = () => NO_TXT;
    await bench.restart();
    assert.equal(await bench.see(), 'enforce one');
    bench.redis.disconnect();
    await bench.restart();
    assert.equal(await bench.see(), 'enforce one');
  });
});

describe('disk', () => {
  test('a damaged file is not "nothing known" either; the next fetch mends it', async () => {
    const whole = formatEntry({
      domain: W,
      changedAtMs: 1,
      kept: keptPolicy('one', policy('enforce'), 1),
    });
    const damages = [
      '',
      '{',
      'null',
      '\0'.repeat(500),
      '{"version":1}',
      whole.replace('STSv1', 'STS'),
    ];
    for (const damage of damages) {
      using bench = await Bench.withPolicy();
      bench.redis = new MapRedis();
      writeFileSync(bench.dir.file('policies/w.example.json'), damage);
      await bench.restart();
      for (const answer of [NO_TXT, SERVFAIL]) {
        bench.dns.answer = () => answer;
        assert.equal(await bench.see(), 'unknown');
      }
      assert.equal(bench.recorded.of('cacheError')[0]?.[0], 'disk');
      bench.dns.answer = () => RECORD;
      bench.host.break();
      bench.host.asked.length = 0;
      assert.equal(await bench.see(), 'unknown');
      bench.host.serve(policy('enforce'));
      // The pause holds without a file to note it in, and does not make it "absent".
      assert.equal(await bench.see(), 'unknown');
      assert.equal(bench.host.asked.length, 1);
      bench.clock.advance(6 * MINUTE);
      assert.equal(await bench.see(), 'enforce one');
      bench.dns.answer = () => NO_TXT;
      await bench.restart();
      assert.equal(await bench.see(), 'enforce one');
    }
  });

  test('that cannot be read is not "nothing known": the mail waits', async () => {
    using bench = await Bench.withPolicy();
    bench.redis = new MapRedis();
    rmSync(bench.dir.file('policies/w.example.json'));
    mkdirSync(bench.dir.file('policies/w.example.json')); // EISDIR, for root, too
    bench.dns.answer = () => NO_TXT;
    await bench.restart();
    assert.equal(await bench.see(), 'unknown');
    assert.equal(await bench.see(), 'unknown');
  });

  test('that takes nothing: memory and Redis have it', async () => {
    using bench = new Bench();
    await bench.restart();
    rmSync(bench.dir.file('policies'), { recursive: true });
    bench.dns.answer = () => RECORD;
    bench.host.serve(policy('enforce'));
    assert.equal(await bench.see(), 'enforce one');
    bench.dns.answer = () => NO_TXT;
    assert.equal(await bench.see(), 'enforce one');
    assert.ok(bench.recorded.of('cacheError').some(([place]) => place === 'disk'));
    await bench.restart();
    assert.equal(await bench.see(), 'enforce one');
  });

  test('an entry is read as it was written', async () => {
    const entry = {
      domain: W,
      changedAtMs: 5,
      kept: { ...keptPolicy('one', policy('testing'), 4), source: 'refresh' as const },
      failedFetch: { id: 'two', atMs: 3, reason: 'x', resultType: 'sts-webpki-invalid' as const },
      failedRefresh: {
        sinceMs: 1,
        lastMs: 2,
        failures: 3,
        reason: 'y',
        resultType: 'sts-policy-invalid' as const,
      },
      lastUsedMs: 4,
      suspicions: { 'record-gone': { firstMs: 1, lastMs: 2, count: 3, detail: 'no TXT record' } },
      dnsFailing: { sinceMs: 1, lastMs: 2 },
    };
    assert.deepEqual(parseEntry(W, formatEntry(entry)), entry);
  });
});

describe('DNS that fails with nothing in force', () => {
  test('is unknown for an hour from the first failure, over restarts, and then absent', async () => {
    using bench = new Bench();
    bench.dns.answer = () => SERVFAIL;
    const found = await bench.look();
    assert.ok(found.kind === 'unknown' && /SERVFAIL/.test(found.reason));
    bench.clock.advance(HOUR - 1);
    bench.redis = new MapRedis();
    await bench.restart();
    assert.equal(await bench.see(), 'unknown');
    bench.clock.advance(1);
    assert.equal(await bench.see(), 'absent');
    await bench.restart();
    assert.equal(await bench.see(), 'absent');
    assert.equal(bench.recorded.of('graceOver').length, 2);
    bench.dns.answer = () => RECORD; // asked again each time
    bench.host.serve(policy('enforce'));
    assert.equal(await bench.see(), 'enforce one');
  });

  test('counts from the beginning again once DNS had answered', async () => {
    for (const answered of [NO_TXT, txt('v=spf1 -all')]) {
      using bench = new Bench();
      bench.dns.answer = () => SERVFAIL;
      await bench.see();
      bench.clock.advance(HOUR / 2);
      bench.dns.answer = () => answered;
      assert.equal(await bench.see(), 'absent');
      bench.clock.advance(HOUR / 2);
      bench.dns.answer = () => SERVFAIL;
      await bench.restart();
      assert.equal(await bench.see(), 'unknown');
      bench.clock.advance(HOUR);
      assert.equal(await bench.see(), 'absent');
    }
  });

  test('counts from the beginning again when nothing failed for hours', async () => {
    using bench = new Bench();
    bench.dns.answer = () => SERVFAIL;
    for (let hours = 0; hours < 20; hours += 4) {
      assert.equal(await bench.see(), hours === 0 ? 'unknown' : 'absent', `after ${hours} h`);
      bench.clock.advance(4 * HOUR);
    }
    bench.clock.advance(HOUR);
    assert.equal(await bench.see(), 'unknown');
  });

  test('a hiccup leaves nothing of a domain that publishes nothing', async () => {
    using bench = new Bench();
    bench.dns.answer = () => SERVFAIL;
    await bench.see();
    assert.deepEqual(readdirSync(bench.dir.file('policies')), ['w.example.json']);
    bench.dns.answer = () => NO_TXT;
    await bench.see();
    assert.deepEqual(readdirSync(bench.dir.file('policies')), []);
  });

  test('two ids in turn are each fetched once in five minutes', async () => {
    using bench = new Bench();
    for (let i = 0; i < 10; i++) {
      bench.dns.answer = () => txt(`v=STSv1; id=${i % 2 ? 'a' : 'b'};`);
      await bench.see();
    }
    assert.equal(bench.host.asked.length, 2);
  });

  test('a failed fetch is not forgotten over it', async () => {
    using bench = new Bench();
    bench.dns.answer = () => RECORD;
    await bench.see();
    bench.dns.answer = () => SERVFAIL;
    await bench.see();
    bench.dns.answer = () => RECORD;
    await bench.see();
    assert.equal(bench.host.asked.length, 1);
  });

  test('a beginning in the future, by a clock that was wrong, does not hold the mail longer', async () => {
    using bench = new Bench();
    bench.dns.answer = () => SERVFAIL;
    await bench.see();
    bench.clock.set(bench.clock.now() - 30 * DAY);
    assert.equal(await bench.see(), 'unknown');
    bench.clock.advance(HOUR);
    assert.equal(await bench.see(), 'absent');
  });

  test('a policy that ended meanwhile is not in force again', async () => {
    using bench = await Bench.withPolicy();
    bench.dns.answer = () => SERVFAIL;
    bench.clock.advance(7 * DAY);
    assert.equal(await bench.see(), 'unknown');
    bench.clock.advance(HOUR);
    assert.equal(await bench.see(), 'absent');
  });
});

describe('look-ups at the same time', () => {
  test('of one domain share the work; of others do not wait', async () => {
    using bench = new Bench();
    await bench.restart();
    const { promise: served, resolve } = Promise.withResolvers<void>();
    bench.dns.answer = () => RECORD;
    bench.host.answer = async (name) => {
      if (name === W) await served;
      return { kind: 'fetched', policy: policy('enforce') };
    };
    const many = Array.from({ length: 20 }, () => bench.see());
    assert.equal(await bench.see(domain('other.example')), 'enforce one');
    resolve();
    assert.deepEqual(new Set(await Promise.all(many)), new Set(['enforce one']));
    assert.deepEqual(bench.host.asked.toSorted(), ['other.example', 'w.example']);
  });

  test('that see another record do not share: no fetch begun for an older one answers them', async () => {
    using bench = new Bench();
    await bench.restart();
    bench.dns.answer = () => RECORD;
    const held = Promise.withResolvers<void>();
    bench.host.answer = async () => {
      await held.promise;
      return { kind: 'fetched', policy: policy('testing') };
    };
    const old = bench.see();
    await waitFor('the first request', () => bench.host.asked.length === 1);
    bench.clock.advance(1000);
    bench.dns.answer = () => txt('v=STSv1; id=two;');
    bench.host.serve(policy('enforce'));
    assert.equal(await bench.see(), 'enforce two');
    held.resolve();
    // What it brought was asked for before: what came since counts.
    assert.equal(await old, 'enforce two');
    assert.equal(bench.host.asked.length, 2);
  });

  test('one that gives up gets "unknown", the others their answer', async () => {
    using bench = new Bench();
    await bench.restart();
    const { promise: answered, resolve } = Promise.withResolvers<TxtAnswer>();
    bench.dns.answer = (_name, signal) =>
      Promise.race([answered, once(signal, 'abort').then(() => SERVFAIL)]);
    const stopping = new AbortController();
    const [gone, staying] = [bench.look(W, stopping.signal), bench.see()];
    stopping.abort();
    assert.equal((await gone).kind, 'unknown');
    resolve(NO_TXT);
    assert.equal(await staying, 'absent');
  });

  test('given up by everybody: no failure of DNS or of the policy host is noted', async () => {
    for (const step of ['dns', 'fetch']) {
      using bench = new Bench();
      const stopping = new AbortController();
      const asked = Promise.withResolvers<void>();
      const aborted = (signal: AbortSignal) =>
        new Promise<void>((resolve) => {
          signal.addEventListener('abort', () => resolve(), { once: true });
          asked.resolve();
        });
      bench.dns.answer = async (_name, signal) => {
        if (step !== 'dns') return RECORD;
        await aborted(signal);
        return { kind: 'failed', reason: 'cut short' };
      };
      bench.host.answer = async (_name, signal) => {
        await aborted(signal);
        return failedFetch('cut short');
      };
      const looking = bench.look(W, stopping.signal);
      await asked.promise;
      stopping.abort();
      assert.equal((await looking).kind, 'unknown');
      if (step === 'fetch') {
        await bench.recorded.calls.until('the work to end', (calls) =>
          calls.find(({ name }) => name === 'lookedUp'),
        );
      }
      assert.deepEqual(readdirSync(bench.dir.file('policies')), []);
      assert.deepEqual(bench.recorded.of('fetchFailed'), []);
    }
  });

  test('of parts made anew by a reload: a slow fetch that fails takes nothing away', async () => {
    using bench = new Bench();
    bench.dns.answer = () => RECORD;
    const slow = Promise.withResolvers<FetchResult>();
    bench.host.answer = () => slow.promise;
    await bench.restart();
    const old = bench.look();
    await waitFor('the slow fetch', () => bench.host.asked.length);
    bench.host.serve(policy('enforce'));
    bench.renewLookup();
    assert.equal(await bench.see(), 'enforce one');
    slow.resolve(failedFetch('at last'));
    const found = await old;
    assert.equal(found.kind === 'policy' && found.kept.policy.mode, 'enforce');
    bench.dns.answer = () => NO_TXT;
    assert.equal(await bench.see(), 'enforce one');
    await bench.restart();
    assert.equal(await bench.see(), 'enforce one');
  });

  test('the file is whole whoever writes it, and the policy fetched last stays', async () => {
    using bench = await Bench.withPolicy();
    const { store } = bench;
    assert.ok(store);
    const base = bench.clock.now();
    bench.clock.advance(1000);
    const kept = (n: number) =>
      keptPolicy(`id${n}`, policy('enforce', Array(1 + (n % 7)).fill('*.w.example')), base + n);
    const order = Array.from({ length: 30 }, (_, n) => (n * 7) % 30);
    await Promise.all([
      ...order.map((n) => store.keepPolicy(W, kept(n + 1))),
      store.noteFailedFetch(W, { id: 'x', atMs: base, ...WHY }),
      store.noteDnsFailing(W, { sinceMs: base, lastMs: base }),
      store.noteDnsAnswered(W),
    ]);
    const text = readFileSync(bench.dir.file('policies/w.example.json'), 'utf8');
    const entry = parseEntry(W, text);
    assert.deepEqual(entry?.kept, kept(30));
    assert.equal(entry?.dnsFailing, undefined);
    assert.deepEqual(bench.recorded.of('cacheError'), []);
    const shared = (bench.redis as MapRedis).values.get('stsrelay:sts:w.example') ?? '';
    assert.deepEqual(parseEntry(W, shared)?.kept, kept(30));
  });
});
