/**
 * What is to be told to Redis. Jobs put in during one turn of the event loop go out as one
 * call; nobody waits for it. When Redis does not take them they are kept, and nothing more is
 * sent until the reconciler opens the box again.
 */
import type { Clock } from '../platform/clock.ts';
import type { QueueEvents } from '../telemetry/queue-events.ts';
import type { JobQueue, QueueJob } from './job-queue.ts';

export interface OutboxParts {
  readonly jobs: JobQueue;
  readonly clock: Clock;
  readonly events: QueueEvents;
}

export class Outbox {
  readonly #parts: OutboxParts;
  readonly #unsent = new Map<string, QueueJob>();
  /** Shut until everything was entered. */
  #isOpen = false;
  #isScheduled = false;

  constructor(parts: OutboxParts) {
    this.#parts = parts;
  }

  put(job: QueueJob): void {
    this.#unsent.set(job.jobId, job);
    this.#schedule();
  }

  /** The job is of no use any more. If Redis keeps it all the same it ends without effect. */
  withdraw(jobId: string): void {
    if (this.#unsent.delete(jobId) || !this.#isOpen) return;
    this.#parts.jobs.remove(jobId).catch(() => {});
  }

  /** Send what is there now and later. Throws when Redis does not take it; then the box is shut. */
  async open(all: Iterable<QueueJob> = []): Promise<void> {
    for (const job of all) this.#unsent.set(job.jobId, job);
    this.#isOpen = true;
    await this.#send();
  }

  shut(): void {
    this.#isOpen = false;
  }

  /** How many jobs wait because Redis did not take them. */
  get kept(): number {
    return this.#isOpen ? 0 : this.#unsent.size;
  }

  #schedule(): void {
    if (this.#isScheduled || !this.#isOpen) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      if (!this.#isOpen) return;
      this.#send().catch((error) => this.#parts.events.redisError('add', error as Error));
    });
  }

  async #send(): Promise<void> {
    const batch = [...this.#unsent.values()];
    this.#unsent.clear();
    try {
      await this.#parts.jobs.add(batch, this.#parts.clock.now());
    } catch (error) {
      this.#isOpen = false;
      for (const job of batch) this.#unsent.set(job.jobId, job);
      throw error;
    }
  }
}
