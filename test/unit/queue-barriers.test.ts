/** When what waits goes on, as people are told: by what stands in its way, and never by a time that is over. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { nextAttemptOf, nextOfLane, viewOfBarrier } from '../../src/admin/queue-barriers.ts';
import { type ShowParts, showMessage } from '../../src/admin/queue-show.ts';
import type { Barrier } from '../../src/queue/gates.ts';
import { domain } from './policy-parts.ts';
import { destinationOf, RECEIVED_AT, sampleEnvelope } from './sample-mail.ts';
import { RETRY } from './story-samples.ts';

const HOUR_MS = 3_600_000;
const SINCE = RECEIVED_AT - HOUR_MS;
const NOW = { state: 'parked', nextAttemptMs: SINCE } as const;

function breaker(state: 'open' | 'half-open'): Barrier {
  const facts = { site: 'mx.test', sinceMs: SINCE, failures: 10, lastFailure: 'refused' };
  return { kind: 'breaker', state, probeAtMs: RECEIVED_AT, ...facts };
}

function pause(expires?: number): Barrier {
  const facts = { domain: domain('dest.example'), reason: '', pausedAt: SINCE };
  return { kind: 'pause', pause: { ...facts, ...(expires === undefined ? {} : { expires }) } };
}

describe('parked mail goes on', () => {
  const counts = { active: 0, due: 0, parked: 2, delayed: 1, held: 0 };
  const rows: readonly [string, Barrier, string | undefined][] = [
    ['at the next probe', breaker('open'), '2026-01-15T12:00:00Z'],
    ['nobody knows when, while a probe is out', breaker('half-open'), undefined],
    ['when the pause is over', pause(RECEIVED_AT + HOUR_MS), '2026-01-15T13:00:00Z'],
    ['nobody knows when, where the pause has no end', pause(), undefined],
  ];
  for (const [what, barrier, expected] of rows) {
    test(what, () => {
      const views = [viewOfBarrier(barrier)];
      assert.equal(views[0]?.until, expected);
      assert.equal(nextAttemptOf(NOW, views), expected);
      assert.equal(nextOfLane(counts, RECEIVED_AT, views), expected);
    });
  }
});

describe('a message that is parked', () => {
  async function shown(barrier: Barrier) {
    const envelope = sampleEnvelope();
    const delivery = { destination: 'dest.example', nextAttemptMs: SINCE };
    const view = await showMessage(envelope.id, {
      ledger: { deliveriesOf: () => [delivery] },
      gates: {
        stateOf: () => 'parked',
        expiryOf: () => RECEIVED_AT + 2 * HOUR_MS,
        barriersOf: () => [barrier],
      },
      spool: { read: async () => ({ envelope, sizeBytes: 1, records: [] }) },
      destinationOf,
      retry: () => RETRY,
      overrides: () => [],
    } as unknown as ShowParts);
    return view?.now[0];
  }

  test('is attempted when that is over, unless it is given up before', async () => {
    const soon = await shown(pause(RECEIVED_AT + HOUR_MS));
    assert.equal(soon?.nextAttempt, '2026-01-15T13:00:00Z');
    const late = await shown(pause(RECEIVED_AT + 2 * HOUR_MS));
    assert.deepEqual([late?.nextAttempt, late?.expires], [undefined, '2026-01-15T14:00:00Z']);
  });
});
