/**
 * Takes deliveries that are due from BullMQ and has each attempted once at a time.
 *
 * BullMQ may hand out a job twice (a lock that expired while the process was stopped, a stalled
 * job) or too early (a job entered anew after Redis lost its data). The ledger knows better: what
 * is in flight or not yet due is put back. A job whose delivery is gone simply ends.
 */
import { DelayedError, type Job, Worker } from 'bullmq';
import type { Clock } from '../platform/clock.ts';
import type { RedisClient } from '../platform/redis.ts';
import type { QueueEvents } from '../telemetry/queue-events.ts';
import type { DeliveryJob, QueueNames } from './job-queue.ts';
import { deliveryKey, type Ledger, type LedgerEntry } from './ledger.ts';

/** When recipients are left after an attempt: the absolute time of the next one. */
export type AttemptEnd =
  | { readonly kind: 'closed' }
  | { readonly kind: 'again'; readonly atMs: number };

export interface WorkerOptions {
  readonly connection: RedisClient;
  readonly names: QueueNames;
  /** Attempts at the same time. */
  readonly concurrency: number;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly events: QueueEvents;
  /** Make one attempt. Must not throw for anything that is the mail's or the network's fault. */
  readonly attempt: (entry: LedgerEntry) => Promise<AttemptEnd>;
  /** The job could not be put back: have its delivery entered anew. */
  readonly reenter: (entry: LedgerEntry) => void;
}

/** Woken this much too early, an attempt is made all the same. */
const EARLY_MS = 500;
/**
 * After an attempt that threw. It may have come as far as the final dot, so one that throws each
 * time must not fill the recipient's mailbox.
 */
const AFTER_CRASH_MS = 5 * 60_000;
/** A second job of a delivery in flight looks again after this long. */
const LOOK_AGAIN_MS = 10_000;

export class DeliveryWorker {
  readonly #options: WorkerOptions;
  readonly #worker: Worker<DeliveryJob>;
  readonly #running = new Set<Promise<unknown>>();

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.#worker = new Worker<DeliveryJob>(
      options.names.name,
      (job, token) => this.#track(this.#process(job, token)),
      {
        connection: options.connection,
        prefix: options.names.prefix,
        skipVersionCheck: true, // it would print to stderr
        concurrency: options.concurrency,
        maxStalledCount: 1_000_000, // a stalled job is rescheduled, never failed
        runRetryDelay: 1000,
        removeOnComplete: { count: 0 },
        removeOnFail: { count: 0 },
      },
    );
    this.#worker.on('error', (error) => options.events.redisError('worker', error));
    this.#worker.on('stalled', (jobId) => options.events.stalled(jobId));
  }

  /** Take no more jobs and wait, at most `graceMs`, for the attempts under way. */
  async drain(graceMs: number): Promise<void> {
    await atMost(graceMs, [this.#worker.pause(true), ...this.#running]);
  }

  /** Let go of the connection; attempts that still run have `graceMs` to put their jobs back. */
  async close(graceMs: number): Promise<void> {
    await atMost(graceMs, [...this.#running]);
    await atMost(graceMs, [this.#worker.close(true)]);
  }

  #track<T>(work: Promise<T>): Promise<T> {
    this.#running.add(work);
    const done = () => this.#running.delete(work);
    work.then(done, done);
    return work;
  }

  async #process(job: Job<DeliveryJob>, token: string | undefined): Promise<void> {
    const { ledger, clock } = this.#options;
    const key = deliveryKey(job.data.id, job.data.destination);
    const known = ledger.get(key);
    if (!known) return;
    const now = clock.now();
    if (known.inFlight) return this.#putBack(job, token, now + LOOK_AGAIN_MS);
    if (known.nextAttemptMs > now + EARLY_MS) return this.#putBack(job, token, known.nextAttemptMs);
    const entry = ledger.claim(key);
    if (!entry) return;
    const end = await this.#attempt(entry);
    if (end.kind === 'again') await this.#putBack(job, token, end.atMs);
  }

  async #attempt(entry: LedgerEntry): Promise<AttemptEnd> {
    const { attempt, ledger, clock, events } = this.#options;
    try {
      const end = await attempt(entry);
      if (end.kind === 'closed') ledger.close(entry.key);
      else ledger.postpone(entry.key, end.atMs);
      return end;
    } catch (error) {
      const atMs = clock.now() + AFTER_CRASH_MS;
      ledger.release(entry.key, atMs);
      events.attemptCrashed(entry, error as Error);
      return { kind: 'again', atMs };
    }
  }

  /** Reschedule the job from inside; if that fails (Redis gone or emptied), enter it anew. */
  async #putBack(job: Job<DeliveryJob>, token: string | undefined, atMs: number): Promise<never> {
    try {
      await job.moveToDelayed(atMs, token);
    } catch (error) {
      this.#options.events.redisError('reschedule', error as Error);
      const entry = this.#options.ledger.get(deliveryKey(job.data.id, job.data.destination));
      if (entry) this.#options.reenter(entry);
    }
    throw new DelayedError();
  }
}

/** Wait until all of `work` is over, however it ends, but no longer than `ms`. */
async function atMost(ms: number, work: readonly Promise<unknown>[]): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([Promise.allSettled(work), promise]);
  clearTimeout(timer);
}
