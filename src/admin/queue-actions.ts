/**
 * What administrators do with many messages at once; each action is in the audit log, with what it was about
 * and how much that was, before it is made.
 */
import type { Clock } from '../platform/clock.ts';
import type { HoldRule, HoldRules } from '../queue/hold-rules.ts';
import type { Delivery } from '../queue/lane.ts';
import { describePattern, type MailPattern } from '../queue/mail-pattern.ts';
import type { QueueControl } from '../queue/queue-control.ts';
import type { QueueFilter } from '../queue/selection.ts';
import type { Touched } from '../queue/touched.ts';
import type { AuditLog } from './audit.ts';

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
}

export type QueueAnswer =
  | (Touched & {
      readonly ok: true;
      readonly action: QueueAction;
      readonly dryRun: boolean;
      /** A rule that was made or ended, in words. */
      readonly rule?: string;
      /** Rules that hold mail still. */
      readonly rulesLeft?: readonly string[];
    })
  | { readonly ok: false; readonly status: 404 | 422; readonly error: string };

export interface QueueActionsParts {
  readonly control: QueueControl;
  readonly rules: HoldRules;
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
    return audit.during(noted, () => this.#do(order, found, actor));
  }

  async #do(order: QueueOrder, found: readonly Delivery[], actor: string): Promise<QueueAnswer> {
    const { control } = this.#parts;
    const { action, filter, reason } = order;
    const answer = { ok: true as const, action, dryRun: false };
    switch (action) {
      case 'retry':
        return { ...answer, ...control.retry(found) };
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
    const end = expiresMs === undefined ? {} : { expires: expiresMs };
    const rule: HoldRule = { pattern, reason, by: actor, since, ...end };
    const done = await control.holds.add(rule, found);
    if (done === 'full') {
      return { ok: false, status: 422, error: 'there are too many holds; release some first' };
    }
    return { ...answer, ...done, rule: describePattern(pattern) };
  }

  async #release({ filter }: QueueOrder, found: readonly Delivery[]): Promise<QueueAnswer> {
    const { control, rules } = this.#parts;
    const held = found.filter(({ hold }) => hold);
    const pattern = patternOf(filter);
    const isAll = pattern && Object.keys(pattern).length === 0;
    const ended: HoldRule[] = [];
    for (const one of isAll ? rules.list().map((rule) => rule.pattern) : pattern ? [pattern] : []) {
      const rule = await control.holds.end(one);
      if (rule) ended.push(rule);
    }
    const done = await control.holds.release(found);
    const left = rules.list().map((rule) => describePattern(rule.pattern));
    return {
      ...{ ok: true, action: 'release', dryRun: false, ...done },
      touched: held.filter(({ hold }) => !hold).length,
      ...(ended.length > 0
        ? { rule: ended.map((rule) => describePattern(rule.pattern)).join('; ') }
        : {}),
      ...(left.length > 0 ? { rulesLeft: left } : {}),
    };
  }

  /** What an order would do. */
  #dry({ action, filter, onlyQueued }: QueueOrder, found: readonly Delivery[]) {
    const isHeld = ({ hold, heldBy }: Delivery) => hold !== undefined || heldBy?.hold !== undefined;
    const meant = action === 'release' ? found.filter(isHeld) : found;
    const waiting = meant.filter(({ inFlight }) => !inFlight);
    const isFree = action === 'retry' || action === 'hold';
    const touched = waiting.filter(({ hold }) => (action === 'release' ? hold : !isFree || !hold));
    const pattern = action === 'hold' && !onlyQueued ? patternOf(filter) : undefined;
    return {
      ...{ matched: found.length, touched: touched.length },
      underWay: meant.length - waiting.length,
      ...(pattern ? { rule: describePattern(pattern) } : {}),
    };
  }
}

/** The part of a filter that holds for later mail as well; undefined when there is more to it. */
function patternOf({ ids, state, olderThanMs, ...pattern }: QueueFilter): MailPattern | undefined {
  if (ids || state !== undefined || olderThanMs !== undefined) return undefined;
  const { domain, sender, recipient } = pattern;
  return {
    ...(domain === undefined ? {} : { domain }),
    ...(sender === undefined ? {} : { sender }),
    ...(recipient === undefined ? {} : { recipient }),
  };
}

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
