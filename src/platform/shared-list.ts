/**
 * Lets all nodes on one Redis have the same list (kept-list.ts): a change made on one of them holds on the
 * others a moment later, and on one that was away when it comes back. Each has the whole list on its own disk.
 */
import type { z } from 'zod';
import { type Kept, type KeptChange, type KeptList, REMEMBER_REMOVED_MS } from './kept-list.ts';
import type { SharedBoard } from './shared-board.ts';

export interface SharedListParts<T extends Kept> {
  readonly board: SharedBoard;
  /** Of the list, e.g. `pause`. */
  readonly topic: string;
  /** Of one entry: what another version, or somebody's hand, put there counts as not there. */
  readonly schema: z.ZodType<T>;
  readonly keyOf: (entry: T) => string;
  /** A change from elsewhere holds here now. */
  readonly onTaken: (taken: TakenOver<T>) => void;
  /** The disk did not take it: it holds until the end of this process. */
  readonly onError: (error: Error) => void;
}

export interface TakenOver<T> extends KeptChange<T> {
  /** Where it was made. */
  readonly node: string;
  /** What was there. */
  readonly before: T | undefined;
}

/** To be called before the board starts. */
export function shareList<T extends Kept>(list: KeptList<T>, parts: SharedListParts<T>): void {
  const { board, topic: name, schema, keyOf, onTaken, onError } = parts;
  const topic = board.topic(name, (key, { value, at: atMs, node }) => {
    const { data: entry } = value === undefined ? {} : schema.safeParse(value);
    if (value !== undefined && (!entry || keyOf(entry) !== key)) return;
    const change = { key, entry, atMs };
    list.takeOver(change).then((taken) => {
      if (!taken || (entry === undefined && taken.before === undefined)) return;
      onTaken({ ...change, node, before: taken.before });
    }, onError);
  });
  const say = ({ key, entry, atMs: at }: KeptChange<T>) => {
    if (entry) topic.say(key, { value: entry, ends: entry.expires, at });
    else topic.say(key, { ends: at + REMEMBER_REMOVED_MS, at });
  };
  list.watch(say);
  for (const change of list.changes()) say(change);
}
