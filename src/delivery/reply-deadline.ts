/**
 * The time a reply has (RFC 5321 §4.5.3.2). One timer for a whole connection: it is left running
 * when a reply came in time and moved on when it fires early, for a timer made and dropped for
 * each command would cost more than the command.
 */

export class ReplyDeadline {
  readonly #onOver: () => void;
  #dueAtMs = Number.POSITIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  /** When the timer fires. */
  #firesAtMs = 0;

  constructor(onOver: () => void) {
    this.#onOver = onOver;
  }

  /** The next reply has `timeoutMs` from now on. */
  start(timeoutMs: number): void {
    const now = performance.now();
    this.#dueAtMs = now + timeoutMs;
    if (this.#timer === undefined || this.#dueAtMs < this.#firesAtMs) this.#arm(timeoutMs, now);
  }

  /** No reply is due. */
  clear(): void {
    this.#dueAtMs = Number.POSITIVE_INFINITY;
  }

  /** As `clear`, and nothing is left running. */
  end(): void {
    this.clear();
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #arm(delayMs: number, now: number): void {
    clearTimeout(this.#timer);
    this.#firesAtMs = now + delayMs;
    // The socket that is waited for keeps the process alive, not its timer.
    this.#timer = setTimeout(() => this.#fired(), delayMs).unref();
  }

  #fired(): void {
    this.#timer = undefined;
    if (this.#dueAtMs === Number.POSITIVE_INFINITY) return;
    const now = performance.now();
    const leftMs = this.#dueAtMs - now;
    if (leftMs > 0) {
      this.#arm(leftMs, now);
      return;
    }
    this.clear();
    this.#onOver();
  }
}
