/**
 * What has become of mail since the relay was started, read from its metrics, those of the receiving role
 * included: for the graphs of the admin page.
 */
import type { Counter } from 'prom-client';
import type { FlowCounts } from './admin/flow.ts';
import type { Door } from './door.ts';
import type { TlsReached } from './mail/tls-outcome.ts';
import { type Metrics, PREFIX } from './telemetry/metrics.ts';

const RECEIVED = `${PREFIX}messages_received_total`;

/** Rejects where the receiving role does not answer. */
export async function flowCounts(
  metrics: Metrics,
  frontDoor: Pick<Door, 'metrics'>,
): Promise<FlowCounts> {
  const reached = await byReached(metrics.tlsDeliveries);
  const elsewhere = (await frontDoor.metrics())?.find(({ name }) => name === RECEIVED);
  const receivedThere = (elsewhere?.values ?? []).reduce((sum, { value }) => sum + value, 0);
  return {
    received: (await sumOf(metrics.messagesReceived)) + receivedThere,
    delivered: await sumOf(metrics.recipientsDelivered),
    deferred: await sumOf(metrics.recipientsDeferred),
    bounced: await sumOf(metrics.recipientsBounced),
    ...reached,
  };
}

async function sumOf(counter: Pick<Counter, 'get'>): Promise<number> {
  const { values } = await counter.get();
  return values.reduce((sum, { value }) => sum + value, 0);
}

async function byReached(
  counter: Metrics['tlsDeliveries'],
): Promise<{ readonly [K in TlsReached]: number }> {
  const sums = { clear: 0, encrypted: 0, verified: 0 };
  for (const { labels, value } of (await counter.get()).values) {
    const reached = labels.reached as TlsReached | undefined;
    if (reached !== undefined) sums[reached] += value;
  }
  return sums;
}
