/**
 * So many at once, the others in their order: work that is begun whenever, and waits for its turn.
 */
export class Turns {
  readonly #most: number;
  readonly #waiting: (() => void)[] = [];
  readonly #running = new Set<Promise<unknown>>();
  #taken = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** Do `work` when there is room; as it resolves or rejects. */
  run<R>(work: () => Promise<R>): Promise<R> {
    const mine = this.#inTurn(work);
    const ended = mine.then(
      () => {},
      () => {},
    );
    this.#running.add(ended);
    void ended.then(() => this.#running.delete(ended));
    return mine;
  }

  /** When all that was begun so far has ended. Never rejects. */
  async idle(): Promise<void> {
    await Promise.all(this.#running);
  }

  async #inTurn<R>(work: () => Promise<R>): Promise<R> {
    // Whoever ends hands its place to the first who waits.
    if (this.#taken < this.#most) this.#taken += 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#taken -= 1;
    }
  }
}
