/**
 * Those who wait for one destination: the due ones first come, first served, the others by
 * their time. Nobody who is due ever waits behind one who is not.
 */
import { type Timed, TimeHeap } from './time-heap.ts';

/** Freed places at the front are given back when there are this many of them, and they are half. */
const MOST_FREED = 64;

export class WaitingLine<T extends Timed> {
  /** In the order they fell due; those before `#head` are gone. */
  readonly #due: (T | undefined)[] = [];
  #head = 0;
  readonly #later = new TimeHeap<T>();
  readonly #mostMs: () => number;

  /** Nobody is made to wait for longer than `mostMs`. */
  constructor(mostMs: () => number = () => Number.POSITIVE_INFINITY) {
    this.#mostMs = mostMs;
  }

  get dueCount(): number {
    return this.#due.length - this.#head;
  }

  get laterCount(): number {
    return this.#later.size;
  }

  get oldestDue(): T | undefined {
    return this.#due[this.#head];
  }

  /** When the next one falls due of those who are not; absolute, ms. */
  get nextMs(): number | undefined {
    return this.#later.peek()?.nextAttemptMs;
  }

  add(one: T, nowMs: number): void {
    this.fallDue(nowMs);
    if (one.nextAttemptMs <= nowMs) this.#due.push(one);
    else this.#later.push(one);
  }

  /** One whose time has come may still stand behind others: they fall due in the order of their times. */
  addInOrder(one: T): void {
    this.#later.push(one);
  }

  /** Whoever's time has come joins the due ones; and whose time is so far off that the clock was set back. */
  fallDue(nowMs: number): void {
    for (;;) {
      const next = this.#later.peek();
      if (next === undefined) return;
      const leftMs = next.nextAttemptMs - nowMs;
      if (leftMs > 0 && leftMs <= this.#mostMs()) return;
      this.#due.push(this.#later.pop());
    }
  }

  /** Take out the first of those who are due. */
  shift(nowMs: number): T | undefined {
    this.fallDue(nowMs);
    if (this.#head === this.#due.length) return undefined;
    const first = this.#due[this.#head];
    this.#due[this.#head++] = undefined;
    if (this.#head === this.#due.length) {
      this.#due.length = 0;
      this.#head = 0;
    } else if (this.#head >= MOST_FREED && this.#head * 2 >= this.#due.length) {
      this.#due.splice(0, this.#head);
      this.#head = 0;
    }
    return first;
  }

  /** Take out all due ones for which `is`, asked once each; the others keep their order. O(n). */
  takeDueWhere(is: (one: T) => boolean): T[] {
    const taken: T[] = [];
    let kept = 0;
    for (let at = this.#head; at < this.#due.length; at++) {
      const one = this.#due[at] as T;
      if (is(one)) taken.push(one);
      else this.#due[kept++] = one;
    }
    this.#due.length = kept;
    this.#head = 0;
    return taken;
  }

  /** Take out all for which `is`, asked once each, due or not; the others keep their order. O(n). */
  takeWhere(is: (one: T) => boolean): T[] {
    return [...this.takeDueWhere(is), ...this.#later.takeWhere(is)];
  }

  /** The same of those who are not due. O(n). */
  takeLaterWhere(is: (one: T) => boolean): T[] {
    return this.#later.takeWhere(is);
  }

  /** Give those who are not due other times. O(n). */
  retime(change: (one: T) => void, nowMs: number): void {
    this.fallDue(nowMs);
    for (const one of this.#later) change(one);
    this.#later.order();
    this.fallDue(nowMs);
  }

  /**
   * How many of the due ones were due before `ms`, in O(log n). They stand in the order of
   * their times, but for one whose time had long passed when it came in; then it is about right.
   */
  countDueBefore(ms: number): number {
    let low = this.#head;
    let high = this.#due.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#due[middle]?.nextAttemptMs ?? 0) < ms) low = middle + 1;
      else high = middle;
    }
    return low - this.#head;
  }
}
