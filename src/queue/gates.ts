/**
 * What stands between a queued delivery and its next attempt, for people. Everything that holds
 * mail back is asked here and nowhere else, so that a list, an explanation and the metrics agree.
 */
import type { Hold } from '../mail/hold.ts';
import { timeOfId } from '../mail/message-id.ts';
import type { Clock } from '../platform/clock.ts';
import type { Delivery, Lane } from './lane.ts';
import type { Pause, Pauses } from './pauses.ts';
import type { Rates } from './rates.ts';
import { expiry, type RetrySettings, scheduleFor } from './retry-schedule.ts';

/** `due`: it goes as soon as it has its turn; `parked`: due, and its destination is closed. */
export const QUEUE_STATES = ['active', 'due', 'parked', 'delayed', 'held'] as const;
export type QueueState = (typeof QUEUE_STATES)[number];

/** All times in milliseconds since the epoch. */
export type Barrier =
  | { readonly kind: 'hold'; readonly hold: Hold }
  | {
      readonly kind: 'backoff';
      readonly untilMs: number;
      readonly attempts: number;
      readonly causeClass: string;
      /** Whose schedule it is: the domain's own, that of the cause's class, or the default. */
      readonly schedule: 'domain' | 'class' | 'default';
    }
  /** This relay may deliver nothing: its name is not its own. */
  | { readonly kind: 'node'; readonly trouble: string }
  | { readonly kind: 'pause'; readonly pause: Pause }
  | {
      readonly kind: 'breaker';
      readonly site: string;
      readonly state: 'open' | 'half-open';
      readonly sinceMs: number;
      readonly probeAtMs: number;
      readonly failures: number;
      readonly lastFailure: string;
    }
  | {
      readonly kind: 'rate';
      readonly untilMs: number;
      /** e.g. `100/1m` */
      readonly rate: string;
      /** Those it shares the rate with; absent: it has its own. */
      readonly site?: string;
    }
  | {
      /** All that its hosts may have at once are busy. */
      readonly kind: 'connections';
      readonly site: string;
      readonly busy: number;
      /** Deliveries for the same destination that are due before it, as far as known. */
      readonly due: number;
    }
  /** Nothing: it is taken up as soon as a turn comes round. */
  | { readonly kind: 'turn'; readonly redisIsAway: boolean };

export interface GatesParts {
  readonly pauses: Pick<Pauses, 'of'>;
  readonly rates: Pick<Rates, 'closedBy'>;
  readonly clock: Clock;
  readonly retry: () => RetrySettings;
  readonly redisIsAway: () => boolean;
  /** Why nothing is delivered here at all, for people; undefined where nothing stands against it. */
  readonly nodeTrouble?: () => string | undefined;
}

export class Gates {
  readonly #parts: GatesParts;

  constructor(parts: GatesParts) {
    this.#parts = parts;
  }

  stateOf({ inFlight, hold, nextAttemptMs, lane }: Delivery): QueueState {
    if (inFlight) return 'active';
    if (hold) return 'held';
    if (nextAttemptMs > this.#parts.clock.now()) return 'delayed';
    return this.isClosed(lane) ? 'parked' : 'due';
  }

  /** Whether what is due in a lane has to wait all the same. */
  isClosed(lane: Lane): boolean {
    const { pauses, clock, rates, nodeTrouble } = this.#parts;
    if (nodeTrouble?.() !== undefined) return true;
    if (lane.site.breaker.state(clock.now()) !== 'closed') return true;
    if (pauses.of(lane.destination) !== undefined) return true;
    return rates.closedBy(lane, clock.now()) !== undefined;
  }

  /** All that is in its way now, the first one first; empty while it is attempted. */
  barriersOf(delivery: Delivery): readonly Barrier[] {
    const { clock, redisIsAway } = this.#parts;
    const { inFlight, hold, lane } = delivery;
    if (inFlight) return [];
    const barriers: Barrier[] = [];
    if (hold) barriers.push({ kind: 'hold', hold });
    if (delivery.nextAttemptMs > clock.now()) barriers.push(this.#backoff(delivery));
    barriers.push(...this.barriersOfLane(lane));
    if (barriers.length > 0) return barriers;
    const { site, turnsAsked, inFlight: busy, waiting } = lane;
    if (turnsAsked === 0 && site.turns > 0) {
      return [{ kind: 'connections', site: site.key, busy, due: waiting.dueCount }];
    }
    return [{ kind: 'turn', redisIsAway: redisIsAway() }];
  }

  #backoff({ nextAttemptMs, tried, destination }: Delivery): Barrier {
    const { attempts = 0, causeClass = 'other' } = tried ?? {};
    const { of } = scheduleFor(this.#parts.retry(), { destination, causeClass });
    return { kind: 'backoff', untilMs: nextAttemptMs, attempts, causeClass, schedule: of };
  }

  /** What closes a whole destination. */
  barriersOfLane(lane: Lane): readonly Barrier[] {
    const { pauses, clock, rates, nodeTrouble } = this.#parts;
    const { destination, site } = lane;
    const barriers: Barrier[] = [];
    const trouble = nodeTrouble?.();
    if (trouble !== undefined) barriers.push({ kind: 'node', trouble });
    const pause = pauses.of(destination);
    if (pause) barriers.push({ kind: 'pause', pause });
    const rate = rates.closedBy(lane, clock.now());
    if (rate) barriers.push({ kind: 'rate', ...rate });
    const { breaker, key, lastFailure } = site;
    const state = breaker.state(clock.now());
    if (state === 'closed') return barriers;
    const [sinceMs, probeAtMs] = [breaker.openedAtMs ?? 0, breaker.probeAtMs ?? 0];
    const { failures } = breaker;
    const open = { kind: 'breaker', site: key, state, sinceMs, probeAtMs, failures, lastFailure };
    return [...barriers, open as Barrier];
  }

  /** When it is given up if nothing else happens; undefined while it is held. */
  expiryOf({ id, destination, nullReversePath, hold }: Delivery): number | undefined {
    if (hold) return undefined;
    const receivedAtMs = timeOfId(id);
    return expiry(this.#parts.retry(), { destination, receivedAtMs, nullReversePath });
  }
}
