/** The last hour of mail flow: what happened in each step, bounded, over restarts of a part. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EVERY_MS, Flow, type FlowCounts } from '../../src/admin/flow.ts';
import { FakeClock } from '../support/fake-clock.ts';

const NOTHING: FlowCounts = {
  ...{ received: 0, delivered: 0, deferred: 0, bounced: 0 },
  ...{ verified: 0, encrypted: 0, clear: 0 },
};
const QUEUE = { active: 0, due: 0, parked: 0, delayed: 3, held: 0 };

function begin() {
  const clock = new FakeClock('2026-01-10T12:00:00Z');
  let counts: FlowCounts | Error = NOTHING;
  const flow = new Flow({
    clock,
    counts: async () => {
      if (counts instanceof Error) throw counts;
      return counts;
    },
    queue: () => QUEUE,
  });
  const settle = () => new Promise((done) => setImmediate(done));
  return {
    flow,
    async step(next: Partial<FlowCounts> | Error): Promise<void> {
      await settle();
      counts = next instanceof Error ? next : { ...NOTHING, ...next };
      clock.advance(EVERY_MS);
      await settle();
    },
  };
}

test('a sample is what came since the one before', async () => {
  const { flow, step } = begin();
  await step({ received: 5, delivered: 3, verified: 3 });
  await step({ received: 7, delivered: 3, verified: 3 });
  const samples = flow.samples();
  assert.deepEqual(
    samples.map(({ at, seconds, received, delivered }) => [at, seconds, received, delivered]),
    [
      ['2026-01-10T12:00:10.000Z', 10, 5, 3],
      ['2026-01-10T12:00:20.000Z', 10, 2, 0],
    ],
  );
  assert.deepEqual(samples[0]?.queue, QUEUE);
  assert.deepEqual(flow.samples(samples[0]?.at), samples.slice(1));
  flow.close();
});

test('what was started anew counts from 0, and what did not answer is in the next sample', async () => {
  const { flow, step } = begin();
  await step({ received: 5 });
  await step(new Error('away'));
  await step({ received: 2 });
  assert.deepEqual(
    flow.samples().map(({ seconds, received }) => [seconds, received]),
    [
      [10, 5],
      [20, 2],
    ],
  );
  flow.close();
});

test('an hour of it is kept', async () => {
  const { flow, step } = begin();
  for (let i = 1; i <= 365; i += 1) await step({ received: i });
  assert.equal(flow.samples().length, 360);
  assert.equal(flow.samples().at(-1)?.at, '2026-01-10T13:00:50.000Z');
  flow.close();
});
