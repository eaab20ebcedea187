/**
 * Log lines that strangers can cause at will, kept to so many a minute: the log of a port that is
 * scanned, or flooded, must not fill the disk, or hide what matters. What is left out is counted,
 * and told with the next line; the metric counts each in any case.
 */
const WINDOW_MS = 60_000;
const MOST_LINES = 60;

export class LineBudget {
  readonly #now: () => number;
  readonly #windowMs: number;
  readonly #most: number;
  #beganMs = Number.NEGATIVE_INFINITY;
  #lines = 0;
  #unsaid = 0;

  /** `now`: milliseconds. `most`: in `windowMs`. */
  constructor(
    now = () => performance.now(),
    { windowMs, most } = { windowMs: WINDOW_MS, most: MOST_LINES },
  ) {
    this.#now = now;
    this.#windowMs = windowMs;
    this.#most = most;
  }

  /** Whether one more line may be written, and how many were not since the last one. */
  take(): { readonly mayTell: boolean; readonly unsaid: number | undefined } {
    const now = this.#now();
    // A clock that was set back begins anew.
    if (now - this.#beganMs >= this.#windowMs || now < this.#beganMs) {
      this.#beganMs = now;
      this.#lines = 0;
    }
    this.#lines += 1;
    if (this.#lines > this.#most) {
      this.#unsaid += 1;
      return { mayTell: false, unsaid: undefined };
    }
    const unsaid = this.#unsaid || undefined;
    this.#unsaid = 0;
    return { mayTell: true, unsaid };
  }
}
