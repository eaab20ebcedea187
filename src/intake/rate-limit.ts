/**
 * `limits.messagesPerClient`: how many messages a client may hand over in a span of time. The
 * generic cell rate algorithm: a client that was quiet may send `count` at once, after that
 * one each `perMs / count`; in no window of `perMs` more than twice `count`, and on average
 * never more than `count`.
 *
 * A message is charged at MAIL, whether content follows or not: charged later, a client with
 * many sessions would pass the limit as often as it has sessions.
 *
 * One number a client, for a bounded number of clients; the one not seen longest is forgotten,
 * to its advantage.
 */
import { LRUCache } from 'lru-cache';
import type { Clock } from '../platform/clock.ts';

/** At most `count` messages in `perMs` milliseconds. */
export interface MessageRate {
  readonly count: number;
  readonly perMs: number;
}

const MAX_CLIENTS = 50_000;

export class MessageRateLimit {
  readonly #clock: Clock;
  /** When the client's allowance is whole again, milliseconds since the epoch. */
  readonly #wholeAtMs = new LRUCache<string, number>({ max: MAX_CLIENTS });
  #rate: MessageRate | undefined;

  constructor(rate: MessageRate | undefined, clock: Clock) {
    this.#rate = rate;
    this.#clock = clock;
  }

  /** Another rate from now on; what clients have used stays used. */
  update(rate: MessageRate | undefined): void {
    this.#rate = rate;
  }

  /** Charge one message to `client`; false when it has none left, and nothing is charged. */
  take(client: string): boolean {
    const rate = this.#rate;
    if (rate === undefined) return true;
    const now = this.#clock.now();
    const wholeAtMs = Math.max(this.#wholeAtMs.get(client) ?? now, now) + rate.perMs / rate.count;
    // Half a millisecond for the rounding of the sums, which a clock of whole ones cannot miss.
    if (wholeAtMs - now > rate.perMs + 0.5) return false;
    this.#wholeAtMs.set(client, wholeAtMs);
    return true;
  }
}
