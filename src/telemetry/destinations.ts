/**
 * Which destinations have samples of their own. Destinations are chosen by whoever writes mail, so
 * there may be any number of them; those with the most traffic and trouble lately are shown, the
 * configured ones that have mail, and `other` for the rest. So the number of samples is bounded,
 * and their sum is the whole.
 *
 * Who is shown changes at a scrape only, and begins at 0 with it: every event is counted in one
 * sample, which was there before it, so that rates and their sums are right. One that is not shown any
 * more vanishes; what happens to it afterwards is counted in `other`.
 */
import { LRUCache } from 'lru-cache';
import type { Counter, Gauge } from 'prom-client';
import { DESTINATION_RESULTS } from './families/queue.ts';

export type DestinationResult = (typeof DESTINATION_RESULTS)[number];

/** Shown because of their traffic. */
const MOST_SHOWN = 30;
/** Shown because they are configured. */
const MOST_CONFIGURED = 100;
/** Remembered, with what they had lately. */
const MOST_KNOWN = 2000;
const HALF_LIFE_MS = 3_600_000;
/** Trouble is what somebody looks for. */
const WEIGHTS = { delivered: 1, deferred: 4, bounced: 4, 'policy-not-met': 20 } as const;
/** One that is shown gives way only to one that has clearly more. */
const STAYS = 2;
const OTHER = 'other';

interface Standing {
  readonly score: number;
  readonly atMs: number;
}

export interface DestinationMetrics {
  readonly destinationRecipients: Counter<'destination' | 'result'>;
  readonly destinationQueue: Gauge<'destination'>;
}

export class TopDestinations {
  readonly #metrics: DestinationMetrics;
  readonly #known = new LRUCache<string, Standing>({ max: MOST_KNOWN });
  #shown: ReadonlySet<string> = new Set();
  readonly #now: () => number;

  /** `now`: milliseconds that only grow. */
  constructor(metrics: DestinationMetrics, now = () => performance.now()) {
    this.#metrics = metrics;
    this.#now = now;
    this.#begin(OTHER);
  }

  /** Something became of a recipient. */
  count(domain: string, result: DestinationResult): void {
    const atMs = this.#now();
    const score = this.#scoreOf(domain, atMs) + WEIGHTS[result];
    this.#known.set(domain, { score, atMs });
    const destination = this.#shown.has(domain) ? domain : OTHER;
    this.#metrics.destinationRecipients.inc({ destination, result });
  }

  /** A scrape begins: choose anew who is shown. */
  choose(configured: ReadonlySet<string>): void {
    const now = this.#now();
    const ranked = [...this.#known.keys()]
      .map((domain) => ({ domain, rank: this.#scoreOf(domain, now) * this.#stays(domain) }))
      .sort((a, b) => b.rank - a.rank)
      .map(({ domain }) => domain);
    const isNamed = (domain: string) => configured.has(domain);
    const named = ranked.filter(isNamed).slice(0, MOST_CONFIGURED);
    const busy = ranked.filter((domain) => !isNamed(domain)).slice(0, MOST_SHOWN);
    const shown = new Set([...named, ...busy]);
    for (const domain of this.#shown) if (!shown.has(domain)) this.#end(domain);
    for (const domain of shown) if (!this.#shown.has(domain)) this.#begin(domain);
    this.#shown = shown;
  }

  /** How much is queued for each: the largest ones, those shown, and the rest together. */
  setQueue(sizes: Iterable<readonly [domain: string, deliveries: number]>): void {
    const gauge = this.#metrics.destinationQueue;
    gauge.reset();
    let rest = 0;
    const large: (readonly [string, number])[] = [];
    for (const [domain, size] of sizes) {
      if (size === 0) continue;
      if (this.#shown.has(domain)) gauge.set({ destination: domain }, size);
      else rest += this.#keepLarge(large, [domain, size]);
    }
    for (const [destination, size] of large) gauge.set({ destination }, size);
    gauge.set({ destination: OTHER }, rest);
  }

  /** Keep the MOST_SHOWN largest, the smallest first; the size of the one that is left out. */
  #keepLarge(large: (readonly [string, number])[], one: readonly [string, number]): number {
    if (large.length >= MOST_SHOWN && one[1] <= (large[0]?.[1] ?? 0)) return one[1];
    const place = large.findIndex(([, size]) => size >= one[1]);
    large.splice(place < 0 ? large.length : place, 0, one);
    return large.length > MOST_SHOWN ? (large.shift()?.[1] ?? 0) : 0;
  }

  #scoreOf(domain: string, nowMs: number): number {
    const known = this.#known.peek(domain);
    return known ? known.score * 2 ** (-(nowMs - known.atMs) / HALF_LIFE_MS) : 0;
  }

  #stays(domain: string): number {
    return this.#shown.has(domain) ? STAYS : 1;
  }

  #begin(destination: string): void {
    for (const result of DESTINATION_RESULTS) {
      this.#metrics.destinationRecipients.inc({ destination, result }, 0);
    }
  }

  #end(destination: string): void {
    for (const result of DESTINATION_RESULTS) {
      this.#metrics.destinationRecipients.remove({ destination, result });
    }
  }
}
