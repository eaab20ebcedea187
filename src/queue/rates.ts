/**
 * Rates: how many attempts a destination gets in a window of time. One unit is one attempt, taken when the
 * hosts are known and before a connection. When a window is used up its bucket is closed until the end of it: its mail
 * waits in the lanes, without jobs, attempts or a word with Redis; then one timer opens it again.
 *
 * What is closed is this node's own knowledge; the count is everybody's (rate-count.ts). Pure but for
 * that; nothing here is kept over a restart.
 */
import { formatRate, type Rate } from '../config/units.ts';
import type { Clock } from '../platform/clock.ts';
import type { QueueEvents } from '../telemetry/queue-events.ts';
import type { Lane } from './lane.ts';
import type { Ledger } from './ledger.ts';
import { type Bucket, bucketsOf, type RateSettings } from './rate-bucket.ts';
import type { RateCount } from './rate-count.ts';
import type { Site } from './site.ts';

/** What gate and dispatcher ask. */
export interface Limits {
  /** Until when the lane's rate is used up; absolute, ms. Undefined: it is not. */
  closedUntilMs(lane: Lane, nowMs: number): number | undefined;
  /** Whether the rate is used up that destinations without their own share at these hosts. */
  isSharedClosed(site: Site, nowMs: number): boolean;
  /** Whether an attempt may be made, which then counts. */
  take(lane: Lane): boolean | Promise<boolean>;
  /** Mail of the lane waits for its rate. */
  waits(lane: Lane): void;
}

export const NO_RATES: Limits = {
  closedUntilMs: () => undefined,
  isSharedClosed: () => false,
  take: () => true,
  waits: () => {},
};

export interface RatesParts {
  readonly ledger: Ledger;
  readonly settings: () => RateSettings;
  readonly count: RateCount;
  readonly clock: Clock;
  readonly events: Pick<QueueEvents, 'rateReached'>;
  /** See that the lane has what it needs to go on. */
  readonly supply: (lane: Lane) => void;
  /** Give turns to those who wait for the site. */
  readonly goRound: (site: Site) => void;
}

interface Closing {
  readonly bucket: Bucket;
  readonly untilMs: number;
  /** That mail waits for it was told. */
  isTold: boolean;
  /** Ends the wait for its end, or for its being forgotten. */
  cancel: () => void;
}

/**
 * For so long after it was opened mail still counts as waiting for its rate: it may be closed again before most
 * of it had its attempt, and nobody shall be paged for that.
 */
const AFTERWARDS_MS = 60_000;

export class Rates implements Limits {
  readonly #parts: RatesParts;
  readonly #buckets: ReturnType<typeof bucketsOf>;
  /** Closed, or a moment ago. */
  readonly #closings = new Map<string, Closing>();
  #isStopped = false;

  constructor(parts: RatesParts) {
    this.#parts = parts;
    this.#buckets = bucketsOf(parts.settings);
  }

  take(lane: Lane): boolean | Promise<boolean> {
    const bucket = this.#buckets.lane(lane);
    if (!bucket) return true;
    if (this.#isClosed(bucket, this.#parts.clock.now())) return false;
    return this.#take(bucket);
  }

  async #take(bucket: Bucket): Promise<boolean> {
    const { isTaken, left, endsInMs } = await this.#parts.count.take(bucket);
    if (!isTaken || left === 0) this.#close(bucket, endsInMs);
    return isTaken;
  }

  closedUntilMs(lane: Lane, nowMs: number): number | undefined {
    const closing = this.#closingOfLane(lane);
    return closing && leftMs(closing, nowMs) > 0 ? closing.untilMs : undefined;
  }

  /** What the lane's mail waits for, for people: until when, which rate, and whose where it is shared. */
  closedBy(
    lane: Lane,
    nowMs: number,
  ): { readonly untilMs: number; readonly rate: string; readonly site?: string } | undefined {
    const closing = this.#closingOfLane(lane);
    if (!closing || leftMs(closing, nowMs) === 0) return undefined;
    const { untilMs, bucket } = closing;
    const shared = bucket.scope === 'site' ? { site: bucket.name } : {};
    return { untilMs, rate: formatRate(bucket.rate), ...shared };
  }

  isSharedClosed({ key }: Site, nowMs: number): boolean {
    if (this.#closings.size === 0) return false;
    return this.#isClosed(this.#buckets.site(key), nowMs);
  }

  waits(lane: Lane): void {
    const closing = this.#closingOfLane(lane);
    if (!closing || closing.isTold) return;
    closing.isTold = true;
    const { bucket, untilMs } = closing;
    const { scope, name, rate } = bucket;
    this.#parts.events.rateReached(scope, { key: name, rate: formatRate(rate), untilMs });
  }

  /** Whether mail of the lane waits for its rate: it is closed, or was so a moment ago. */
  isHolding(lane: Lane): boolean {
    return this.#closingOfLane(lane) !== undefined;
  }

  /** Lanes whose mail waits for a rate, and what that is. */
  *holding(): Generator<{ readonly lane: Lane; readonly reason: string }> {
    for (const { bucket } of [...this.#closings.values()]) {
      for (const lane of this.#lanesOf(bucket)) {
        if (this.#closingOfLane(lane)?.bucket === bucket) {
          yield { lane, reason: describe(lane, bucket) };
        }
      }
    }
  }

  #lanesOf({ scope, name }: Bucket): Iterable<Lane> {
    const { ledger } = this.#parts;
    if (scope === 'site') return [...(ledger.sites.get(name)?.lanes ?? [])];
    const lane = ledger.lane(name);
    return lane ? [lane] : [];
  }

  /** How many destinations and groups of hosts have mail that waits for their rate now. */
  counts(): { readonly domain: number; readonly site: number } {
    const now = this.#parts.clock.now();
    const counts = { domain: 0, site: 0 };
    for (const closing of this.#closings.values()) {
      if (closing.isTold && leftMs(closing, now) > 0) counts[closing.bucket.scope] += 1;
    }
    return counts;
  }

  /** Nothing is opened any more. */
  stop(): void {
    this.#isStopped = true;
    for (const { cancel } of this.#closings.values()) cancel();
    this.#closings.clear();
  }

  #closingOfLane(lane: Lane): Closing | undefined {
    return this.#closings.size === 0 ? undefined : this.#closingOf(this.#buckets.lane(lane));
  }

  /** Of the rate as it is set now: more attempts, or other windows, are another matter. */
  #closingOf(bucket: Bucket | undefined): Closing | undefined {
    if (!bucket) return undefined;
    const closing = this.#closings.get(keyOf(bucket));
    return closing && isAtMost(bucket.rate, closing.bucket.rate) ? closing : undefined;
  }

  #isClosed(bucket: Bucket | undefined, nowMs: number): boolean {
    const closing = this.#closingOf(bucket);
    return closing !== undefined && leftMs(closing, nowMs) > 0;
  }

  #close(bucket: Bucket, endsInMs: number): void {
    const now = this.#parts.clock.now();
    if (this.#isStopped || this.#isClosed(bucket, now)) return;
    const lastsMs = Math.min(Math.max(endsInMs, 1), bucket.rate.perMs);
    const key = keyOf(bucket);
    this.#closings.get(key)?.cancel();
    const closing = { bucket, untilMs: now + lastsMs, isTold: false, cancel: () => {} };
    this.#closings.set(key, closing);
    this.#awaitEnd(closing);
  }

  #awaitEnd(closing: Closing): void {
    const { clock } = this.#parts;
    closing.cancel = clock.after(closing.untilMs - clock.now(), () => this.#end(closing));
  }

  #end(closing: Closing): void {
    const { clock, ledger, supply, goRound } = this.#parts;
    if (leftMs(closing, clock.now()) > 0) {
      this.#awaitEnd(closing); // the timer was a little early, or the clock set back
      return;
    }
    const { bucket } = closing;
    closing.cancel = clock.after(AFTERWARDS_MS, () => this.#closings.delete(keyOf(bucket)));
    if (bucket.scope === 'domain') {
      const lane = ledger.lane(bucket.name);
      if (lane) supply(lane);
    } else {
      const site = ledger.sites.get(bucket.name);
      if (site) goRound(site);
    }
  }
}

function keyOf({ scope, name }: Bucket): string {
  return `${scope} ${name}`;
}

/** Whether what was used up by the one rate is so by the other. */
function isAtMost(rate: Rate, closed: Rate): boolean {
  return rate.perMs === closed.perMs && rate.count <= closed.count;
}

/** Longer than it can be: the clock was set back. */
function leftMs({ untilMs, bucket }: Closing, nowMs: number): number {
  const left = untilMs - nowMs;
  return left <= bucket.rate.perMs ? Math.max(left, 0) : 0;
}

/** Why the lane's mail waits, for people. */
function describe({ destination }: Lane, { scope, name, rate }: Bucket): string {
  const whose = scope === 'domain' ? 'its rate' : `the rate of its hosts (${name})`;
  return `delivery to ${destination} waits for ${whose}, ${formatRate(rate)}`;
}
