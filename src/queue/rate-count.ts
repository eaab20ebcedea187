/**
 * Counts attempts in windows of time, for all nodes on one Redis together: a window begins with
 * the first attempt, and ends by itself. npm's rate-limiter-flexible does the counting.
 *
 * Redis holds nothing here that is missed: when it is emptied, windows begin anew. While it is
 * away, or does not answer in time, this node counts for itself, so mail goes on; several nodes
 * may then make as many attempts each.
 */
import { LRUCache } from 'lru-cache';
import {
  type RateLimiterAbstract,
  RateLimiterMemory,
  RateLimiterRedis,
  RateLimiterRes,
} from 'rate-limiter-flexible';
import { formatRate, type Rate } from '../config/units.ts';
import type { Clock } from '../platform/clock.ts';
import type { RedisClient } from '../platform/redis.ts';
import type { Bucket } from './rate-bucket.ts';

/** Whether an attempt may be made, and what that leaves. */
export interface Unit {
  readonly isTaken: boolean;
  /** That may be taken in the window beside it. */
  readonly left: number;
  /** Until the window is over, in milliseconds. */
  readonly endsInMs: number;
}

export interface RateCount {
  /** Take one for an attempt. Never rejects. */
  take(bucket: Bucket): Promise<Unit>;
}

export interface RateCountParts {
  /** One that fails at once while Redis is away. */
  readonly redis: RedisClient;
  readonly keyPrefix: string;
  readonly clock: Clock;
  readonly onError: (error: Error) => void;
}

/** No attempt waits for Redis for longer. */
const ANSWER_MS = 500;
/** After it did not answer it is left alone for so long. */
const ALONE_MS = 1000;
/** Rates at the same time; `destinations.domains` has at most as many. */
const MOST_RATES = 10_000;
/** What the limiter's timer takes; a window of our own count ends then at the latest. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * In place of the library's own, which counts windows in whole seconds (one of 500 ms would never
 * end) and counts those refused, too (they would use up what a higher rate allows). `ARGV`: how
 * many, the window in milliseconds, how many it holds.
 */
const TAKE = `
local endsInMs = redis.call('pttl', KEYS[1])
if endsInMs < 0 then
  redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return {tonumber(ARGV[1]), tonumber(ARGV[2])}
end
local used = tonumber(redis.call('get', KEYS[1])) + tonumber(ARGV[1])
if used <= tonumber(ARGV[3]) then redis.call('incrby', KEYS[1], ARGV[1]) end
return {used, endsInMs}
`;

interface Limiters {
  readonly shared: RateLimiterAbstract;
  readonly own: RateLimiterAbstract;
}

export class SharedRateCount implements RateCount {
  readonly #parts: RateCountParts;
  /** By rate: a limiter holds its window and its number, and nothing of who is limited but our own counts. */
  readonly #limiters = new LRUCache<string, Limiters>({ max: MOST_RATES });
  #awayAtMs: number | undefined;

  constructor(parts: RateCountParts) {
    this.#parts = parts;
  }

  async take({ scope, name, rate }: Bucket): Promise<Unit> {
    // A window of another length is another one: a reload need not wait for the end of the former.
    const key = `${scope} ${name}:${rate.perMs}`;
    const { shared, own } = this.#limitersOf(rate);
    return (await this.#ask(shared, key)) ?? consume(own, key);
  }

  /** Undefined while Redis does not answer. */
  async #ask(limiter: RateLimiterAbstract, key: string): Promise<Unit | undefined> {
    const { clock, onError } = this.#parts;
    const aloneMs = clock.now() - (this.#awayAtMs ?? 0);
    if (aloneMs >= 0 && aloneMs < ALONE_MS) return undefined;
    try {
      return await this.#inTime(consume(limiter, key));
    } catch (error) {
      this.#awayAtMs = clock.now();
      onError(error as Error);
      return undefined;
    }
  }

  async #inTime(answer: Promise<Unit>): Promise<Unit> {
    const { promise, reject } = Promise.withResolvers<never>();
    const cancel = this.#parts.clock.after(ANSWER_MS, () =>
      reject(new Error(`no answer in ${ANSWER_MS} ms`)),
    );
    try {
      return await Promise.race([answer, promise]);
    } finally {
      cancel();
    }
  }

  #limitersOf(rate: Rate): Limiters {
    const text = formatRate(rate);
    const known = this.#limiters.get(text);
    if (known) return known;
    const { redis, keyPrefix } = this.#parts;
    const limiters = {
      shared: new RateLimiterRedis({
        storeClient: redis,
        keyPrefix: `${keyPrefix}:rate`,
        points: rate.count,
        duration: rate.perMs, // our script has it in milliseconds
        customIncrTtlLuaScript: TAKE,
        rejectIfRedisNotReady: true,
      }),
      own: new RateLimiterMemory({
        points: rate.count,
        duration: Math.min(rate.perMs, LONGEST_TIMER_MS) / 1000,
      }),
    };
    this.#limiters.set(text, limiters);
    return limiters;
  }
}

/** The library rejects with its answer where that is no. */
async function consume(limiter: RateLimiterAbstract, key: string): Promise<Unit> {
  try {
    return unit(true, await limiter.consume(key));
  } catch (answer) {
    if (answer instanceof RateLimiterRes) return unit(false, answer);
    throw answer;
  }
}

function unit(isTaken: boolean, { remainingPoints, msBeforeNext }: RateLimiterRes): Unit {
  return { isTaken, left: remainingPoints, endsInMs: msBeforeNext };
}
