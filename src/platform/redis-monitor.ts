/**
 * Watches one Redis connection: whether it answers, how fast, and with which eviction policy.
 */
import type { Clock } from './clock.ts';
import { evictionPolicy, type RedisClient } from './redis.ts';

const PERIOD_MS = 1000;

export interface RedisMonitorEvents {
  up(): void;
  down(reason: string): void;
  latency(seconds: number): void;
  /** Anything but `noeviction` loses queue entries when memory runs out. */
  evictionPolicy(policy: string): void;
}

export class RedisMonitor {
  readonly #client: RedisClient;
  readonly #clock: Clock;
  readonly #events: RedisMonitorEvents;
  #state: 'unknown' | 'up' | 'down' = 'unknown';
  #reason = 'not asked yet';
  #cancel = () => {};
  #stopped = false;

  constructor(client: RedisClient, clock: Clock, events: RedisMonitorEvents) {
    this.#client = client;
    this.#clock = clock;
    this.#events = events;
  }

  get status(): { readonly ok: boolean; readonly reason: string } {
    return { ok: this.#state === 'up', reason: this.#reason };
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
      await this.#client.ping();
      this.#events.latency((performance.now() - started) / 1000);
      if (this.#state !== 'up') await this.#cameUp();
    } catch (error) {
      this.#reason = (error as Error).message;
      if (this.#state !== 'down') this.#events.down(this.#reason);
      this.#state = 'down';
    }
    if (!this.#stopped) this.#cancel = this.#clock.after(PERIOD_MS, () => void this.#ask());
  }

  async #cameUp(): Promise<void> {
    const policy = await evictionPolicy(this.#client);
    if (policy !== undefined && policy !== 'noeviction') this.#events.evictionPolicy(policy);
    this.#state = 'up';
    this.#reason = 'answers';
    this.#events.up();
  }
}
