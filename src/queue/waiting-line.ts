/**
 * Those who wait for one destination: the due ones first come, first served, sender by sender in
 * turn, the others by their time. Nobody who is due ever waits behind one who is not. Those that
 * somebody asked for by name go before all others.
 */
import { FairLine } from './fair-line.ts';
import { type Timed, TimeHeap } from './time-heap.ts';

export class WaitingLine<T extends Timed> {
  readonly #asked = new FairLine<T>(() => '');
  readonly #due: FairLine<T>;
  readonly #later = new TimeHeap<T>();
  readonly #mostMs: () => number;

  /** Nobody is made to wait for longer than `mostMs`. `senderOf`: between whom it is to be fair. */
  constructor(
    mostMs: () => number = () => Number.POSITIVE_INFINITY,
    senderOf: (one: T) => string = () => '',
  ) {
    this.#mostMs = mostMs;
    this.#due = new FairLine(senderOf);
  }

  get dueCount(): number {
    return this.#asked.size + this.#due.size;
  }

  get laterCount(): number {
    return this.#later.size;
  }

  /** When the one fell due that is due for longest; absolute, ms. */
  get oldestDueMs(): number | undefined {
    const [asked = Infinity, due = Infinity] = [this.#asked.oldestMs, this.#due.oldestMs];
    return this.dueCount > 0 ? Math.min(asked, due) : undefined;
  }

  /** The next one that falls due of those who are not. */
  get next(): T | undefined {
    return this.#later.peek();
  }

  /** When it does; absolute, ms. */
  get nextMs(): number | undefined {
    return this.#later.peek()?.nextAttemptMs;
  }

  add(one: T, nowMs: number): void {
    this.fallDue(nowMs);
    if (one.nextAttemptMs <= nowMs) this.#due.push(one);
    else this.#later.push(one);
  }

  /** Before all others; it is due. */
  addFirst(one: T): void {
    this.#asked.push(one);
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
      this.#later.pop();
      this.#due.push(next);
    }
  }

  /** Take out the next of those who are due. */
  shift(nowMs: number): T | undefined {
    this.fallDue(nowMs);
    return this.#asked.shift() ?? this.#due.shift();
  }

  /** Take out all due ones for which `is`, asked once each; the others keep their order. O(n). */
  takeDueWhere(is: (one: T) => boolean): T[] {
    return [...this.#asked.takeWhere(is), ...this.#due.takeWhere(is)];
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

  /** How many of the due ones were due before `ms`. */
  countDueBefore(ms: number): number {
    return this.#asked.countDueBefore(ms) + this.#due.countDueBefore(ms);
  }
}
