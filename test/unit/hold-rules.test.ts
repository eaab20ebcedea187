/** Holds: which hold what, what is released from them, and what the ledger does with it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type HoldRule, HoldRules } from '../../src/queue/hold-rules.ts';
import { Ledger } from '../../src/queue/ledger.ts';
import { foldRecords, type SpoolRecord } from '../../src/spool/message-state.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { tempDir } from '../support/temp-dir.ts';
import { destinationOf, sampleEnvelope } from './sample-mail.ts';

const HOUR_MS = 3_600_000;

async function setUp() {
  const dir = tempDir();
  const clock = new FakeClock();
  const told: string[] = [];
  const open = () =>
    HoldRules.open({
      file: dir.file('holds.json'),
      clock,
      events: {
        holdOver: (rule) => void told.push(`over: ${rule}`),
        holdsUnreadable: (_file, reason) => void told.push(reason),
      },
      onOver: () => void told.push('review'),
    });
  const rules = await open();
  const ledger = new Ledger(undefined, undefined, (delivery, recipients, nowMs) =>
    rules.holdOf(delivery.facts(recipients), nowMs),
  );
  const rule = (pattern: HoldRule['pattern'], more: Partial<HoldRule> = {}): HoldRule => ({
    ...{ pattern, reason: 'ticket 7', by: 'ann', since: clock.now() },
    ...more,
  });
  const enter = (addresses: readonly string[], ...records: SpoolRecord[]) => {
    const recipients = addresses.map((address) => ({ address }));
    const envelope = sampleEnvelope({ recipients, receivedAtMs: clock.now() });
    const [delivery] = ledger.enter(foldRecords(envelope, records, destinationOf), clock.now());
    assert.ok(delivery);
    return delivery;
  };
  return {
    ...{ dir, clock, told, open, rules, ledger, rule, enter },
    [Symbol.asyncDispose]: async () => {
      await rules.close();
      dir[Symbol.dispose]();
    },
  };
}

describe('a rule', () => {
  test('holds what fits, now and later, and nothing else; kept over a restart', async () => {
    await using at = await setUp();
    const { rules, ledger, rule, enter, clock } = at;
    const before = enter(['a@dest.example']);
    const other = enter(['a@other.example']);
    await rules.put(rule({ domain: 'dest.example' }));
    ledger.reviewHolds([before, other], clock.now());
    const later = enter(['b@dest.example']);
    assert.deepEqual(
      [before, later, other].map(({ hold }) => hold?.reason),
      ['ticket 7', 'ticket 7', undefined],
    );
    const lane = ledger.lane('dest.example');
    assert.ok(lane);
    assert.equal(ledger.claim(lane, clock.now()), undefined);
    assert.deepEqual(ledger.summary(clock.now()), {
      ...{ inFlight: 0, due: 1, parked: 0, held: 2, delayed: 0, overdue: 0, oldestDueSeconds: 0 },
    });
    const again = await at.open();
    assert.deepEqual(again.list(), rules.list());
    await again.close();

    await rules.remove({ domain: 'dest.example' });
    ledger.reviewHolds([before, later], clock.now());
    assert.equal(ledger.claim(lane, clock.now()), before, 'the first to come is the first to go');
    assert.equal(ledger.claim(lane, clock.now()), later);
  });

  test('is over by itself', async () => {
    await using at = await setUp();
    const { rules, rule, enter, clock, told, ledger } = at;
    await rules.put(rule({ sender: '*' }, { expires: clock.now() + HOUR_MS }));
    const held = enter(['a@dest.example']);
    assert.equal(held.hold?.untilMs, clock.now() + HOUR_MS);
    clock.advance(HOUR_MS);
    assert.deepEqual(told, ['over: mail from *', 'review']);
    ledger.reviewHolds([held], clock.now());
    assert.equal(held.hold, undefined);
  });

  test('by recipient it finds one among more than are kept in memory, as it comes in', async () => {
    await using at = await setUp();
    const { rules, rule, enter, ledger, clock } = at;
    await rules.put(rule({ recipient: 'r30@dest.example' }));
    const many = Array.from({ length: 40 }, (_, n) => `r${n}@dest.example`);
    const held = enter(many);
    assert.deepEqual([held.recipients, held.hold?.by], [undefined, 'ann']);
    assert.equal(enter(many.slice(31)).hold, undefined);
    ledger.reviewHolds([held], clock.now());
    assert.ok(held.hold, 'looked at again, with nothing new');
    await rules.remove({ recipient: 'r30@dest.example' });
    ledger.reviewHolds([held], clock.now());
    assert.equal(held.hold, undefined);
  });
});

describe('the last word about one delivery', () => {
  const heldBy = (atMs: number, untilMs?: number): SpoolRecord => ({
    kind: 'hold',
    atMs,
    destination: 'dest.example',
    hold: { reason: 'look at it', by: 'bob', sinceMs: atMs, ...(untilMs ? { untilMs } : {}) },
  });
  const releasedAt = (atMs: number): SpoolRecord => ({
    ...{ kind: 'hold', atMs, destination: 'dest.example' },
  });

  test('holds it alone, until it is over', async () => {
    await using at = await setUp();
    const { enter, clock, ledger } = at;
    const held = enter(['a@dest.example'], heldBy(clock.now(), clock.now() + HOUR_MS));
    assert.deepEqual([held.hold?.by, enter(['b@dest.example']).hold], ['bob', undefined]);
    clock.advance(HOUR_MS);
    ledger.reviewHolds([held], clock.now());
    assert.equal(held.hold, undefined);
  });

  test('releases it from the rules of that time, not from later ones', async () => {
    await using at = await setUp();
    const { rules, rule, enter, clock } = at;
    await rules.put(rule({ domain: 'dest.example' }));
    clock.advance(1000);
    const word = releasedAt(clock.now());
    assert.equal(enter(['a@dest.example'], word).hold, undefined);
    clock.advance(1000);
    await rules.put(rule({ sender: '*' }));
    assert.equal(enter(['a@dest.example'], word).hold?.rule, 'mail from *');
  });

  test('a release after a hold is the last word, and about its destination alone', async () => {
    await using at = await setUp();
    const { enter, clock } = at;
    const now = clock.now();
    assert.equal(enter(['a@dest.example'], heldBy(now), releasedAt(now + 1)).hold, undefined);
    const other = { ...heldBy(now), destination: 'other.example' } as SpoolRecord;
    assert.equal(enter(['a@dest.example'], other).hold, undefined);
  });
});

test('one that is being attempted is held when it is back', async () => {
  await using at = await setUp();
  const { rules, rule, enter, clock, ledger } = at;
  const delivery = enter(['a@dest.example']);
  const lane = delivery.lane;
  assert.equal(ledger.claim(lane, clock.now()), delivery);
  await rules.put(rule({}));
  ledger.reviewHolds([delivery], clock.now());
  assert.deepEqual([delivery.hold, lane.held.size], [undefined, 0]);
  ledger.postpone(delivery, clock.now(), clock.now());
  assert.deepEqual(
    [delivery.hold?.rule, lane.held.size, lane.waiting.dueCount],
    ['all mail', 1, 0],
  );
  assert.deepEqual(ledger.claimThese(new Set([delivery])), [delivery]);
  ledger.close(delivery);
  assert.equal(ledger.laneCount, 0, 'nothing is left of it');
});
