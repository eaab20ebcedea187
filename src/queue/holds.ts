/**
 * Holds mail that is queued and lets it go again: single deliveries, by a record of their own in the spool, or by
 * rules (hold-rules.ts). Both are durable when the call returns. What is being attempted is not interrupted: it is
 * held when it is back.
 *
 * Where the disk takes a part of it alone, that part holds, and the call rejects.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { HeldBy, Hold } from '../mail/hold.ts';
import type { MessageId } from '../mail/message-id.ts';
import { type Spool, SpoolError } from '../spool/store.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { HoldRule, HoldRules } from './hold-rules.ts';
import type { Delivery } from './lane.ts';
import { describePattern, type MailPattern } from './mail-pattern.ts';
import { type QueueFilter, type SelectionParts, selected } from './selection.ts';
import type { Touched } from './touched.ts';

export interface HoldsParts extends SelectionParts {
  readonly spool: Pick<Spool, 'read' | 'append'>;
  readonly dispatcher: Pick<Dispatcher, 'supply'>;
  readonly rules: Pick<HoldRules, 'put' | 'remove' | 'list'>;
}

/** Looked at again in one go when rules change. */
const REVIEWED_AT_ONCE = 20_000;
/** Records written at the same time, so that they share the spool's syncs. */
const RECORDS_AT_ONCE = 100;
/** The clock may be set meanwhile. */
const LOOK_MS = 60_000;

export class Holds {
  readonly #parts: HoldsParts;
  #cancelLook: () => void = () => {};
  #isStopped = false;

  constructor(parts: HoldsParts) {
    this.#parts = parts;
  }

  #find(filter: QueueFilter): Promise<readonly Delivery[]> {
    return selected(filter, this.#parts);
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

  /** End their own holds; what a rule holds stays so. Durable when it returns. */
  releaseOwn(deliveries: readonly Delivery[]): Promise<Touched> {
    const own = deliveries.filter(({ heldBy }) => heldBy?.hold && heldBy.hold.rule === undefined);
    // As if nothing had been said about them: rules that were made before hold them, too.
    return this.#say(own, { atMs: 0 }, deliveries.length);
  }

  async #say(deliveries: readonly Delivery[], heldBy: HeldBy, matched: number): Promise<Touched> {
    const { ledger, clock } = this.#parts;
    const said: Delivery[] = [];
    let failure: { readonly reason: unknown } | undefined;
    for (let at = 0; at < deliveries.length && !failure; at += RECORDS_AT_ONCE) {
      const some = deliveries.slice(at, at + RECORDS_AT_ONCE);
      const kept = await Promise.allSettled(some.map((delivery) => this.#record(delivery, heldBy)));
      some.forEach((delivery, index) => {
        const one = kept[index];
        if (one?.status === 'rejected') failure = one;
        if (one?.status !== 'fulfilled' || !one.value) return;
        delivery.heldBy = heldBy;
        said.push(delivery);
      });
    }
    ledger.reviewHolds(said, clock.now());
    this.#supply(said);
    this.watch();
    // What is on disk holds from now on, also where the rest of it could not be written.
    if (failure) throw failure.reason;
    const underWay = said.filter(({ inFlight }) => inFlight).length;
    return { matched, touched: said.length - underWay, underWay };
  }

  /** False when it is gone meanwhile. */
  async #record(delivery: Delivery, { atMs, hold }: HeldBy): Promise<boolean> {
    if (!this.#parts.ledger.isLeft(delivery)) return false;
    const { id, destination } = delivery;
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
  async add(rule: HoldRule, deliveries: readonly Delivery[]): Promise<Touched | 'full'> {
    const { rules } = this.#parts;
    if ((await rules.put(rule)) === 'full') return 'full';
    const free = deliveries.filter(({ hold, inFlight }) => !hold && !inFlight);
    const underWay = deliveries.filter(({ inFlight }) => inFlight).length;
    const name = describePattern(rule.pattern);
    await this.#tell(rule, ({ hold, heldBy }) => !hold || heldBy?.hold?.rule === name);
    await this.#review();
    const touched = free.filter(({ hold }) => hold).length;
    return { matched: deliveries.length, touched, underWay };
  }

  /**
   * A rule by recipients is told one by one to those that have too many of them to be kept in memory, and are
   * `meant`; one that comes in later is asked when it does.
   */
  async #tell(rule: HoldRule, isMeant: (delivery: Delivery) => boolean): Promise<void> {
    const { pattern, reason, by, since, expires } = rule;
    if (pattern.recipient === undefined) return;
    const hold = { reason, by, sinceMs: since, untilMs: expires, rule: describePattern(pattern) };
    const ids: MessageId[] = [];
    for (const one of this.#parts.ledger.deliveries()) {
      if (one.recipients === undefined && isMeant(one)) ids.push(one.id);
    }
    const found = await this.#find({ ...pattern, ids });
    const told = found.filter((one) => one.recipients === undefined && isMeant(one));
    await this.#say(told, { atMs: since, hold }, told.length);
  }

  /** End the rule with exactly this pattern; undefined when there is none. */
  async end(pattern: MailPattern): Promise<HoldRule | undefined> {
    const ended = await this.#parts.rules.remove(pattern);
    if (!ended) return undefined;
    const name = describePattern(pattern);
    const told = (await this.#find({})).filter(({ heldBy }) => heldBy?.hold?.rule === name);
    // As if it had never held: rules that were made later hold them still.
    await this.#say(told, { atMs: ended.since }, told.length);
    await this.#review();
    return ended;
  }

  /** Rules have changed or are over. */
  rulesChanged(): void {
    // What the disk does not take is looked at again at the next change, and at a start.
    if (!this.#isStopped) this.#review().catch(() => {});
  }

  async #review(): Promise<void> {
    const { ledger, clock } = this.#parts;
    const all = await this.#find({});
    const held = new Set(all.filter(({ hold }) => hold));
    await this.#tellOthers(held);
    for (let at = 0; at < all.length; at += REVIEWED_AT_ONCE) {
      if (at > 0) await nextTurn();
      ledger.reviewHolds(all.slice(at, at + REVIEWED_AT_ONCE), clock.now());
    }
    this.#supply(all.filter((delivery) => held.has(delivery) && !delivery.hold));
    this.watch();
  }

  /** Of those held by a rule that is gone: a rule by recipients may hold them as well. */
  async #tellOthers(held: ReadonlySet<Delivery>): Promise<void> {
    const rules = this.#parts.rules.list();
    const names = new Set(rules.map(({ pattern }) => describePattern(pattern)));
    const isFree = ({ recipients, hold }: Delivery) =>
      recipients === undefined && hold?.rule !== undefined && !names.has(hold.rule);
    if (![...held].some(isFree)) return;
    for (const rule of rules) {
      const isNewer = ({ heldBy }: Delivery) => !heldBy || heldBy.atMs < rule.since;
      await this.#tell(rule, (one) => held.has(one) && isFree(one) && isNewer(one));
    }
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

  stop(): void {
    this.#isStopped = true;
    this.#cancelLook();
  }
}
