/**
 * Watches over the sites: what attempts show of their hosts. A site
 * whose hosts are away is closed by its breaker: its mail waits in its lanes, without a job, an
 * attempt or a connection each, until a probe gets through. Whatever reaches the end of its lifetime
 * there is given its answer all the same.
 *
 * All nodes on one Redis share the breakers (shared-breakers.ts): what one has opened is open for all, one of them makes the
 * next probe, and what that shows holds for all. A node that had an answer from the hosts a moment ago believes itself
 * more than the others: where one node's network is broken, the others go on.
 */

import { LRUCache } from 'lru-cache';
import type { Destination } from '../mail/route.ts';
import type { Clock } from '../platform/clock.ts';
import type { QueueEvents } from '../telemetry/queue-events.ts';
import type { Delivery, Lane } from './lane.ts';
import type { Ledger } from './ledger.ts';
import { NO_SHARED_BREAKERS, type SharedBreakers, type SiteNews } from './shared-breakers.ts';
import type { Site, SiteKey, Sites } from './site.ts';

/** What an attempt showed of the hosts: they spoke, or they are away, and how that was seen. */
export type Heard = 'answered' | { readonly away: string };

export interface SiteWatchParts {
  readonly ledger: Ledger;
  readonly sites: Sites;
  readonly clock: Clock;
  readonly events: Pick<QueueEvents, 'breakerOpened' | 'breakerClosed'>;
  /** What other nodes know; absent: there are none. */
  readonly shared?: SharedBreakers | undefined;
  /** See that the lane has what it needs to go on. */
  readonly supply: (lane: Lane) => void;
  /** Whose lifetime is over now of a destination's deliveries, as far as can be told without reading them. */
  readonly expiredOf: (destination: Destination) => (delivery: Delivery) => boolean;
  /** See to one whose lifetime is over; it was claimed. `reason`: what keeps it from being attempted. */
  readonly expire: (delivery: Delivery, reason: string) => void;
}

/** How often the mail of closed sites is looked through for what is over: at most a few ms each 100,000. */
const LOOK_THROUGH_MS = 10_000;

/** Sites whose last answer is remembered. */
const MOST_ANSWERED = 10_000;
/** So long before a probe it is settled which node makes it. */
const CLAIM_AHEAD_MS = 200;
/** The node that made the last one leaves that much of `probeEvery` to the others. */
const YIELD_SHARE = 0.1;
const MOST_YIELD_MS = 2000;

export class SiteWatch {
  readonly #parts: SiteWatchParts;
  readonly #shared: SharedBreakers;
  /** When hosts last spoke with this node; kept only where there are others. */
  readonly #answeredAtMs = new LRUCache<SiteKey, number>({ max: MOST_ANSWERED });
  #isLooking = false;
  #isStopped = false;

  constructor(parts: SiteWatchParts) {
    this.#parts = parts;
    this.#shared = parts.shared ?? NO_SHARED_BREAKERS;
    if (!parts.shared) return;
    parts.shared.watch((key, news) => this.#heardElsewhere(key, news));
    parts.sites.watch((site) => {
      const news = this.#shared.of(site.key);
      if (news?.kind === 'away') this.#awayElsewhere(site, news);
    });
  }

  /** What an attempt showed of the hosts it went to: by now its lane may belong to another site. */
  heard(key: SiteKey, heard: Heard): void {
    const site = this.#parts.sites.get(key);
    if (!site) return;
    if (heard === 'answered') this.#answered(site);
    else this.#away(site, heard.away);
  }

  #answered(site: Site): void {
    const { clock, shared } = this.#parts;
    const openedAtMs = site.breaker.openedAtMs ?? 0;
    if (shared) this.#answeredAtMs.set(site.key, clock.now());
    if (this.#shared.of(site.key)?.kind === 'away') this.#shared.answered(site.key);
    if (site.breaker.succeeded()) this.#closed(site, { openedAtMs });
  }

  #closed(site: Site, { openedAtMs, node }: { openedAtMs: number; node?: string }): void {
    const { clock, events, supply } = this.#parts;
    site.cancelProbe?.();
    events.breakerClosed(site.key, clock.now() - openedAtMs, node);
    for (const lane of [...site.lanes]) supply(lane);
  }

  #heardElsewhere(key: SiteKey, news: SiteNews): void {
    const site = this.#parts.sites.get(key);
    if (!site || this.#isStopped) return;
    const openedAtMs = site.breaker.openedAtMs ?? 0;
    if (news.kind === 'away') this.#awayElsewhere(site, news);
    else if (site.breaker.answeredElsewhere(this.#parts.clock.now())) {
      this.#closed(site, { openedAtMs, node: news.node });
    } else if (site.breaker.isOpen) this.#probe(site);
  }

  #awayElsewhere(site: Site, news: SiteNews & { readonly kind: 'away' }): void {
    const { clock, events } = this.#parts;
    const { breaker, key } = site;
    const now = clock.now();
    const answeredAgoMs = now - (this.#answeredAtMs.get(key) ?? -Infinity);
    if (!breaker.isOpen && answeredAgoMs < breaker.probeEveryMs) return;
    const { node, failures, failure, openedAtMs } = news;
    const probeAtMs = Math.min(news.probeAtMs, now + breaker.probeEveryMs);
    site.lastFailure = failure;
    if (breaker.openedElsewhere(Math.min(openedAtMs, now), probeAtMs)) {
      events.breakerOpened(key, { failures, failure, node });
      for (const end of [...site.resting]) end();
    }
    this.#awaitProbe(site);
    this.#lookThroughLater();
  }

  #away(site: Site, failure: string): void {
    const { clock, events } = this.#parts;
    const { breaker } = site;
    site.lastFailure = failure;
    const before = breaker.probeAtMs;
    if (breaker.failed(clock.now())) {
      events.breakerOpened(site.key, { failures: breaker.failures, failure });
      for (const end of [...site.resting]) end();
    }
    if (breaker.isOpen && breaker.probeAtMs !== before) this.#tellAway(site);
    this.#awaitProbe(site);
    if (breaker.isOpen) this.#lookThroughLater();
  }

  /** All nodes wait for the next probe, which is rather another one's. */
  #tellAway({ key, breaker, lastFailure }: Site): void {
    const { openedAtMs = 0, probeAtMs = 0, failures, probeEveryMs } = breaker;
    if (!this.#parts.shared || breaker.isContradicted) return;
    const facts = { openedAtMs, probeAtMs, failures, failure: lastFailure };
    this.#shared.away(key, facts, probeEveryMs);
    breaker.postpone(probeAtMs + Math.min(YIELD_SHARE * probeEveryMs, MOST_YIELD_MS));
  }

  #awaitProbe(site: Site): void {
    const { clock } = this.#parts;
    const { probeAtMs } = site.breaker;
    if (probeAtMs === undefined || this.#isStopped) return;
    site.cancelProbe?.();
    const waitMs = probeAtMs - clock.now();
    site.cancelProbe = this.#parts.shared
      ? clock.after(Math.max(0, waitMs - CLAIM_AHEAD_MS), () => void this.#claimProbe(site))
      : clock.after(waitMs, () => this.#probe(site));
  }

  /** One node makes the next probe; the others wait for what it shows, or for the end of its claim. */
  async #claimProbe(site: Site): Promise<void> {
    const { clock } = this.#parts;
    const { breaker } = site;
    // Without mail there is nothing to probe with: the next that comes will be it.
    if (this.#isStopped || !breaker.isOpen || site.lanes.size === 0) return;
    if (!breaker.isContradicted) {
      const otherForMs = await this.#shared.claimProbe(site.key, breaker.probeEveryMs);
      if (this.#isStopped || !breaker.isOpen) return;
      if (otherForMs !== undefined) {
        breaker.postpone(clock.now() + Math.max(otherForMs, CLAIM_AHEAD_MS));
        return this.#awaitProbe(site);
      }
    }
    const waitMs = Math.max(0, (breaker.probeAtMs ?? 0) - clock.now());
    site.cancelProbe?.();
    site.cancelProbe = clock.after(waitMs, () => this.#probe(site));
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
