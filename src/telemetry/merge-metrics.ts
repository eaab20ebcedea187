/**
 * The metrics of two processes as one exposition: every family once, its samples added up.
 * Each event is counted in one of them, so that a sum is what a single process would show,
 * and a process that starts anew looks like any counter that does.
 */
import { AggregatorRegistry, type MetricObjectWithValues, type MetricValue } from 'prom-client';
import type { Metrics } from './metrics.ts';

/** One family, in the form that crosses the link. */
export type MetricFacts = MetricObjectWithValues<MetricValue<string>>;

/** All families of this process. */
export function collectMetrics({ registry }: Metrics): Promise<readonly MetricFacts[]> {
  return registry.getMetricsAsJSON() as Promise<readonly MetricFacts[]>;
}

/** The text of /metrics, with what another process counted. */
export async function formatMetrics(
  metrics: Metrics,
  others: readonly MetricFacts[] | undefined,
): Promise<string> {
  if (others === undefined) return metrics.registry.metrics();
  const families = [await collectMetrics(metrics), others];
  // prom-client declares an array of families here and means one per process.
  return AggregatorRegistry.aggregate(families as unknown as object[]).metrics();
}
