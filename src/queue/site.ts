/**
 * A site: destinations whose mail goes to the same hosts. They share the limit of connections and
 * the breaker, since it is the hosts that suffer, or are away; the TLS policy is each one's own.
 *
 * Which site a destination belongs to is known after its first route; until then, and where there
 * is no route, it is a site of its own.
 */
import { LRUCache } from 'lru-cache';
import type { Destination } from '../mail/route.ts';
import { Breaker, type BreakerSettings } from './breaker.ts';
import type { Lane } from './lane.ts';

/** Names of hosts, for people and for equality. */
export type SiteKey = string;

export class Site {
  readonly key: SiteKey;
  readonly breaker: Breaker;
  /** Those that have mail. */
  readonly lanes = new Set<Lane>();
  /** Turns at its hosts, asked or taken; changed by the gate. */
  turns = 0;
  /** Lanes that want a turn and may not have one for the site's sake, the first refused first. */
  readonly refused = new Set<Lane>();
  /** Lanes with mail that may have no turn before the end of a window of the rate they share, the first first. */
  readonly held = new Set<Lane>();
  /** Turns that wait a moment for the next delivery: called, they end. */
  readonly resting = new Set<() => void>();
  /** Ends the wait for its next probe. */
  cancelProbe: (() => void) | undefined;
  /** What the last failure was, for people. */
  lastFailure = '';

  constructor(key: SiteKey, breaker: Breaker) {
    this.key = key;
    this.breaker = breaker;
  }

  /** Nothing would be lost with it. */
  get isIdle(): boolean {
    return this.lanes.size === 0 && this.turns === 0 && this.breaker.failures === 0;
  }
}

/** Destinations whose site is remembered, with mail or without. */
const MOST_KNOWN = 100_000;
/** Sites that are remembered for their failures, though they have no mail. */
const MOST_WITHOUT_MAIL = 10_000;

export class Sites {
  readonly #sites = new Map<SiteKey, Site>();
  /** Those of them without mail, remembered for their failures; the longest without it first. */
  readonly #withoutMail = new Set<Site>();
  readonly #keys = new LRUCache<Destination, SiteKey>({ max: MOST_KNOWN });
  readonly #settings: () => BreakerSettings;
  #onOpened: (site: Site) => void = () => {};

  constructor(settings: () => BreakerSettings) {
    this.#settings = settings;
  }

  /** Told about every site when it comes to be, and has mail in a moment. */
  watch(onOpened: (site: Site) => void): void {
    this.#onOpened = onOpened;
  }

  /** The site of a destination that gets a lane now; to be entered. */
  of(destination: Destination): Site {
    const key = this.#keys.get(destination) ?? `domain ${destination}`;
    return this.#sites.get(key) ?? this.#open(key);
  }

  enter(lane: Lane): void {
    this.#withoutMail.delete(lane.site);
    lane.site.lanes.add(lane);
  }

  get(key: SiteKey): Site | undefined {
    return this.#sites.get(key);
  }

  /** The lane's mail goes to these hosts. */
  move(lane: Lane, key: SiteKey): void {
    this.#keys.set(lane.destination, key);
    if (lane.site.key === key) return;
    this.leave(lane);
    lane.site = this.#sites.get(key) ?? this.#open(key);
    this.enter(lane);
  }

  /** The lane has no mail any more. */
  leave(lane: Lane): void {
    const { site } = lane;
    site.lanes.delete(lane);
    site.refused.delete(lane);
    site.held.delete(lane);
    if (site.lanes.size > 0) return;
    this.#withoutMail.add(site);
    const [longest] = this.#withoutMail;
    if (site.isIdle) this.#forget(site);
    else if (longest && this.#withoutMail.size > MOST_WITHOUT_MAIL) this.#forget(longest);
  }

  /** One of its turns has ended. */
  dropIfIdle(site: Site): void {
    if (site.isIdle && this.#sites.get(site.key) === site) this.#forget(site);
  }

  #open(key: SiteKey): Site {
    const site = new Site(key, new Breaker(this.#settings));
    this.#sites.set(key, site);
    this.#onOpened(site);
    return site;
  }

  #forget(site: Site): void {
    site.cancelProbe?.();
    this.#sites.delete(site.key);
    this.#withoutMail.delete(site);
  }

  [Symbol.iterator](): IterableIterator<Site> {
    return this.#sites.values();
  }
}
