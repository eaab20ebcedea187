/** When a deferred delivery is tried again, and when it is given up: a table, and bounds. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { newMessageId } from '../../src/mail/message-id.ts';
import { CAUSE_CLASSES } from '../../src/mail/outcome.ts';
import {
  dueAt,
  expiry,
  nextAttempt,
  type RetryQuestion,
  type RetrySettings,
  scheduleFor,
} from '../../src/queue/retry-schedule.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const T0 = 1_700_000_000_000;

const SETTINGS: RetrySettings = {
  schedule: [MINUTE, 5 * MINUTE, HOUR],
  lifetime: 48 * HOUR,
  bounceLifetime: 24 * HOUR,
  classes: {
    greylisted: { schedule: [2 * MINUTE] },
    tlsPolicy: { schedule: [10 * MINUTE, 30 * MINUTE] },
    dns: undefined,
  },
  domains: [
    { domain: 'slow.example', schedule: [3 * HOUR], lifetime: 96 * HOUR },
    { domain: 'short.example', lifetime: 2 * HOUR },
    { domain: 'fast.example', schedule: [1000] },
  ],
};

function question(change: Partial<RetryQuestion> = {}): RetryQuestion {
  return {
    id: newMessageId(T0),
    destination: 'dest.example',
    receivedAtMs: T0,
    nullReversePath: false,
    attempts: 1,
    causeClass: 'other',
    triedAtMs: T0,
    ...change,
  };
}

const NO_JITTER = 0;
const after = (change: Partial<RetryQuestion>, settings = SETTINGS) => {
  const asked = question(change);
  const next = nextAttempt(settings, asked, NO_JITTER);
  return next === 'expired' ? next : next - asked.triedAtMs;
};

const DELAYS: readonly [
  why: string,
  question: Partial<RetryQuestion>,
  delay: number | 'expired',
][] = [
  ['the first attempt failed', {}, MINUTE],
  ['the second', { attempts: 2 }, 5 * MINUTE],
  ['the third', { attempts: 3 }, HOUR],
  ['the last delay repeats', { attempts: 4 }, HOUR],
  ['however many attempts', { attempts: 1_000_000 }, HOUR],
  ['a class has its own', { causeClass: 'greylisted' }, 2 * MINUTE],
  ['which repeats, too', { causeClass: 'tlsPolicy', attempts: 3 }, 30 * MINUTE],
  ['a class without its own', { causeClass: 'dns', attempts: 2 }, 5 * MINUTE],
  ['a class that is not mentioned', { causeClass: 'reputation' }, MINUTE],
  [
    'a domain before its class',
    { destination: 'slow.example', causeClass: 'greylisted' },
    3 * HOUR,
  ],
  [
    'a domain without a schedule',
    { destination: 'short.example', causeClass: 'greylisted' },
    2 * MINUTE,
  ],
  ['a domain is not its subdomains', { destination: 'mx.slow.example' }, MINUTE],
  ['near the end: the last attempt is at the end', { triedAtMs: T0 + 48 * HOUR - 5000 }, 5000],
  ['one millisecond before it', { triedAtMs: T0 + 48 * HOUR - 1 }, 1],
  ['at the end', { triedAtMs: T0 + 48 * HOUR }, 'expired'],
  ['after the end', { triedAtMs: T0 + 49 * HOUR }, 'expired'],
  ['a bounce lives shorter', { triedAtMs: T0 + 24 * HOUR, nullReversePath: true }, 'expired'],
  ['and until then', { triedAtMs: T0 + 24 * HOUR - 1, nullReversePath: true }, 1],
  [
    'a domain that lives longer',
    { destination: 'slow.example', triedAtMs: T0 + 95.5 * HOUR },
    HOUR / 2,
  ],
  [
    'but not its bounces',
    { destination: 'slow.example', triedAtMs: T0 + 24 * HOUR, nullReversePath: true },
    'expired',
  ],
  [
    'a shorter lifetime binds bounces',
    { destination: 'short.example', triedAtMs: T0 + 2 * HOUR, nullReversePath: true },
    'expired',
  ],
  ['received in the future: the clock was set back', { triedAtMs: T0 - HOUR }, MINUTE],
];

describe('nextAttempt', () => {
  for (const [why, asked, delay] of DELAYS) {
    test(`${why}: ${delay}`, () => assert.equal(after(asked), delay));
  }

  test('a lifetime shortened below the age of a message ends it at the next failure', () => {
    const aged = { triedAtMs: T0 + 3 * HOUR, attempts: 9 };
    assert.equal(after(aged), HOUR);
    assert.equal(after(aged, { ...SETTINGS, lifetime: 2 * HOUR }), 'expired');
  });

  test('a schedule shortened below the attempts made goes on with its last delay', () => {
    assert.equal(after({ attempts: 3 }, { ...SETTINGS, schedule: [2 * MINUTE] }), 2 * MINUTE);
  });

  test('jitter lengthens by up to a tenth', () => {
    assert.equal(nextAttempt(SETTINGS, question(), 0), T0 + MINUTE);
    assert.equal(nextAttempt(SETTINGS, question(), 1), T0 + 1.1 * MINUTE);
  });

  test('jitter is by chance, and the same whenever it is asked about the same attempt', () => {
    const delays = Array.from({ length: 2000 }, (_, n) => {
      const asked = question({ id: newMessageId(T0), attempts: 1 + (n % 3) });
      const first = nextAttempt(SETTINGS, asked);
      assert.equal(nextAttempt(SETTINGS, { ...asked }), first);
      const { schedule } = SETTINGS;
      const delay = schedule[(asked.attempts ?? 1) - 1] ?? 0;
      return ((first as number) - T0 - delay) / (0.1 * delay);
    });
    // Evenly, as far as 2000 tell: each tenth has 200 of them, give or take.
    for (let tenth = 0; tenth < 10; tenth++) {
      const there = delays.filter((share) => Math.min(9, Math.floor(share * 10)) === tenth).length;
      assert.ok(there > 120 && there < 280, `${there} in ${tenth}`);
    }
  });

  test('is never before the delay, never more than a tenth behind it, never past the end', () => {
    const delay = fc.integer({ min: 10, max: 30 * 24 * HOUR });
    fc.assert(
      fc.property(
        fc.record({
          schedule: fc.array(delay, { minLength: 1, maxLength: 10 }),
          lifetime: fc.integer({ min: 10, max: 365 * 24 * HOUR }),
          bounceLifetime: fc.integer({ min: 10, max: 365 * 24 * HOUR }),
        }),
        fc.record({
          age: fc.integer({ min: 0, max: 400 * 24 * HOUR }),
          attempts: fc.integer({ min: 1, max: 10_000 }),
          nullReversePath: fc.boolean(),
          causeClass: fc.constantFrom(...CAUSE_CLASSES),
        }),
        ({ schedule, ...lifetimes }, { age, ...facts }) => {
          const settings = { ...lifetimes, schedule, classes: {}, domains: [] };
          const asked = question({ ...facts, triedAtMs: T0 + age });
          const end = expiry(settings, asked);
          const next = nextAttempt(settings, asked);
          if (next === 'expired') return assert.ok(asked.triedAtMs >= end);
          const least = schedule[Math.min(facts.attempts, schedule.length) - 1] ?? 0;
          assert.ok(asked.triedAtMs < end && next <= end);
          assert.ok(next >= Math.min(asked.triedAtMs + least, end));
          assert.ok(next <= asked.triedAtMs + 1.1 * least + 1);
        },
      ),
    );
  });

  test('a message that always fails comes to its end, with its last attempt exactly there', () => {
    let now = T0;
    let attempts = 0;
    for (;;) {
      attempts++;
      const next = nextAttempt(SETTINGS, question({ triedAtMs: now, attempts }));
      if (next === 'expired') break;
      assert.ok(next > now);
      now = next;
    }
    assert.equal(now, T0 + 48 * HOUR);
    assert.ok(attempts > 40 && attempts < 55);
  });
});

describe('other settings for what waits already', () => {
  const tried = question({ triedAtMs: T0 + HOUR, attempts: 3 });
  const at = (settings: RetrySettings, asked = tried) => dueAt(settings, asked, 0);

  test('the same settings, the same time', () => {
    assert.equal(dueAt(SETTINGS, tried), nextAttempt(SETTINGS, tried));
  });

  test('a longer schedule, a shorter one, one with fewer steps than attempts were made', () => {
    assert.equal(at(SETTINGS), T0 + 2 * HOUR);
    assert.equal(at({ ...SETTINGS, schedule: [MINUTE, MINUTE, 5 * HOUR] }), T0 + 6 * HOUR);
    assert.equal(at({ ...SETTINGS, schedule: [MINUTE] }), T0 + HOUR + MINUTE);
  });

  test('a lifetime below the age: a last attempt, and it is over', () => {
    const short = { ...SETTINGS, lifetime: HOUR / 2 };
    assert.equal(at(short), T0 + HOUR / 2, 'in the past: at once');
    assert.equal(
      nextAttempt(short, { ...tried, attempts: 4, triedAtMs: T0 + 2 * HOUR }),
      'expired',
    );
  });

  test('a longer lifetime: what would have been the last attempt is one more', () => {
    const last = question({ triedAtMs: T0 + 47.5 * HOUR, attempts: 30 });
    assert.equal(at(SETTINGS, last), T0 + 48 * HOUR);
    assert.equal(at({ ...SETTINGS, lifetime: 96 * HOUR }, last), T0 + 48.5 * HOUR);
  });

  test('whose schedule it is', () => {
    const of = (destination: string, causeClass: RetryQuestion['causeClass']) =>
      scheduleFor(SETTINGS, { destination, causeClass }).of;
    assert.equal(of('slow.example', 'greylisted'), 'domain');
    assert.equal(of('short.example', 'greylisted'), 'class');
    assert.equal(of('short.example', 'dns'), 'default');
  });

  test('of a domain that is named twice the first entry counts', () => {
    const twice = [...SETTINGS.domains, { domain: 'slow.example', schedule: [1] }];
    const asked = { destination: 'slow.example', causeClass: 'other' } as const;
    assert.deepEqual(scheduleFor({ ...SETTINGS, domains: twice }, asked).schedule, [3 * HOUR]);
  });
});
