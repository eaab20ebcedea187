/**
 * The ledger: every delivery that still has recipients without a fate, in memory, as the
 * spool tells it. It is what the reconciler holds Redis against, what says that a delivery is
 * being attempted right now (so that a job that BullMQ runs twice is attempted once), and
 * where the queue gauges come from.
 */
import type { MessageId } from '../mail/message-id.ts';
import type { Destination } from '../mail/route.ts';
import type { MessageState } from '../spool/message-state.ts';

/** Names a delivery: also the id of its job. No colon, which BullMQ keeps for itself. */
export type DeliveryKey = string & { readonly __deliveryKey?: never };

export interface LedgerEntry {
  readonly key: DeliveryKey;
  readonly id: MessageId;
  readonly destination: Destination;
  readonly receivedAtMs: number;
  attempts: number;
  nextAttemptMs: number;
  inFlight: boolean;
}

export function deliveryKey(id: MessageId, destination: Destination): DeliveryKey {
  return `${id}/${destination.replaceAll(':', '_')}`;
}

export class Ledger {
  readonly #entries = new Map<DeliveryKey, LedgerEntry>();
  /** Deliveries left per message. */
  readonly #messages = new Map<MessageId, number>();

  /** Enter what is pending of a message; returns the new entries. */
  enter(state: MessageState): LedgerEntry[] {
    const { id, receivedAtMs } = state.envelope;
    const entered: LedgerEntry[] = [];
    for (const { destination, attempts, nextAttemptMs } of state.pending) {
      const key = deliveryKey(id, destination);
      if (this.#entries.has(key)) continue;
      const entry = {
        key,
        id,
        destination,
        receivedAtMs,
        attempts,
        nextAttemptMs,
        inFlight: false,
      };
      this.#entries.set(key, entry);
      this.#messages.set(id, (this.#messages.get(id) ?? 0) + 1);
      entered.push(entry);
    }
    return entered;
  }

  get(key: DeliveryKey): LedgerEntry | undefined {
    return this.#entries.get(key);
  }

  /** Take a delivery for an attempt; undefined when it is gone or already being attempted. */
  claim(key: DeliveryKey): LedgerEntry | undefined {
    const entry = this.#entries.get(key);
    if (!entry || entry.inFlight) return undefined;
    entry.inFlight = true;
    return entry;
  }

  /** The attempt ended and recipients are left: it waits until `nextAttemptMs`. */
  postpone(key: DeliveryKey, nextAttemptMs: number): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    entry.inFlight = false;
    entry.attempts += 1;
    entry.nextAttemptMs = nextAttemptMs;
  }

  /** The attempt did not come to an end: it does not count, and nobody tries before `notBeforeMs`. */
  release(key: DeliveryKey, notBeforeMs: number): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    entry.inFlight = false;
    entry.nextAttemptMs = Math.max(entry.nextAttemptMs, notBeforeMs);
  }

  /** Every recipient of the delivery has its fate. */
  close(key: DeliveryKey): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    this.#entries.delete(key);
    const left = (this.#messages.get(entry.id) ?? 1) - 1;
    if (left > 0) this.#messages.set(entry.id, left);
    else this.#messages.delete(entry.id);
  }

  /** Messages with deliveries left. */
  get messageCount(): number {
    return this.#messages.size;
  }

  entries(): IterableIterator<LedgerEntry> {
    return this.#entries.values();
  }

  /** How many deliveries are being attempted, due, and waiting; and for how long the oldest due one. */
  summary(nowMs: number): {
    inFlight: number;
    due: number;
    delayed: number;
    overdue: number;
    oldestDueSeconds: number;
  } {
    const sum = { inFlight: 0, due: 0, delayed: 0, overdue: 0, oldestDueSeconds: 0 };
    for (const entry of this.#entries.values()) {
      const dueForMs = nowMs - entry.nextAttemptMs;
      if (entry.inFlight) sum.inFlight++;
      else if (dueForMs < 0) sum.delayed++;
      else {
        sum.due++;
        if (dueForMs > 60_000) sum.overdue++;
        sum.oldestDueSeconds = Math.max(sum.oldestDueSeconds, dueForMs / 1000);
      }
    }
    return sum;
  }
}
