/**
 * A lane: everything the queue knows about one destination. Its deliveries wait here, outside
 * Redis; in Redis stand only its turns (queue/gate.ts) and one job for its next wake-up.
 * Changed by the ledger (deliveries), the gate (turns) and the dispatcher (wake-up, rests).
 */
import type { MessageId } from '../mail/message-id.ts';
import type { Destination } from '../mail/route.ts';
import type { Turn } from './gate.ts';
import type { Site } from './site.ts';
import { WaitingLine } from './waiting-line.ts';

/** A message x a destination with recipients left. Kept small: there may be a million of them. */
export class Delivery {
  readonly id: MessageId;
  readonly lane: Lane;
  /** Absolute, ms. */
  nextAttemptMs: number;
  /** Its lifetime is that of bounces. */
  readonly nullReversePath: boolean;
  /** Being attempted. If not, it waits in its lane or is closed. */
  inFlight = false;
  /** In which it is attempted. */
  turn: Turn | undefined;

  constructor(
    id: MessageId,
    lane: Lane,
    { nextAttemptMs, nullReversePath }: { nextAttemptMs: number; nullReversePath: boolean },
  ) {
    this.id = id;
    this.lane = lane;
    this.nextAttemptMs = nextAttemptMs;
    this.nullReversePath = nullReversePath;
  }

  get destination(): Destination {
    return this.lane.destination;
  }
}

export class Lane {
  readonly destination: Destination;
  readonly waiting: WaitingLine<Delivery>;
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
    this.waiting = new WaitingLine(mostMs);
  }

  get turns(): number {
    return this.turnsAsked + this.turnsTaken;
  }

  get isEmpty(): boolean {
    const { dueCount, laterCount } = this.waiting;
    return dueCount + laterCount + this.inFlight + this.turns === 0;
  }
}
