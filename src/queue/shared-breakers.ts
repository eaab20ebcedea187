/**
 * Breakers of all nodes on one Redis: which groups of hosts are away, who found out, and who makes the next
 * probe. Each node keeps what it has heard; while Redis is away each goes by that and its own attempts.
 *
 *   PREFIX:probing:DIGEST the node that probes a group of hosts, for most of `probeEvery`
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Clock } from '../platform/clock.ts';
import type { RedisClient } from '../platform/redis.ts';
import type { Fact, SharedBoard, Topic } from '../platform/shared-board.ts';
import type { SiteKey } from './site.ts';

const away = z.object({
  openedAtMs: z.number(),
  probeAtMs: z.number(),
  failures: z.number().int().nonnegative(),
  failure: z.string().max(1000),
});
export type AwayFacts = Readonly<z.infer<typeof away>>;

export type SiteNews =
  | ({ readonly kind: 'away'; readonly node: string } & AwayFacts)
  | { readonly kind: 'answered'; readonly node: string };

export interface SharedBreakers {
  /** What was said last of these hosts, by whom ever; undefined: nothing lately. */
  of(key: SiteKey): SiteNews | undefined;
  /** Say that they are away; of interest until some probes of somebody should have been heard of. */
  away(key: SiteKey, facts: AwayFacts, probeEveryMs: number): void;
  /** Say that they speak again. */
  answered(key: SiteKey): void;
  /** Claim the next probe: undefined: it is ours; else for how long it is another node's, ms. Never rejects. */
  claimProbe(key: SiteKey, probeEveryMs: number): Promise<number | undefined>;
  /** Told of what other nodes say. */
  watch(heard: (key: SiteKey, news: SiteNews) => void): void;
}

export const NO_SHARED_BREAKERS: SharedBreakers = {
  of: () => undefined,
  away: () => {},
  answered: () => {},
  claimProbe: async () => undefined,
  watch: () => {},
};

/** Times `probeEvery`: by then somebody has probed again, or nobody has mail for them. */
const KEEP_PROBES = 3;
/** That hosts speak again is news for so long. */
const KEEP_ANSWERED_MS = 10 * 60_000;
/** Of `probeEvery`: over before the next probe is due. */
const CLAIM_SHARE = 0.9;
/** A node whose network is broken fails with everybody: what administrators say has room all the same. */
const ROOM_FOR_OTHERS = 6000;
/** Longer names are those of no host that could be reached. */
const LONGEST_FAILURE = 500;

export interface SharedBreakersParts {
  readonly board: SharedBoard;
  /** One that fails at once while Redis is away. */
  readonly redis: RedisClient;
  readonly keyPrefix: string;
  readonly node: string;
  readonly clock: Clock;
}

export class BoardBreakers implements SharedBreakers {
  readonly #parts: SharedBreakersParts;
  readonly #topic: Topic;
  #heard: (key: SiteKey, news: SiteNews) => void = () => {};

  constructor(parts: SharedBreakersParts) {
    this.#parts = parts;
    const heard = (key: string, fact: Fact) => {
      const news = newsOf(fact);
      if (news) this.#heard(key, news);
    };
    this.#topic = parts.board.topic('breaker', heard, { roomForOthers: ROOM_FOR_OTHERS });
  }

  of(key: SiteKey): SiteNews | undefined {
    return newsOf(this.#topic.get(key));
  }

  away(key: SiteKey, facts: AwayFacts, probeEveryMs: number): void {
    const ends = facts.probeAtMs + KEEP_PROBES * probeEveryMs;
    const failure = facts.failure.slice(0, LONGEST_FAILURE);
    this.#topic.say(key, { value: { ...facts, failure }, ends });
  }

  answered(key: SiteKey): void {
    this.#topic.say(key, { ends: this.#parts.clock.now() + KEEP_ANSWERED_MS });
  }

  async claimProbe(key: SiteKey, probeEveryMs: number): Promise<number | undefined> {
    const { redis, keyPrefix, node } = this.#parts;
    const name = `${keyPrefix}:probing:${createHash('sha256').update(key).digest('hex').slice(0, 32)}`;
    const forMs = Math.max(1, Math.round(CLAIM_SHARE * probeEveryMs));
    try {
      if ((await redis.set(name, node, 'PX', forMs, 'NX')) !== null) return undefined;
      if ((await redis.get(name)) === node) return undefined;
      return Math.max(0, await redis.pttl(name));
    } catch {
      return undefined; // nobody to agree with: each probes for itself
    }
  }

  watch(heard: (key: SiteKey, news: SiteNews) => void): void {
    this.#heard = heard;
  }
}

function newsOf(fact: Fact | undefined): SiteNews | undefined {
  if (!fact) return undefined;
  const { value, node } = fact;
  if (value === undefined) return { kind: 'answered', node };
  const { data } = away.safeParse(value);
  return data && { kind: 'away', node, ...data };
}
