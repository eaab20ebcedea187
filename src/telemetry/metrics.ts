/**
 * Every metric family of the relay, made from its declaration in families/. One registry per
 * relay, so that tests can run several side by side. What each family means, what healthy looks like
 * and what to alert on stands there, and in docs/metrics.md, which is generated from it.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { TopDestinations } from './destinations.ts';
import { DELIVERY_FAMILIES } from './families/delivery.ts';
import type { AnyFamily, Family, FamilyType } from './families/family.ts';
import { INTAKE_FAMILIES } from './families/intake.ts';
import { POLICY_FAMILIES } from './families/policy.ts';
import { PROCESS_FAMILIES } from './families/process.ts';
import { QUEUE_FAMILIES } from './families/queue.ts';

export const PREFIX = 'stsrelay_';

/** All of them, in the order of the document. */
export const FAMILIES = {
  ...INTAKE_FAMILIES,
  ...QUEUE_FAMILIES,
  ...DELIVERY_FAMILIES,
  ...POLICY_FAMILIES,
  ...PROCESS_FAMILIES,
} as const;

/** Of more combinations of labels only those are there that something happened to. */
const MOST_FROM_0 = 40;

type Metric<F> = F extends { readonly hasExemplars: true } & Family<infer T, infer L>
  ? MetricOf<T, L | 'id'> // prom-client wants the labels of exemplars among them
  : F extends Family<infer T, infer L>
    ? MetricOf<T, L>
    : never;
type MetricOf<T extends FamilyType, L extends string> = {
  counter: Counter<L>;
  gauge: Gauge<L>;
  histogram: Histogram<L>;
}[T];

type MetricsRegistry = Registry<typeof Registry.OPENMETRICS_CONTENT_TYPE>;
type Made = { readonly [K in keyof typeof FAMILIES]: Metric<(typeof FAMILIES)[K]> };

export type Metrics = Made & {
  readonly registry: MetricsRegistry;
  /** Counts by destination, in a bounded number of samples. */
  readonly destinations: TopDestinations;
};

/** All families, registered in a registry of their own. */
export function createMetrics(): Metrics {
  // Exemplars are refused otherwise. What is served is made by merge-metrics.ts, in either format.
  const registry = new Registry<typeof Registry.OPENMETRICS_CONTENT_TYPE>();
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  const made = Object.entries<AnyFamily>(FAMILIES).map(([key, family]) => [
    key,
    createMetric(family, registry),
  ]);
  const metrics = Object.fromEntries(made) as Made;
  return { ...metrics, registry, destinations: new TopDestinations(metrics) };
}

function createMetric(family: AnyFamily, registry: MetricsRegistry) {
  const options = {
    name: PREFIX + family.name,
    help: family.help,
    labelNames: Object.keys(family.labels ?? {}),
    registers: [registry],
    ...(family.hasExemplars ? { enableExemplars: true } : {}),
  };
  if (family.type === 'gauge') return new Gauge(options);
  if (family.type === 'histogram') {
    return new Histogram({ ...options, buckets: [...(family.buckets ?? [])] });
  }
  const made = new Counter(options);
  for (const labels of family.from0 ?? combinations(family)) {
    if (family.hasExemplars) made.inc({ labels, value: 0 });
    else made.inc(labels, 0);
  }
  return made;
}

/** All the labels a family can have, where they are closed sets and few. */
function combinations({ labels = {} }: AnyFamily): readonly Readonly<Record<string, string>>[] {
  let all: readonly Readonly<Record<string, string>>[] = [{}];
  for (const [name, values] of Object.entries(labels)) {
    if (typeof values === 'string') return [];
    all = all.flatMap((one) => values.map((value) => ({ ...one, [name]: value })));
  }
  return all.length > 1 && all.length <= MOST_FROM_0 ? all : [];
}
