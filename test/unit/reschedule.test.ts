/** Other retry settings for what is queued: what they do, and what a preview says they would do. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { MessageId } from '../../src/mail/message-id.ts';
import { idTime } from '../../src/mail/message-id.ts';
import type { Delivery } from '../../src/queue/lane.ts';
import { Ledger } from '../../src/queue/ledger.ts';
import { asScheduled, previewRetry, reschedule } from '../../src/queue/reschedule.ts';
import type { RetrySettings } from '../../src/queue/retry-schedule.ts';
import { foldRecords } from '../../src/spool/message-state.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { attempt, destinationOf, FAILURE, sampleEnvelope } from './sample-mail.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const settings = (change: Partial<RetrySettings> = {}): RetrySettings => ({
  ...{ schedule: [MINUTE, HOUR, 4 * HOUR], lifetime: 48 * HOUR, bounceLifetime: 24 * HOUR },
  ...{ classes: {}, domains: [] },
  ...change,
});

function setUp() {
  const clock = new FakeClock();
  const ledger = new Ledger();
  let count = 0;
  /** A message of `agoMs` ago whose `attempts` attempts ended `triedAgoMs` ago. */
  const know = (agoMs: number, attempts: number, triedAgoMs = agoMs, domain = 'dest.example') => {
    const receivedAtMs = clock.now() - agoMs;
    count += 1;
    const id = `${idTime(receivedAtMs)}${String(count).padStart(7, '0')}` as MessageId;
    const recipients = [{ address: `a@${domain}` }];
    const envelope = sampleEnvelope({ id, receivedAtMs, recipients });
    const records = Array.from({ length: attempts }, () =>
      attempt({
        destination: domain,
        atMs: clock.now() - triedAgoMs,
        deferred: [{ index: 0, failure: FAILURE }],
        nextAttemptMs: clock.now() + 1,
      }),
    );
    const state = asScheduled(foldRecords(envelope, records, destinationOf), settings());
    ledger.recover(state, clock.now());
    const [delivery] = ledger.deliveriesOf(id);
    assert.ok(delivery);
    return delivery;
  };
  const change = (to: RetrySettings) => reschedule(to, { ledger, clock, supply: () => {} });
  /** From its last attempt to the next one, jitter apart, in minutes. */
  const waits = ({ nextAttemptMs, tried }: Delivery) =>
    Math.floor((nextAttemptMs - (tried?.triedAtMs ?? 0)) / 1.1 / MINUTE + 0.1);
  return { clock, ledger, know, change, waits };
}

describe('rescheduling', () => {
  test('the same settings change nothing', async () => {
    const { know, change } = setUp();
    const some = [know(HOUR, 2, MINUTE), know(2 * HOUR, 3, HOUR), know(HOUR, 0)];
    const times = some.map(({ nextAttemptMs }) => nextAttemptMs);
    await change(settings());
    assert.deepEqual(
      some.map(({ nextAttemptMs }) => nextAttemptMs),
      times,
    );
  });

  test('a shorter schedule makes due what has waited longer, a longer one puts off what waits', async () => {
    const { know, change, ledger, clock } = setUp();
    const long = know(3 * HOUR, 3, 2 * HOUR);
    const short = know(3 * HOUR, 3, MINUTE);
    assert.equal(ledger.summary(clock.now()).delayed, 2);
    await change(settings({ schedule: [HOUR] }));
    assert.deepEqual(
      [ledger.summary(clock.now()).due, ledger.summary(clock.now()).delayed],
      [1, 1],
    );
    assert.equal(ledger.claim(long.lane, clock.now()), long);
    assert.ok(short.nextAttemptMs > clock.now() + 50 * MINUTE);
    await change(settings({ schedule: [24 * HOUR] }));
    assert.ok(short.nextAttemptMs > clock.now() + 23 * HOUR);
    assert.equal(ledger.claim(short.lane, clock.now() + 20 * HOUR), undefined);
    assert.equal(ledger.claim(short.lane, clock.now() + 27 * HOUR), short);
  });

  test('what is due stays due, and what was never tried is left alone', async () => {
    const { know, change, ledger, clock } = setUp();
    const due = know(2 * HOUR, 1, HOUR);
    const fresh = know(MINUTE, 0);
    await change(settings({ schedule: [24 * HOUR] }));
    const { lane } = due;
    const got = [ledger.claim(lane, clock.now()), ledger.claim(lane, clock.now())];
    assert.deepEqual(new Set(got), new Set([due, fresh]));
  });

  test('fewer steps than attempts were made: the last one repeats', async () => {
    const { know, change, waits } = setUp();
    const tried = know(HOUR, 40, 0);
    await change(settings({ schedule: [30 * MINUTE] }));
    assert.ok(waits(tried) >= 27 && waits(tried) <= 30, `${waits(tried)}`);
  });

  test('thousands keep the order of their times', async () => {
    const { know, change, ledger, clock } = setUp();
    const all = Array.from({ length: 3000 }, (_, n) => know(HOUR, 1 + (n % 3), (n * 997) % MINUTE));
    await change(settings({ schedule: [2 * HOUR, HOUR, 3 * HOUR] }));
    const lane = all[0]?.lane;
    assert.ok(lane);
    let before = 0;
    for (let n = 0; n < all.length; n++) {
      clock.advance((lane.waiting.nextMs ?? 0) - clock.now());
      const next = ledger.claim(lane, clock.now());
      assert.ok(next && next.nextAttemptMs >= before);
      before = next.nextAttemptMs;
    }
    assert.equal(lane.waiting.laterCount, 0);
  });
});

test('a preview counts what would change, by destination, and changes nothing', async () => {
  const { know, ledger, clock } = setUp();
  know(3 * HOUR, 3, 2 * HOUR); // would have waited 4 h
  know(3 * HOUR, 3, MINUTE);
  know(30 * HOUR, 3, MINUTE, 'old.example');
  know(MINUTE, 0, 0, 'new.example');
  const before = ledger.summary(clock.now());
  const to = settings({ schedule: [HOUR], lifetime: 24 * HOUR });
  const { total, destinations } = await previewRetry(to, { ledger, clock });
  const { firstBeforeMs = 0, firstAfterMs = 0, ...counts } = total;
  assert.deepEqual(counts, {
    ...{ waiting: 4, unchanged: 1, sooner: 3, later: 0, atOnce: 2, lastAttempt: 1 },
  });
  assert.ok(firstBeforeMs > clock.now() + HOUR && firstAfterMs === clock.now());
  assert.deepEqual(
    destinations.map(({ destination, sooner, lastAttempt }) => [destination, sooner, lastAttempt]),
    [
      ['dest.example', 2, 0],
      ['old.example', 1, 1],
      ['new.example', 0, 0],
    ],
  );
  assert.deepEqual(ledger.summary(clock.now()), before);
});
