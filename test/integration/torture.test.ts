/**
 * The crash campaign in short: some rounds of load with whatever a seed chooses (SIGKILL, Redis
 * in trouble, late hosts, an attacker, a clock that jumps, too much mail), and every promise kept.
 * `make torture` does the same for longer, and with a disk that is full.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { redisMissing } from '../support/redis.ts';
import { runCampaign } from '../torture/campaign.ts';
import { progressLine, sum } from '../torture/tally.ts';

const ROUNDS = 6;
const END_AFTER_MS = 15_000;
const SETTLE_MS = 180_000;

test('a short crash campaign breaks no promise', { skip: redisMissing }, async (t) => {
  const seed = randomInt(1, 1_000_000);
  const { rounds, violation } = await runCampaign({
    seed,
    rounds: ROUNDS,
    messages: 60,
    only: [],
    without: [],
    isLong: false,
    onSmallDisk: false,
    endAfterMs: END_AFTER_MS,
    settleMs: SETTLE_MS,
    onRound: (facts) => t.diagnostic(progressLine(facts)),
  });
  const { acknowledged, duplicates } = sum(rounds);
  t.diagnostic(`seed ${seed}: ${acknowledged} acknowledged, ${duplicates} twice`);
  assert.equal(violation, undefined, `seed ${seed}\n${violation?.join('\n')}`);
  assert.ok(acknowledged > 20 * rounds.length, `only ${acknowledged} were acknowledged`);
});
