/** The relay at a glance: what waits where, what asks for attention, and that it costs little however many look. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { AttentionParts } from '../../src/admin/attention.ts';
import { type OverviewParts, overviewMaker } from '../../src/admin/overview.ts';
import type { CauseClass } from '../../src/mail/outcome.ts';
import type { Destination } from '../../src/mail/route.ts';
import { Gates } from '../../src/queue/gates.ts';
import { Ledger } from '../../src/queue/ledger.ts';
import { foldRecords } from '../../src/spool/message-state.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { destinationOf, sampleEnvelope } from './sample-mail.ts';
import { RETRY } from './story-samples.ts';

const WELL: Omit<AttentionParts, 'clock'> = {
  readiness: async () => ({ parts: { redis: { ok: true }, spool: { ok: true } } }),
  breakers: () => ({ open: 0, halfOpen: 0 }),
  rates: () => ({ domain: 0, site: 0 }),
  pauses: () => [],
  holds: () => [],
  overrides: () => [],
  refresher: { failing: () => ({ counts: { enforce: 0, testing: 0, none: 0 } }) as never },
  suspensions: () => [],
};

function bench(parts: Partial<OverviewParts> = {}, isPaused = (_: Destination) => false) {
  const clock = new FakeClock('2026-01-10T12:00:00Z');
  const ledger = new Ledger();
  const pause = { reason: '', pausedAt: 0 };
  const gates = new Gates({
    pauses: {
      of: (domain) => (isPaused(domain) ? { ...pause, domain: domain as never } : undefined),
    },
    rates: { closedBy: () => undefined },
    ...{ clock, retry: () => RETRY, redisIsAway: () => false },
  });
  let walks = 0;
  const make = overviewMaker({
    ...{ ...WELL, clock, gates },
    ledger: {
      lanes() {
        walks += 1;
        return ledger.lanes();
      },
    },
    summary: () => ({ messages: ledger.messageCount, ...ledger.summary(clock.now(), isPaused) }),
    ...parts,
  });
  const enter = (domain: string, count: number, causeClass?: CauseClass) => {
    for (let i = 0; i < count; i += 1) {
      const envelope = sampleEnvelope({
        recipients: [{ address: `r${i}@${domain}` }],
        receivedAtMs: clock.now(),
      });
      const entered = ledger.enter(foldRecords(envelope, [], destinationOf), clock.now());
      const [delivery] = entered;
      if (!causeClass || !delivery) continue;
      assert.equal(ledger.claim(delivery.lane, clock.now()), delivery);
      const tried = { attempts: 1, causeClass, triedAtMs: clock.now() };
      ledger.postpone(delivery, clock.now() + 60_000, clock.now(), tried);
    }
  };
  return { clock, make, enter, walks: () => walks };
}

test('the destinations with most first, ten of them, with what closes them', async () => {
  const { make, enter } = bench({}, (domain) => domain === 'd12.example');
  for (let i = 1; i <= 12; i += 1) enter(`d${i}.example`, i);
  const overview = await make();
  assert.deepEqual(
    [overview.messages, overview.deliveries, overview.destinationCount],
    [78, 78, 12],
  );
  assert.deepEqual(overview.counts, { active: 0, due: 66, parked: 12, delayed: 0, held: 0 });
  assert.deepEqual(
    overview.destinations.map(({ domain, total }) => [domain, total]),
    Array.from({ length: 10 }, (_, i) => [`d${12 - i}.example`, 12 - i]),
  );
  const [first, second] = overview.destinations;
  assert.deepEqual([first?.counts.parked, first?.closedBy[0]?.kind], [12, 'pause']);
  assert.deepEqual([second?.counts.due, second?.closedBy], [11, []]);
  assert.deepEqual(overview.attention, []);
});

test('many who look at once, or soon after, get what was made once', async () => {
  const { clock, make, walks } = bench();
  await Promise.all([make(), make(), make()]);
  clock.advance(1999);
  await make();
  assert.equal(walks(), 1);
  clock.advance(1);
  await make();
  assert.equal(walks(), 2);
});

test('one that failed is made anew', async () => {
  let fails = true;
  const { make } = bench({
    readiness: async () => {
      if (fails) throw new Error('away');
      return { parts: {} };
    },
  });
  await assert.rejects(make(), /away/);
  fails = false;
  assert.equal((await make()).deliveries, 0);
});

test('mail that waits for TLS that was not reached asks for attention', async () => {
  const { make, enter } = bench();
  enter('good.example', 1);
  for (let i = 0; i < 7; i += 1) enter(`d${i}.example`, 1, 'tlsPolicy');
  const { attention, destinations } = await make();
  assert.equal(destinations.find(({ domain }) => domain === 'd0.example')?.cause, 'tlsPolicy');
  assert.deepEqual(
    attention.map(({ domain }) => domain),
    ['d0.example', 'd1.example', 'd2.example', 'd3.example', 'd4.example', undefined],
  );
  assert.equal(attention.at(-1)?.text, 'So does mail for 2 others.');
});

describe('attention', () => {
  const pause = { reason: 'moving', pausedAt: '2026-01-10T12:00:00.000Z', waiting: 3 };
  const expires = '2026-01-12T12:00:00.000Z';
  const override = { tls: 'none', owner: '', reason: 'old', source: 'added' } as const;
  const cases: readonly (readonly [string, Partial<AttentionParts>, readonly RegExp[]])[] = [
    [
      'a part that is broken',
      { readiness: async () => ({ parts: { redis: { ok: false, reason: 'refused' } } }) },
      [/^alert relay: Redis: refused\.$/],
    ],
    [
      'breakers',
      { breakers: () => ({ open: 1, halfOpen: 1 }) },
      [/^warning breaker: 2 destinations cannot be reached/],
    ],
    [
      'pauses, the first few by name',
      {
        pauses: () => Array.from({ length: 7 }, (_, i) => ({ ...pause, domain: `d${i}.example` })),
      },
      [
        ...[0, 1, 2, 3, 4].map((i) => RegExp(`^warning pause: d${i}.example is paused until it`)),
        /^warning pause: 2 more are paused\.$/,
      ],
    ],
    [
      'overrides that end within a week, not others',
      {
        overrides: () => [
          { ...override, domain: 'a.example', expires },
          { ...override, domain: 'b.example', expires: '2026-03-01T00:00:00.000Z' },
          { ...override, domain: 'c.example' },
        ],
      },
      [/^note override: The override of a\.example \(tls: none\) ends 2026-01-12 12:00 UTC\.$/],
    ],
    [
      'policies that fail',
      {
        refresher: {
          failing: () => ({ counts: { enforce: 2, testing: 0, none: 0 }, expiresAtMs: 0 }) as never,
        },
      },
      [/^warning policy: 2 policies could not be refreshed; the first ends 1970-01-01/],
    ],
    [
      'reports that keep failing',
      { suspensions: () => [{ domain: 'a.example' }] },
      [/^note report: TLS reports to 1 address keep failing/],
    ],
  ];
  for (const [what, parts, said] of cases) {
    test(what, async () => {
      const { make } = bench(parts);
      const { attention } = await make();
      const texts = attention.map(({ level, about, text }) => `${level} ${about}: ${text}`);
      assert.equal(texts.length, said.length, texts.join('\n'));
      for (const [i, pattern] of said.entries()) assert.match(texts[i] ?? '', pattern);
    });
  }
});
