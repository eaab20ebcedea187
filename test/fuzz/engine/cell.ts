/**
 * What a fuzzing thread is doing at this moment, in memory that it shares with the thread that
 * watches it: the input under test survives a hang, a crash, and memory that ran out.
 */

const SEQUENCE = 0;
const RUNS = 1;
const KINDS = 2;
const LENGTH = 3;
const HEAD_WORDS = 4;
const HEAD_OCTETS = HEAD_WORDS * 4;

/** Longest input that fits. */
export const MAX_INPUT_OCTETS = 256 * 1024;

export interface Glance {
  /** Odd while an input is under test; another number for every input. */
  readonly sequence: number;
  readonly runs: number;
  readonly kinds: number;
}

export class Cell {
  readonly memory: SharedArrayBuffer;
  readonly #head: Int32Array;
  readonly #octets: Uint8Array;

  constructor(memory = new SharedArrayBuffer(HEAD_OCTETS + MAX_INPUT_OCTETS)) {
    this.memory = memory;
    this.#head = new Int32Array(memory, 0, HEAD_WORDS);
    this.#octets = new Uint8Array(memory, HEAD_OCTETS);
  }

  /** The fuzzing thread: `input` is next. */
  before(input: Buffer): void {
    this.#octets.set(input);
    Atomics.store(this.#head, LENGTH, input.length);
    Atomics.add(this.#head, SEQUENCE, 1);
  }

  /** The fuzzing thread: it came back. */
  after(kinds: number): void {
    Atomics.add(this.#head, RUNS, 1);
    Atomics.store(this.#head, KINDS, kinds);
    Atomics.add(this.#head, SEQUENCE, 1);
  }

  glance(): Glance {
    const [sequence, runs, kinds] = [SEQUENCE, RUNS, KINDS].map((at) =>
      Atomics.load(this.#head, at),
    );
    return { sequence: sequence ?? 0, runs: runs ?? 0, kinds: kinds ?? 0 };
  }

  /** The input that is, or was last, under test. */
  input(): Buffer {
    return Buffer.from(this.#octets.slice(0, Atomics.load(this.#head, LENGTH)));
  }
}
