/**
 * The clock and the dispatcher: a BullMQ queue of small pointers into the spool. It decides
 * nothing: whether a delivery exists, how often it was tried and when it is tried next stands
 * in the ledger and the spool. Jobs lost, repeated or stuck here are put right by the
 * reconciler.
 *
 * The queue's name carries the node id, so that relays on one Redis never take each other's
 * jobs; the prefix is a hash tag, so that all keys of a queue share a Redis Cluster slot.
 */
import { type Job, Queue } from 'bullmq';
import type { MessageId } from '../mail/message-id.ts';
import type { Destination } from '../mail/route.ts';
import type { RedisClient } from '../platform/redis.ts';
import type { LedgerEntry } from './ledger.ts';

/** All that stands in Redis about a delivery. */
export interface DeliveryJob {
  readonly id: MessageId;
  readonly destination: Destination;
}

/** Where a node's jobs are kept. */
export interface QueueNames {
  readonly name: string;
  readonly prefix: string;
}

export function queueNames(keyPrefix: string, node: string): QueueNames {
  return { name: `deliveries-${node}`, prefix: `{${keyPrefix}-${node}}` };
}

/** What was wrong with the job of an overdue delivery. */
export type Revival = 'missing' | 'ended' | 'stuck' | 'abandoned' | 'fine';

/** Beyond this many jobs a call is split, so that no single command blocks Redis for long. */
const BATCH = 500;
/** A command that takes longer counts as failed; the reconciler tries again. */
const COMMAND_TIMEOUT_MS = 5000;

export class JobQueue {
  /** Undefined when its first words with Redis failed: it would stay useless, so a new one is made. */
  #queue: Queue<DeliveryJob> | undefined;
  readonly #names: QueueNames;
  readonly #onError: (error: Error) => void;
  readonly #connection: RedisClient;
  /** Gone after a FLUSHALL: tells the reconciler that everything must be entered anew. */
  readonly #markKey: string;

  constructor(connection: RedisClient, names: QueueNames, onError: (error: Error) => void) {
    this.#connection = connection;
    this.#names = names;
    this.#onError = onError;
    this.#markKey = `${names.prefix}:entered`;
  }

  #open(): Queue<DeliveryJob> {
    const { name, prefix } = this.#names;
    const queue = new Queue<DeliveryJob>(name, {
      connection: this.#connection,
      prefix,
      skipVersionCheck: true, // it would print to stderr
      streams: { events: { maxLen: 10 } },
      defaultJobOptions: { removeOnComplete: true, removeOnFail: true, stackTraceLimit: 1 },
    });
    queue.on('error', this.#onError);
    queue.waitUntilReady().catch(() => {
      if (this.#queue === queue) this.#queue = undefined;
      queue.close().catch(() => {});
    });
    return queue;
  }

  get #ready(): boolean {
    return this.#connection.status === 'ready';
  }

  /** Queue deliveries, each for its time. An existing job of the same delivery stays as it is. Throws when Redis does not answer. */
  async add(entries: readonly LedgerEntry[], nowMs: number): Promise<void> {
    for (let at = 0; at < entries.length; at += BATCH) {
      const jobs = entries.slice(at, at + BATCH).map(({ key, id, destination, nextAttemptMs }) => ({
        name: 'delivery',
        data: { id, destination },
        opts: { jobId: key, delay: Math.max(0, Math.ceil(nextAttemptMs - nowMs)) },
      }));
      await this.#bounded((queue) => queue.addBulk(jobs));
    }
  }

  /**
   * Look at the job of an overdue delivery that nobody attempts and put it right: missing,
   * finished and abandoned ones are added again, delayed ones whose time has come are promoted.
   */
  async revive(entry: LedgerEntry, nowMs: number): Promise<Revival> {
    const job = (await this.#bounded((queue) => queue.getJob(entry.key))) as
      | Job<DeliveryJob>
      | undefined;
    if (!job) {
      await this.add([entry], nowMs);
      return 'missing';
    }
    const state = await this.#bounded(() => job.getState());
    if (state === 'completed' || state === 'failed' || state === 'unknown') {
      await this.#bounded(() => job.remove());
      await this.add([entry], nowMs);
      return 'ended';
    }
    if (state === 'delayed') {
      await this.#bounded(() => job.promote());
      return 'stuck';
    }
    if (state !== 'active') return 'fine';
    await this.#abandon(job);
    await this.add([entry], nowMs);
    return 'abandoned';
  }

  /**
   * Take back the jobs that a process before this one was working on when it died. BullMQ would
   * wait for their locks to run out; the lock on the data directory says that nobody holds them.
   */
  async takeBackActive(): Promise<void> {
    const jobs = await this.#bounded((queue) => queue.getActive());
    for (const job of jobs) await this.#abandon(job);
  }

  /** Remove a job whose worker is gone, with the lock that protects it. */
  async #abandon(job: Job<DeliveryJob>): Promise<void> {
    await this.#bounded((queue) => this.#connection.del(`${queue.toKey(job.id ?? '')}:lock`));
    await this.#bounded(() => job.remove());
  }

  /** Whether this queue was entered completely since Redis last lost its data. */
  async isEntered(): Promise<boolean> {
    return (await this.#bounded(() => this.#connection.get(this.#markKey))) !== null;
  }

  async markEntered(): Promise<void> {
    await this.#bounded(() => this.#connection.set(this.#markKey, '1'));
  }

  async close(): Promise<void> {
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, 1000);
    await Promise.race([this.#queue?.close(), late]).catch(() => {});
    clearTimeout(timer);
  }

  /** BullMQ waits for a connection without end: ask only when there is one, and not for ever. */
  async #bounded<T>(run: (queue: Queue<DeliveryJob>) => Promise<T>): Promise<T> {
    if (!this.#ready) throw new Error(`Redis is not connected (${this.#connection.status})`);
    this.#queue ??= this.#open();
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new Error(`Redis did not answer in ${COMMAND_TIMEOUT_MS} ms`)),
        COMMAND_TIMEOUT_MS,
      );
    });
    try {
      return await Promise.race([run(this.#queue), timeout]);
    } finally {
      clearTimeout(timer);
    }
  }
}
