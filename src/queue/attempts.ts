/**
 * What is being done about claimed deliveries: attempts in turns, and what an administrator or the
 * end of their lifetime asks for. However it ends, the delivery is closed in the ledger or waits in
 * it again, and its lane goes on.
 */
import type { Clock } from '../platform/clock.ts';
import type { QueueEvents } from '../telemetry/queue-events.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Delivery, Tried } from './lane.ts';
import type { Ledger } from './ledger.ts';
import { timeBy } from './reschedule.ts';
import type { RetrySettings } from './retry-schedule.ts';

/** When recipients are left: the absolute time of the next attempt, and the last one, where one was made. */
export type AttemptEnd =
  | { readonly kind: 'closed' }
  | { readonly kind: 'again'; readonly atMs: number; readonly tried?: Tried };

/** Does something about a delivery. Must not throw for anything that is the mail's or the network's fault. */
export type Deed = () => Promise<AttemptEnd>;

/**
 * After one that threw. An attempt may have come as far as the final dot, so one that throws each
 * time must not fill the recipient's mailbox.
 */
export const AFTER_CRASH_MS = 5 * 60_000;
/** Other deeds than attempts at the same time; thousands may come together. */
const AT_ONCE = 50;

interface Asked {
  readonly delivery: Delivery;
  readonly deed: Deed;
  readonly done: () => void;
}

export interface AttemptsParts {
  readonly ledger: Ledger;
  readonly dispatcher: Pick<Dispatcher, 'supply'>;
  readonly clock: Clock;
  /** As they are now; others when a reload has changed them. */
  readonly retry: () => RetrySettings;
  readonly events: Pick<QueueEvents, 'attemptCrashed'>;
}

export class Attempts {
  readonly #parts: AttemptsParts;
  readonly #running = new Set<Promise<unknown>>();
  /** To be done; those before `#begun` were begun. */
  #asked: Asked[] = [];
  #begun = 0;
  #busy = 0;
  /** For deliveries with which something is being done now, in the order in which it was asked. */
  readonly #after = new Map<Delivery, Asked[]>();
  #isStopped = false;

  constructor(parts: AttemptsParts) {
    this.#parts = parts;
  }

  /** An attempt, of a worker's turn. Never rejects. */
  async make(delivery: Delivery, attempt: Deed): Promise<void> {
    const { ledger, dispatcher, clock, retry } = this.#parts;
    const before = retry();
    let end = await this.#endOf(delivery, attempt);
    for (let asked = this.#nextAfter(delivery); asked; asked = this.#nextAfter(delivery)) {
      // Who is left then waits as the attempt said.
      if (end.kind === 'again') {
        const then = await this.#endOf(delivery, asked.deed);
        if (then.kind === 'closed') end = then;
      }
      asked.done();
    }
    if (end.kind === 'closed') ledger.close(delivery);
    else {
      const { atMs, tried } = end;
      // A reload meanwhile gave all that waited other times.
      const hasOther = tried !== undefined && retry() !== before;
      const dueMs = hasOther ? timeBy(retry(), timesOf(delivery, { atMs, tried })) : atMs;
      ledger.postpone(delivery, dueMs, clock.now(), tried);
    }
    dispatcher.supply(delivery.lane);
  }

  async #endOf(delivery: Delivery, deed: Deed): Promise<AttemptEnd> {
    try {
      return await deed();
    } catch (error) {
      const { clock, events } = this.#parts;
      events.attemptCrashed(delivery, error as Error);
      return { kind: 'again', atMs: clock.now() + AFTER_CRASH_MS };
    }
  }

  #nextAfter(delivery: Delivery): Asked | undefined {
    const line = this.#after.get(delivery);
    const next = line?.shift();
    if (line?.length === 0) this.#after.delete(delivery);
    return next;
  }

  /** Something else about a claimed delivery, a few at a time; resolves when it is done, or the relay stops. */
  ask(delivery: Delivery, deed: Deed): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (this.#isStopped) return Promise.resolve(); // the next process sees to it
    this.#asked.push({ delivery, deed, done: resolve });
    if (this.#busy < AT_ONCE) this.track(this.#work());
    return promise;
  }

  /** The same about one that is attempted now, when recipients are left after that. */
  askAfter(delivery: Delivery, deed: Deed): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const asked = { delivery, deed, done: resolve };
    const line = this.#after.get(delivery);
    if (this.#isStopped) resolve();
    else if (line) line.push(asked);
    else this.#after.set(delivery, [asked]);
    return promise;
  }

  async #work(): Promise<void> {
    this.#busy += 1;
    for (let next = this.#asked[this.#begun]; next; next = this.#asked[this.#begun]) {
      this.#begun += 1;
      await this.make(next.delivery, next.deed);
      next.done();
    }
    this.#busy -= 1;
    if (this.#busy === 0 && this.#begun > 0) this.#forget();
  }

  #forget(): void {
    for (const { done } of this.#asked.slice(this.#begun)) done();
    this.#asked = [];
    this.#begun = 0;
  }

  /** Wait for `work`, too, when the relay stops. */
  track<T>(work: Promise<T>): void {
    this.#running.add(work);
    const forget = () => void this.#running.delete(work);
    work.then(forget, forget);
  }

  /** Begin nothing more but attempts. */
  stop(): void {
    this.#isStopped = true;
    this.#forget();
    for (const { done } of [...this.#after.values()].flat()) done();
    this.#after.clear();
  }

  /** What is under way. */
  running(): readonly Promise<unknown>[] {
    return [...this.#running];
  }
}

function timesOf(
  { id, destination, nullReversePath }: Delivery,
  { atMs: nextAttemptMs, tried }: { readonly atMs: number; readonly tried: Tried },
) {
  return { id, destination, nullReversePath, tried, nextAttemptMs };
}
