/**
 * Lua scripts in Redis by their digest: the text crosses the network when Redis does not know it
 * (at first, after a restart or a failover), not at every call.
 */
import { createHash } from 'node:crypto';
import type { RedisClient } from './redis.ts';

export class RedisScript {
  readonly #text: string;
  readonly #digest: string;

  constructor(text: string) {
    this.#text = text;
    this.#digest = createHash('sha1').update(text).digest('hex');
  }

  /** All keys lie in one slot of a cluster. Rejects with what Redis, or the connection, says. */
  async run(
    redis: RedisClient,
    keys: readonly string[],
    args: readonly (string | number)[],
  ): Promise<unknown> {
    try {
      return await redis.evalsha(this.#digest, keys.length, ...keys, ...args);
    } catch (error) {
      if (!(error as Error).message.includes('NOSCRIPT')) throw error;
      return redis.eval(this.#text, keys.length, ...keys, ...args);
    }
  }
}
