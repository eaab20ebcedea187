/**
 * Takes turns from BullMQ, and in each makes attempts for one lane, one after the other, without
 * going back to Redis in between. After a while the turn ends and, if more is due, is asked for
 * anew at the end of the line: so the lanes go round.
 *
 * BullMQ may hand out a job twice (a lock that expired while the process was stopped, a stalled
 * job). The gate knows better: a turn is taken once. How a job ends in Redis does not matter;
 * the turn ends with our work.
 */
import type { Job } from 'bullmq';
import type { Clock } from '../platform/clock.ts';
import type { RedisClient } from '../platform/redis.ts';
import type { QueueEvents } from '../telemetry/queue-events.ts';
import type { Attempts, Deed } from './attempts.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Turn } from './gate.ts';
import type { JobContent, QueueNames } from './job-queue.ts';
import type { Delivery } from './lane.ts';
import { PatientWorker } from './patient-worker.ts';

export interface WorkerOptions {
  readonly connection: RedisClient;
  readonly names: QueueNames;
  /** Turns at the same time. */
  readonly slots: number;
  readonly dispatcher: Dispatcher;
  readonly attempts: Attempts;
  readonly clock: Clock;
  readonly events: QueueEvents;
  /** Make one attempt. */
  readonly attempt: (delivery: Delivery) => ReturnType<Deed>;
}

/** After this many attempts, or this long, a turn goes to the end of the line, if another lane gains by that. */
const ATTEMPTS_PER_TURN = 50;
const TURN_MS = 1000;
/** It goes there after this long in any case. */
const LONGEST_TURN_MS = 30_000;

export class DeliveryWorker {
  readonly #options: WorkerOptions;
  #worker: PatientWorker;

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.#worker = this.#open();
  }

  #open(): PatientWorker {
    const { connection, names, slots, events } = this.#options;
    const worker = new PatientWorker(names.name, (job) => this.#run(job), {
      connection,
      prefix: names.prefix,
      skipVersionCheck: true, // it would print to stderr
      concurrency: slots,
      maxStalledCount: 1_000_000, // a stalled job is rescheduled, never failed
      runRetryDelay: 1000,
      removeOnComplete: { count: 0 },
      removeOnFail: { count: 0 },
    });
    worker.on('error', (error) => events.redisError('worker', error));
    worker.on('stalled', (jobId) => events.stalled(jobId));
    return worker;
  }

  /** BullMQ's worker takes no turns any more: go on with another one. What is under way is not disturbed. */
  renew(): void {
    const silent = this.#worker;
    this.#options.connection.disconnect(true);
    this.#worker = this.#open();
    silent.close(true).catch(() => {}); // it may wait for ever
  }

  /** Take no more jobs and wait (the dispatcher is stopped), at most `graceMs`, for the attempts under way. */
  async drain(graceMs: number): Promise<void> {
    const { attempts } = this.#options;
    await atMost(graceMs, [this.#worker.pause(true), ...attempts.running()]);
  }

  /** Let go of the connection; attempts that still run have `graceMs` to come to an end. */
  async close(graceMs: number): Promise<void> {
    await atMost(graceMs, this.#options.attempts.running());
    await atMost(graceMs, [this.#worker.close(true)]);
  }

  async #run(job: Job<JobContent>): Promise<void> {
    const { dispatcher, attempts } = this.#options;
    const jobId = job.id ?? '';
    if (job.name === 'wake') return dispatcher.wake(job.data.destination, jobId);
    const turn = dispatcher.take(jobId);
    if (!turn) return;
    const work = this.#have(turn);
    attempts.track(work);
    try {
      await work;
    } finally {
      dispatcher.end(turn);
    }
  }

  /** Have one turn. */
  async #have(turn: Turn): Promise<void> {
    const { dispatcher, attempts, attempt, clock } = this.#options;
    const beganAtMs = clock.now();
    for (let made = 0; ; made++) {
      const tookMs = clock.now() - beganAtMs;
      const isLong = made >= ATTEMPTS_PER_TURN || tookMs >= TURN_MS;
      if (tookMs >= LONGEST_TURN_MS || (isLong && dispatcher.isWaitedFor(turn))) return;
      const delivery = await dispatcher.next(turn);
      if (!delivery) return;
      await attempts.make(delivery, () => attempt(delivery));
    }
  }
}

/** Wait until all of `work` is over, however it ends, but no longer than `ms`. */
async function atMost(ms: number, work: readonly Promise<unknown>[]): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([Promise.allSettled(work), promise]);
  clearTimeout(timer);
}
