/**
 * A lane: everything the queue knows about one destination. Its deliveries wait here, outside
 * Redis; in Redis stand only its turns (queue/gate.ts) and one job for its next wake-up.
 * Changed by the ledger (deliveries), the gate (turns) and the dispatcher (wake-up, rests).
 */
import type { HeldBy, Hold } from '../mail/hold.ts';
import type { MessageId } from '../mail/message-id.ts';
import type { CauseClass } from '../mail/outcome.ts';
import type { Destination } from '../mail/route.ts';
import { senderKey } from './fair-line.ts';
import type { Turn } from './gate.ts';
import type { Holdable } from './hold-rules.ts';
import type { Origin } from './mail-pattern.ts';
import type { Site } from './site.ts';
import { WaitingLine } from './waiting-line.ts';

/** The last attempt of a delivery: what its schedule goes by. */
export interface Tried {
  /** Attempts made. */
  readonly attempts: number;
  readonly causeClass: CauseClass;
  /** When it ended; absolute, ms. */
  readonly triedAtMs: number;
}

/** What is known of a delivery in memory. */
export interface DeliveryFacts {
  readonly nextAttemptMs: number;
  /** Reverse-path. */
  readonly sender: string;
  /** Addresses it was entered with; undefined: too many to be kept here. */
  readonly recipients?: readonly string[] | undefined;
  readonly origin?: Origin | undefined;
  readonly tried?: Tried | undefined;
  readonly heldBy?: HeldBy | undefined;
}

/** A message x a destination with recipients left. Kept small: there may be a million of them. */
export class Delivery {
  readonly id: MessageId;
  readonly lane: Lane;
  /** Absolute, ms. */
  nextAttemptMs: number;
  /** Reverse-path; messages of one sender share the string. */
  readonly sender: string;
  /** Messages of one client and user share it. */
  readonly origin: Origin | undefined;
  /** One address as it is, for most have one; undefined: too many to be kept here. */
  readonly #recipients: string | readonly string[] | undefined;
  /** Undefined before the first attempt. */
  tried: Tried | undefined;
  /** An administrator's last word about it alone. */
  heldBy: HeldBy | undefined;
  /** Being attempted. If not, it waits in its lane, is held there, or is closed. */
  inFlight = false;
  /** Is not attempted, for this reason; changed by the ledger. */
  hold: Hold | undefined;
  /** In which it is attempted. */
  turn: Turn | undefined;

  constructor(id: MessageId, lane: Lane, facts: DeliveryFacts) {
    const { nextAttemptMs, sender, recipients, origin, tried, heldBy } = facts;
    this.id = id;
    this.lane = lane;
    this.nextAttemptMs = nextAttemptMs;
    this.sender = sender;
    this.origin = origin;
    this.#recipients = recipients?.length === 1 ? recipients[0] : recipients;
    this.tried = tried;
    this.heldBy = heldBy;
  }

  get destination(): Destination {
    return this.lane.destination;
  }

  /** Its lifetime is that of bounces. */
  get nullReversePath(): boolean {
    return this.sender === '';
  }

  /** Addresses it was entered with, some of which may have their fate by now; undefined: many. */
  get recipients(): readonly string[] | undefined {
    return typeof this.#recipients === 'string' ? [this.#recipients] : this.#recipients;
  }

  /** What patterns and rules are held against; `recipients`: all of them, where they are known. */
  facts(recipients = this.recipients): Holdable {
    const { destination, sender, origin, heldBy, hold } = this;
    return { destination, sender, origin, recipients, heldBy, hold };
  }
}

export class Lane {
  readonly destination: Destination;
  readonly waiting: WaitingLine<Delivery>;
  /** Those that are held: they have neither turns nor times. */
  readonly held = new Set<Delivery>();
  /** Deliveries being attempted. */
  inFlight = 0;
  /** Turns asked of Redis and not handed out yet. */
  turnsAsked = 0;
  /** Turns that a worker slot is busy with. */
  turnsTaken = 0;
  /** Turns among those taken that wait a moment for the next delivery: called with it, or at the end. */
  readonly resting = new Set<(delivery: Delivery | undefined) => void>();
  /** The job that tells when the next delivery falls due. */
  wake: { readonly jobId: string; readonly atMs: number } | undefined;

  /** With which it shares its limits; changed by Sites. */
  site: Site;

  constructor(destination: Destination, site: Site, mostMs: () => number) {
    this.destination = destination;
    this.site = site;
    this.waiting = new WaitingLine(mostMs, ({ sender }) => senderKey(sender));
  }

  get turns(): number {
    return this.turnsAsked + this.turnsTaken;
  }

  get isEmpty(): boolean {
    const { dueCount, laterCount } = this.waiting;
    return dueCount + laterCount + this.held.size + this.inFlight + this.turns === 0;
  }
}
