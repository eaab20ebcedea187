/**
 * A line in which the messages of each sender stand in their order, and the senders take turns: a
 * newsletter to a hundred thousand does not keep the one message of somebody else waiting. Pure.
 */
import { isBefore, type Timed } from './time-heap.ts';

/** Freed places at the front are given back when there are this many of them, and they are half. */
const MOST_FREED = 64;
/** Senders that are asked for the oldest of all, and how many are late; beyond these it is about right. */
const MOST_ASKED = 1000;

/** One sender's, in the order in which they fell due: whoever had a turn and was put off goes back to where it stood. */
class Fifo<T extends Timed> {
  #items: (T | undefined)[] = [];
  #head = 0;

  get size(): number {
    return this.#items.length - this.#head;
  }

  get first(): T | undefined {
    return this.#items[this.#head];
  }

  push(one: T): void {
    const last = this.#items.at(-1);
    if (last && one.nextAttemptMs < last.nextAttemptMs)
      this.#items.splice(this.#placeOf(one), 0, one);
    else this.#items.push(one);
  }

  /** They stand in order, or nearly. */
  #placeOf(one: T): number {
    let low = this.#head;
    let high = this.#items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isBefore(this.#items[middle] as T, one)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  shift(): T | undefined {
    const first = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    if (this.#head >= MOST_FREED && this.#head * 2 >= this.#items.length) {
      this.#items.splice(0, this.#head);
      this.#head = 0;
    }
    return first;
  }

  /** Take out all for which `is`; the others keep their order. */
  takeWhere(is: (one: T) => boolean, taken: T[]): void {
    const kept: T[] = [];
    for (let at = this.#head; at < this.#items.length; at++) {
      const one = this.#items[at] as T;
      if (is(one)) taken.push(one);
      else kept.push(one);
    }
    this.#items = kept;
    this.#head = 0;
  }

  /** Of items in the order of a number, how many have a smaller one than `limit`. O(log n). */
  countBelow(limit: number, numberOf: (one: T) => number): number {
    let low = this.#head;
    let high = this.#items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (numberOf(this.#items[middle] as T) < limit) low = middle + 1;
      else high = middle;
    }
    return low - this.#head;
  }
}

export class FairLine<T extends Timed> {
  /** Whose turn it is stands first. None is empty. */
  readonly #lines = new Map<string, Fifo<T>>();
  readonly #senderOf: (one: T) => string;
  #size = 0;

  constructor(senderOf: (one: T) => string) {
    this.#senderOf = senderOf;
  }

  get size(): number {
    return this.#size;
  }

  push(one: T): void {
    const sender = this.#senderOf(one);
    let line = this.#lines.get(sender);
    if (!line) {
      line = new Fifo();
      this.#lines.set(sender, line);
    }
    line.push(one);
    this.#size += 1;
  }

  /** The first of the sender whose turn it is. */
  shift(): T | undefined {
    for (const [sender, line] of this.#lines) {
      const first = line.shift();
      // The next turn is another one's.
      if (line.size === 0 || this.#lines.size > 1) this.#lines.delete(sender);
      if (line.size > 0) this.#lines.set(sender, line);
      this.#size -= 1;
      return first;
    }
    return undefined;
  }

  /** Take out all for which `is`, asked once each. O(n). */
  takeWhere(is: (one: T) => boolean): T[] {
    const taken: T[] = [];
    for (const [sender, line] of this.#lines) {
      line.takeWhere(is, taken);
      if (line.size === 0) this.#lines.delete(sender);
    }
    this.#size -= taken.length;
    return taken;
  }

  /** When the one fell due that has waited for longest; absolute, ms. */
  get oldestMs(): number | undefined {
    let oldest: number | undefined;
    for (const line of this.#some()) {
      const { nextAttemptMs = Infinity } = line.first ?? {};
      if (oldest === undefined || nextAttemptMs < oldest) oldest = nextAttemptMs;
    }
    return oldest;
  }

  /** How many fell due before `ms`. */
  countDueBefore(ms: number): number {
    let count = 0;
    for (const line of this.#some()) {
      count += line.countBelow(ms, ({ nextAttemptMs }) => nextAttemptMs);
    }
    return count;
  }

  *#some(): Generator<Fifo<T>> {
    let asked = 0;
    for (const line of this.#lines.values()) {
      yield line;
      if (++asked >= MOST_ASKED) return;
    }
  }
}

/**
 * Who a reverse-path stands for: without what makes it another one for each recipient (VERP: `list+ann=home.test@`,
 * `bounces-17-ann=home.test@`), so that a list is one sender.
 */
export function senderKey(reversePath: string): string {
  const at = reversePath.lastIndexOf('@');
  if (at < 0) return reversePath;
  const local = reversePath.slice(0, at);
  const plus = local.indexOf('+');
  if (plus > 0) return local.slice(0, plus) + reversePath.slice(at);
  const dash = local.includes('=') ? local.indexOf('-') : -1;
  return dash > 0 ? local.slice(0, dash) + reversePath.slice(at) : reversePath;
}
