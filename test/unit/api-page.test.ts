/** What the lists of the API share: pages, patterns; and the filters of those that are in memory. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { domainPattern, pageOf } from '../../src/admin/api-page.ts';
import { Domains } from '../../src/admin/domains.ts';
import { Overrides } from '../../src/admin/overrides.ts';
import { type SummaryWish, summarizeQueue } from '../../src/admin/queue-summary.ts';
import { Gates } from '../../src/queue/gates.ts';
import { Ledger } from '../../src/queue/ledger.ts';
import { foldRecords } from '../../src/spool/message-state.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { domain } from './policy-parts.ts';
import { attempt, destinationOf, FAILURE, sampleEnvelope } from './sample-mail.ts';

const DAY_MS = 86_400_000;
const own = (text: string) => text;

describe('pages', () => {
  test('are all of a list once, whatever comes and goes between them', () => {
    const names = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 3 }), { maxLength: 30 });
    fc.assert(
      fc.property(names, names, fc.integer({ min: 1, max: 9 }), (kept, others, limit) => {
        const stays = new Set(kept);
        const seen: string[] = [];
        let after: string | undefined;
        for (let turn = 0; ; turn++) {
          const some = others.filter((_, n) => (n + turn) % 3 > 0);
          const now = [...new Set([...kept, ...some])].sort();
          const { page, next } = pageOf(now, own, { limit, after });
          assert.ok(page.length <= limit);
          seen.push(...page);
          if (next === undefined) break;
          after = next;
        }
        assert.equal(new Set(seen).size, seen.length);
        assert.deepEqual(
          seen.filter((name) => stays.has(name)),
          [...kept].sort(),
        );
      }),
    );
  });

  test('that are full and the last say so', () => {
    assert.deepEqual(pageOf(['a', 'b'], own, { limit: 2 }), { page: ['a', 'b'] });
    assert.deepEqual(pageOf(['a', 'b'], own, { limit: 1 }), { page: ['a'], next: 'a' });
    assert.deepEqual(pageOf(['a', 'b'], own, { limit: 1, after: 'b' }), { page: [] });
  });
});

test('a domain, in whatever form, or a pattern', () => {
  const read = (text: string) => domainPattern.safeParse(text).data;
  assert.equal(read('BÜCHER.example'), 'xn--bcher-kva.example');
  assert.equal(read('*.EXAMPLE'), '*.example');
  assert.equal(read('[127.0.0.1]'), '[127.0.0.1]');
  for (const bad of ['', 'a b', '<>', `*${'x'.repeat(400)}`]) assert.equal(read(bad), undefined);
});

test('overrides by domain and by end, those of the file as well', () => {
  const clock = new FakeClock();
  const more = { tls: 'none', owner: '', reason: 'why' } as const;
  const inDays = (days: number) => clock.now() + days * DAY_MS;
  const stored = [
    { ...more, domain: domain('a.shop.example'), expires: inDays(3), addedAt: 0 },
    { ...more, domain: domain('b.shop.example'), expires: inDays(30), addedAt: 0 },
  ];
  const overrides = new Overrides({
    store: { list: () => stored } as never,
    configured: () => [
      { ...more, domain: 'c.shop.example' },
      { ...more, domain: 'd.example', expires: inDays(2) },
    ],
    audit: { during: (_entry, make) => make() },
    clock,
  });
  const names = (filter: Parameters<Overrides['list']>[0]) =>
    overrides.list(filter).map((one) => one.domain);
  assert.equal(names({}).length, 4);
  assert.deepEqual(names({ expiringWithin: 7 * DAY_MS }), ['a.shop.example', 'd.example']);
  assert.deepEqual(names({ domain: '*.shop.example', expiringWithin: 40 * DAY_MS }), [
    'a.shop.example',
    'b.shop.example',
  ]);
});

test('pauses by domain', () => {
  const pausedAt = Date.UTC(2026, 0, 1);
  const all = ['a.example', 'b.test'].map((name) => ({
    domain: domain(name),
    reason: '',
    pausedAt,
  }));
  const domains = new Domains({
    pauses: { list: () => all } as never,
    audit: { during: (_entry, make) => make() },
    clock: new FakeClock(),
    waiting: () => 7,
    resumed: () => {},
  });
  assert.deepEqual(domains.list({ domain: '*.TEST' }), [
    { domain: 'b.test', reason: '', pausedAt: '2026-01-01T00:00:00.000Z', waiting: 7 },
  ]);
});

describe('the queue by destination', () => {
  const clock = new FakeClock();
  const ledger = new Ledger();
  const gates = new Gates({
    pauses: { of: () => undefined },
    rates: { closedBy: () => undefined },
    clock,
    retry: () => assert.fail('nobody asks'),
    redisIsAway: () => false,
  });
  const deferred = [{ index: 0, failure: FAILURE }];
  const nextAttemptMs = clock.now() + 3_600_000;
  /** One is due at each, so many are delayed. */
  for (const [destination, delayed] of [
    ['a.example', 1],
    ['b.example', 4],
    ['c.test', 2],
  ] as const) {
    for (let n = 0; n <= delayed; n++) {
      const recipients = [{ address: `r@${destination}` }];
      const envelope = sampleEnvelope({ recipients, receivedAtMs: clock.now() });
      const records = n === 0 ? [] : [attempt({ destination, deferred, nextAttemptMs })];
      ledger.enter(foldRecords(envelope, records, destinationOf), clock.now());
    }
  }
  const ask = async (wish: Partial<SummaryWish>) => {
    const {
      destinations,
      counts: _,
      ...sums
    } = await summarizeQueue({ limit: 10, ...wish }, { ledger, gates });
    return {
      ...sums,
      destinations: destinations.map(({ domain: name, total }) => `${name} ${total}`),
    };
  };

  test('those with most first, by domain, by state', async () => {
    const all = { messages: 10, deliveries: 10, destinationCount: 3 };
    const destinations = ['b.example 5', 'c.test 3', 'a.example 2'];
    assert.deepEqual(await ask({}), { ...all, destinations });
    assert.deepEqual(await ask({ state: 'due' }), {
      ...all,
      destinations: [...destinations].sort((a, b) => (a < b ? -1 : 1)),
    });
    assert.deepEqual(await ask({ state: 'held' }), {
      ...all,
      destinationCount: 0,
      destinations: [],
    });
    assert.deepEqual(await ask({ domain: '*.example', state: 'delayed' }), {
      ...{ messages: 7, deliveries: 7, destinationCount: 2 },
      destinations: ['b.example 5', 'a.example 2'],
    });
  });

  test('page by page', async () => {
    const seen: string[] = [];
    let after: string | undefined;
    do {
      const { destinations, next } = await ask({ limit: 1, after });
      seen.push(...destinations);
      after = next;
    } while (after !== undefined);
    assert.deepEqual(seen, ['b.example 5', 'c.test 3', 'a.example 2']);
  });
});
