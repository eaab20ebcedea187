/**
 * What is fuzzed: one parser, or one conversation, that reads what strangers or damaged files say.
 */

export interface FuzzTarget {
  /** Kebab-case; the name in `make fuzz TARGET=name` and of its folder in test/fuzz/corpus. */
  readonly name: string;
  /** Good inputs, and bad ones that come close. Never empty. */
  readonly seeds: readonly Buffer[];
  /** What the format is made of; put into inputs by the mutations. */
  readonly tokens: readonly (string | Buffer)[];
  /** No input is longer; 4,096 when absent. */
  readonly maxOctets?: number;
  /**
   * Feed it one input and hold the answer to what the parser promises: throws when a promise is
   * broken. Returns what kind of answer it was, in a word of a small set: an input that gives a
   * new kind becomes a seed.
   */
  run(input: Buffer): string | Promise<string>;
  /** Let go of what `run` opened. */
  close?(): Promise<void>;
}

export const DEFAULT_MAX_OCTETS = 4096;

/** Separates the texts of an input that holds several. */
export const PART = '\x1e';

/** The first `count` texts of an input, UTF-8; those it does not have are empty. */
export function partsOf(input: Buffer, count: number): string[] {
  const parts = input.toString().split(PART);
  return Array.from({ length: count }, (_, index) => parts[index] ?? '');
}

/** Texts as one input. */
export function joined(...parts: readonly string[]): Buffer {
  return Buffer.from(parts.join(PART));
}

/** An input cut into pieces at places that depend on it alone: a reader of chunks must not care. */
export function chunksOf(input: Buffer): Buffer[][] {
  const third = Math.floor(input.length / 3);
  const single = Array.from({ length: input.length }, (_, at) => input.subarray(at, at + 1));
  return [[input.subarray(0, third), Buffer.alloc(0), input.subarray(third)], single];
}
