/**
 * What was counted on a day, by this node and by all of them. Of days that are over it is kept for a while:
 * it does not change any more, and one report after the other is made of it.
 */
import { LRUCache } from 'lru-cache';
import type { Clock } from '../platform/clock.ts';
import { type Collector, utcDay } from './collect.ts';
import { DayTally } from './day-tally.ts';
import type { SharedReports } from './shared-reports.ts';

export interface DayCountsParts {
  readonly collector: Pick<Collector, 'days' | 'tallyOf'>;
  readonly shared: SharedReports | undefined;
  /** The name of this node. */
  readonly node: string;
  readonly clock: Clock;
}

const KEEP_MS = 600_000;

export class DayCounts {
  readonly #parts: DayCountsParts;
  readonly #ended = new LRUCache<string, { readonly atMs: number; readonly tally: DayTally }>({
    max: 2,
  });

  constructor(parts: DayCountsParts) {
    this.#parts = parts;
  }

  /** The days that this node counted something on, the latest first. Rejects with the system's error. */
  days(): Promise<readonly string[]> {
    return this.#parts.collector.days();
  }

  /** What this node counted. Rejects with the system's error. */
  async tallyOf(day: string): Promise<DayTally> {
    const { collector, clock } = this.#parts;
    const known = this.#ended.get(day);
    if (known && clock.now() < known.atMs + KEEP_MS) return known.tally;
    const tally = await collector.tallyOf(day);
    if (day < utcDay(clock.now())) this.#ended.set(day, { atMs: clock.now(), tally });
    return tally;
  }

  /** What all nodes counted; this one alone while Redis is away. Rejects with the system's error. */
  async ofAll(day: string): Promise<DayTally> {
    const all = new DayTally();
    all.addAll(await this.tallyOf(day));
    const others = await this.#parts.shared?.tallyOf(day).catch(() => undefined);
    if (others) all.addAll(others);
    return all;
  }

  /** What all nodes counted for a domain, and which did. Rejects also while Redis is away. */
  async ofDomain(day: string, domain: string) {
    const { shared, node } = this.#parts;
    const all = new DayTally();
    const nodes: string[] = [];
    for (const counts of (await this.tallyOf(day)).countsOf(domain)) {
      all.add({ domain, ...counts });
      if (nodes.length === 0) nodes.push(node);
    }
    for (const [name, tally] of (await shared?.countsOf(day, domain)) ?? []) {
      all.addAll(tally);
      nodes.push(name);
    }
    return { counts: all.countsOf(domain), nodes };
  }
}
