/**
 * What an administrator does with queued mail: look, try now, hold, release, give up. Chosen by ids or
 * by a filter; what is being attempted is never interrupted.
 *
 * Holds and their ends are durable when the call returns; what is given up has its record then.
 * "Try now" is a matter of memory: after a restart the schedule holds again.
 */
import type { HeldBy, Hold } from '../mail/hold.ts';
import type { MessageId } from '../mail/message-id.ts';
import type { Destination } from '../mail/route.ts';
import type { Clock } from '../platform/clock.ts';
import { type Spool, SpoolError } from '../spool/store.ts';
import type { AttemptEnd, Attempts } from './attempts.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Gates } from './gates.ts';
import type { HoldRule, HoldRules } from './hold-rules.ts';
import type { Delivery, Lane } from './lane.ts';
import type { Ledger } from './ledger.ts';
import { addressMatcher, describePattern, type MailPattern } from './mail-pattern.ts';
import { type QueueFilter, type SelectionParts, select } from './selection.ts';

export interface QueueControlParts extends SelectionParts {
  readonly ledger: Ledger;
  readonly spool: Pick<Spool, 'read' | 'append'>;
  readonly gates: Pick<Gates, 'stateOf' | 'isClosed'>;
  readonly attempts: Pick<Attempts, 'ask' | 'askAfter'>;
  readonly dispatcher: Pick<Dispatcher, 'supply'>;
  readonly rules: HoldRules;
  readonly clock: Clock;
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

/** Deliveries an order was about. Each is one message for one destination. */
export interface Touched {
  /** That fit what was asked. */
  readonly matched: number;
  /** With which something was done. */
  readonly touched: number;
  /** Being attempted: the order holds for what is left after that. */
  readonly underWay: number;
  /** Of those touched: their destination is closed, so they wait on. */
  readonly closed?: number;
  /** Recipients given up. */
  readonly recipients?: number;
}

/** Taken out of their lanes at once; the others can be attempted meanwhile. */
const GIVEN_UP_AT_ONCE = 10_000;
/** Records written at the same time, so that they share the spool's syncs. */
const RECORDS_AT_ONCE = 100;

export class QueueControl {
  readonly #parts: QueueControlParts;
  #cancelLook: () => void = () => {};
  #isStopped = false;

  constructor(parts: QueueControlParts) {
    this.#parts = parts;
  }

  /** What fits a filter, in no particular order. */
  async find(filter: QueueFilter): Promise<readonly Delivery[]> {
    const found: Delivery[] = [];
    await select(filter, this.#parts, (delivery) => found.push(delivery));
    return found;
  }

  /** Try now what waits for its time; where a breaker is open, a probe goes out. */
  retry(deliveries: readonly Delivery[]): Touched {
    const { ledger, gates, dispatcher, clock } = this.#parts;
    const now = clock.now();
    ledger.hasten(new Set(deliveries), now);
    const count = { touched: 0, underWay: 0, closed: 0 };
    const lanes = new Set<Lane>();
    for (const { inFlight, hold, lane } of deliveries) {
      if (inFlight) count.underWay += 1;
      if (inFlight || hold) continue;
      count.touched += 1;
      lanes.add(lane);
    }
    for (const lane of lanes) {
      lane.site.breaker.probeNow(now);
      dispatcher.supply(lane);
    }
    for (const { inFlight, hold, lane } of deliveries) {
      if (!inFlight && !hold && gates.isClosed(lane)) count.closed += 1;
    }
    return { matched: deliveries.length, ...count };
  }

  /** Hold these, and nothing that comes later. Durable when it returns. */
  hold(deliveries: readonly Delivery[], hold: Hold): Promise<Touched> {
    return this.#say(
      deliveries.filter((delivery) => !delivery.hold),
      { atMs: hold.sinceMs, hold },
      deliveries.length,
    );
  }

  /** Let these go, whatever holds them. Durable when it returns. */
  release(deliveries: readonly Delivery[]): Promise<Touched> {
    return this.#say(
      deliveries.filter(({ hold, heldBy }) => hold || heldBy?.hold),
      { atMs: this.#parts.clock.now() },
      deliveries.length,
    );
  }

  async #say(deliveries: readonly Delivery[], heldBy: HeldBy, matched: number): Promise<Touched> {
    const { ledger, clock } = this.#parts;
    const said: Delivery[] = [];
    let underWay = 0;
    for (let at = 0; at < deliveries.length; at += RECORDS_AT_ONCE) {
      const some = deliveries.slice(at, at + RECORDS_AT_ONCE);
      const kept = await Promise.all(some.map((delivery) => this.#record(delivery, heldBy)));
      for (const delivery of some.filter((_, index) => kept[index])) {
        delivery.heldBy = heldBy;
        said.push(delivery);
        if (delivery.inFlight) underWay += 1;
      }
    }
    ledger.reviewHolds(said, clock.now());
    this.#supply(said);
    this.watch();
    return { matched, touched: said.length, underWay };
  }

  /** False when the message is gone meanwhile. */
  async #record({ id, destination }: Delivery, { atMs, hold }: HeldBy): Promise<boolean> {
    const record = { kind: 'hold' as const, atMs, destination, ...(hold ? { hold } : {}) };
    try {
      await this.#parts.spool.append(id, [record]);
      return true;
    } catch (error) {
      if (error instanceof SpoolError && error.kind === 'gone') return false;
      throw error;
    }
  }

  /** Hold what fits a rule, now and later. Durable when it returns. */
  async holdAll(rule: HoldRule, deliveries: readonly Delivery[]): Promise<Touched | 'full'> {
    const { rules } = this.#parts;
    if ((await rules.put(rule)) === 'full') return 'full';
    // Those whose recipients are not kept in memory are told one by one.
    const { reason, by, since, expires } = rule;
    const hold = {
      reason,
      by,
      sinceMs: since,
      untilMs: expires,
      rule: describePattern(rule.pattern),
    };
    const isUnknown = ({ recipients }: Delivery) =>
      rule.pattern.recipient !== undefined && recipients === undefined;
    await this.hold(deliveries.filter(isUnknown), hold);
    const before = deliveries.filter((delivery) => !delivery.hold).length;
    await this.#review();
    const unheld = deliveries.filter((delivery) => !delivery.hold && !delivery.inFlight).length;
    const underWay = deliveries.filter(({ inFlight }) => inFlight).length;
    return { matched: deliveries.length, touched: Math.max(0, before - unheld), underWay };
  }

  /** End the rule with exactly this pattern; undefined when there is none. */
  async endRule(pattern: MailPattern): Promise<HoldRule | undefined> {
    const ended = await this.#parts.rules.remove(pattern);
    if (!ended) return undefined;
    const rule = describePattern(pattern);
    await this.release(await this.#heldOneByOne(rule));
    await this.#review();
    return ended;
  }

  /** Those for which a rule had to be recorded. */
  async #heldOneByOne(rule: string): Promise<readonly Delivery[]> {
    return (await this.find({})).filter(({ heldBy }) => heldBy?.hold?.rule === rule);
  }

  /** Rules have changed or are over. */
  rulesChanged(): void {
    if (!this.#isStopped) void this.#review();
  }

  async #review(): Promise<void> {
    const { ledger, clock } = this.#parts;
    const all = await this.find({});
    const held = new Set(all.filter(({ hold }) => hold));
    ledger.reviewHolds(all, clock.now());
    this.#supply(all.filter((delivery) => held.has(delivery) && !delivery.hold));
    this.watch();
  }

  #supply(deliveries: readonly Delivery[]): void {
    const lanes = new Set(deliveries.map(({ lane }) => lane));
    for (const lane of lanes) this.#parts.dispatcher.supply(lane);
  }

  /** Let go of what is not held any more when its time is over; to be called again when there is more. */
  watch(): void {
    const { ledger, clock } = this.#parts;
    this.#cancelLook();
    if (this.#isStopped) return;
    const now = clock.now();
    const over: Delivery[] = [];
    let nextMs = Infinity;
    for (const lane of ledger.lanes()) {
      for (const delivery of lane.held) {
        const untilMs = delivery.heldBy?.hold?.untilMs ?? Infinity;
        if (untilMs <= now) over.push(delivery);
        else nextMs = Math.min(nextMs, untilMs);
      }
    }
    ledger.reviewHolds(over, now);
    this.#supply(over);
    if (nextMs === Infinity) return;
    this.#cancelLook = clock.after(Math.min(nextMs - now, LOOK_MS), () => this.watch());
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
    let recipients = 0;
    const onDone = (count: number) => {
      recipients += count;
    };
    const deed = (delivery: Delivery) => () => giveUp(delivery, { ...order, isMeant, onDone });
    let [touched, underWay] = [0, 0];
    for (let at = 0; at < deliveries.length; at += GIVEN_UP_AT_ONCE) {
      const some = deliveries.slice(at, at + GIVEN_UP_AT_ONCE);
      const claimed = ledger.claimThese(new Set(some));
      const isClaimed = new Set(claimed);
      const flying = some.filter((one) => one.inFlight && !isClaimed.has(one));
      // Not waited for: an attempt may take long.
      for (const delivery of flying) void attempts.askAfter(delivery, deed(delivery));
      await Promise.all(claimed.map((delivery) => attempts.ask(delivery, deed(delivery))));
      touched += claimed.length;
      underWay += flying.length;
    }
    return { matched: deliveries.length, touched, underWay, recipients };
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

  stop(): void {
    this.#isStopped = true;
    this.#cancelLook();
  }
}

/** The clock may be set meanwhile. */
const LOOK_MS = 60_000;
