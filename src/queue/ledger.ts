/**
 * The ledger: every delivery that still has recipients without a fate, in memory, as the spool
 * tells it, by destination. It gives out deliveries one attempt at a time and in order, and is
 * where the queue gauges come from. Pure; times are handed in.
 *
 * A delivery is in exactly one state: due, waiting for its time, held, in flight, or closed (then the
 * ledger has forgotten it). Every step is O(log n) in the deliveries of one destination.
 */
import { LRUCache } from 'lru-cache';
import type { ClientFacts } from '../mail/envelope.ts';
import type { Hold } from '../mail/hold.ts';
import type { MessageId } from '../mail/message-id.ts';
import { CAUSE_CLASSES, type CauseClass } from '../mail/outcome.ts';
import type { Destination } from '../mail/route.ts';
import type { MessageState } from '../spool/message-state.ts';
import { Delivery, Lane } from './lane.ts';
import type { Origin } from './mail-pattern.ts';
import { Sites } from './site.ts';

/** Due for longer than this counts as overdue. */
const OVERDUE_MS = 60_000;

/** Recipients of a delivery that are kept in memory; of more the spool is asked. */
const MOST_RECIPIENTS = 20;
/** Senders whose address is shared by their messages; the same of those who hand mail over. */
const MOST_SENDERS = 20_000;

/** A breaker that never opens. */
const NEVER = { failures: Number.POSITIVE_INFINITY, probeEvery: 0 };

export type LedgerSummary = {
  readonly inFlight: number;
  readonly due: number;
  /**
   * Due, but their hosts are away, they are paused, or their rate is used up: they wait until a probe gets through,
   * they are resumed, or the next window begins.
   */
  readonly parked: number;
  /** By an administrator. */
  readonly held: number;
  readonly delayed: number;
  /** Of those due. */
  readonly overdue: number;
  readonly oldestDueSeconds: number;
};

/** What an administrator holds a delivery for. `recipients`: all of them, where they are known. */
export type HoldOf = (
  delivery: Delivery,
  recipients: readonly string[] | undefined,
  nowMs: number,
) => Hold | undefined;

export class Ledger {
  readonly #lanes = new Map<Destination, Lane>();
  /** Deliveries left per message; most have one. */
  readonly #messages = new Map<MessageId, Delivery | readonly Delivery[]>();
  readonly #senders = new LRUCache<string, string>({ max: MOST_SENDERS });
  readonly #origins = new LRUCache<string, Origin>({ max: MOST_SENDERS });
  /** Asked for by name, and not attempted since. */
  readonly #first = new WeakSet<Delivery>();
  readonly #mostMs: () => number;
  readonly #holdOf: HoldOf;
  readonly sites: Sites;

  /**
   * `mostMs`: a delivery that seems to wait for longer has a time from before the clock was set back.
   * `holdOf`: what an administrator holds a delivery for.
   */
  constructor(
    mostMs: () => number = () => Number.POSITIVE_INFINITY,
    sites: Sites = new Sites(() => NEVER),
    holdOf: HoldOf = () => undefined,
  ) {
    this.#mostMs = mostMs;
    this.sites = sites;
    this.#holdOf = holdOf;
  }

  /** Enter what is pending of a message that the ledger does not know yet; returns the deliveries. */
  enter(state: MessageState, nowMs: number): Delivery[] {
    const entered = this.#deliveries(state, nowMs);
    for (const delivery of entered) {
      if (delivery.hold) delivery.lane.held.add(delivery);
      else delivery.lane.waiting.add(delivery, nowMs);
    }
    return entered;
  }

  /** The same for one of many from before, in any order: they fall due in the order of their times. */
  recover(state: MessageState, nowMs: number): void {
    for (const delivery of this.#deliveries(state, nowMs)) {
      if (delivery.hold) delivery.lane.held.add(delivery);
      else delivery.lane.waiting.addInOrder(delivery);
    }
  }

  /** It waits in its lane, or is held there. */
  #wait(delivery: Delivery, nowMs: number): void {
    delivery.hold = this.#holdOf(delivery, delivery.recipients, nowMs);
    if (delivery.hold) delivery.lane.held.add(delivery);
    else this.#lineUp(delivery, nowMs);
  }

  #lineUp(delivery: Delivery, nowMs: number): void {
    const { waiting } = delivery.lane;
    if (delivery.nextAttemptMs <= nowMs && this.#first.has(delivery)) waiting.addFirst(delivery);
    else waiting.add(delivery, nowMs);
  }

  #deliveries({ envelope, pending }: MessageState, nowMs: number): Delivery[] {
    const { id } = envelope;
    if (pending.length === 0 || this.#messages.has(id)) return [];
    const sender = this.#shared(envelope.reversePath);
    const origin = envelope.client && this.#sharedOrigin(envelope.client);
    const deliveries = pending.map((state) => {
      const { attempts, nextAttemptMs, triedAtMs, lastFailure, heldBy } = state;
      // Received by a clock that was ahead of this one: it is due all the same.
      const atMs = attempts === 0 ? Math.min(nextAttemptMs, nowMs) : nextAttemptMs;
      const recipients = state.pending.map((index) => envelope.recipients[index]?.address ?? '');
      const facts = {
        nextAttemptMs: atMs,
        ...{ sender, origin },
        recipients: recipients.length > MOST_RECIPIENTS ? undefined : recipients,
        tried:
          triedAtMs === undefined
            ? undefined
            : { attempts, triedAtMs, causeClass: causeClass(lastFailure?.causeClass) },
        heldBy,
      };
      const delivery = new Delivery(id, this.#open(state.destination), facts);
      delivery.hold = this.#holdOf(delivery, recipients, nowMs);
      return delivery;
    });
    this.#messages.set(id, deliveries.length === 1 && deliveries[0] ? deliveries[0] : deliveries);
    return deliveries;
  }

  #shared(sender: string): string {
    const known = this.#senders.get(sender);
    if (known === undefined) this.#senders.set(sender, sender);
    return known ?? sender;
  }

  #sharedOrigin({ address, user }: ClientFacts): Origin {
    const key = user === undefined ? address : `${address} ${user}`;
    const known = this.#origins.get(key);
    if (known) return known;
    const origin = user === undefined ? { address } : { address, user };
    this.#origins.set(key, origin);
    return origin;
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

  /** Take those of these that are not being attempted, wherever they wait, for something else than an attempt. */
  claimThese(deliveries: ReadonlySet<Delivery>): Delivery[] {
    const lanes = new Set([...deliveries].map(({ lane }) => lane));
    const claimed: Delivery[] = [];
    for (const lane of lanes) {
      for (const one of lane.waiting.takeWhere((each) => deliveries.has(each))) claimed.push(one);
    }
    for (const one of deliveries) if (one.lane.held.delete(one)) claimed.push(one);
    for (const delivery of claimed) {
      delivery.inFlight = true;
      delivery.lane.inFlight++;
    }
    return claimed;
  }

  /** The attempt ended and recipients are left: it waits until `nextAttemptMs`. `tried`: if it counts. */
  postpone(delivery: Delivery, nextAttemptMs: number, nowMs: number, tried = delivery.tried): void {
    if (!this.#land(delivery)) return;
    delivery.nextAttemptMs = nextAttemptMs;
    if (tried !== delivery.tried) this.#first.delete(delivery);
    delivery.tried = tried;
    this.#wait(delivery, nowMs);
  }

  /** What holds these has changed: hold them, or let them go. Those in flight hear of it when they are back. */
  reviewHolds(deliveries: Iterable<Delivery>, nowMs: number): void {
    const toHold = new Set<Delivery>();
    const lanes = new Set<Lane>();
    for (const delivery of deliveries) {
      if (delivery.inFlight) continue;
      const { hold, lane } = delivery;
      delivery.hold = this.#holdOf(delivery, delivery.recipients, nowMs);
      if (!hold === !delivery.hold) continue;
      if (delivery.hold) {
        toHold.add(delivery);
        lanes.add(lane);
      } else if (lane.held.delete(delivery)) this.#lineUp(delivery, nowMs);
    }
    for (const lane of lanes) {
      for (const one of lane.waiting.takeWhere((delivery) => toHold.has(delivery)))
        lane.held.add(one);
    }
  }

  /** Let these be due now, those among them that wait for their time. */
  hasten(deliveries: ReadonlySet<Delivery>, nowMs: number): void {
    const lanes = new Set([...deliveries].map(({ lane }) => lane));
    for (const lane of lanes) {
      lane.waiting.fallDue(nowMs);
      for (const delivery of lane.waiting.takeLaterWhere((one) => deliveries.has(one))) {
        delivery.nextAttemptMs = nowMs;
        lane.waiting.add(delivery, nowMs);
      }
    }
  }

  /** The same, and before all others of their lanes: a destination that is closed is tried with one of them. */
  putFirst(deliveries: ReadonlySet<Delivery>, nowMs: number): void {
    const lanes = new Set([...deliveries].map(({ lane }) => lane));
    for (const lane of lanes) {
      for (const delivery of lane.waiting.takeWhere((one) => deliveries.has(one))) {
        delivery.nextAttemptMs = Math.min(delivery.nextAttemptMs, nowMs);
        this.#first.add(delivery);
        lane.waiting.addFirst(delivery);
      }
    }
  }

  /** The attempt ended and every recipient of the delivery has its fate. */
  close(delivery: Delivery): void {
    if (!this.#land(delivery)) return;
    const all = this.#messages.get(delivery.id);
    if (all === delivery) this.#messages.delete(delivery.id);
    else {
      const left = this.deliveriesOf(delivery.id).filter((one) => one !== delivery);
      if (left.length > 0) this.#messages.set(delivery.id, left);
      else this.#messages.delete(delivery.id);
    }
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

  /** What is left of a message. */
  deliveriesOf(id: MessageId): readonly Delivery[] {
    const found = this.#messages.get(id);
    if (found === undefined) return [];
    return found instanceof Delivery ? [found] : found;
  }

  /** Whether it still has recipients without a fate. */
  isLeft(delivery: Delivery): boolean {
    return this.deliveriesOf(delivery.id).includes(delivery);
  }

  /** Everything that is left, by message in the order in which they were entered. */
  *deliveries(): Generator<Delivery> {
    for (const found of this.#messages.values()) {
      if (found instanceof Delivery) yield found;
      else yield* found;
    }
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

  /** How many deliveries are being attempted, due, and waiting; O(lanes). `isPaused`: by an administrator, or a rate. */
  summary(
    nowMs: number,
    isPaused: (destination: Destination) => boolean = () => false,
  ): LedgerSummary {
    const sum = {
      ...{ inFlight: 0, due: 0, parked: 0, held: 0, delayed: 0 },
      ...{ overdue: 0, oldestDueSeconds: 0 },
    };
    for (const { destination, waiting, held, inFlight, site } of this.#lanes.values()) {
      waiting.fallDue(nowMs);
      sum.inFlight += inFlight;
      sum.held += held.size;
      sum.delayed += waiting.laterCount;
      if (site.breaker.state(nowMs) !== 'closed' || isPaused(destination)) {
        sum.parked += waiting.dueCount;
        continue;
      }
      sum.due += waiting.dueCount;
      sum.overdue += waiting.countDueBefore(nowMs - OVERDUE_MS);
      const oldestMs = nowMs - (waiting.oldestDueMs ?? nowMs);
      sum.oldestDueSeconds = Math.max(sum.oldestDueSeconds, oldestMs / 1000);
    }
    return sum;
  }
}

/** The one string of a class: those from the spool are strings of their own. */
function causeClass(read: CauseClass | undefined): CauseClass {
  return CAUSE_CLASSES.find((known) => known === read) ?? 'other';
}
