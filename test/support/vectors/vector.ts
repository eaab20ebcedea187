/**
 * What a vector file holds, and what a module that runs one kind of it offers
 * (test/fixtures/vectors/README.md).
 */

export interface Vector {
  readonly id: string;
  /** Number of a requirement, e.g. `R013`. */
  readonly rule?: string;
  readonly note?: string;
  readonly input: unknown;
  readonly expect: unknown;
  /** Other answers that are right, too. */
  readonly alt?: readonly unknown[];
}

export interface VectorKind {
  /**
   * What the relay makes of `input`, in the words of the vectors. Throws NotSupported for what
   * it has no word for; whatever else it throws is a failed case, too.
   */
  answer(input: never, context: VectorContext): unknown;
  /** The ways in which `answer` is not what is expected; without it, those of compare.ts. */
  differences?(answer: unknown, expected: unknown): readonly string[];
}

export interface VectorContext {
  /** Directory of certificates and the like that vectors name. */
  readonly fixtures: string;
}

/** The case asks for something that is not there (yet): a failed case, with this reason. */
export class NotSupported extends Error {
  constructor(what: string) {
    super(`not supported yet: ${what}`);
    this.name = 'NotSupported';
  }
}

/**
 * Throws NotSupported when `given` has a key that is not among `known`: none is passed over but
 * those that are off.
 */
export function onlyKeys(what: string, given: object, known: readonly string[]): void {
  for (const [key, value] of Object.entries(given)) {
    const isOff = value === false || value === null;
    if (!isOff && !known.includes(key)) throw new NotSupported(`${what}.${key}`);
  }
}
