/**
 * The gate: how many attempts each destination, and each site, gets at once. Pure; times are handed in.
 *
 * A turn is the right to make attempts for one lane, one after the other. It is asked of Redis
 * (a job that waits in line with those of the other lanes), taken by a worker slot when it is
 * handed out, and ends with the slot's work. A lane has at most `connections` turns, and no more
 * turns asked than deliveries due. All lanes of a site together have as many turns as the one that
 * may have most; while its breaker is open none, and then one until that has been heard of.
 * A turn counts for the site whose hosts it is spent on. When an attempt finds that its lane's mail goes
 * to another site, its turn comes along if there is room, or it is not made. The lane's other
 * turns do the same when they come to it: what they hold open meanwhile is not that site's burden.
 *
 * Half of the worker's slots are a reserve for lanes that have none: once the turns of all lanes
 * are that many, a lane gets no second one beside its first. So destinations that take
 * connections and then say nothing leave slots to the others until there are hundreds of them.
 *
 * A turn that ends to be asked for anew costs a round through Redis. So it ends for another lane's
 * sake only where that helps one: a lane's only turn, which would come back at once, not before
 * all slots are in use.
 *
 * A lane whose rate is used up (queue/rates.ts) gets no turn, and those it has end, until the window is over.
 * Where it shares the rate with others at its hosts they are held in line, and go on in that order.
 */
import { randomBytes } from 'node:crypto';
import type { Destination } from '../mail/route.ts';
import type { Lane } from './lane.ts';
import type { Ledger } from './ledger.ts';
import { type Limits, NO_RATES } from './rates.ts';
import type { Site } from './site.ts';

export interface Turn {
  /** The id of its job. */
  readonly jobId: string;
  readonly lane: Lane;
  /** For which it counts. */
  site: Site;
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
  /** Whether an administrator has paused it: then it gets none. */
  readonly isPaused?: (destination: Destination) => boolean;
  readonly rates?: Pick<Limits, 'closedUntilMs' | 'isSharedClosed'>;
}

/** Lanes of a site whose limits are looked at; beyond these the first ones speak for all. */
const LANES_ASKED = 20;

export class Gate {
  readonly #ledger: Ledger;
  readonly #connections: (destination: Destination) => number;
  readonly #isPaused: (destination: Destination) => boolean;
  readonly #rates: NonNullable<GateParts['rates']>;
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
  #taken = 0;

  constructor(parts: GateParts) {
    const { ledger, connections, slots, isPaused = () => false, rates = NO_RATES } = parts;
    this.#ledger = ledger;
    this.#isPaused = isPaused;
    this.#rates = rates;
    this.#connections = connections;
    this.#slots = slots;
    this.#shared = Math.ceil(slots / 2);
    this.#restful = Math.ceil((slots * 3) / 4);
  }

  /** An id for a job that no other has, in this process or another. */
  newJobId(): string {
    return `${this.#run}-${this.#named++}`;
  }

  /** Until when the lane's rate is used up; absolute, ms. Undefined: it is not. */
  rateClosedUntilMs(lane: Lane, nowMs: number): number | undefined {
    return this.#rates.closedUntilMs(lane, nowMs);
  }

  /** Whether the lane gets nothing now, however much room there is: paused by an administrator, or its rate is used up. */
  isClosed(lane: Lane, nowMs: number): boolean {
    return this.#limitOf(lane, nowMs) === 0;
  }

  /** How many turns a lane may have for its own sake. */
  #limitOf(lane: Lane, nowMs: number): number {
    return this.rateClosedUntilMs(lane, nowMs) === undefined ? this.#limit(lane.destination) : 0;
  }

  /** The same as far as its connections go. */
  #limit(destination: Destination): number {
    return this.#isPaused(destination) ? 0 : this.#connections(destination);
  }

  /** New turns for what is due in the lane and was not asked for yet. */
  ask(lane: Lane, nowMs: number): readonly Turn[] {
    const { site, waiting } = lane;
    const limit = this.#limitOf(lane, nowMs);
    const wanted = Math.min(waiting.dueCount - lane.turnsAsked, limit - lane.turns);
    const hasMail = waiting.dueCount + waiting.laterCount > 0;
    note(site.held, lane, limit === 0 && hasMail && this.#rates.isSharedClosed(site, nowMs));
    const room = Math.max(0, Math.min(wanted, this.#most(site, nowMs, lane) - site.turns));
    note(site.refused, lane, room < wanted && site.breaker.state(nowMs) !== 'open');
    const free = Math.max(this.#shared - this.#turns.size, lane.turns === 0 ? 1 : 0);
    note(this.#refused, lane, free < room);
    const turns = Math.max(0, Math.min(room, free));
    return Array.from({ length: turns }, () => this.#add(lane, site, nowMs));
  }

  /** Turns that all lanes of a site may have together; `lane` is the one that asks. */
  #most(site: Site, nowMs: number, lane?: Lane): number {
    const state = site.breaker.state(nowMs);
    if (state !== 'closed') return state === 'open' ? 0 : 1;
    let most = lane ? this.#limit(lane.destination) : 0;
    let looked = 0;
    for (const { destination } of site.lanes) {
      most = Math.max(most, this.#limit(destination));
      if (++looked >= LANES_ASKED) break;
    }
    return most;
  }

  #add(lane: Lane, site: Site, seenAtMs: number): Turn {
    const turn: Turn = { jobId: this.newJobId(), lane, site, state: 'asked', seenAtMs };
    this.#turns.set(turn.jobId, turn);
    lane.turnsAsked++;
    site.turns++;
    return turn;
  }

  /** A job was handed out: its turn, unless there is none or it was taken before. */
  take(jobId: string): Turn | undefined {
    const turn = this.#turns.get(jobId);
    if (turn?.state !== 'asked') return undefined;
    turn.state = 'taken';
    turn.lane.turnsAsked--;
    turn.lane.turnsTaken++;
    this.#taken++;
    return turn;
  }

  /** The turn is over, however its job goes on. */
  end(turn: Turn): void {
    if (turn.state === 'over') return;
    if (turn.state === 'asked') turn.lane.turnsAsked--;
    else {
      turn.lane.turnsTaken--;
      this.#taken--;
    }
    turn.site.turns--;
    turn.state = 'over';
    this.#turns.delete(turn.jobId);
    this.#ledger.dropIfEmpty(turn.lane);
    this.#ledger.sites.dropIfIdle(turn.site);
  }

  /** Ask again for a turn whose job is of no use any more, by another job. */
  replace(turn: Turn, nowMs: number): Turn {
    const next = this.#add(turn.lane, turn.site, nowMs);
    this.end(turn);
    return next;
  }

  /** Whether the lane or its site has more turns than it may: a limit was lowered, a breaker opened, or it moved. */
  isOver(turn: Turn, nowMs: number): boolean {
    const { lane } = turn;
    if (lane.turnsTaken > this.#limitOf(lane, nowMs)) return true;
    if (!this.hasRoom(turn, nowMs)) return true;
    return lane.site.turns > this.#most(lane.site, nowMs, lane);
  }

  /** Whether the turn counts for its lane's site, or can from now on. */
  hasRoom(turn: Turn, nowMs: number): boolean {
    const { site: from, lane } = turn;
    const { site } = lane;
    if (from === site) return true;
    if (site.turns >= this.#most(site, nowMs, lane)) return false;
    turn.site = site;
    site.turns++;
    from.turns--;
    this.#ledger.sites.dropIfIdle(from);
    return true;
  }

  /** Whether turns may rest: nobody waits for their slot, and there are enough for lanes that have none. */
  mayRest({ site }: Lane, nowMs: number): boolean {
    if (site.refused.size > 0 || site.breaker.state(nowMs) !== 'closed') return false;
    if (site.held.size > 0 && !this.#rates.isSharedClosed(site, nowMs)) return false;
    return this.#refused.size === 0 && this.#turns.size < this.#restful;
  }

  /** Whether another lane would gain by the end of one of this lane's turns. */
  isWaitedFor(lane: Lane): boolean {
    if (this.#turns.size >= this.#slots) return true;
    if (hasOthers(lane.site.refused, lane) || hasOthers(lane.site.held, lane)) return true;
    return hasOthers(this.#refused, lane) && lane.turnsTaken > 1;
  }

  /** A lane that was refused a turn and may ask again now. */
  nextRefused(): Lane | undefined {
    return this.#turns.size >= this.#shared ? undefined : takeFirst(this.#refused);
  }

  /** The same, of those that were refused one for their site's sake, or had to wait for the rate they share. */
  nextOfSite(site: Site, nowMs: number): Lane | undefined {
    if (site.turns >= this.#most(site, nowMs)) return undefined;
    if (site.refused.size > 0) return takeFirst(site.refused);
    return this.#rates.isSharedClosed(site, nowMs) ? undefined : takeFirst(site.held);
  }

  /** Whether a turn that is asked could be taken at once. */
  get hasFreeSlot(): boolean {
    return this.#taken < this.#slots;
  }

  /** Turns asked, the longest asked first. */
  *asked(): Generator<Turn> {
    for (const turn of this.#turns.values()) if (turn.state === 'asked') yield turn;
  }
}

function note(refused: Set<Lane>, lane: Lane, is: boolean): void {
  if (is) refused.add(lane);
  else refused.delete(lane);
}

function hasOthers(refused: ReadonlySet<Lane>, lane: Lane): boolean {
  return refused.size > Number(refused.has(lane));
}

function takeFirst(refused: Set<Lane>): Lane | undefined {
  const [lane] = refused;
  if (lane) refused.delete(lane);
  return lane;
}
