/**
 * A short list that an administrator makes on the running relay, one entry a key, some with an end: kept on
 * disk in one file that is replaced as a whole, gone from the list when their end has come. One change
 * after the other; each is durable before it holds.
 *
 * Several relays may share one (shared-list.ts): so it keeps when each entry was changed, and what was removed, for
 * a while. Of two changes of an entry the later one holds, wherever it was made.
 */
import { readFile, rename } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
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

/** A change of one entry, here or elsewhere. */
export interface KeptChange<T> {
  readonly key: string;
  /** Absent: it was removed. */
  readonly entry?: T | undefined;
  /** Tells the later of two changes; about when it was made, ms since the epoch. */
  readonly atMs: number;
}

/** How long what was removed is remembered, for a relay that was away. */
export const REMEMBER_REMOVED_MS = 90 * 86_400_000;

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
  /** When each was changed, by key; also those that were removed. Those of an earlier version have none. */
  readonly #changedAt: Map<string, number>;
  readonly #watchers: ((change: KeptChange<T>) => void)[] = [];
  #cancel: () => void = () => {};
  #changing: Promise<unknown> = Promise.resolve();

  private constructor(parts: KeptListParts<T>, { entries, changedAt }: Found<T>) {
    this.#parts = parts;
    this.#entries = entries;
    this.#changedAt = new Map(Object.entries(changedAt));
    this.#look();
  }

  /** Rejects with the system's error when the file is there and cannot be read. */
  static async open<T extends Kept>(parts: KeptListParts<T>): Promise<KeptList<T>> {
    const now = parts.clock.now();
    const { entries, changedAt } = await readKept(parts);
    return new KeptList(parts, { entries: entries.filter(isLasting(now)), changedAt });
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
      const key = keyOf(entry);
      const atMs = this.#nextChange(key);
      await this.#keep(this.#sorted([...others, entry]), { key, atMs });
      this.#tell({ key, entry, atMs });
      return others.length < before.length ? 'replaced' : 'added';
    });
  }

  /** What was removed; durable when it returns. */
  remove(key: string): Promise<T | undefined> {
    return this.#inTurn(async () => {
      const found = this.list().find((one) => this.#parts.keyOf(one) === key);
      if (!found) return undefined;
      const atMs = this.#nextChange(key);
      await this.#keep(
        this.#entries.filter((one) => one !== found),
        { key, atMs },
      );
      this.#tell({ key, atMs });
      return found;
    });
  }

  /**
   * A change that was made elsewhere holds here, too, if it is later than what is known; then true, and the entry that
   * it put an end to. Rejects with the system's error when the disk does not take it; until the end of this process it holds all the same.
   */
  takeOver({
    key,
    entry,
    atMs,
  }: KeptChange<T>): Promise<{ readonly before: T | undefined } | undefined> {
    return this.#inTurn(async () => {
      const { keyOf, most } = this.#parts;
      const all = this.list();
      const before = all.find((one) => keyOf(one) === key);
      const knownMs = this.#changedAt.get(key) ?? -1;
      // Two changes at the same moment: everywhere the same one was found to be the later.
      if (atMs < knownMs || (atMs === knownMs && isDeepStrictEqual(before, entry)))
        return undefined;
      const others = all.filter((one) => one !== before);
      if (entry && others.length >= most) return undefined;
      this.#entries = entry ? this.#sorted([...others, entry]) : others;
      this.#look();
      await this.#keep(this.#entries, { key, atMs });
      return { before };
    });
  }

  /** What is known of every entry, also of those that were removed lately. */
  changes(): readonly KeptChange<T>[] {
    const { keyOf } = this.#parts;
    const entries = new Map(this.list().map((one) => [keyOf(one), one]));
    const keys = new Set([...entries.keys(), ...this.#changedAt.keys()]);
    return [...keys].map((key) => {
      return { key, entry: entries.get(key), atMs: this.#changedAt.get(key) ?? 0 };
    });
  }

  /** Told about every change that is made here, when it holds. */
  watch(watcher: (change: KeptChange<T>) => void): void {
    this.#watchers.push(watcher);
  }

  #tell(change: KeptChange<T>): void {
    for (const watcher of this.#watchers) watcher(change);
  }

  #nextChange(key: string): number {
    return Math.max(this.#parts.clock.now(), (this.#changedAt.get(key) ?? 0) + 1);
  }

  #sorted(entries: readonly T[]): readonly T[] {
    const { keyOf } = this.#parts;
    return entries.toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
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

  async #keep(
    entries: readonly T[],
    change?: { readonly key: string; readonly atMs: number },
  ): Promise<void> {
    const changedAt = this.#remembered(entries);
    if (change) changedAt.set(change.key, change.atMs);
    const content = { version: 1, entries, changedAt: Object.fromEntries(changedAt) };
    await replaceFile(this.#parts.file, JSON.stringify(content, undefined, 2));
    this.#entries = entries;
    if (change) this.#changedAt.set(change.key, change.atMs);
    for (const key of this.#changedAt.keys()) if (!changedAt.has(key)) this.#changedAt.delete(key);
    this.#look();
  }

  /** Of entries, and of the last that were removed. */
  #remembered(entries: readonly T[]): Map<string, number> {
    const { keyOf, most, clock } = this.#parts;
    const there = new Set(entries.map(keyOf));
    const sinceMs = clock.now() - REMEMBER_REMOVED_MS;
    const all = [...this.#changedAt];
    const removed = all.filter(([key, atMs]) => !there.has(key) && atMs > sinceMs);
    const last = removed.sort(([, a], [, b]) => b - a).slice(0, most);
    return new Map([...all.filter(([key]) => there.has(key)), ...last]);
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
}: Pick<KeptListParts<T>, 'file' | 'schema' | 'onUnreadable'>): Promise<Found<T>> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { entries: [], changedAt: {} };
    throw error;
  }
  try {
    return parseWhole(text, schema);
  } catch (error) {
    const aside = `${file}.damaged`;
    await rename(file, aside);
    const [reason = ''] = (error as Error).message.split('\n');
    onUnreadable(aside, error instanceof z.ZodError ? 'not as it was written' : reason);
    return { entries: [], changedAt: {} };
  }
}

interface Found<T> {
  readonly entries: readonly T[];
  readonly changedAt: Readonly<Record<string, number>>;
}

/** The entries in the text of a list's file. Throws when it cannot be understood. */
export function parseKept<T extends Kept>(text: string, schema: z.ZodType<T>): readonly T[] {
  return parseWhole(text, schema).entries;
}

function parseWhole<T extends Kept>(text: string, schema: z.ZodType<T>): Found<T> {
  const whole = z.object({
    version: z.literal(1),
    entries: z.array(schema),
    changedAt: z.record(z.string(), z.number().int()).default({}),
  });
  return whole.parse(JSON.parse(text));
}
