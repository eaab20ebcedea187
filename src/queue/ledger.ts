/**
 * The ledger: every delivery that still has recipients without a fate, in memory, as the spool
 * tells it, by destination. It gives out deliveries one attempt at a time and in order, and is
 * where the queue gauges come from. Pure; times are handed in.
 *
 * A delivery is in exactly one state: due, waiting for its time, in flight, or closed (then the
 * ledger has forgotten it). Every step is O(log n) in the deliveries of one destination.
 */
import type { MessageId } from '../mail/message-id.ts';
import type { Destination } from '../mail/route.ts';
import type { MessageState } from '../spool/message-state.ts';
import { Delivery, Lane } from './lane.ts';

/** Due for longer than this counts as overdue. */
const OVERDUE_MS = 60_000;

export type LedgerSummary = {
  readonly inFlight: number;
  readonly due: number;
  readonly delayed: number;
  /** Of those due. */
  readonly overdue: number;
  readonly oldestDueSeconds: number;
};

export class Ledger {
  readonly #lanes = new Map<Destination, Lane>();
  /** Deliveries left per message. */
  readonly #messages = new Map<MessageId, number>();
  readonly #mostMs: () => number;

  /** `mostMs`: a delivery that seems to wait for longer has a time from before the clock was set back. */
  constructor(mostMs: () => number = () => Number.POSITIVE_INFINITY) {
    this.#mostMs = mostMs;
  }

  /** Enter what is pending of a message that the ledger does not know yet; returns the deliveries. */
  enter(state: MessageState, nowMs: number): Delivery[] {
    const entered = this.#deliveries(state, nowMs);
    for (const delivery of entered) delivery.lane.waiting.add(delivery, nowMs);
    return entered;
  }

  /** The same for one of many from before, in any order: they fall due in the order of their times. */
  recover(state: MessageState, nowMs: number): void {
    for (const delivery of this.#deliveries(state, nowMs)) {
      delivery.lane.waiting.addInOrder(delivery);
    }
  }

  #deliveries({ envelope: { id }, pending }: MessageState, nowMs: number): Delivery[] {
    if (pending.length === 0 || this.#messages.has(id)) return [];
    this.#messages.set(id, pending.length);
    return pending.map(({ destination, attempts, nextAttemptMs }) => {
      // Received by a clock that was ahead of this one: it is due all the same.
      const atMs = attempts === 0 ? Math.min(nextAttemptMs, nowMs) : nextAttemptMs;
      return new Delivery(id, this.#open(destination), atMs);
    });
  }

  /** Take the lane's next due delivery for an attempt; undefined when none is due. */
  claim(lane: Lane, nowMs: number): Delivery | undefined {
    const delivery = lane.waiting.shift(nowMs);
    if (!delivery) return undefined;
    delivery.inFlight = true;
    lane.inFlight++;
    return delivery;
  }

  /** The attempt ended and recipients are left: it waits until `nextAttemptMs`. */
  postpone(delivery: Delivery, nextAttemptMs: number, nowMs: number): void {
    if (!this.#land(delivery)) return;
    delivery.nextAttemptMs = nextAttemptMs;
    delivery.lane.waiting.add(delivery, nowMs);
  }

  /** The attempt ended and every recipient of the delivery has its fate. */
  close(delivery: Delivery): void {
    if (!this.#land(delivery)) return;
    const left = (this.#messages.get(delivery.id) ?? 1) - 1;
    if (left > 0) this.#messages.set(delivery.id, left);
    else this.#messages.delete(delivery.id);
    this.dropIfEmpty(delivery.lane);
  }

  #land(delivery: Delivery): boolean {
    if (!delivery.inFlight) return false;
    delivery.inFlight = false;
    delivery.lane.inFlight--;
    return true;
  }

  /** Messages with deliveries left. */
  get messageCount(): number {
    return this.#messages.size;
  }

  get laneCount(): number {
    return this.#lanes.size;
  }

  lane(destination: Destination): Lane | undefined {
    return this.#lanes.get(destination);
  }

  lanes(): IterableIterator<Lane> {
    return this.#lanes.values();
  }

  #open(destination: Destination): Lane {
    const known = this.#lanes.get(destination);
    if (known) return known;
    const lane = new Lane(destination, this.#mostMs);
    this.#lanes.set(destination, lane);
    return lane;
  }

  /** Forget a lane that has neither deliveries nor turns. */
  dropIfEmpty(lane: Lane): void {
    if (lane.isEmpty && this.#lanes.get(lane.destination) === lane) {
      this.#lanes.delete(lane.destination);
    }
  }

  /** How many deliveries are being attempted, due, and waiting; O(lanes). */
  summary(nowMs: number): LedgerSummary {
    const sum = { inFlight: 0, due: 0, delayed: 0, overdue: 0, oldestDueSeconds: 0 };
    for (const { waiting, inFlight } of this.#lanes.values()) {
      waiting.fallDue(nowMs);
      sum.inFlight += inFlight;
      sum.due += waiting.dueCount;
      sum.delayed += waiting.laterCount;
      sum.overdue += waiting.countDueBefore(nowMs - OVERDUE_MS);
      const oldestMs = nowMs - (waiting.oldestDue?.nextAttemptMs ?? nowMs);
      sum.oldestDueSeconds = Math.max(sum.oldestDueSeconds, oldestMs / 1000);
    }
    return sum;
  }
}
