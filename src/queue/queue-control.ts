/**
 * What an administrator does with queued mail: look, try now, give up (and hold: holds.ts). Chosen
 * by ids or by a filter; what is being attempted is never interrupted.
 *
 * What is given up has its record when the call returns. "Try now", and what is to be given up after an
 * attempt under way, is a matter of memory: after a restart it has to be asked again.
 */
import type { MessageId } from '../mail/message-id.ts';
import type { Destination } from '../mail/route.ts';
import type { AttemptEnd, Attempts } from './attempts.ts';
import type { Gates } from './gates.ts';
import { Holds, type HoldsParts } from './holds.ts';
import type { Delivery } from './lane.ts';
import { addressMatcher } from './mail-pattern.ts';
import { type QueueFilter, selected } from './selection.ts';
import type { Touched } from './touched.ts';

export interface QueueControlParts extends HoldsParts {
  readonly gates: Pick<Gates, 'stateOf' | 'isClosed'>;
  readonly attempts: Pick<Attempts, 'ask' | 'askAfter'>;
  readonly giveUp: (
    delivery: Delivery,
    order: GiveUpOrder & { readonly onDone: (recipients: number) => void },
  ) => Promise<AttemptEnd>;
}

export interface GiveUpOrder {
  readonly how: 'bounced' | 'dropped';
  readonly reason: string;
  readonly isMeant?: ((address: string) => boolean) | undefined;
}

/** Taken out of their lanes at once; the others can be attempted meanwhile. */
const GIVEN_UP_AT_ONCE = 10_000;

export class QueueControl {
  readonly #parts: QueueControlParts;
  readonly holds: Holds;

  constructor(parts: QueueControlParts) {
    this.#parts = parts;
    this.holds = new Holds(parts);
  }

  /** What fits a filter, in no particular order. */
  find(filter: QueueFilter): Promise<readonly Delivery[]> {
    return selected(filter, this.#parts);
  }

  /**
   * Try now what waits for its time; where a breaker is open, a probe goes out. `first`: before all others
   * that are due, and as the probe.
   */
  retry(deliveries: readonly Delivery[], { first = false } = {}): Touched {
    const { ledger, gates, dispatcher, clock } = this.#parts;
    const now = clock.now();
    if (first) ledger.putFirst(new Set(deliveries), now);
    else ledger.hasten(new Set(deliveries), now);
    const underWay = deliveries.filter(({ inFlight }) => inFlight).length;
    const waiting = deliveries.filter((one) => !one.inFlight && !one.hold && ledger.isLeft(one));
    for (const lane of new Set(waiting.map((one) => one.lane))) {
      lane.site.breaker.probeNow(now);
      dispatcher.supply(lane);
    }
    const closed = waiting.filter(({ inFlight, lane }) => !inFlight && gates.isClosed(lane)).length;
    return { matched: deliveries.length, touched: waiting.length, underWay, closed };
  }

  /** Give up what waits; `recipient` of a filter says who of a delivery is meant. */
  async giveUp(
    deliveries: readonly Delivery[],
    {
      recipient,
      ...order
    }: Omit<GiveUpOrder, 'isMeant'> & { readonly recipient?: string | undefined },
  ): Promise<Touched> {
    const { ledger, attempts, giveUp } = this.#parts;
    const isMeant = recipient === undefined ? undefined : addressMatcher(recipient);
    const count = { touched: 0, underWay: 0, recipients: 0 };
    const deed = (delivery: Delivery, onDone = (_recipients: number) => {}) => {
      return () => giveUp(delivery, { ...order, isMeant, onDone });
    };
    let failed = 0;
    const askFor = async (delivery: Delivery) => {
      let isDone = false;
      const doIt = deed(delivery, (recipients) => {
        isDone = true;
        count.touched += 1;
        count.recipients += recipients;
      });
      const isTold = (error: unknown) => {
        if (!isDone) failed += 1;
        throw error;
      };
      await attempts.ask(delivery, () => doIt().catch(isTold));
    };
    for (let at = 0; at < deliveries.length; at += GIVEN_UP_AT_ONCE) {
      const some = deliveries.slice(at, at + GIVEN_UP_AT_ONCE);
      const claimed = ledger.claimThese(new Set(some));
      const isClaimed = new Set(claimed);
      const flying = some.filter((one) => one.inFlight && !isClaimed.has(one));
      // Not waited for: an attempt may take long.
      for (const delivery of flying) void attempts.askAfter(delivery, deed(delivery));
      count.underWay += flying.length;
      await Promise.all(claimed.map(askFor));
    }
    return { matched: deliveries.length, ...count, ...(failed > 0 ? { failed } : {}) };
  }

  /** Whether everything that is left of a message is held. */
  isHeld(id: MessageId): boolean {
    const all = this.#parts.ledger.deliveriesOf(id);
    return all.length > 0 && all.every(({ hold }) => hold);
  }

  /** Deliveries that wait for a destination, held ones included. */
  waiting(destination: Destination): number {
    const lane = this.#parts.ledger.lane(destination);
    return lane ? lane.waiting.dueCount + lane.waiting.laterCount + lane.held.size : 0;
  }
}
