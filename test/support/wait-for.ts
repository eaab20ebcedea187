/**
 * Waiting in tests: for an event where there is one (`Chronicle`), by polling with a deadline
 * where there is none (`waitFor`). Both say what they waited for when the deadline passes.
 */
import { setTimeout as sleep } from 'node:timers/promises';

/** For what should come at once: a slow machine may stand still for many seconds. */
export const DEFAULT_TIMEOUT_MS = 180_000;

/**
 * Poll `probe` until it gives something truthy, and return that. Throws when `timeoutMs` pass;
 * an error thrown by the probe counts as "not yet" and is the cause of the final error.
 */
export async function waitFor<T>(
  what: string,
  probe: () => T | Promise<T>,
  timeoutMs = DEFAULT_TIMEOUT_MS,
): Promise<NonNullable<T>> {
  const deadline = Date.now() + timeoutMs;
  let lastError: unknown;
  for (;;) {
    try {
      const value = await probe();
      if (value) return value;
    } catch (error) {
      lastError = error;
    }
    if (Date.now() >= deadline) {
      throw new Error(`waited ${timeoutMs} ms in vain for ${what}`, { cause: lastError });
    }
    await sleep(10);
  }
}

/** Everything of one kind that happened so far, in order, and a way to wait for more of it. */
export class Chronicle<T> {
  readonly entries: T[] = [];
  readonly #watchers = new Set<() => void>();
  #ended: Error | undefined;

  push(entry: T): void {
    this.entries.push(entry);
    this.changed();
  }

  /** An entry was changed in place: whoever waits looks again. */
  changed(): void {
    for (const look of [...this.#watchers]) look();
  }

  /** Nothing will be added any more: whoever waits in vain is told `reason` at once. */
  end(reason: Error): void {
    this.#ended = reason;
    this.changed();
  }

  /** Until nothing will be added any more. */
  whenEnded(timeoutMs = DEFAULT_TIMEOUT_MS): Promise<true> {
    return this.until('the end', () => this.#ended && true, timeoutMs);
  }

  /** Look at the entries now and at each change, until `probe` gives something but undefined. */
  until<R>(
    what: string,
    probe: (entries: readonly T[]) => R | undefined,
    timeoutMs = DEFAULT_TIMEOUT_MS,
  ): Promise<R> {
    return new Promise<R>((resolve, reject) => {
      const settle = (act: () => void) => {
        clearTimeout(timer);
        this.#watchers.delete(look);
        act();
      };
      const look = () => {
        try {
          const value = probe(this.entries);
          if (value !== undefined) settle(() => resolve(value));
          else if (this.#ended !== undefined) {
            const reason = this.#ended;
            settle(() => reject(new Error(`waited in vain for ${what}: ${reason.message}`)));
          }
        } catch (error) {
          settle(() => reject(error));
        }
      };
      const timer = setTimeout(
        () =>
          settle(() =>
            reject(
              new Error(
                `waited ${timeoutMs} ms in vain for ${what}; ${this.entries.length} entries so far`,
              ),
            ),
          ),
        timeoutMs,
      );
      this.#watchers.add(look);
      look();
    });
  }

  /** Wait until there are at least `count` entries. */
  untilCount(what: string, count: number, timeoutMs = DEFAULT_TIMEOUT_MS): Promise<readonly T[]> {
    return this.until(
      `${count} x ${what}`,
      (entries) => (entries.length >= count ? entries : undefined),
      timeoutMs,
    );
  }
}
