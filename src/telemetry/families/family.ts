/**
 * How a metric family is declared: once, with what an operator needs to read it. createMetrics
 * (../metrics.ts) makes the family of it, ../metrics-document.ts its entry in docs/metrics.md.
 *
 * Labels are closed sets: never an address, a text somebody else chose, or a domain, but for the
 * bounded list of ../destinations.ts. A counter whose labels are all closed lists has its samples
 * from the start, at 0, as long as there are few: an alert on an increase would miss the first one.
 */

/** The values a label may have; or, where they are not ours to list, what they are. */
export type LabelValues = readonly string[] | string;

export interface Described<L extends string> {
  /** One or two sentences: what is counted or measured. */
  readonly help: string;
  readonly labels?: { readonly [K in L]: LabelValues };
  /** What somebody who looks at it should expect to see. */
  readonly healthy: string;
  /** When to be told, and what it means; absent: it is there to look things up. */
  readonly alert?: string;
}

export interface Family<T extends FamilyType, L extends string> extends Described<L> {
  readonly type: T;
  /** Without the prefix `stsrelay_`. */
  readonly name: string;
  /** Upper bounds, of histograms. */
  readonly buckets?: readonly number[];
  /** Samples carry the id of the last message, for scrapers that ask for OpenMetrics. */
  readonly hasExemplars?: boolean;
  /** Samples that are there from the start, in the place of all. */
  readonly from0?: readonly { readonly [K in L]: string }[];
}

export type FamilyType = 'counter' | 'gauge' | 'histogram';
export type AnyFamily = Family<FamilyType, string>;

export function counter<L extends string = never>(
  name: string,
  described: Described<L> & { readonly from0?: readonly { readonly [K in L]: string }[] },
): Family<'counter', L> {
  return { type: 'counter', name, ...described };
}

export function gauge<L extends string = never>(
  name: string,
  described: Described<L>,
): Family<'gauge', L> {
  return { type: 'gauge', name, ...described };
}

export function histogram<L extends string = never>(
  name: string,
  described: Described<L> & { readonly buckets: readonly number[] },
): Family<'histogram', L> {
  return { type: 'histogram', name, ...described };
}

/** The same family, with exemplars. */
export function withExemplars<F extends AnyFamily>(family: F): F & { readonly hasExemplars: true } {
  return { ...family, hasExemplars: true };
}

/** Of local operations: half a millisecond to seconds. */
export const LATENCY_BUCKETS = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5,
];
/** Of mail on its way: a twentieth of a second to the five days of a lifetime. */
export const DELIVERY_BUCKETS = [
  0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400, 432000,
];
