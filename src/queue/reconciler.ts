/**
 * Holds Redis against the ledger: at start, and every few seconds while running, every delivery
 * of the spool has a job, and no job is stuck. This is what makes losing Redis (restart, FLUSHALL,
 * failover) cost time and never mail.
 */
import type { Clock } from '../platform/clock.ts';
import type { QueueEvents } from '../telemetry/queue-events.ts';
import type { JobQueue } from './job-queue.ts';
import type { Ledger, LedgerEntry } from './ledger.ts';

const PERIOD_MS = 2000;
/** A delivery is looked after when it was due this long ago and is not being attempted. */
const OVERDUE_MS = 5000;
/** Looked after per round; the rest waits for the next one. */
const MOST_PER_ROUND = 200;
/** With this many failures a round ends: it is not about single jobs. */
const MOST_FAILURES = 5;

export interface ReconcilerParts {
  readonly ledger: Ledger;
  readonly jobs: JobQueue;
  readonly clock: Clock;
  readonly events: QueueEvents;
  /** Called once, when every delivery has its job: from now on a worker may take them. */
  readonly onEntered: () => void;
}

export class Reconciler {
  readonly #ledger: Ledger;
  readonly #jobs: JobQueue;
  readonly #clock: Clock;
  readonly #events: QueueEvents;
  readonly #onEntered: () => void;
  /** Deliveries whose job could not be added; entered in the next round. */
  readonly #missing = new Set<LedgerEntry>();
  /** Overdue deliveries looked at, ever. */
  #looked = 0;
  #cancel: () => void = () => {};
  #round: Promise<void> = Promise.resolve();
  #state: 'idle' | 'started' | 'stopped' = 'idle';
  /** Everything is entered once by every process, whatever Redis holds. */
  #entered = false;

  constructor(parts: ReconcilerParts) {
    this.#ledger = parts.ledger;
    this.#jobs = parts.jobs;
    this.#clock = parts.clock;
    this.#events = parts.events;
    this.#onEntered = parts.onEntered;
  }

  /** Begin the rounds; the first one at once. */
  start(): void {
    this.#state = 'started';
    this.#tick();
  }

  /** Queue new deliveries now; what Redis does not take is entered later. Never throws. */
  async enter(entries: readonly LedgerEntry[]): Promise<void> {
    try {
      await this.#jobs.add(entries, this.#clock.now());
    } catch (error) {
      for (const entry of entries) this.#missing.add(entry);
      this.#events.redisError('add', error as Error);
    }
  }

  /** Look at once, e.g. because Redis came back. */
  wake(): void {
    if (this.#state !== 'started') return;
    this.#cancel();
    this.#tick();
  }

  async stop(): Promise<void> {
    this.#state = 'stopped';
    this.#cancel();
    await this.#round;
  }

  #tick(): void {
    this.#round = this.#round.then(async () => {
      if (this.#state === 'stopped') return;
      try {
        await this.#reconcile();
      } catch (error) {
        this.#events.redisError('reconcile', error as Error);
      }
      this.#cancel();
      if (this.#state === 'started')
        this.#cancel = this.#clock.after(PERIOD_MS, () => this.#tick());
    });
  }

  async #reconcile(): Promise<void> {
    const now = this.#clock.now();
    if (!this.#entered || !(await this.#jobs.isEntered())) return this.#enterAll(now);
    const missing = [...this.#missing].filter((entry) => this.#ledger.get(entry.key) === entry);
    this.#missing.clear();
    if (missing.length > 0) await this.#reenter(missing, 'not-added');
    await this.#reviveOverdue(now);
  }

  async #reviveOverdue(now: number): Promise<void> {
    const overdue = [...this.#ledger.entries()].filter(
      (entry) => !entry.inFlight && now - entry.nextAttemptMs >= OVERDUE_MS,
    );
    // Another part of them each round: those at the front may all be fine and just wait.
    const start = this.#looked % Math.max(1, overdue.length);
    const order = [...overdue.slice(start), ...overdue.slice(0, start)].slice(0, MOST_PER_ROUND);
    let failures = 0;
    for (const entry of order) {
      if (this.#state === 'stopped' || failures >= MOST_FAILURES) break;
      this.#looked++;
      // Taken or closed while the others were looked at: its job is no longer ours to touch.
      if (entry.inFlight || this.#ledger.get(entry.key) !== entry) continue;
      try {
        const found = await this.#jobs.revive(entry, now);
        if (found !== 'fine') this.#events.requeued(found, 1);
      } catch (error) {
        failures++;
        this.#events.redisError('reconcile', error as Error);
      }
    }
  }

  /** The start, or Redis lost its data: enter every delivery that is not in flight. */
  async #enterAll(now: number): Promise<void> {
    if (!this.#entered) await this.#jobs.takeBackActive();
    const entries = [...this.#ledger.entries()].filter((entry) => !entry.inFlight);
    await this.#jobs.add(entries, now);
    await this.#jobs.markEntered();
    if (this.#state === 'stopped') return;
    for (const entry of entries) this.#missing.delete(entry);
    this.#events.entered(entries.length, this.#entered ? 'redis-emptied' : 'start');
    if (!this.#entered) this.#onEntered();
    this.#entered = true;
  }

  async #reenter(entries: readonly LedgerEntry[], reason: 'not-added'): Promise<void> {
    await this.enter(entries);
    this.#events.requeued(reason, entries.length);
  }
}
