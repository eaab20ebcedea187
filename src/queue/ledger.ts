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
import { Sites } from './site.ts';

/** Due for longer than this counts as overdue. */
const OVERDUE_MS = 60_000;

/** A breaker that never opens. */
const NEVER = { failures: Number.POSITIVE_INFINITY, probeEvery: 0 };

export type LedgerSummary = {
  readonly inFlight: number;
  readonly due: number;
  /** Due, but their hosts are away, or they are paused: they wait until a probe gets through, or they are resumed. */
  readonly parked: number;
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
  readonly sites: Sites;

  /** `mostMs`: a delivery that seems to wait for longer has a time from before the clock was set back. */
  constructor(
    mostMs: () => number = () => Number.POSITIVE_INFINITY,
    sites: Sites = new Sites(() => NEVER),
  ) {
    this.#mostMs = mostMs;
    this.sites = sites;
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

  #deliveries({ envelope, pending }: MessageState, nowMs: number): Delivery[] {
    const { id } = envelope;
    const nullReversePath = envelope.reversePath === '';
    if (pending.length === 0 || this.#messages.has(id)) return [];
    this.#messages.set(id, pending.length);
    return pending.map(({ destination, attempts, nextAttemptMs }) => {
      // Received by a clock that was ahead of this one: it is due all the same.
      const atMs = attempts === 0 ? Math.min(nextAttemptMs, nowMs) : nextAttemptMs;
      const facts = { nextAttemptMs: atMs, nullReversePath };
      return new Delivery(id, this.#open(destination), facts);
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

  /** Take those of the lane's due deliveries for which `is`, wherever they stand in the line. */
  claimWhere(lane: Lane, is: (delivery: Delivery) => boolean): Delivery[] {
    const claimed = lane.waiting.takeDueWhere(is);
    for (const delivery of claimed) delivery.inFlight = true;
    lane.inFlight += claimed.length;
    return claimed;
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
    delivery.turn = undefined;
    delivery.lane.inFlight--;
    return true;
  }

  /** Messages with deliveries left. */
  get messageCount(): number {
    return this.#messages.size;
  }

  /** Messages with deliveries left, in the order in which they were entered. */
  messageIds(): IterableIterator<MessageId> {
    return this.#messages.keys();
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
    const lane = new Lane(destination, this.sites.of(destination), this.#mostMs);
    this.sites.enter(lane);
    this.#lanes.set(destination, lane);
    return lane;
  }

  /** Forget a lane that has neither deliveries nor turns. */
  dropIfEmpty(lane: Lane): void {
    if (lane.isEmpty && this.#lanes.get(lane.destination) === lane) {
      this.#lanes.delete(lane.destination);
      this.sites.leave(lane);
    }
  }

  /** How many deliveries are being attempted, due, and waiting; O(lanes). `isPaused`: by an administrator. */
  summary(
    nowMs: number,
    isPaused: (destination: Destination) => boolean = () => false,
  ): LedgerSummary {
    const sum = { inFlight: 0, due: 0, parked: 0, delayed: 0, overdue: 0, oldestDueSeconds: 0 };
    for (const { destination, waiting, inFlight, site } of this.#lanes.values()) {
      waiting.fallDue(nowMs);
      sum.inFlight += inFlight;
      sum.delayed += waiting.laterCount;
      if (site.breaker.state(nowMs) !== 'closed' || isPaused(destination)) {
        sum.parked += waiting.dueCount;
        continue;
      }
      sum.due += waiting.dueCount;
      sum.overdue += waiting.countDueBefore(nowMs - OVERDUE_MS);
      const oldestMs = nowMs - (waiting.oldestDue?.nextAttemptMs ?? nowMs);
      sum.oldestDueSeconds = Math.max(sum.oldestDueSeconds, oldestMs / 1000);
    }
    return sum;
  }
}
