/**
 * A trouble that lasts, as the log tells of it: one line when it begins, one each REMIND_MS while
 * it goes on, one when it is over; what comes in between is only counted. A full disk would
 * otherwise fill what is left of it with lines about itself.
 */

/** As long as a trouble comes back within this time, it was never over. */
const QUIET_MS = 10_000;
const REMIND_MS = 600_000;

export interface SpellFacts {
  /** How often it happened. */
  readonly count: number;
  readonly seconds: number;
}

export class Spell {
  readonly #now: () => number;
  #beganMs: number | undefined;
  #lastMs = 0;
  #toldMs = 0;
  #count = 0;

  /** `now`: milliseconds that only grow. */
  constructor(now = () => performance.now()) {
    this.#now = now;
  }

  /** It happened: what to tell, or undefined when it was told lately. */
  hit(): SpellFacts | undefined {
    const now = this.#now();
    const isNew = this.#beganMs === undefined;
    this.#beganMs ??= now;
    this.#lastMs = now;
    this.#count += 1;
    if (!isNew && now - this.#toldMs < REMIND_MS) return undefined;
    this.#toldMs = now;
    return this.#facts();
  }

  /** What was in trouble works: what to tell when that is the end of it. `isSure`: it will not come back at once. */
  works(isSure = false): SpellFacts | undefined {
    if (this.#beganMs === undefined) return undefined;
    if (!isSure && this.#now() - this.#lastMs < QUIET_MS) return undefined;
    const facts = this.#facts();
    this.#beganMs = undefined;
    this.#count = 0;
    return facts;
  }

  #facts(): SpellFacts {
    const seconds = Math.round((this.#now() - (this.#beganMs ?? 0)) / 1000);
    return { count: this.#count, seconds };
  }
}
