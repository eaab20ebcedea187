/**
 * Takes turns from BullMQ, and in each makes attempts for one lane, one after the other, without
 * going back to Redis in between. After a while the turn ends and, if more is due, is asked for
 * anew at the end of the line: so the lanes go round.
 *
 * BullMQ may hand out a job twice (a lock that expired while the process was stopped, a stalled
 * job). The gate knows better: a turn is taken once. How a job ends in Redis does not matter;
 * the turn ends with our work.
 */
import { type Job, Worker } from 'bullmq';
import type { Clock } from '../platform/clock.ts';
import type { RedisClient } from '../platform/redis.ts';
import type { QueueEvents } from '../telemetry/queue-events.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Turn } from './gate.ts';
import type { JobContent, QueueNames } from './job-queue.ts';
import type { Delivery } from './lane.ts';
import type { Ledger } from './ledger.ts';

/** When recipients are left after an attempt: the absolute time of the next one. */
export type AttemptEnd =
  | { readonly kind: 'closed' }
  | { readonly kind: 'again'; readonly atMs: number };

export interface WorkerOptions {
  readonly connection: RedisClient;
  readonly names: QueueNames;
  /** Turns at the same time. */
  readonly slots: number;
  readonly ledger: Ledger;
  readonly dispatcher: Dispatcher;
  readonly clock: Clock;
  readonly events: QueueEvents;
  /** Make one attempt. Must not throw for anything that is the mail's or the network's fault. */
  readonly attempt: (delivery: Delivery) => Promise<AttemptEnd>;
  /** Give up one that is not attempted, for `reason`; the same holds. */
  readonly expire: (delivery: Delivery, reason: string) => Promise<AttemptEnd>;
}

/** After this many attempts, or this long, a turn goes to the end of the line, if another lane gains by that. */
const ATTEMPTS_PER_TURN = 50;
const TURN_MS = 1000;
/** Deliveries given up at the same time; thousands may come together. */
const EXPIRED_AT_ONCE = 20;
/** It goes there after this long in any case. */
const LONGEST_TURN_MS = 30_000;
/**
 * After an attempt that threw. It may have come as far as the final dot, so one that throws each
 * time must not fill the recipient's mailbox.
 */
export const AFTER_CRASH_MS = 5 * 60_000;

export class DeliveryWorker {
  readonly #options: WorkerOptions;
  readonly #worker: Worker<JobContent>;
  readonly #running = new Set<Promise<unknown>>();
  /** To be given up; those before `#expired` were. */
  #expiring: { readonly delivery: Delivery; readonly reason: string }[] = [];
  #expired = 0;
  #expirers = 0;

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.#worker = new Worker<JobContent>(options.names.name, (job) => this.#run(job), {
      connection: options.connection,
      prefix: options.names.prefix,
      skipVersionCheck: true, // it would print to stderr
      concurrency: options.slots,
      maxStalledCount: 1_000_000, // a stalled job is rescheduled, never failed
      runRetryDelay: 1000,
      removeOnComplete: { count: 0 },
      removeOnFail: { count: 0 },
    });
    this.#worker.on('error', (error) => options.events.redisError('worker', error));
    this.#worker.on('stalled', (jobId) => options.events.stalled(jobId));
  }

  /** See to claimed deliveries that are to be given up, a few at a time. */
  expire(delivery: Delivery, reason: string): void {
    this.#expiring.push({ delivery, reason });
    if (this.#expirers >= EXPIRED_AT_ONCE) return;
    const work = this.#expireAll();
    this.#running.add(work);
    void work.then(() => this.#running.delete(work));
  }

  async #expireAll(): Promise<void> {
    this.#expirers += 1;
    for (let next = this.#expiring[this.#expired]; next; next = this.#expiring[this.#expired]) {
      this.#expired += 1;
      const { delivery, reason } = next;
      await this.#settle(delivery, () => this.#options.expire(delivery, reason));
    }
    this.#expirers -= 1;
    if (this.#expirers === 0) this.#expireNoMore();
  }

  #expireNoMore(): void {
    this.#expiring = [];
    this.#expired = 0;
  }

  /** Take no more jobs and wait (the dispatcher is stopped), at most `graceMs`, for the attempts under way. */
  async drain(graceMs: number): Promise<void> {
    this.#expireNoMore(); // the next process sees to it
    await atMost(graceMs, [this.#worker.pause(true), ...this.#running]);
  }

  /** Let go of the connection; attempts that still run have `graceMs` to come to an end. */
  async close(graceMs: number): Promise<void> {
    this.#expireNoMore();
    await atMost(graceMs, [...this.#running]);
    await atMost(graceMs, [this.#worker.close(true)]);
  }

  async #run(job: Job<JobContent>): Promise<void> {
    const { dispatcher } = this.#options;
    const jobId = job.id ?? '';
    if (job.name === 'wake') return dispatcher.wake(job.data.destination, jobId);
    const turn = dispatcher.take(jobId);
    if (!turn) return;
    const work = this.#have(turn);
    this.#running.add(work);
    try {
      await work;
    } finally {
      this.#running.delete(work);
      dispatcher.end(turn);
    }
  }

  /** Have one turn. */
  async #have(turn: Turn): Promise<void> {
    const { dispatcher, clock } = this.#options;
    const beganAtMs = clock.now();
    for (let made = 0; ; made++) {
      const tookMs = clock.now() - beganAtMs;
      const isLong = made >= ATTEMPTS_PER_TURN || tookMs >= TURN_MS;
      if (tookMs >= LONGEST_TURN_MS || (isLong && dispatcher.isWaitedFor(turn))) return;
      const delivery = await dispatcher.next(turn);
      if (!delivery) return;
      await this.#attempt(delivery);
    }
  }

  #attempt(delivery: Delivery): Promise<void> {
    return this.#settle(delivery, () => this.#options.attempt(delivery));
  }

  async #settle(delivery: Delivery, attempt: () => Promise<AttemptEnd>): Promise<void> {
    const { ledger, dispatcher, clock, events } = this.#options;
    try {
      const end = await attempt();
      if (end.kind === 'closed') ledger.close(delivery);
      else ledger.postpone(delivery, end.atMs, clock.now());
    } catch (error) {
      events.attemptCrashed(delivery, error as Error);
      ledger.postpone(delivery, clock.now() + AFTER_CRASH_MS, clock.now());
    }
    dispatcher.supply(delivery.lane);
  }
}

/** Wait until all of `work` is over, however it ends, but no longer than `ms`. */
async function atMost(ms: number, work: readonly Promise<unknown>[]): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([Promise.allSettled(work), promise]);
  clearTimeout(timer);
}
