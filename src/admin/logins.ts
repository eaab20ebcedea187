/**
 * Logins of the admin page: a random id for each, known to the browser alone (as a cookie) and kept in
 * memory only, so that a restart ends them all. A login ends after an hour in which nothing was asked, after
 * twelve hours, when it is ended, or when the token is another one than it began with. Bounded: of too many the
 * one that was used longest ago ends.
 */
import { createHash, randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Clock } from '../platform/clock.ts';

export interface Login {
  /** What people call themselves; their own word, for the audit log. May be empty. */
  readonly name: string;
  /** Absolute, ms: it ends then at the latest. */
  readonly endsMs: number;
}

interface Kept extends Login {
  /** Of the token that it began with. */
  readonly mark: string;
  lastUsedMs: number;
}

const MOST = 200;
export const IDLE_MS = 3_600_000;
export const LONGEST_MS = 12 * 3_600_000;
const ID_OCTETS = 32;

export class Logins {
  readonly #clock: Clock;
  /** By a digest of the id: who reads the memory of the process finds no cookie in it. */
  readonly #kept = new LRUCache<string, Kept>({ max: MOST });

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A new one; the id is told to the browser and nobody else. */
  begin({ name, mark }: { readonly name: string; readonly mark: string }): {
    readonly id: string;
    readonly login: Login;
  } {
    const id = randomBytes(ID_OCTETS).toString('hex');
    const now = this.#clock.now();
    const kept = { name, mark, endsMs: now + LONGEST_MS, lastUsedMs: now };
    this.#kept.set(digest(id), kept);
    return { id, login: kept };
  }

  /** The login with this id, which is used hereby. `mark`: of the token as it is now. */
  use(id: string, mark: string): Login | undefined {
    const key = digest(id);
    const kept = this.#kept.get(key);
    if (!kept) return undefined;
    const now = this.#clock.now();
    if (kept.mark !== mark || now >= kept.endsMs || now - kept.lastUsedMs >= IDLE_MS) {
      this.#kept.delete(key);
      return undefined;
    }
    kept.lastUsedMs = now;
    return kept;
  }

  end(id: string): void {
    this.#kept.delete(digest(id));
  }
}

function digest(id: string): string {
  return createHash('sha256').update(id).digest('base64');
}
