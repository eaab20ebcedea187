/**
 * The gate: how many attempts each destination gets at once. Pure; times are handed in.
 *
 * A turn is the right to make attempts for one lane, one after the other. It is asked of Redis
 * (a job that waits in line with those of the other lanes), taken by a worker slot when it is
 * handed out, and ends with the slot's work. A lane has at most `connections` turns, and no more
 * turns asked than deliveries due.
 *
 * Half of the worker's slots are a reserve for lanes that have none: once the turns of all lanes
 * are that many, a lane gets no second one beside its first. So destinations that take
 * connections and then say nothing leave slots to the others until there are hundreds of them.
 *
 * A turn that ends to be asked for anew costs a round through Redis. So it ends for another lane's
 * sake only where that helps one: a lane's only turn, which would come back at once, not before
 * all slots are in use.
 */
import { randomBytes } from 'node:crypto';
import type { Destination } from '../mail/route.ts';
import type { Lane } from './lane.ts';
import type { Ledger } from './ledger.ts';

export interface Turn {
  /** The id of its job. */
  readonly jobId: string;
  readonly lane: Lane;
  state: 'asked' | 'taken' | 'over';
  /** When it was asked, or last known to stand in line; absolute, ms. */
  seenAtMs: number;
}

export interface GateParts {
  readonly ledger: Ledger;
  /** How many attempts a destination gets at once; asked at every decision, so a reload counts at once. */
  readonly connections: (destination: Destination) => number;
  /** Attempts at once for all destinations together. */
  readonly slots: number;
}

export class Gate {
  readonly #ledger: Ledger;
  readonly #connections: (destination: Destination) => number;
  readonly #slots: number;
  readonly #shared: number;
  readonly #restful: number;
  /** Asked and taken ones, the longest asked first. */
  readonly #turns = new Map<string, Turn>();
  /** Lanes that were refused a second turn, the first refused first. */
  readonly #refused = new Set<Lane>();
  /** No job of an earlier process has a name of ours. */
  readonly #run = randomBytes(6).toString('hex');
  #named = 0;

  constructor({ ledger, connections, slots }: GateParts) {
    this.#ledger = ledger;
    this.#connections = connections;
    this.#slots = slots;
    this.#shared = Math.ceil(slots / 2);
    this.#restful = Math.ceil((slots * 3) / 4);
  }

  /** An id for a job that no other has, in this process or another. */
  newJobId(): string {
    return `${this.#run}-${this.#named++}`;
  }

  /** New turns for what is due in the lane and was not asked for yet. */
  ask(lane: Lane, nowMs: number): readonly Turn[] {
    const wanted = Math.min(
      lane.waiting.dueCount - lane.turnsAsked,
      this.#connections(lane.destination) - lane.turns,
    );
    if (wanted <= 0) {
      this.#refused.delete(lane);
      return [];
    }
    const free = Math.max(this.#shared - this.#turns.size, lane.turns === 0 ? 1 : 0);
    if (free < wanted) this.#refused.add(lane);
    else this.#refused.delete(lane);
    return Array.from({ length: Math.min(wanted, free) }, () => this.#add(lane, nowMs));
  }

  #add(lane: Lane, seenAtMs: number): Turn {
    const turn: Turn = { jobId: this.newJobId(), lane, state: 'asked', seenAtMs };
    this.#turns.set(turn.jobId, turn);
    lane.turnsAsked++;
    return turn;
  }

  /** A job was handed out: its turn, unless there is none or it was taken before. */
  take(jobId: string): Turn | undefined {
    const turn = this.#turns.get(jobId);
    if (turn?.state !== 'asked') return undefined;
    turn.state = 'taken';
    turn.lane.turnsAsked--;
    turn.lane.turnsTaken++;
    return turn;
  }

  /** The turn is over, however its job goes on. */
  end(turn: Turn): void {
    if (turn.state === 'over') return;
    if (turn.state === 'asked') turn.lane.turnsAsked--;
    else turn.lane.turnsTaken--;
    turn.state = 'over';
    this.#turns.delete(turn.jobId);
    this.#ledger.dropIfEmpty(turn.lane);
  }

  /** Ask again for a turn whose job is of no use any more, by another job. */
  replace(turn: Turn, nowMs: number): Turn {
    const next = this.#add(turn.lane, nowMs);
    this.end(turn);
    return next;
  }

  /** Whether the lane has more turns than it may (the limit was lowered). */
  isOver(lane: Lane): boolean {
    return lane.turnsTaken > this.#connections(lane.destination);
  }

  /** Whether turns may rest: nobody waits for their slot, and there are enough for lanes that have none. */
  get mayRest(): boolean {
    return this.#refused.size === 0 && this.#turns.size < this.#restful;
  }

  /** Whether another lane would gain by the end of one of this lane's turns. */
  isWaitedFor(lane: Lane): boolean {
    if (this.#turns.size >= this.#slots) return true;
    const others = this.#refused.size - Number(this.#refused.has(lane));
    return others > 0 && lane.turnsTaken > 1;
  }

  /** A lane that was refused a turn and may ask again now. */
  nextRefused(): Lane | undefined {
    if (this.#turns.size >= this.#shared) return undefined;
    const [lane] = this.#refused;
    if (lane) this.#refused.delete(lane);
    return lane;
  }

  /** Turns asked, the longest asked first. */
  *asked(): Generator<Turn> {
    for (const turn of this.#turns.values()) if (turn.state === 'asked') yield turn;
  }
}
