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
  const { text } = await formatMetrics(mine, crossed);

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
  const alone = await formatMetrics(mine);
  assert.deepEqual(described(text), described(alone.text));
});

const OPENMETRICS = 'application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5';

test('OpenMetrics where it is asked for, with the newest exemplar of both', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 1_700_000_000_000 });
  const [mine, theirs] = [createMetrics(), createMetrics()];
  const told = (id: string) => ({ labels: { cause: 'dns' }, exemplarLabels: { id } }) as const;
  mine.recipientsDeferred.inc(told('OLD'));
  mine.deliveryDuration.observe({ value: 0.2, exemplarLabels: { id: 'FAST' } });
  t.mock.timers.tick(1000);
  theirs.recipientsDeferred.inc(told('NEW'));
  const crossed = deserialize(serialize(await collectMetrics(theirs)));
  const { contentType, text } = await formatMetrics(mine, crossed, OPENMETRICS);
  assert.match(contentType, /^application\/openmetrics-text; version=1\.0\.0/);
  assert.match(text, /^# TYPE stsrelay_recipients_deferred counter$/m);
  const deferred = /^stsrelay_recipients_deferred_total\{cause="dns"\} 2 # \{id="NEW"\} 1 \d+/m;
  assert.match(text, deferred);
  assert.match(text, /_seconds_bucket\{le="0\.25"\} 1 # \{id="FAST"\} 0\.2 \d+/);
  assert.match(text, /\n# EOF\n$/);

  // Whoever comes next without that gets what it always was.
  const plain = await formatMetrics(mine, crossed, 'text/plain');
  assert.match(plain.contentType, /^text\/plain; version=0\.0\.4/);
  assert.match(plain.text, /^stsrelay_recipients_deferred_total\{cause="dns"\} 2$/m);
  assert.doesNotMatch(plain.text, /# \{|_total_total|EOF/);
});

test('OpenMetrics that is refused is not sent', async () => {
  const none = 'application/openmetrics-text;q=0, text/plain';
  const { contentType } = await formatMetrics(createMetrics(), [], none);
  assert.match(contentType, /^text\/plain/);
});
