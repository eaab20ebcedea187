/**
 * The clock and the dispatcher: a BullMQ queue of turns and wake-ups, one small job each that
 * names a destination. It decides nothing: whether a delivery exists, how often it was tried and
 * when it is tried next stands in the ledger and the spool. Jobs lost, repeated or stuck here are
 * put right by the reconciler.
 *
 * The queue's name carries the node id, so that relays on one Redis never take each other's
 * jobs; the prefix is a hash tag, so that all keys of a queue share a Redis Cluster slot.
 */
import { Queue } from 'bullmq';
import type { Destination } from '../mail/route.ts';
import type { RedisClient } from '../platform/redis.ts';

/** All that stands in a job; for people, the program goes by the job's id. */
export interface JobContent {
  readonly destination: Destination;
}

export interface QueueJob {
  readonly jobId: string;
  readonly kind: 'turn' | 'wake';
  readonly destination: Destination;
  /** Absolute, ms; at once when absent. */
  readonly atMs?: number;
}

/** Where a node's jobs are kept. */
export interface QueueNames {
  readonly name: string;
  readonly prefix: string;
}

export function queueNames(keyPrefix: string, node: string): QueueNames {
  return { name: `deliveries-${node}`, prefix: `{${keyPrefix}-${node}}` };
}

/** What has become of a job that was to stand in line; `missing` and what follows is wrong. */
export type JobStanding = 'fine' | 'missing' | 'ended' | 'stuck' | 'abandoned';

/** Beyond this many jobs a call is split, so that no single command blocks Redis for long. */
const BATCH = 500;
/** A command that takes longer counts as failed; the reconciler tries again. */
const COMMAND_TIMEOUT_MS = 5000;

export class JobQueue {
  /** Undefined when its first words with Redis failed: it would stay useless, so a new one is made. */
  #queue: Queue<JobContent> | undefined;
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

  #open(): Queue<JobContent> {
    const { name, prefix } = this.#names;
    const queue = new Queue<JobContent>(name, {
      connection: this.#connection,
      prefix,
      skipVersionCheck: true, // it would print to stderr
      streams: { events: { maxLen: 10 } },
      defaultJobOptions: { removeOnComplete: true, removeOnFail: true, stackTraceLimit: 1 },
    });
    queue.on('error', this.#onError);
    queue.waitUntilReady().catch(() => {
      if (this.#queue === queue) this.#discard();
    });
    return queue;
  }

  /** The next command makes a new one, which writes its settings to Redis. */
  #discard(): void {
    this.#queue?.close().catch(() => {});
    this.#queue = undefined;
  }

  /** Queue jobs, each for its time; those that are there stay as they are. Throws when Redis does not answer. */
  async add(jobs: readonly QueueJob[], nowMs: number): Promise<void> {
    for (let at = 0; at < jobs.length; at += BATCH) {
      const batch = jobs.slice(at, at + BATCH).map(({ jobId, kind, destination, atMs }) => ({
        name: kind,
        data: { destination },
        opts:
          atMs === undefined ? { jobId } : { jobId, delay: Math.max(0, Math.ceil(atMs - nowMs)) },
      }));
      await this.#bounded((queue) => queue.addBulk(batch));
    }
  }

  /** Remove a job that has not begun. Throws when Redis does not answer. */
  async remove(jobId: string): Promise<void> {
    await this.#bounded((queue) => queue.remove(jobId));
  }

  /** How a job does that was queued to run at once. Throws when Redis does not answer. */
  async standing(jobId: string): Promise<JobStanding> {
    switch (await this.#bounded((queue) => queue.getJobState(jobId))) {
      case 'unknown':
        return 'missing';
      case 'completed':
      case 'failed':
        return 'ended';
      case 'delayed':
        return 'stuck';
      case 'active':
        return 'abandoned';
      default:
        return 'fine';
    }
  }

  /**
   * Remove everything an earlier process left, what it was working on included: the lock on the
   * data directory says that it is gone.
   */
  async clear(): Promise<void> {
    const queue = await this.#bounded(async (opened) => {
      await opened.waitUntilReady();
      return opened;
    });
    // No deadline for the whole: one that goes on unheard would remove what comes after.
    await queue.obliterate({ force: true });
    this.#discard();
  }

  /** Whether this queue was entered completely since Redis last lost its data. */
  async isEntered(): Promise<boolean> {
    const mark = await this.#bounded(() => this.#connection.get(this.#markKey));
    if (mark === null) this.#discard(); // its settings are gone as well
    return mark !== null;
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
  async #bounded<T>(run: (queue: Queue<JobContent>) => Promise<T>): Promise<T> {
    if (this.#connection.status !== 'ready') {
      throw new Error(`Redis is not connected (${this.#connection.status})`);
    }
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
