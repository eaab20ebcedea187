/**
 * Watches over the sites: what attempts show of their hosts. A site
 * whose hosts are away is closed by its breaker: its mail waits in its lanes, without a job, an
 * attempt or a connection each, until a probe gets through. Whatever reaches the end of its lifetime
 * there is given its answer all the same.
 */

import type { Destination } from '../mail/route.ts';
import type { Clock } from '../platform/clock.ts';
import type { QueueEvents } from '../telemetry/queue-events.ts';
import type { Delivery, Lane } from './lane.ts';
import type { Ledger } from './ledger.ts';
import type { Site, SiteKey, Sites } from './site.ts';

/** What an attempt showed of the hosts: they spoke, or they are away, and how that was seen. */
export type Heard = 'answered' | { readonly away: string };

export interface SiteWatchParts {
  readonly ledger: Ledger;
  readonly sites: Sites;
  readonly clock: Clock;
  readonly events: Pick<QueueEvents, 'breakerOpened' | 'breakerClosed'>;
  /** See that the lane has what it needs to go on. */
  readonly supply: (lane: Lane) => void;
  /** Whose lifetime is over now of a destination's deliveries, as far as can be told without reading them. */
  readonly expiredOf: (destination: Destination) => (delivery: Delivery) => boolean;
  /** See to one whose lifetime is over; it was claimed. `reason`: what keeps it from being attempted. */
  readonly expire: (delivery: Delivery, reason: string) => void;
}

/** How often the mail of closed sites is looked through for what is over: at most a few ms each 100,000. */
const LOOK_THROUGH_MS = 10_000;

export class SiteWatch {
  readonly #parts: SiteWatchParts;
  #isLooking = false;
  #isStopped = false;

  constructor(parts: SiteWatchParts) {
    this.#parts = parts;
  }

  /** What an attempt showed of the hosts it went to: by now its lane may belong to another site. */
  heard(key: SiteKey, heard: Heard): void {
    const site = this.#parts.sites.get(key);
    if (!site) return;
    if (heard === 'answered') this.#answered(site);
    else this.#away(site, heard.away);
  }

  #answered(site: Site): void {
    const { clock, events, supply } = this.#parts;
    const openedAtMs = site.breaker.openedAtMs ?? 0;
    if (!site.breaker.succeeded()) return;
    site.cancelProbe?.();
    events.breakerClosed(site.key, clock.now() - openedAtMs);
    for (const lane of [...site.lanes]) supply(lane);
  }

  #away(site: Site, failure: string): void {
    const { clock, events } = this.#parts;
    const { breaker } = site;
    site.lastFailure = failure;
    if (breaker.failed(clock.now())) {
      events.breakerOpened(site.key, { failures: breaker.failures, failure });
      for (const end of [...site.resting]) end();
    }
    this.#awaitProbe(site);
    if (breaker.isOpen) this.#lookThroughLater();
  }

  #awaitProbe(site: Site): void {
    const { clock } = this.#parts;
    const { probeAtMs } = site.breaker;
    if (probeAtMs === undefined || this.#isStopped) return;
    site.cancelProbe?.();
    site.cancelProbe = clock.after(probeAtMs - clock.now(), () => this.#probe(site));
  }

  /** One delivery of the site is attempted. */
  #probe(site: Site): void {
    if (this.#isStopped) return;
    if (site.breaker.state(this.#parts.clock.now()) === 'open') {
      this.#awaitProbe(site); // the timer was a little early, or the clock set back
      return;
    }
    for (const lane of [...site.lanes]) {
      if (site.turns > 0) return;
      // The next probe is another lane's.
      site.lanes.delete(lane);
      site.lanes.add(lane);
      this.#parts.supply(lane);
    }
  }

  /** Mail of closed sites gets its answer when its time is over, whatever becomes of probes. */
  #lookThroughLater(): void {
    if (this.#isLooking || this.#isStopped) return;
    this.#isLooking = true;
    this.#parts.clock.after(LOOK_THROUGH_MS, () => {
      this.#isLooking = false;
      if (this.#isStopped) return;
      const closed = [...this.#parts.sites].filter(({ breaker }) => breaker.isOpen);
      for (const { key, lastFailure, lanes } of closed) {
        const reason = `${key} does not answer, last: ${lastFailure}`;
        for (const lane of [...lanes]) this.expireOf(lane, reason);
      }
      if (closed.length > 0) this.#lookThroughLater();
    });
  }

  /** Give an answer to what has reached the end of its lifetime in a lane that is not attempted, and why. */
  expireOf(lane: Lane, reason: string): void {
    const { ledger, clock, expiredOf, expire } = this.#parts;
    lane.waiting.fallDue(clock.now());
    const expired = ledger.claimWhere(lane, expiredOf(lane.destination));
    for (const delivery of expired) expire(delivery, reason);
  }

  /** How many sites with mail are closed, for the metrics. */
  counts(): { readonly open: number; readonly halfOpen: number } {
    const now = this.#parts.clock.now();
    let [open, halfOpen] = [0, 0];
    for (const { breaker, lanes } of this.#parts.sites) {
      if (lanes.size === 0) continue;
      const state = breaker.state(now);
      if (state === 'open') open += 1;
      else if (state === 'half-open') halfOpen += 1;
    }
    return { open, halfOpen };
  }

  stop(): void {
    this.#isStopped = true;
    for (const site of this.#parts.sites) site.cancelProbe?.();
  }
}
