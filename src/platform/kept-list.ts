/**
 * A short list that an administrator makes on the running relay, one entry a key, some with an end: kept on
 * disk in one file that is replaced as a whole, gone from the list when their end has come. One change
 * after the other; each is durable before it holds.
 */
import { readFile, rename } from 'node:fs/promises';
import { z } from 'zod';
import { parseDomain } from '../protocol/domain.ts';
import type { Clock } from './clock.ts';
import { replaceFile } from './durable-file.ts';

export interface Kept {
  /** Milliseconds since the epoch; absent: never. */
  readonly expires?: number | undefined;
}

export interface KeptListParts<T extends Kept> {
  readonly file: string;
  /** Of one entry. */
  readonly schema: z.ZodType<T>;
  /** What an entry is about, e.g. its domain: there is one about each. */
  readonly keyOf: (entry: T) => string;
  /** No more are taken. */
  readonly most: number;
  readonly clock: Clock;
  /** Their end has come. */
  readonly onEnded: (entries: readonly T[]) => void;
  /** The file could not be understood and is kept as `aside`; the list is empty. */
  readonly onUnreadable: (aside: string, reason: string) => void;
}

/** The longest wait between two looks: the clock may be set meanwhile. */
const LOOK_MS = 60_000;

/** A domain in a schema. */
export const keptDomain = z.string().transform((text, context) => {
  const domain = parseDomain(text);
  if (domain !== undefined) return domain;
  context.addIssue({ code: 'custom', message: 'no domain' });
  return z.NEVER;
});

export class KeptList<T extends Kept> {
  readonly #parts: KeptListParts<T>;
  /** By key. Never changed, but replaced. */
  #entries: readonly T[];
  #cancel: () => void = () => {};
  #changing: Promise<unknown> = Promise.resolve();

  private constructor(parts: KeptListParts<T>, entries: readonly T[]) {
    this.#parts = parts;
    this.#entries = entries;
    this.#look();
  }

  /** Rejects with the system's error when the file is there and cannot be read. */
  static async open<T extends Kept>(parts: KeptListParts<T>): Promise<KeptList<T>> {
    const now = parts.clock.now();
    const found = await readKept(parts);
    return new KeptList(parts, found.filter(isLasting(now)));
  }

  /** Those whose end has not come; the same array until something changes, but for that. */
  list(): readonly T[] {
    const lasts = isLasting(this.#parts.clock.now());
    return this.#entries.every(lasts) ? this.#entries : this.#entries.filter(lasts);
  }

  /** Durable when it returns; one with the same key is replaced. `full`: there are too many. */
  put(entry: T): Promise<'added' | 'replaced' | 'full'> {
    return this.#inTurn(async () => {
      const { keyOf } = this.#parts;
      const before = this.list();
      const others = before.filter((one) => keyOf(one) !== keyOf(entry));
      if (others.length >= this.#parts.most) return 'full';
      const all = [...others, entry];
      await this.#keep(all.sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1)));
      return others.length < before.length ? 'replaced' : 'added';
    });
  }

  /** What was removed; durable when it returns. */
  remove(key: string): Promise<T | undefined> {
    return this.#inTurn(async () => {
      const found = this.list().find((one) => this.#parts.keyOf(one) === key);
      if (found) await this.#keep(this.#entries.filter((one) => one !== found));
      return found;
    });
  }

  async close(): Promise<void> {
    this.#cancel();
    await this.#changing.catch(() => {});
  }

  #inTurn<R>(change: () => Promise<R>): Promise<R> {
    const mine = this.#changing.catch(() => {}).then(change);
    this.#changing = mine;
    return mine;
  }

  async #keep(entries: readonly T[]): Promise<void> {
    await replaceFile(this.#parts.file, JSON.stringify({ version: 1, entries }, undefined, 2));
    this.#entries = entries;
    this.#look();
  }

  #look(): void {
    this.#cancel();
    const { clock, onEnded } = this.#parts;
    const left = this.list();
    const ended = left === this.#entries ? [] : this.#entries.filter((one) => !left.includes(one));
    // They have ended, whether the disk takes that now or at the next change.
    this.#entries = left;
    const leftMs = left.map(({ expires = Infinity }) => expires - clock.now());
    this.#cancel = clock.after(Math.min(LOOK_MS, ...leftMs), () => this.#look());
    if (ended.length === 0) return;
    this.#inTurn(() => this.#keep(this.list())).catch(() => {});
    onEnded(ended);
  }
}

function isLasting(nowMs: number): (entry: Kept) => boolean {
  return ({ expires }) => expires === undefined || expires > nowMs;
}

/** The entries in the file of a list, for its relay or for somebody else. */
async function readKept<T extends Kept>({
  file,
  schema,
  onUnreadable,
}: Pick<KeptListParts<T>, 'file' | 'schema' | 'onUnreadable'>): Promise<readonly T[]> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  try {
    return parseKept(text, schema);
  } catch (error) {
    const aside = `${file}.damaged`;
    await rename(file, aside);
    const [reason = ''] = (error as Error).message.split('\n');
    onUnreadable(aside, error instanceof z.ZodError ? 'not as it was written' : reason);
    return [];
  }
}

/** The entries in the text of a list's file. Throws when it cannot be understood. */
export function parseKept<T extends Kept>(text: string, schema: z.ZodType<T>): readonly T[] {
  const whole = z.object({ version: z.literal(1), entries: z.array(schema) });
  return whole.parse(JSON.parse(text)).entries;
}
