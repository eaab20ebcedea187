/**
 * Watches over the sites: what attempts show of their hosts. A site
 * whose hosts are away is closed by its breaker: its mail waits in its lanes, without a job, an
 * attempt or a connection each, until a probe gets through. Whatever reaches the end of its lifetime
 * there is given its answer all the same.
 */
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
  /** Whether a delivery's lifetime is over, as far as can be told without reading it. */
  readonly isExpired: (delivery: Delivery) => boolean;
  /** See to one whose lifetime is over; it was claimed. `reason`: what keeps it from being attempted. */
  readonly expire: (delivery: Delivery, reason: string) => void;
}

export class SiteWatch {
  readonly #parts: SiteWatchParts;
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
    const { probeAtMs } = breaker;
    if (probeAtMs === undefined || this.#isStopped) return;
    site.cancelProbe?.();
    site.cancelProbe = clock.after(probeAtMs - clock.now(), () => this.#probe(site));
  }

  /** One delivery of the site is attempted; those whose time is over get their answer. */
  #probe(site: Site): void {
    if (this.#isStopped) return;
    const reason = `${site.key} does not answer, last: ${site.lastFailure}`;
    for (const lane of [...site.lanes]) this.expireOf(lane, reason);
    for (const lane of [...site.lanes]) {
      if (site.turns > 0) return;
      // The next probe is another lane's.
      site.lanes.delete(lane);
      site.lanes.add(lane);
      this.#parts.supply(lane);
    }
  }

  /** Give an answer to what has reached the end of its lifetime in a lane that is not attempted, and why. */
  expireOf(lane: Lane, reason: string): void {
    const { ledger, clock, isExpired, expire } = this.#parts;
    lane.waiting.fallDue(clock.now());
    for (const delivery of ledger.claimWhere(lane, isExpired)) expire(delivery, reason);
  }

  /** How many sites are closed, for the metrics. */
  counts(): { readonly open: number; readonly halfOpen: number } {
    const now = this.#parts.clock.now();
    let [open, halfOpen] = [0, 0];
    for (const { breaker } of this.#parts.sites) {
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
