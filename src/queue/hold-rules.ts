/**
 * Rules of an administrator that hold mail, also what comes in later, until they are ended or over
 * (mail/hold.ts). Kept on disk, whatever becomes of Redis.
 */
import { z } from 'zod';
import type { HeldBy, Hold } from '../mail/hold.ts';
import type { Clock } from '../platform/clock.ts';
import { KeptList } from '../platform/kept-list.ts';
import {
  describePattern,
  type MailFacts,
  type MailPattern,
  type Match,
  matcherOf,
} from './mail-pattern.ts';

export const MOST_HOLD_RULES = 100;
export const LONGEST_PATTERN = 320;
export const LONGEST_HOLD_REASON = 500;

const address = z.string().min(1).max(LONGEST_PATTERN);
const stored = z.object({
  pattern: z.object({
    domain: z.string().min(1).max(LONGEST_PATTERN).optional(),
    sender: address.optional(),
    recipient: address.optional(),
    client: address.optional(),
    user: address.optional(),
  }),
  reason: z.string().max(LONGEST_HOLD_REASON),
  by: z.string().max(200),
  /** Milliseconds since the epoch. */
  since: z.number().int(),
  /** When it is over by itself; absent: never. */
  expires: z.number().int().optional(),
});
export type HoldRule = Readonly<z.infer<typeof stored>>;

export interface HoldRuleEvents {
  /** A rule was over by itself. */
  holdOver(rule: string): void;
  /** The file is moved away; no rule holds. */
  holdsUnreadable(file: string, reason: string): void;
}

/** What is asked about a delivery. */
export interface Holdable extends MailFacts {
  readonly heldBy: HeldBy | undefined;
  /** What held it until now. */
  readonly hold: Hold | undefined;
}

interface ReadyRule {
  readonly since: number;
  readonly hold: Hold;
  readonly matches: (facts: MailFacts) => Match;
}

export class HoldRules {
  readonly #list: KeptList<HoldRule>;
  #seen: readonly HoldRule[] | undefined;
  #ready: readonly ReadyRule[] = [];

  private constructor(list: KeptList<HoldRule>) {
    this.#list = list;
  }

  /** `onOver`: a rule does not hold any more. Rejects with the system's error. */
  static async open(parts: {
    /** `dataDir/state/holds.json`. */
    readonly file: string;
    readonly clock: Clock;
    readonly events: HoldRuleEvents;
    readonly onOver: () => void;
  }): Promise<HoldRules> {
    const { file, clock, events, onOver } = parts;
    const list = await KeptList.open<HoldRule>({
      ...{ file, clock, schema: stored, most: MOST_HOLD_RULES },
      keyOf: ({ pattern }) => describePattern(pattern),
      onEnded: (ended) => {
        for (const { pattern } of ended) events.holdOver(describePattern(pattern));
        onOver();
      },
      onUnreadable: events.holdsUnreadable,
    });
    return new HoldRules(list);
  }

  list(): readonly HoldRule[] {
    return this.#list.list();
  }

  /**
   * What holds a delivery at `nowMs`: its own hold, or the first rule that it was not released from. `without`: if
   * these rules were ended.
   */
  holdOf(held: Holdable, nowMs: number, without: readonly string[] = []): Hold | undefined {
    const { heldBy } = held;
    const own = heldBy?.hold;
    const isOwn = own && (own.untilMs ?? Infinity) > nowMs && !without.includes(own.rule ?? '');
    if (isOwn) return own;
    const releasedAtMs = heldBy && !own ? heldBy.atMs : -Infinity;
    for (const { since, hold, matches } of this.#rules()) {
      if (since <= releasedAtMs || without.includes(hold.rule ?? '')) continue;
      const match = matches(held);
      // Decided when it came in, and its recipients were known.
      if (match === true || (match === 'unknown' && held.hold?.rule === hold.rule)) return hold;
    }
    return undefined;
  }

  #rules(): readonly ReadyRule[] {
    const all = this.#list.list();
    if (all === this.#seen) return this.#ready;
    this.#seen = all;
    this.#ready = all.map(({ pattern, reason, by, since, expires }) => ({
      since,
      hold: { reason, by, sinceMs: since, untilMs: expires, rule: describePattern(pattern) },
      matches: matcherOf(pattern),
    }));
    return this.#ready;
  }

  put(rule: HoldRule): ReturnType<KeptList<HoldRule>['put']> {
    return this.#list.put(rule);
  }

  /** The rule with exactly this pattern. */
  remove(pattern: MailPattern): ReturnType<KeptList<HoldRule>['remove']> {
    return this.#list.remove(describePattern(pattern));
  }

  close(): Promise<void> {
    return this.#list.close();
  }
}
