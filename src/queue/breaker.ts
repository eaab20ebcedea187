/**
 * A breaker: after so many failures in a row nothing more is tried, but for one probe now and then.
 * A probe that succeeds closes it again. Pure; times are handed in, in milliseconds.
 */

export interface BreakerSettings {
  /** Failures in a row that open it. */
  readonly failures: number;
  /** From a failure to the next probe. */
  readonly probeEvery: number;
}

export type BreakerState = 'closed' | 'open' | 'half-open';

export class Breaker {
  readonly #settings: () => BreakerSettings;
  #failures = 0;
  #probeAtMs = 0;
  #openedAtMs: number | undefined;

  /** The settings are asked at every step, so that a reload counts at once. */
  constructor(settings: () => BreakerSettings) {
    this.#settings = settings;
  }

  /** `half-open`: one attempt may be made. */
  state(nowMs: number): BreakerState {
    if (this.#openedAtMs === undefined) return 'closed';
    const { failures, probeEvery } = this.#settings();
    if (this.#failures < failures) return 'half-open'; // the limit was raised
    const leftMs = this.#probeAtMs - nowMs;
    // Longer than it can be: the clock was set back, or the setting made shorter.
    return leftMs > 0 && leftMs <= probeEvery ? 'open' : 'half-open';
  }

  /** When the next probe may be made; undefined while it is closed. */
  get probeAtMs(): number | undefined {
    return this.#openedAtMs === undefined ? undefined : this.#probeAtMs;
  }

  /** The next probe may be made now. */
  probeNow(nowMs: number): void {
    if (this.#openedAtMs !== undefined) this.#probeAtMs = Math.min(this.#probeAtMs, nowMs);
  }

  /** Open, or half open. */
  get isOpen(): boolean {
    return this.#openedAtMs !== undefined;
  }

  get openedAtMs(): number | undefined {
    return this.#openedAtMs;
  }

  get failures(): number {
    return this.#failures;
  }

  /** An attempt got through. True when that closed it. */
  succeeded(): boolean {
    const wasOpen = this.#openedAtMs !== undefined;
    this.#failures = 0;
    this.#openedAtMs = undefined;
    return wasOpen;
  }

  /** An attempt failed. True when that opened it; later ones, of attempts that were under way, do not count. */
  failed(nowMs: number): boolean {
    const { failures, probeEvery } = this.#settings();
    if (this.state(nowMs) === 'open') return false;
    this.#failures += 1;
    if (this.#failures < failures) return false;
    this.#probeAtMs = nowMs + probeEvery;
    const opened = this.#openedAtMs === undefined;
    this.#openedAtMs ??= nowMs;
    return opened;
  }
}
