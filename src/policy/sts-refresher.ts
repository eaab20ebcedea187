/**
 * Keeps the policies that are in use fresh (RFC 8461 §3.3, §10.2): each is fetched anew before it
 * expires, at a time nobody can foresee, so that no attacker can wait for it; one that no mail asked
 * for in a long time is forgotten. Also the index of what is kept.
 *
 * One of these runs per node. Before it fetches, it takes over what another node fetched.
 */
import type { Clock } from '../platform/clock.ts';
import { withDeadline } from '../platform/deadline.ts';
import type { DomainName } from '../protocol/domain.ts';
import type { StsMode } from '../protocol/mta-sts/policy.ts';
import type { PolicyEvents } from '../telemetry/policy-events.ts';
import { expiresAtMs, type StsEntry } from './sts-entry.ts';
import type { RefreshResult } from './sts-refresh.ts';
import { CLOCK_SKEW_MS } from './sts-shared.ts';
import type { StsStore } from './sts-store.ts';

export interface RefresherSettings {
  readonly enabled: boolean;
  readonly refreshEveryMs: number;
  readonly forgetUnusedAfterMs: number;
  /** Of one fetch. */
  readonly fetchTimeoutMs: number;
}

export interface RefresherParts {
  readonly store: StsStore;
  readonly refresh: (domain: DomainName, signal: AbortSignal) => Promise<RefreshResult>;
  readonly settings: () => RefresherSettings;
  readonly clock: Clock;
  readonly events: PolicyEvents;
  /** 0 ≤ x < 1. */
  readonly random?: () => number;
}

interface EntryFacts {
  readonly mode: StsMode | undefined;
  readonly fetchedAtMs: number;
  readonly expiresAtMs: number;
  readonly lastUsedMs: number;
  /** The last refresh failed. */
  readonly isFailing: boolean;
}

/** What is known about one policy without reading it. */
interface Indexed extends EntryFacts {
  readonly dueMs: number;
  /** The refreshEvery that `dueMs` was chosen for. */
  readonly everyMs: number;
}

/** Each waits for the most part; strangers' policy hosts may be as slow as they like. */
const MOST_AT_ONCE = 32;
/** DNS and the fetch have deadlines of their own; the one over all leaves them so much more. */
const BESIDES_FETCH_MS = 60_000;
/** The longest sleep: settings and clock may change meanwhile. */
const LOOK_MS = 60_000;
const SHORTEST_LOOK_MS = 1000;
/** After a failure; RFC 8461 §3.3 has five minutes as the least. */
const AGAIN_MS = 30 * 60_000;
const SOONEST_AGAIN_MS = 5 * 60_000;
/** What fell due while the relay was away is spread over this. */
const CATCH_UP_MS = 10 * 60_000;
/** A policy that lives for minutes is not fetched every few for months after one message. */
const SHORT_INTERVAL_MS = 3_600_000;
const MOST_UNUSED_REFRESHES = 100;
/** How long something must have looked forgotten before it is: a clock may jump. */
const FORGET_PATIENCE_MS = 3_600_000;

export class StsRefresher {
  /** Settled when everything on disk is in the index. */
  readonly ready: Promise<void>;
  readonly #isReady = Promise.withResolvers<void>();
  readonly #parts: RefresherParts;
  readonly #index = new Map<DomainName, Indexed>();
  readonly #running = new Set<DomainName>();
  /** Since when it has looked as if nobody wanted it any more. */
  readonly #unwanted = new Map<DomainName, number>();
  readonly #ending = new AbortController();
  readonly #work = new Set<Promise<void>>();
  #cancel: (() => void) | undefined;
  #nextLookMs = Infinity;

  constructor(parts: RefresherParts) {
    this.#parts = parts;
    this.ready = this.#isReady.promise;
    parts.store.watch((domain, entry) => this.#enter(domain, entry));
  }

  /** Read what is kept, then begin; in the background. */
  start(): void {
    this.#track(
      this.#readAll().then(() => {
        this.#isReady.resolve();
        this.#look();
      }),
    );
  }

  /** Of everything that is kept, in no order. */
  domains(): DomainName[] {
    return [...this.#index.keys()];
  }

  /** Settled when what is under way now is done. */
  async idle(): Promise<void> {
    await Promise.all(this.#work);
  }

  #track(work: Promise<void>): void {
    this.#work.add(work);
    void work.finally(() => this.#work.delete(work));
  }

  async stop(): Promise<void> {
    this.#ending.abort(new Error('the relay is stopping'));
    this.#cancel?.();
    await this.idle();
  }

  /** When `domain` is refreshed next, unless mail does it before. */
  nextRefreshMs(domain: DomainName): number | undefined {
    return this.#index.get(domain)?.dueMs;
  }

  /** How long the refresh that waits longest is overdue, in seconds. */
  overdueSeconds(): number {
    const now = this.#parts.clock.now();
    if (!this.#parts.settings().enabled) return 0;
    let earliest = now;
    for (const indexed of this.#index.values()) {
      if (this.#isRefreshed(indexed, now)) earliest = Math.min(earliest, indexed.dueMs);
    }
    return (now - earliest) / 1000;
  }

  /** Policies in force, by mode. */
  counts(): Record<StsMode, number> {
    const now = this.#parts.clock.now();
    const counts = { enforce: 0, testing: 0, none: 0 };
    for (const { mode, expiresAtMs: end } of this.#index.values()) {
      if (mode && now < end) counts[mode]++;
    }
    return counts;
  }

  /** Policies in force whose last refresh failed, by mode; and when the first of mode enforce expires. */
  failing(): {
    readonly counts: Record<StsMode, number>;
    readonly expiresAtMs: number | undefined;
  } {
    const now = this.#parts.clock.now();
    const counts = { enforce: 0, testing: 0, none: 0 };
    let first: number | undefined;
    for (const { mode, isFailing, expiresAtMs: end } of this.#index.values()) {
      if (!mode || !isFailing || now >= end) continue;
      counts[mode]++;
      if (mode === 'enforce') first = Math.min(first ?? end, end);
    }
    return { counts, expiresAtMs: first };
  }

  async #readAll(): Promise<void> {
    try {
      for await (const entry of this.#parts.store.all()) {
        if (this.#ending.signal.aborted) return;
        // What changed meanwhile is newer than what was read.
        if (!this.#index.has(entry.domain)) this.#enter(entry.domain, entry);
      }
    } catch (error) {
      this.#parts.events.cacheError('disk', error as Error);
    }
  }

  #enter(domain: DomainName, entry: StsEntry | undefined): void {
    if (!entry) {
      this.#index.delete(domain);
      this.#unwanted.delete(domain);
      return;
    }
    const facts = factsOf(entry);
    const { fetchedAtMs, expiresAtMs: end } = facts;
    const before = this.#index.get(domain);
    const everyMs = this.#parts.settings().refreshEveryMs;
    const isSame = before?.fetchedAtMs === fetchedAtMs && before.everyMs === everyMs;
    const dueMs = isSame ? before.dueMs : facts.mode ? this.#firstDue(end, fetchedAtMs) : Infinity;
    this.#index.set(domain, { ...facts, dueMs, everyMs });
    this.#wakeBy(dueMs);
  }

  /** At a random time of the second half of the interval, which ends well before the policy does. */
  #firstDue(endMs: number, fetchedAtMs: number): number {
    const { clock, random = Math.random } = this.#parts;
    const interval = this.#interval(endMs, fetchedAtMs);
    const due = Math.round(fetchedAtMs + interval * (0.5 + random() / 2));
    const now = clock.now();
    // A policy from the future was fetched while the clock was wrong.
    if (due > now && fetchedAtMs <= now + CLOCK_SKEW_MS) return due;
    return now + Math.round(Math.min(CATCH_UP_MS, Math.max(0, endMs - now) / 2) * random());
  }

  #interval(endMs: number, fetchedAtMs: number): number {
    return Math.min(this.#parts.settings().refreshEveryMs, (endMs - fetchedAtMs) / 2);
  }

  /** One look at everything: forget, refresh what is due, sleep until the next is. */
  #look(): void {
    if (this.#ending.signal.aborted) return;
    const now = this.#parts.clock.now();
    const { enabled, refreshEveryMs } = this.#parts.settings();
    let next = now + LOOK_MS;
    const due: (readonly [dueMs: number, domain: DomainName])[] = [];
    for (const [domain, indexed] of this.#index) {
      if (this.#isUnwanted(domain, indexed, now)) this.#forget(domain);
      else if (enabled && this.#isRefreshed(indexed, now)) {
        const dueMs = this.#dueOf(domain, indexed, refreshEveryMs);
        if (dueMs <= now) due.push([dueMs, domain]);
        else next = Math.min(next, dueMs);
      }
    }
    // Who waits longest comes first: however often others are due, each gets its turn.
    due.sort(([one], [other]) => one - other);
    for (const [, domain] of due) this.#begin(domain);
    this.#sleepUntil(Math.max(next, now + SHORTEST_LOOK_MS));
  }

  /** Chosen anew when refreshEvery has changed. */
  #dueOf(domain: DomainName, indexed: Indexed, everyMs: number): number {
    if (indexed.everyMs === everyMs) return indexed.dueMs;
    const dueMs = this.#firstDue(indexed.expiresAtMs, indexed.fetchedAtMs);
    this.#index.set(domain, { ...indexed, dueMs, everyMs });
    return dueMs;
  }

  /** In force, and in use. */
  #isRefreshed({ lastUsedMs, expiresAtMs: end, fetchedAtMs }: Indexed, now: number): boolean {
    const { forgetUnusedAfterMs } = this.#parts.settings();
    const interval = (end - fetchedAtMs) / 2;
    const isShort = interval < SHORT_INTERVAL_MS;
    const patience = isShort ? MOST_UNUSED_REFRESHES * interval : forgetUnusedAfterMs;
    return now < end && now - lastUsedMs < Math.min(patience, forgetUnusedAfterMs);
  }

  /**
   * Nobody asked for it in a long time, and it is over: what is in force is kept (RFC 8461 §3.3). Not
   * at first sight, for a clock that jumps must not take policies with it.
   */
  #isUnwanted(domain: DomainName, indexed: Indexed, now: number): boolean {
    if (!this.#isOver(indexed, now)) {
      this.#unwanted.delete(domain);
      return false;
    }
    const sinceMs = this.#unwanted.get(domain) ?? now;
    this.#unwanted.set(domain, sinceMs);
    return now - sinceMs >= FORGET_PATIENCE_MS;
  }

  #isOver({ lastUsedMs, expiresAtMs: end }: EntryFacts, now: number): boolean {
    return now >= end && now - lastUsedMs >= this.#parts.settings().forgetUnusedAfterMs;
  }

  #forget(domain: DomainName): void {
    const { store, events } = this.#parts;
    // Mail may ask for it before its turn comes.
    const when = (entry: StsEntry) => this.#isOver(factsOf(entry), this.#parts.clock.now());
    const forgetting = store.forget(domain, { shared: false, when }).then(
      (wasThere) => wasThere && events.forgotten(domain, 'unused'),
      (error: Error) => events.cacheError('disk', error),
    );
    this.#unwanted.delete(domain);
    this.#track(forgetting.then(() => {}));
  }

  #begin(domain: DomainName): void {
    if (this.#running.size >= MOST_AT_ONCE || this.#running.has(domain)) return;
    this.#running.add(domain);
    const done = () => {
      this.#running.delete(domain);
      this.#wakeBy(this.#parts.clock.now());
    };
    this.#track(this.#refresh(domain).finally(done));
  }

  async #refresh(domain: DomainName): Promise<void> {
    const { refresh, clock, events, settings } = this.#parts;
    const limits = { clock, waitMs: settings().fetchTimeoutMs + BESIDES_FETCH_MS };
    try {
      await withDeadline(limits, this.#ending.signal, (signal) => refresh(domain, signal));
    } catch (error) {
      if (!this.#ending.signal.aborted) events.refreshCrashed(domain, error as Error);
    }
    // A fetch that succeeded has entered a new time by itself.
    const indexed = this.#index.get(domain);
    const now = clock.now();
    if (indexed && indexed.dueMs <= now) {
      this.#index.set(domain, { ...indexed, dueMs: now + this.#againIn(indexed) });
    }
  }

  #againIn({ expiresAtMs: end, fetchedAtMs }: Indexed): number {
    const { random = Math.random } = this.#parts;
    const wait = Math.min(AGAIN_MS, this.#interval(end, fetchedAtMs) / 4);
    return Math.max(SOONEST_AGAIN_MS, Math.round(wait * (0.5 + random())));
  }

  #wakeBy(atMs: number): void {
    if (this.#cancel && atMs < this.#nextLookMs) this.#sleepUntil(atMs);
  }

  #sleepUntil(atMs: number): void {
    this.#cancel?.();
    this.#nextLookMs = atMs;
    const delayMs = Math.max(SHORTEST_LOOK_MS / 10, atMs - this.#parts.clock.now());
    this.#cancel = this.#parts.clock.after(delayMs, () => this.#look());
  }
}

function factsOf({ kept, lastUsedMs, changedAtMs, failedRefresh }: StsEntry): EntryFacts {
  return {
    mode: kept?.policy.mode,
    fetchedAtMs: kept?.fetchedAtMs ?? 0,
    expiresAtMs: kept ? expiresAtMs(kept) : 0,
    lastUsedMs: lastUsedMs ?? changedAtMs,
    isFailing: failedRefresh !== undefined,
  };
}
