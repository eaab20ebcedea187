/** When a deferred delivery is tried again, and when it is given up: a table, and bounds. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { CAUSE_CLASSES } from '../../src/mail/outcome.ts';
import {
  expiry,
  nextAttempt,
  type RetryQuestion,
  type RetrySettings,
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
    destination: 'dest.example',
    receivedAtMs: T0,
    nullReversePath: false,
    attempts: 1,
    causeClass: 'other',
    nowMs: T0,
    ...change,
  };
}

const noJitter = () => 0;
const after = (change: Partial<RetryQuestion>, settings = SETTINGS) => {
  const asked = question(change);
  const next = nextAttempt(settings, asked, noJitter);
  return next === 'expired' ? next : next - asked.nowMs;
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
  ['near the end: the last attempt is at the end', { nowMs: T0 + 48 * HOUR - 5000 }, 5000],
  ['one millisecond before it', { nowMs: T0 + 48 * HOUR - 1 }, 1],
  ['at the end', { nowMs: T0 + 48 * HOUR }, 'expired'],
  ['after the end', { nowMs: T0 + 49 * HOUR }, 'expired'],
  ['a bounce lives shorter', { nowMs: T0 + 24 * HOUR, nullReversePath: true }, 'expired'],
  ['and until then', { nowMs: T0 + 24 * HOUR - 1, nullReversePath: true }, 1],
  [
    'a domain that lives longer',
    { destination: 'slow.example', nowMs: T0 + 95.5 * HOUR },
    HOUR / 2,
  ],
  [
    'but not its bounces',
    { destination: 'slow.example', nowMs: T0 + 24 * HOUR, nullReversePath: true },
    'expired',
  ],
  [
    'a shorter lifetime binds bounces',
    { destination: 'short.example', nowMs: T0 + 2 * HOUR, nullReversePath: true },
    'expired',
  ],
  ['received in the future: the clock was set back', { nowMs: T0 - HOUR }, MINUTE],
];

describe('nextAttempt', () => {
  for (const [why, asked, delay] of DELAYS) {
    test(`${why}: ${delay}`, () => assert.equal(after(asked), delay));
  }

  test('a lifetime shortened below the age of a message ends it at the next failure', () => {
    const aged = { nowMs: T0 + 3 * HOUR, attempts: 9 };
    assert.equal(after(aged), HOUR);
    assert.equal(after(aged, { ...SETTINGS, lifetime: 2 * HOUR }), 'expired');
  });

  test('a schedule shortened below the attempts made goes on with its last delay', () => {
    assert.equal(after({ attempts: 3 }, { ...SETTINGS, schedule: [2 * MINUTE] }), 2 * MINUTE);
  });

  test('jitter lengthens by up to a tenth', () => {
    assert.equal(
      nextAttempt(SETTINGS, question(), () => 0),
      T0 + MINUTE,
    );
    assert.equal(
      nextAttempt(SETTINGS, question(), () => 1),
      T0 + 1.1 * MINUTE,
    );
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
          const asked = question({ ...facts, nowMs: T0 + age });
          const end = expiry(settings, asked);
          const next = nextAttempt(settings, asked);
          if (next === 'expired') return assert.ok(asked.nowMs >= end);
          const least = schedule[Math.min(facts.attempts, schedule.length) - 1] ?? 0;
          assert.ok(asked.nowMs < end && next <= end);
          assert.ok(next >= Math.min(asked.nowMs + least, end));
          assert.ok(next <= asked.nowMs + 1.1 * least + 1);
        },
      ),
    );
  });

  test('a message that always fails comes to its end, with its last attempt exactly there', () => {
    let now = T0;
    let attempts = 0;
    for (;;) {
      attempts++;
      const next = nextAttempt(SETTINGS, question({ nowMs: now, attempts }));
      if (next === 'expired') break;
      assert.ok(next > now);
      now = next;
    }
    assert.equal(now, T0 + 48 * HOUR);
    assert.ok(attempts > 40 && attempts < 55);
  });
});
