/**
 * Random numbers from a seed: the same seed gives the same inputs on every machine.
 */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number from 0 up to, not including, `end`; 0 when there is none. */
  below(end: number): number {
    return end <= 1 ? 0 : Math.floor((this.#next() / 0x1_0000_0000) * end);
  }

  /** Any of `values`, which is not empty. */
  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }

  /** Mulberry32: 32 bits of state are plenty here. */
  #next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }
}
