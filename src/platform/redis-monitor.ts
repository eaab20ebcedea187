/**
 * Watches one Redis connection: whether it takes writes (a Redis out of memory or disk still
 * answers PING), how fast, and with which eviction policy, asked at every connect.
 */
import type { Clock } from './clock.ts';
import { evictionPolicy, type RedisClient } from './redis.ts';

const PERIOD_MS = 1000;
const PROBE_SECONDS = 60;

export interface RedisMonitorEvents {
  up(): void;
  down(reason: string): void;
  latency(seconds: number): void;
  /** Told whenever Redis comes up; anything but `noeviction` loses jobs when memory runs out. */
  evictionPolicy(policy: string | undefined): void;
}

export class RedisMonitor {
  readonly #client: RedisClient;
  readonly #probeKey: string;
  readonly #clock: Clock;
  readonly #events: RedisMonitorEvents;
  #state: 'unknown' | 'up' | 'down' = 'unknown';
  #reason = 'not asked yet';
  #evictionPolicy: string | undefined;
  /** There was a connect since the policy was asked for. */
  #isReconnected = true;
  #cancel = () => {};
  #stopped = false;

  /** `probeKey` is written to, and expires by itself. */
  constructor(
    client: RedisClient,
    probeKey: string,
    parts: { clock: Clock; events: RedisMonitorEvents },
  ) {
    this.#client = client;
    this.#probeKey = probeKey;
    this.#clock = parts.clock;
    this.#events = parts.events;
    client.on('ready', () => {
      this.#isReconnected = true;
    });
  }

  get status(): { readonly ok: boolean; readonly reason: string } {
    return { ok: this.#state === 'up', reason: this.#reason };
  }

  /** As Redis said when it last came up; undefined when it did not say. */
  get evictionPolicy(): string | undefined {
    return this.#evictionPolicy;
  }

  /** Ask now and then every second. */
  async start(): Promise<void> {
    await this.#ask();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  async #ask(): Promise<void> {
    try {
      const started = performance.now();
      await this.#client.set(this.#probeKey, '1', 'EX', PROBE_SECONDS);
      this.#events.latency((performance.now() - started) / 1000);
      if (this.#isReconnected || this.#state !== 'up') await this.#askPolicy();
      if (this.#state !== 'up') this.#cameUp();
    } catch (error) {
      this.#reason = reasonOf(error as Error);
      if (this.#state !== 'down') this.#events.down(this.#reason);
      this.#state = 'down';
    }
    if (!this.#stopped) this.#cancel = this.#clock.after(PERIOD_MS, () => void this.#ask());
  }

  async #askPolicy(): Promise<void> {
    this.#isReconnected = false;
    // INFO may be forbidden to our user: then nobody knows.
    this.#evictionPolicy = await evictionPolicy(this.#client).catch(() => undefined);
    this.#events.evictionPolicy(this.#evictionPolicy);
  }

  #cameUp(): void {
    this.#state = 'up';
    this.#reason = 'answers';
    this.#events.up();
  }
}

/** Redis may drop what we keep there: reason enough not to start. */
export class UnsafeRedisError extends Error {
  constructor(policy: string) {
    super(
      `Redis has maxmemory-policy ${policy}, under which it drops keys when memory runs out: set it to noeviction`,
    );
    this.name = 'UnsafeRedisError';
  }
}

/** What ioredis says when it is not connected means nothing to anybody else. */
function reasonOf({ message }: Error): string {
  return /isn't writeable|Connection is closed/.test(message) ? 'no connection' : message;
}
