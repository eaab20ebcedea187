/**
 * What administrators do with many messages at once; each action is in the audit log, with what it was about
 * and how much that fits, before it is made, and with how much it was done afterwards.
 */
import type { Hold } from '../mail/hold.ts';
import type { Clock } from '../platform/clock.ts';
import type { Gates } from '../queue/gates.ts';
import type { HoldRule, HoldRules } from '../queue/hold-rules.ts';
import type { Delivery } from '../queue/lane.ts';
import { describePattern, type MailPattern } from '../queue/mail-pattern.ts';
import type { QueueControl } from '../queue/queue-control.ts';
import type { QueueFilter } from '../queue/selection.ts';
import type { Touched } from '../queue/touched.ts';
import type { AuditLog } from './audit.ts';
import { viewOfBarrier } from './queue-barriers.ts';

export const QUEUE_ACTIONS = ['retry', 'hold', 'release', 'bounce', 'drop'] as const;
export type QueueAction = (typeof QUEUE_ACTIONS)[number];

export interface QueueOrder {
  readonly action: QueueAction;
  readonly filter: QueueFilter;
  /** Say what would be done, and do nothing. */
  readonly dryRun: boolean;
  readonly reason: string;
  /** Of a hold: when it is over by itself; absolute, ms. */
  readonly expiresMs?: number | undefined;
  /** Of a hold: not what comes in later. */
  readonly onlyQueued: boolean;
  /** Of a release by filters: also what rules with other filters hold. */
  readonly force: boolean;
}

export type QueueAnswer =
  | (Touched & {
      readonly ok: true;
      readonly action: QueueAction;
      readonly dryRun: boolean;
      /** A rule that was made, changed or ended, in words. */
      readonly rule?: string;
      /** It was there before: what was not said about it stays as it was. */
      readonly ruleChanged?: boolean;
      /** Of those that fit: held still, or not touched because they are. */
      readonly held?: number;
      /** By these rules. */
      readonly rulesLeft?: readonly string[];
      /** Why those that are `closed` wait on, in sentences. */
      readonly closedBy?: readonly string[];
    })
  | { readonly ok: false; readonly status: 404 | 422; readonly error: string };

export interface QueueActionsParts {
  readonly control: QueueControl;
  readonly rules: HoldRules;
  readonly gates: Pick<Gates, 'isClosed' | 'barriersOfLane'>;
  readonly audit: Pick<AuditLog, 'during'>;
  readonly clock: Clock;
}

export class QueueActions {
  readonly #parts: QueueActionsParts;

  constructor(parts: QueueActionsParts) {
    this.#parts = parts;
  }

  /** Rejects with the system's error when the disk does not take it. */
  async act(order: QueueOrder, actor: string): Promise<QueueAnswer> {
    const { control, audit, clock } = this.#parts;
    const { action, filter, dryRun, expiresMs } = order;
    if (expiresMs !== undefined && expiresMs <= clock.now()) {
      return { ok: false, status: 422, error: 'it would be over already' };
    }
    const found = await control.find(filter);
    if (dryRun) return { ok: true, action, dryRun, ...this.#dry(order, found) };
    const noted = {
      actor,
      action: `queue.${action}`,
      target: describeFilter(filter),
      facts: {
        matched: found.length,
        ...(order.reason === '' ? {} : { reason: order.reason }),
        ...(expiresMs === undefined ? {} : { expires: new Date(expiresMs).toISOString() }),
      },
    };
    return audit.during(noted, () => this.#do(order, found, actor), touchedFacts);
  }

  async #do(order: QueueOrder, found: readonly Delivery[], actor: string): Promise<QueueAnswer> {
    const { control } = this.#parts;
    const { action, filter, reason } = order;
    const answer = { ok: true as const, action, dryRun: false };
    switch (action) {
      case 'retry':
        return {
          ...answer,
          ...this.#heldOf(found),
          ...this.#closedBy(found),
          ...control.retry(found, { first: filter.ids !== undefined }),
        };
      case 'hold':
        return this.#hold(order, found, actor);
      case 'release':
        return this.#release(order, found);
      default: {
        const how = action === 'drop' ? 'dropped' : 'bounced';
        const { recipient } = filter;
        return { ...answer, ...(await control.giveUp(found, { how, reason, recipient })) };
      }
    }
  }

  async #hold(
    { filter, reason, expiresMs, onlyQueued }: QueueOrder,
    found: readonly Delivery[],
    actor: string,
  ): Promise<QueueAnswer> {
    const { control, clock } = this.#parts;
    const answer = { ok: true as const, action: 'hold' as const, dryRun: false };
    const since = clock.now();
    const pattern = patternOf(filter);
    if (onlyQueued || !pattern) {
      const hold = { reason, by: actor, sinceMs: since, untilMs: expiresMs };
      return { ...answer, ...(await control.holds.hold(found, hold)) };
    }
    const before = this.#ruleOf(pattern);
    const expires = expiresMs ?? before?.expires;
    const rule: HoldRule = {
      ...{ pattern, by: actor, reason: reason || before?.reason || '' },
      since: before?.since ?? since,
      ...(expires === undefined ? {} : { expires }),
    };
    const done = await control.holds.add(rule, found);
    if (done === 'full') {
      return { ok: false, status: 422, error: 'there are too many holds; release some first' };
    }
    const told = { rule: describePattern(pattern), ...(before ? { ruleChanged: true } : {}) };
    return { ...answer, ...done, ...told };
  }

  #ruleOf(pattern: MailPattern): HoldRule | undefined {
    const name = describePattern(pattern);
    return this.#parts.rules.list().find((rule) => describePattern(rule.pattern) === name);
  }

  async #release(order: QueueOrder, found: readonly Delivery[]): Promise<QueueAnswer> {
    const { control } = this.#parts;
    const held = found.filter(({ hold }) => hold);
    const ended: string[] = [];
    for (const pattern of this.#rulesMeant(order)) {
      if (await control.holds.end(pattern)) ended.push(describePattern(pattern));
    }
    const done = isWhole(order)
      ? await control.holds.release(found)
      : await control.holds.releaseOwn(found);
    return {
      ...{ ok: true, action: 'release', dryRun: false, ...done },
      touched: held.filter(({ hold }) => !hold).length,
      ...(ended.length > 0 ? { rule: ended.join('; ') } : {}),
      ...this.#heldOf(found),
    };
  }

  /** The rules that a release ends: all of them, or the one with exactly its filters. */
  #rulesMeant({ filter }: QueueOrder): readonly MailPattern[] {
    const pattern = patternOf(filter);
    if (!pattern) return [];
    const all = this.#parts.rules.list().map((rule) => rule.pattern);
    const name = describePattern(pattern);
    const isAll = Object.keys(pattern).length === 0;
    return isAll ? all : all.filter((one) => describePattern(one) === name);
  }

  /** How many are held, and by which rules. */
  #heldOf(
    found: readonly Delivery[],
    holdOf: (delivery: Delivery) => Hold | undefined = ({ hold }) => hold,
  ) {
    const holds = found.flatMap((delivery) => holdOf(delivery) ?? []);
    const rules = new Set(holds.flatMap(({ rule }) => rule ?? []));
    return {
      ...(holds.length > 0 ? { held: holds.length } : {}),
      ...(rules.size > 0 ? { rulesLeft: [...rules] } : {}),
    };
  }

  /** Why a part of these waits on, though it is due. */
  #closedBy(found: readonly Delivery[]) {
    const { gates } = this.#parts;
    const lanes = new Set(found.flatMap(({ lane, hold }) => (hold ? [] : [lane])));
    const closed = [...lanes].filter((lane) => gates.isClosed(lane)).slice(0, MOST_REASONS);
    const closedBy = closed.flatMap((lane) => {
      const [barrier] = gates.barriersOfLane(lane);
      return barrier ? [`${lane.destination}: ${viewOfBarrier(barrier).text}`] : [];
    });
    return closedBy.length > 0 ? { closedBy } : {};
  }

  /** What an order would do. */
  #dry(order: QueueOrder, found: readonly Delivery[]) {
    const { action, filter, onlyQueued } = order;
    if (action === 'release') return this.#dryRelease(order, found);
    const isFree = action === 'retry' || action === 'hold';
    const waiting = found.filter(({ inFlight }) => !inFlight);
    const touched = waiting.filter(({ hold }) => !isFree || !hold).length;
    const pattern = action === 'hold' && !onlyQueued ? patternOf(filter) : undefined;
    return {
      ...{ matched: found.length, touched, underWay: found.length - waiting.length },
      ...(pattern ? { rule: describePattern(pattern) } : {}),
      ...(pattern && this.#ruleOf(pattern) ? { ruleChanged: true } : {}),
      ...(action === 'retry' ? { ...this.#closedBy(found), ...this.#heldOf(found) } : {}),
    };
  }

  #dryRelease(order: QueueOrder, found: readonly Delivery[]) {
    const ended = this.#rulesMeant(order).map(describePattern);
    const holdAfter = this.#holdAfter(order, ended);
    const isSaid = ({ hold, heldBy }: Delivery) => hold !== undefined || heldBy?.hold !== undefined;
    const freed = found.filter((one) => isSaid(one) && !holdAfter(one));
    const touched = freed.filter(({ inFlight, hold }) => !inFlight && hold).length;
    return {
      ...{ matched: found.length, touched, underWay: freed.filter((one) => one.inFlight).length },
      ...(ended.length > 0 ? { rule: ended.join('; ') } : {}),
      ...this.#heldOf(found, holdAfter),
    };
  }

  /** What would hold a delivery after a release that ends these rules. */
  #holdAfter(order: QueueOrder, ended: readonly string[]): (one: Delivery) => Hold | undefined {
    const { rules, clock } = this.#parts;
    if (isWhole(order)) return () => undefined;
    const now = clock.now();
    return (delivery) => {
      const { hold, heldBy } = delivery;
      if (!hold) return undefined;
      const isOwn = heldBy?.hold !== undefined && heldBy.hold.rule === undefined;
      const left = { ...delivery.facts(), heldBy: isOwn ? { atMs: 0 } : heldBy };
      return rules.holdOf(left, now, ended);
    };
  }
}

/** Whether a release is about its messages whatever holds them, and not about one rule. */
function isWhole({ filter, force }: QueueOrder): boolean {
  return (
    force || filter.ids !== undefined || Object.values(filter).every((one) => one === undefined)
  );
}

/** For the second entry in the audit log. */
function touchedFacts(made: QueueAnswer) {
  if (!made.ok) return undefined;
  const { touched, underWay, recipients, rule, ruleChanged } = made;
  const isEnded = made.action === 'release';
  return {
    touched,
    ...(rule === undefined
      ? {}
      : { [isEnded ? 'ruleEnded' : ruleChanged ? 'ruleChanged' : 'ruleMade']: rule }),
    ...(underWay > 0 ? { underWay } : {}),
    ...(recipients === undefined ? {} : { recipients }),
  };
}

/** The part of a filter that holds for later mail as well; undefined when there is more to it. */
function patternOf({ ids, state, olderThanMs, ...pattern }: QueueFilter): MailPattern | undefined {
  if (ids || state !== undefined || olderThanMs !== undefined) return undefined;
  const { domain, sender, recipient, client, user } = pattern;
  return {
    ...(domain === undefined ? {} : { domain }),
    ...(sender === undefined ? {} : { sender }),
    ...(recipient === undefined ? {} : { recipient }),
    ...(client === undefined ? {} : { client }),
    ...(user === undefined ? {} : { user }),
  };
}

/** Destinations that are told to be closed. */
const MOST_REASONS = 10;
/** Ids that are named in the audit log. */
const NAMED = 50;

function describeFilter({ ids, state, olderThanMs, ...pattern }: QueueFilter): string {
  if (ids) {
    const more = ids.length > NAMED ? ` and ${ids.length - NAMED} more` : '';
    return ids.slice(0, NAMED).join(' ') + more;
  }
  const parts = [
    describePattern(pattern),
    state === undefined ? '' : `in state ${state}`,
    olderThanMs === undefined ? '' : `older than ${Math.round(olderThanMs / 1000)} s`,
  ];
  return parts.filter((part) => part !== '').join(', ');
}
