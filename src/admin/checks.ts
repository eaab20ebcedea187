/**
 * Examinations of domains (`stsrelay check`) that are asked of the running relay: few at a time, each with a
 * deadline, the last ones kept for a while so that whoever asked can come back for the answer. Which
 * domain was examined, and for whom, is in the audit log; nothing else is kept on disk.
 */
import { LRUCache } from 'lru-cache';
import type { Examination } from '../check/types.ts';
import type { Clock } from '../platform/clock.ts';
import type { DomainName } from '../protocol/domain.ts';
import type { AuditLog } from './audit.ts';

/** A check without what it found. */
export interface CheckSummary {
  readonly domain: DomainName;
  /** `failed`: no answer came about, and `error` says why. What is wrong with the domain is an answer. */
  readonly state: 'running' | 'done' | 'failed';
  /** MX hosts are connected to. */
  readonly connect: boolean;
  /** RFC 3339, UTC. */
  readonly startedAt: string;
  readonly finishedAt?: string;
  /** While it runs: what is being looked at. */
  readonly step?: string;
  readonly error?: string;
  /** Of one that is done. */
  readonly ok?: boolean;
}

export interface CheckView extends CheckSummary {
  /** As `stsrelay check --json` prints it. */
  readonly result?: Examination;
}

export interface CheckWish {
  readonly domain: DomainName;
  readonly connect: boolean;
}

export type Started =
  | { readonly ok: true; readonly check: CheckView }
  | { readonly ok: false; readonly status: 409 | 503; readonly error: string };

export interface CheckAdmin {
  /**
   * Begin one; where the same one runs already, that is the answer. Rejects with the system's error when
   * the audit log does not take it.
   */
  start(wish: CheckWish, actor: string): Promise<Started>;
  /** The last one of a domain; undefined: none, or too long ago. */
  show(domain: DomainName): CheckView | undefined;
  /** The latest first. */
  list(): readonly CheckSummary[];
}

export interface CheckParts {
  readonly audit: Pick<AuditLog, 'note'>;
  readonly clock: Clock;
  /** Ends in a minute or so; rejects with words when there is no answer. */
  readonly examine: (
    wish: CheckWish,
    order: { readonly onStep: (step: string) => void; readonly signal: AbortSignal },
  ) => Promise<Examination>;
}

interface Running {
  check: CheckView;
  readonly end: Promise<void>;
}

const MOST_AT_ONCE = 2;
const MOST_KEPT = 20;
const KEPT_MS = 60 * 60_000;

export class Checks implements CheckAdmin {
  readonly #parts: CheckParts;
  readonly #kept = new LRUCache<DomainName, CheckView>({ max: MOST_KEPT });
  /** Beside those that are kept: one that takes long is not forgotten for twenty short ones. */
  readonly #running = new Map<DomainName, Running>();
  readonly #ending = new AbortController();

  constructor(parts: CheckParts) {
    this.#parts = parts;
  }

  async start(wish: CheckWish, actor: string): Promise<Started> {
    const { domain, connect } = wish;
    const now = this.#running.get(domain)?.check;
    if (now) {
      if (now.connect === connect) return { ok: true, check: now };
      const error = `a check of ${domain} of the other kind is under way: wait for its end`;
      return { ok: false, status: 409, error };
    }
    if (this.#ending.signal.aborted) return { ok: false, status: 503, error: 'the relay stops' };
    if (this.#running.size >= MOST_AT_ONCE) {
      const names = [...this.#running.keys()].join(' and ');
      const error = `${names} are being checked, which is as many as may be at once: try again in a minute`;
      return { ok: false, status: 503, error };
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    const begun = { domain, connect, startedAt: this.#now(), state: 'running' as const };
    const running: Running = { check: begun, end: promise };
    this.#running.set(domain, running);
    try {
      const facts = connect ? {} : { facts: { connect } };
      await this.#parts.audit.note({ actor, action: 'domain.check', target: domain, ...facts });
    } catch (error) {
      this.#running.delete(domain);
      resolve();
      throw error;
    }
    void this.#run(wish, running).then((made) => {
      this.#kept.set(domain, made);
      this.#running.delete(domain);
      resolve();
    });
    return { ok: true, check: begun };
  }

  show(domain: DomainName): CheckView | undefined {
    const running = this.#running.get(domain);
    if (running) return running.check;
    const kept = this.#kept.peek(domain);
    return kept && this.#isFresh(kept) ? kept : undefined;
  }

  list(): readonly CheckSummary[] {
    const running = [...this.#running.values()].map(({ check }) => check);
    const kept = [...this.#kept.values()].filter(
      (one) => this.#isFresh(one) && !this.#running.has(one.domain),
    );
    return [...running, ...kept]
      .sort((a, b) => (a.startedAt < b.startedAt ? 1 : -1))
      .map(({ result, ...summary }) => (result ? { ...summary, ok: result.ok } : summary));
  }

  /** End those under way. */
  async close(): Promise<void> {
    this.#ending.abort();
    await Promise.all([...this.#running.values()].map(({ end }) => end));
  }

  /** What became of it. Never rejects. */
  async #run(wish: CheckWish, running: Running): Promise<CheckView> {
    const begun = running.check;
    const { signal } = this.#ending;
    const onStep = (step: string) => {
      running.check = { ...begun, step };
    };
    try {
      const result = await this.#parts.examine(wish, { onStep, signal });
      return { ...begun, state: 'done', finishedAt: this.#now(), ok: result.ok, result };
    } catch (failure) {
      const error = failure instanceof Error ? failure.message : String(failure);
      return { ...begun, state: 'failed', finishedAt: this.#now(), error };
    }
  }

  #isFresh({ startedAt }: CheckView): boolean {
    return Date.parse(startedAt) > this.#parts.clock.now() - KEPT_MS;
  }

  #now(): string {
    return new Date(this.#parts.clock.now()).toISOString();
  }
}
