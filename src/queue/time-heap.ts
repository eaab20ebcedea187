/**
 * A binary min-heap of what has a time, the earliest on top; what has the same time comes out
 * in the order of its id, which is the order of arrival. Push and pop take O(log n).
 */

export interface Timed {
  readonly id: string;
  /** Absolute, ms. */
  readonly nextAttemptMs: number;
}

export class TimeHeap<T extends Timed> {
  readonly #heap: T[] = [];

  get size(): number {
    return this.#heap.length;
  }

  peek(): T | undefined {
    return this.#heap[0];
  }

  push(one: T): void {
    const heap = this.#heap;
    let at = heap.push(one) - 1;
    while (at > 0) {
      const parentAt = (at - 1) >> 1;
      const parent = heap[parentAt] as T;
      if (!isBefore(one, parent)) break;
      heap[at] = parent;
      at = parentAt;
    }
    heap[at] = one;
  }

  pop(): T | undefined {
    const top = this.#heap[0];
    const last = this.#heap.pop();
    if (last !== undefined && last !== top) this.#sink(last);
    return top;
  }

  /** Everything, in no particular order. */
  [Symbol.iterator](): IterableIterator<T> {
    return this.#heap[Symbol.iterator]();
  }

  /** Take out all for which `is`, asked once each. O(n). */
  takeWhere(is: (one: T) => boolean): T[] {
    const taken: T[] = [];
    let kept = 0;
    for (const one of this.#heap) {
      if (is(one)) taken.push(one);
      else this.#heap[kept++] = one;
    }
    this.#heap.length = kept;
    if (taken.length > 0) this.order();
    return taken;
  }

  /** Put everything in order after times have changed. O(n). */
  order(): void {
    for (let at = (this.#heap.length >> 1) - 1; at >= 0; at--) this.#sink(this.#heap[at] as T, at);
  }

  /** Put `one` in the place `at`, and down to where it belongs. */
  #sink(one: T, at = 0): void {
    const heap = this.#heap;
    for (;;) {
      let childAt = 2 * at + 1;
      let child = heap[childAt];
      if (child === undefined) break;
      const right = heap[childAt + 1];
      if (right !== undefined && isBefore(right, child)) {
        child = right;
        childAt++;
      }
      if (!isBefore(child, one)) break;
      heap[at] = child;
      at = childAt;
    }
    heap[at] = one;
  }
}

/** The order in which they come out. */
export function isBefore(a: Timed, b: Timed): boolean {
  if (a.nextAttemptMs !== b.nextAttemptMs) return a.nextAttemptMs < b.nextAttemptMs;
  return a.id < b.id;
}
