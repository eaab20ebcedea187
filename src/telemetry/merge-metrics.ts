/**
 * The metrics of two processes as one exposition: every family once, its samples added up.
 * Each event is counted in one of them, so that a sum is what a single process would show,
 * and a process that starts anew looks like any counter that does.
 *
 * In the text format of Prometheus, or in OpenMetrics, which has exemplars: the id of the message
 * that was counted last. prom-client writes both; what it formats are copies, since for OpenMetrics
 * it takes the `_total` from the names of the families it is given.
 */
import { type Metric, type MetricObjectWithValues, type MetricValue, Registry } from 'prom-client';
import type { Metrics } from './metrics.ts';

/** One sample; of a histogram there are several by `metricName`. */
interface Sample extends MetricValue<string> {
  readonly metricName?: string;
  readonly exemplar?: { readonly timestamp: number } | null;
}

/** One family, in the form that crosses the link. */
export type MetricFacts = MetricObjectWithValues<MetricValue<string>>;

type MetricsFormat = 'prometheus' | 'openmetrics';

const CONTENT_TYPES: Readonly<Record<MetricsFormat, string>> = {
  prometheus: Registry.PROMETHEUS_CONTENT_TYPE,
  openmetrics: Registry.OPENMETRICS_CONTENT_TYPE,
};

/** What a scraper asks for: OpenMetrics where its Accept field has it at all, as Prometheus prefers it. */
function formatFor(accept: string | undefined): MetricsFormat {
  const isAsked = accept?.split(',').some((range) => {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
    const isRefused = parameters.some((one) => /^q=0(?:\.0*)?$/.test(one));
    return type === 'application/openmetrics-text' && !isRefused;
  });
  return isAsked ? 'openmetrics' : 'prometheus';
}

/** All families of this process. */
export function collectMetrics({ registry }: Metrics): Promise<readonly MetricFacts[]> {
  return registry.getMetricsAsJSON() as Promise<readonly MetricFacts[]>;
}

/** /metrics for a scraper with this Accept field, with what another process counted. */
export async function formatMetrics(
  metrics: Metrics,
  others: readonly MetricFacts[] = [],
  accept?: string,
): Promise<{ readonly contentType: string; readonly text: string }> {
  const format = formatFor(accept);
  const registry = new Registry();
  registry.setContentType(CONTENT_TYPES[format] as typeof Registry.PROMETHEUS_CONTENT_TYPE);
  const byName = new Map(others.map((family) => [family.name, family]));
  for (const mine of await collectMetrics(metrics)) {
    const family = addUp(mine, byName.get(mine.name));
    const name = format === 'openmetrics' ? mine.name.replace(/_total$/, '') : mine.name;
    const copy = { ...family, name, get: async () => ({ ...family, name }) };
    registry.registerMetric(copy as unknown as Metric);
  }
  return { contentType: CONTENT_TYPES[format], text: await registry.metrics() };
}

function addUp(mine: MetricFacts, theirs: MetricFacts | undefined): MetricFacts {
  if (!theirs) return mine;
  const samples = new Map<string, Sample>();
  for (const sample of [...mine.values, ...theirs.values] as Sample[]) {
    const key = keyOf(sample);
    const other = samples.get(key);
    samples.set(key, other ? sumOf(other, sample) : sample);
  }
  return { ...mine, values: [...samples.values()] };
}

function keyOf({ metricName = '', labels }: Sample): string {
  const pairs = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([metricName, ...pairs]);
}

function sumOf(one: Sample, other: Sample): Sample {
  const value = one.value + other.value;
  const [a, b] = [one.exemplar, other.exemplar];
  const exemplar = (a?.timestamp ?? 0) >= (b?.timestamp ?? 0) ? a : b;
  return { ...one, value, ...(exemplar ? { exemplar } : {}) };
}
