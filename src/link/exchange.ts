/**
 * A message on its way over the link, as the receiving role sees it: what the owner of the
 * spool has said of it, and how much of it may still be sent. One waits for it at a time.
 */
import { SMALL_BODY } from './frame.ts';

export class Exchange {
  readonly id: number;
  /** Octets that may be sent before the owner has written some. */
  window = SMALL_BODY;
  begun = false;
  committed = false;
  #failure: Error | undefined;
  /** Times that somebody looked who had to wait still; undefined when nobody waits. */
  #looks: number | undefined;
  #wake: () => void = () => {};

  constructor(id: number) {
    this.id = id;
  }

  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Look whether there is news, at regular times: how often there was none. No clock that is set tells. */
  look(): number {
    if (this.#looks === undefined) return 0;
    this.#looks += 1;
    return this.#looks;
  }

  /** The owner said something. */
  heard(): void {
    this.#wake();
  }

  /** Nothing will come of it; the first reason counts. */
  fail(error: Error): void {
    this.#failure ??= error;
    this.#wake();
  }

  /** Wait until `isSo`. Throws what it failed with. */
  async until(isSo: () => boolean): Promise<void> {
    for (;;) {
      if (this.#failure) throw this.#failure;
      if (isSo()) return;
      this.#looks = 0;
      await new Promise<void>((wake) => {
        this.#wake = wake;
      });
      this.#looks = undefined;
    }
  }
}
