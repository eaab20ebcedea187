/** How an attempt ends in the ledger. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ControlBench } from './queue-control-bench.ts';
import { RETRY } from './story-samples.ts';

const HOUR_MS = 3_600_000;

describe('an attempt after which recipients are left', () => {
  for (const [what, changes] of [
    ['waits as it said', false],
    ['waits as other settings say that came meanwhile', true],
  ] as const) {
    test(what, async () => {
      await using bench = await new ControlBench().open();
      const delivery = await bench.enter();
      const { clock, ledger, attempts } = bench;
      assert.equal(ledger.claim(delivery.lane, clock.now()), delivery);
      const triedAtMs = clock.now();
      await attempts.make(delivery, async () => {
        if (changes) bench.retry = { ...RETRY, lifetime: 1 };
        const tried = { attempts: 1, triedAtMs, causeClass: 'other' } as const;
        return { kind: 'again', atMs: triedAtMs + HOUR_MS, tried };
      });
      const waitsMs = delivery.nextAttemptMs - triedAtMs;
      assert.equal(
        waitsMs > 1 ? 'an hour' : 'no longer than it lives',
        changes ? 'no longer than it lives' : 'an hour',
      );
    });
  }
});
