/**
 * Policies in Redis, for all nodes that share one. Nothing is there that disk does not have: a
 * Redis that is down, empty or wrong costs a fetch, never a policy.
 */
import type { Clock } from '../platform/clock.ts';
import type { RedisClient } from '../platform/redis.ts';
import type { DomainName } from '../protocol/domain.ts';
import type { PolicyEvents } from '../telemetry/policy-events.ts';
import { formatEntry, type KeptPolicy, parseEntry } from './sts-entry.ts';

/** Redis forgets after this; disk does not. */
const REDIS_TTL_SECONDS = 180 * 86_400;
/** A policy from further in the future than clocks differ does not stand in the way of others. */
export const CLOCK_SKEW_MS = 5 * 60_000;

/** SET unless what is there was fetched later (and not in the far future). */
const SET_IF_NEWER = `
local current = redis.call('GET', KEYS[1])
if current then
  local ok, entry = pcall(cjson.decode, current)
  if ok and type(entry) == 'table' and type(entry.policy) == 'table' then
    local at = tonumber(entry.policy.fetchedAtMs)
    if at and at > tonumber(ARGV[2]) and at <= tonumber(ARGV[3]) then return 0 end
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[4])
return 1`;

export interface SharedOptions {
  readonly redis: RedisClient;
  /** In front of the Redis keys. */
  readonly keyPrefix: string;
  readonly clock: Clock;
  readonly events: PolicyEvents;
}

export class SharedPolicies {
  readonly #options: SharedOptions;

  constructor(options: SharedOptions) {
    this.#options = options;
  }

  /** The policy another node (or this one) shared last; undefined also when Redis cannot say. */
  async read(domain: DomainName): Promise<KeptPolicy | undefined> {
    const { redis, events } = this.#options;
    try {
      const json = await redis.get(this.#key(domain));
      const kept = json === null ? undefined : parseEntry(domain, json)?.kept;
      return kept && { ...kept, source: 'shared' };
    } catch (error) {
      events.cacheError('redis', error as Error);
      return undefined;
    }
  }

  /** Share `kept`, unless a later one is there. */
  async write(domain: DomainName, kept: KeptPolicy): Promise<void> {
    const { redis, clock, events } = this.#options;
    const changedAtMs = Math.max(1, clock.now());
    const json = formatEntry({ domain, kept, changedAtMs });
    const latest = clock.now() + CLOCK_SKEW_MS;
    const { fetchedAtMs } = kept;
    try {
      await redis.eval(
        SET_IF_NEWER,
        1,
        this.#key(domain),
        json,
        fetchedAtMs,
        latest,
        REDIS_TTL_SECONDS,
      );
    } catch (error) {
      events.cacheError('redis', error as Error);
    }
  }

  /** Rejects when Redis does not do it: an administrator asked. Whether there was one. */
  async remove(domain: DomainName): Promise<boolean> {
    try {
      return (await this.#options.redis.del(this.#key(domain))) > 0;
    } catch (error) {
      const { message } = error as Error;
      throw new Error(`Redis cannot be reached, nothing was forgotten: ${message}`, {
        cause: error,
      });
    }
  }

  #key(domain: DomainName): string {
    return `${this.#options.keyPrefix}:sts:${domain}`;
  }
}
