/**
 * The mail flow of the last hour, for graphs that are not empty when somebody looks: every ten seconds what
 * has become of mail since the last time, and how the queue stands. In memory, bounded; a relay that was
 * started lately has less.
 */
import type { Clock } from '../platform/clock.ts';
import type { QueueState } from '../queue/gates.ts';

/** What has happened since the relay was started; each only grows. */
export interface FlowCounts {
  /** Messages acknowledged. */
  readonly received: number;
  /** Recipients. */
  readonly delivered: number;
  readonly deferred: number;
  readonly bounced: number;
  /** Recipients delivered, by what TLS was reached. */
  readonly verified: number;
  readonly encrypted: number;
  readonly clear: number;
}

/** Deliveries by state. */
export type QueueNow = { readonly [K in QueueState]: number };

/** What happened in the time that ended at `at`. */
export interface FlowSample extends FlowCounts {
  /** RFC 3339, UTC. */
  readonly at: string;
  readonly seconds: number;
  readonly queue: QueueNow;
}

export interface FlowParts {
  readonly clock: Clock;
  readonly counts: () => Promise<FlowCounts>;
  readonly queue: () => QueueNow;
}

export const EVERY_MS = 10_000;
const MOST_SAMPLES = 360;

/** Samples from now on, until it is closed. */
export class Flow {
  readonly #parts: FlowParts;
  #samples: FlowSample[] = [];
  #last: { readonly atMs: number; readonly counts: FlowCounts } | undefined;
  #cancel: () => void = () => {};
  #closed = false;

  constructor(parts: FlowParts) {
    this.#parts = parts;
    void this.#sample();
  }

  /** Those behind this time (RFC 3339), the oldest first. */
  samples(after = ''): readonly FlowSample[] {
    return this.#samples.filter(({ at }) => at > after);
  }

  close(): void {
    this.#closed = true;
    this.#cancel();
  }

  async #sample(): Promise<void> {
    const { clock, queue } = this.#parts;
    // What cannot be had now is in the next sample.
    const counts = await this.#parts.counts().catch(() => undefined);
    if (this.#closed) return;
    if (counts) this.#take(counts, clock.now(), queue());
    this.#cancel = clock.after(EVERY_MS, () => void this.#sample());
  }

  #take(counts: FlowCounts, atMs: number, queue: QueueNow): void {
    const last = this.#last;
    this.#last = { atMs, counts };
    if (!last || atMs <= last.atMs) return;
    this.#samples.push({
      at: new Date(atMs).toISOString(),
      seconds: Math.round((atMs - last.atMs) / 1000),
      ...since(last.counts, counts),
      queue,
    });
    if (this.#samples.length > MOST_SAMPLES) this.#samples = this.#samples.slice(-MOST_SAMPLES);
  }
}

/** A part of the relay that was started again counts from 0. */
function since(before: FlowCounts, now: FlowCounts): FlowCounts {
  const grown = (key: keyof FlowCounts) =>
    now[key] >= before[key] ? now[key] - before[key] : now[key];
  return {
    received: grown('received'),
    delivered: grown('delivered'),
    deferred: grown('deferred'),
    bounced: grown('bounced'),
    verified: grown('verified'),
    encrypted: grown('encrypted'),
    clear: grown('clear'),
  };
}
