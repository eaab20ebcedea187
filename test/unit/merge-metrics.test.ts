/** The metrics of two processes as one exposition. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deserialize, serialize } from 'node:v8';
import { collectMetrics, formatMetrics } from '../../src/telemetry/merge-metrics.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { sumSamples } from '../support/relay-process.ts';

test('every family once, with the sum of both', async () => {
  const [mine, theirs] = [createMetrics(), createMetrics()];
  mine.redisUp.set(1);
  mine.refusals.inc({ reason: 'loop' }, 2);
  mine.spoolLatency.observe({ operation: 'commit' }, 0.002);
  theirs.messagesReceived.inc(5);
  theirs.refusals.inc({ reason: 'loop' });
  theirs.refusals.inc({ reason: 'too-large' });
  theirs.spoolLatency.observe({ operation: 'commit' }, 0.2);
  const crossed = deserialize(serialize(await collectMetrics(theirs)));
  const text = await formatMetrics(mine, crossed);

  const loop = { reason: 'loop' };
  assert.equal(sumSamples(text, 'stsrelay_redis_up'), 1);
  assert.equal(sumSamples(text, 'stsrelay_messages_received_total'), 5);
  assert.equal(sumSamples(text, 'stsrelay_refusals_total', loop), 3);
  assert.equal(sumSamples(text, 'stsrelay_refusals_total'), 4);
  const upTo = (le: string) => sumSamples(text, 'stsrelay_spool_latency_seconds_bucket', { le });
  assert.deepEqual([upTo('0.001'), upTo('0.0025'), upTo('+Inf')], [0, 1, 2]);
  assert.equal(sumSamples(text, 'stsrelay_spool_latency_seconds_count'), 2);

  // Apart from the samples it is what one process says.
  const described = (exposition: string) =>
    exposition.split('\n').filter((line) => /^#/.test(line));
  assert.deepEqual(described(text), described(await formatMetrics(mine, undefined)));
});
