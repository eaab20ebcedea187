/** Destinations as labels: bounded, and nothing counted twice or lost. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type DestinationResult, TopDestinations } from '../../src/telemetry/destinations.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';

const HOUR_MS = 3_600_000;
const NONE: ReadonlySet<string> = new Set();

function rig() {
  const metrics = createMetrics();
  const clock = { now: 0 };
  const top = new TopDestinations(metrics, () => clock.now);
  const samples = async () => (await metrics.destinationRecipients.get()).values;
  const shown = async () => {
    const names = (await samples()).map(({ labels }) => String(labels.destination));
    return new Set(names.filter((name) => name !== 'other'));
  };
  return { metrics, clock, top, samples, shown };
}

describe('destinations in labels', () => {
  test('those with most are shown, from the next scrape on', async () => {
    const { top, samples, shown } = rig();
    for (let i = 0; i < 100; i += 1) {
      top.count('big.test', 'delivered');
      top.count(`small${i}.test`, 'delivered');
    }
    assert.equal((await shown()).size, 0);
    top.choose(NONE);
    const chosen = await shown();
    assert.equal(chosen.size, 30);
    assert.ok(chosen.has('big.test'));
    const deliveredTo = async (destination: string) =>
      (await samples()).find(
        ({ labels }) => labels.destination === destination && labels.result === 'delivered',
      )?.value;
    // It begins at 0: what was before is in `other`, and stays there.
    assert.deepEqual([await deliveredTo('big.test'), await deliveredTo('other')], [0, 200]);
    top.count('big.test', 'delivered');
    assert.deepEqual([await deliveredTo('big.test'), await deliveredTo('other')], [1, 200]);
  });

  test('trouble counts more than traffic', async () => {
    const { top, shown } = rig();
    for (let i = 0; i < 40; i += 1) {
      for (let n = 0; n < 10; n += 1) top.count(`busy${i}.test`, 'delivered');
    }
    top.count('stripped.test', 'policy-not-met');
    top.choose(NONE);
    assert.ok((await shown()).has('stripped.test'));
  });

  test('configured ones are shown as well, once they have mail', async () => {
    const { top, shown } = rig();
    for (let i = 0; i < 40; i += 1) {
      for (let n = 0; n < 10; n += 1) top.count(`busy${i}.test`, 'delivered');
    }
    top.count('partner.test', 'delivered');
    top.choose(new Set(['partner.test', 'quiet.test']));
    const chosen = await shown();
    assert.ok(chosen.has('partner.test') && !chosen.has('quiet.test'));
    assert.equal(chosen.size, 31);
  });

  test('one that had its day gives way', async () => {
    const { top, clock, shown } = rig();
    for (let n = 0; n < 100; n += 1) top.count('once.test', 'delivered');
    top.choose(NONE);
    assert.ok((await shown()).has('once.test'));
    clock.now += 24 * HOUR_MS;
    for (let i = 0; i < 60; i += 1) top.count(`later${i}.test`, 'delivered');
    top.choose(NONE);
    assert.ok(!(await shown()).has('once.test'));
  });

  test('every event is counted once, and in a sample that was there before it', async () => {
    const step = fc.record({
      domain: fc.nat(60).map((n) => `d${n}.test`),
      result: fc.constantFrom<DestinationResult>('delivered', 'deferred', 'bounced'),
      scrape: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 200 }), async (steps) => {
        const { top, samples } = rig();
        const read = async () =>
          new Map((await samples()).map(({ labels, value }) => [JSON.stringify(labels), value]));
        let [before, grown] = [await read(), 0];
        for (const { domain, result, scrape } of steps) {
          top.count(domain, result);
          if (!scrape) continue;
          // What a scraper would see grow: samples that are there both times.
          const now = await read();
          for (const [key, value] of now) grown += value - (before.get(key) ?? value);
          top.choose(NONE);
          before = await read();
        }
        for (const [key, value] of await read()) grown += value - (before.get(key) ?? value);
        assert.equal(grown, steps.length);
        assert.ok(before.size <= 4 * 31);
      }),
      { numRuns: 30 },
    );
  });

  test('the queue: the largest, and the rest together', async () => {
    const { metrics, top } = rig();
    top.setQueue(Array.from({ length: 100 }, (_, i) => [`d${i}.test`, (i * 37) % 100] as const));
    const { values } = await metrics.destinationQueue.get();
    const sizes = new Map(values.map(({ labels, value }) => [labels.destination, value]));
    assert.equal(values.length, 31);
    assert.equal(sizes.get('d27.test'), 99);
    const total = [...sizes.values()].reduce((sum, size) => sum + size, 0);
    assert.equal(total, (99 * 100) / 2);
    assert.equal(sizes.get('other'), (69 * 70) / 2);
  });
});
