/**
 * A message on its way over the link, as the receiving role sees it: what the owner of the
 * spool has said of it, and how much of it may still be sent. One waits for it at a time.
 */
import type { Clock } from '../platform/clock.ts';
import { SMALL_BODY } from './frame.ts';

export class Exchange {
  readonly id: number;
  /** Octets that may be sent before the owner has written some. */
  window = SMALL_BODY;
  begun = false;
  committed = false;
  readonly #clock: Clock;
  #failure: Error | undefined;
  /** Since when somebody waits without having heard anything. */
  #waitingSinceMs: number | undefined;
  #wake: () => void = () => {};

  constructor(id: number, clock: Clock) {
    this.id = id;
    this.#clock = clock;
  }

  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Milliseconds of silence while somebody waits. */
  get silenceMs(): number {
    return this.#waitingSinceMs === undefined ? 0 : this.#clock.now() - this.#waitingSinceMs;
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
      this.#waitingSinceMs = this.#clock.now();
      await new Promise<void>((wake) => {
        this.#wake = wake;
      });
      this.#waitingSinceMs = undefined;
    }
  }
}
