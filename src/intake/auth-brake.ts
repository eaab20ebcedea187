/**
 * Slows the guessing of passwords, per client address and across its connections. Each wrong
 * password makes the next answer later: 1, 2, 4, 8, 16, then 30 seconds. While an address
 * waits, further attempts from it queue up behind one another before their passwords are
 * looked at, so that neither hanging up early nor many connections at once buys a faster guess;
 * an attempt that would wait too long is turned away unread. A quarter of an hour without a
 * wrong password forgives everything; a right one does not, since an attacker may own an account.
 *
 * An address that is not waiting is never slowed: the right password works at once.
 * Bounded: three numbers an address, for the addresses seen last.
 */
import { LRUCache } from 'lru-cache';
import type { Clock } from '../platform/clock.ts';

const FIRST_DELAY_MS = 1_000;
const LONGEST_DELAY_MS = 30_000;
const FORGIVE_AFTER_MS = 15 * 60_000;
const MAX_CLIENTS = 20_000;

interface Record {
  readonly failures: number;
  readonly lastFailureMs: number;
  /** From then on the next password may be looked at. */
  readonly freeAtMs: number;
}

export class AuthBrake {
  readonly #clock: Clock;
  readonly #records = new LRUCache<string, Record>({ max: MAX_CLIENTS });

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Milliseconds until the next password of `client` may be looked at; a wait is a place in
   * its queue and counts for the attempts behind it. Undefined when the queue is full.
   */
  hold(client: string): number | undefined {
    const record = this.#records.get(client);
    const now = this.#clock.now();
    if (record === undefined || record.freeAtMs <= now) return 0;
    const waitMs = record.freeAtMs - now;
    if (waitMs > LONGEST_DELAY_MS) return undefined;
    this.#records.set(client, {
      ...record,
      freeAtMs: record.freeAtMs + delayAfter(record.failures),
    });
    return waitMs;
  }

  /** As `hold`, but without a place in the queue: for a client that is not kept waiting but turned away. */
  waitMs(client: string): number {
    return Math.max(0, (this.#records.get(client)?.freeAtMs ?? 0) - this.#clock.now());
  }

  /** A wrong password of `client`; milliseconds until it may be told so. */
  failed(client: string): number {
    const now = this.#clock.now();
    const before = this.#records.get(client);
    const forgiven = before === undefined || now - before.lastFailureMs > FORGIVE_AFTER_MS;
    const failures = forgiven ? 1 : before.failures + 1;
    const delayMs = delayAfter(failures);
    const freeAtMs = Math.max(before?.freeAtMs ?? 0, now + delayMs);
    this.#records.set(client, { failures, lastFailureMs: now, freeAtMs });
    return delayMs;
  }
}

function delayAfter(failures: number): number {
  return Math.min(FIRST_DELAY_MS * 2 ** (failures - 1), LONGEST_DELAY_MS);
}
