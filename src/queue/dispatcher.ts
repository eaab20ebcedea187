/**
 * Brings together the lanes with what is due (ledger), the right to attempt it (gate), and
 * BullMQ, which says when and in which order the lanes have their turns.
 *
 * Whenever something changes in a lane, `supply` is called: a resting turn gets the next due
 * delivery; for the others turns are asked; and a job is left that wakes the lane when its next
 * delivery falls due. Nothing here waits for Redis.
 */
import type { Destination } from '../mail/route.ts';
import type { Clock } from '../platform/clock.ts';
import type { MessageState } from '../spool/message-state.ts';
import type { Gate, Turn } from './gate.ts';
import type { QueueJob } from './job-queue.ts';
import type { Delivery, Lane } from './lane.ts';
import type { Ledger } from './ledger.ts';
import type { Outbox } from './outbox.ts';
import { type Limits, NO_RATES } from './rates.ts';
import type { Site, SiteKey } from './site.ts';

export interface DispatcherParts {
  readonly ledger: Ledger;
  readonly gate: Gate;
  readonly outbox: Pick<Outbox, 'put' | 'withdraw' | 'shut'>;
  readonly clock: Clock;
  readonly rates?: Pick<Limits, 'take' | 'waits'>;
  /** How long one turn of a lane waits for mail, in milliseconds. */
  readonly longRestMs?: number;
}

/**
 * So long a turn waits for its lane's next delivery when none is due and there is room: where
 * mail comes in steadily that saves a job a message. One of a lane's turns waits for longer, about as
 * long as a connection stays open.
 */
const REST_MS = 50;
const LONG_REST_MS = 5000;

export class Dispatcher {
  readonly #ledger: Ledger;
  readonly #gate: Gate;
  readonly #outbox: DispatcherParts['outbox'];
  readonly #clock: Clock;
  readonly #rates: NonNullable<DispatcherParts['rates']>;
  readonly #longRestMs: number;
  #isStopped = false;

  constructor(parts: DispatcherParts) {
    const { ledger, gate, outbox, clock, rates = NO_RATES, longRestMs = LONG_REST_MS } = parts;
    this.#rates = rates;
    this.#longRestMs = longRestMs;
    this.#ledger = ledger;
    this.#gate = gate;
    this.#outbox = outbox;
    this.#clock = clock;
  }

  /** A message was committed: its deliveries wait for their turns. */
  enter(state: MessageState): readonly Delivery[] {
    const entered = this.#ledger.enter(state, this.#clock.now());
    for (const { lane } of entered) this.supply(lane);
    return entered;
  }

  /** See that the lane has what it needs to go on. */
  supply(lane: Lane): void {
    if (this.#isStopped) return;
    const now = this.#clock.now();
    lane.waiting.fallDue(now);
    for (const resume of this.#gate.isClosed(lane, now) ? [] : lane.resting) {
      const delivery = this.#ledger.claim(lane, now);
      if (!delivery) break;
      resume(delivery);
    }
    for (const turn of this.#gate.ask(lane, now)) this.#outbox.put(turnJob(turn));
    // Whoever rests on a connection of the site makes way.
    const [end] = lane.site.refused.has(lane) ? lane.site.resting : [];
    end?.();
    if (this.#gate.rateClosedUntilMs(lane, now) === undefined) this.#setWake(lane);
    // It is supplied again at the end of the window; until then it need not know what falls due.
    else if (lane.waiting.dueCount > 0) this.#rates.waits(lane);
  }

  #setWake(lane: Lane): void {
    const atMs = lane.waiting.nextMs;
    if (atMs === undefined || (lane.wake && lane.wake.atMs <= atMs)) return;
    if (lane.wake) this.#outbox.withdraw(lane.wake.jobId);
    lane.wake = { jobId: this.#gate.newJobId(), atMs };
    this.#outbox.put(wakeJob(lane.wake, lane));
  }

  /** The job of a wake-up was handed out. */
  wake(destination: Destination, jobId: string): void {
    const lane = this.#ledger.lane(destination);
    if (lane?.wake?.jobId === jobId) this.rouse(lane);
  }

  /** Do now what the lane's wake-up was for. */
  rouse(lane: Lane): void {
    lane.wake = undefined;
    this.supply(lane);
  }

  /** The job of a turn was handed out: the turn, if it is one of ours that was not taken yet. */
  take(jobId: string): Turn | undefined {
    return this.#isStopped ? undefined : this.#gate.take(jobId);
  }

  /** The delivery to attempt next in this turn; undefined when the turn shall end. */
  async next(turn: Turn): Promise<Delivery | undefined> {
    const { lane } = turn;
    if (this.#isStopped || this.#gate.isOver(turn, this.#clock.now())) return undefined;
    const delivery = this.#ledger.claim(lane, this.#clock.now()) ?? (await this.#rest(lane));
    if (delivery) delivery.turn = turn;
    return delivery;
  }

  /**
   * A delivery that is attempted goes to these hosts: from now on its lane shares their limits. False
   * when they, or its rate, leave no room for it at the moment: it shall wait for another turn. Where there
   * is a rate the other nodes have to be heard first.
   */
  place({ lane, turn }: Delivery, key: SiteKey): boolean | Promise<boolean> {
    this.#ledger.sites.move(lane, key);
    const from = turn?.site;
    const hasRoom = turn === undefined || this.#gate.hasRoom(turn, this.#clock.now());
    if (from && from !== turn.site) this.goRound(from);
    return hasRoom && this.#rates.take(lane);
  }

  async #rest(lane: Lane): Promise<Delivery | undefined> {
    if (!this.#gate.mayRest(lane, this.#clock.now())) return undefined;
    const { promise, resolve } = Promise.withResolvers<Delivery | undefined>();
    const { site } = lane;
    const end = () => resume(undefined);
    const resume = (delivery: Delivery | undefined) => {
      lane.resting.delete(resume);
      site.resting.delete(end);
      cancel();
      resolve(delivery);
    };
    const restMs = lane.resting.size === 0 ? this.#longRestMs : REST_MS;
    const cancel = this.#clock.after(restMs, end);
    lane.resting.add(resume);
    site.resting.add(end);
    return promise;
  }

  /** Whether others wait for this turn to end. */
  isWaitedFor({ lane }: Turn): boolean {
    return this.#gate.isWaitedFor(lane);
  }

  /** The turn is over; another lane may have waited for it, and this one may go on. */
  end(turn: Turn): void {
    this.#gate.end(turn);
    this.goRound(turn.site);
    const other = this.#gate.nextRefused();
    if (other) this.supply(other);
    this.supply(turn.lane);
  }

  /** There is room at the site for lanes that waited for it. */
  goRound(site: Site): void {
    // One that waited may have enough by now; then it is the next one's.
    for (let left = site.refused.size + site.held.size; left > 0; left--) {
      const alike = this.#gate.nextOfSite(site, this.#clock.now());
      if (alike) this.supply(alike);
      else break;
    }
  }

  /** The job of a turn is of no use: ask by another one. */
  askAgain(turn: Turn): void {
    this.#outbox.withdraw(turn.jobId);
    this.#outbox.put(turnJob(this.#gate.replace(turn, this.#clock.now())));
  }

  /** All that should stand in Redis, save what is handed out. */
  *jobs(): Generator<QueueJob> {
    for (const turn of this.#gate.asked()) yield turnJob(turn);
    for (const lane of this.#ledger.lanes()) if (lane.wake) yield wakeJob(lane.wake, lane);
  }

  /** Give out nothing more; turns end after the attempt they are at. */
  stop(): void {
    this.#isStopped = true;
    this.#outbox.shut();
    for (const lane of this.#ledger.lanes()) {
      for (const resume of lane.resting) resume(undefined);
    }
  }
}

function turnJob({ jobId, lane }: Turn): QueueJob {
  return { jobId, kind: 'turn', destination: lane.destination };
}

function wakeJob({ jobId, atMs }: NonNullable<Lane['wake']>, { destination }: Lane): QueueJob {
  return { jobId, kind: 'wake', destination, atMs };
}
