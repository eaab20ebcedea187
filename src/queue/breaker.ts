/**
 * A breaker: after so many failures in a row nothing more is tried, but for one probe now and then.
 * A probe that succeeds closes it again. Pure; times are handed in, in milliseconds.
 *
 * It may be opened because of what another node saw. And where another node gets through to hosts that this one fails
 * to reach, the fault is on this side: then nobody else is told of its failures, until it got through itself.
 */

export interface BreakerSettings {
  /** Failures in a row that open it. */
  readonly failures: number;
  /** From a failure to the next probe. */
  readonly probeEvery: number;
}

/** Times `probeEvery`: nodes take turns in probing. */
const LONGEST_WAIT = 1.5;

export type BreakerState = 'closed' | 'open' | 'half-open';

export class Breaker {
  readonly #settings: () => BreakerSettings;
  #failures = 0;
  #probeAtMs = 0;
  #openedAtMs: number | undefined;
  #isForeign = false;
  #isContradicted = false;

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
    return leftMs > 0 && leftMs <= LONGEST_WAIT * probeEvery ? 'open' : 'half-open';
  }

  /** When the next probe may be made; undefined while it is closed. */
  get probeAtMs(): number | undefined {
    return this.#openedAtMs === undefined ? undefined : this.#probeAtMs;
  }

  get probeEveryMs(): number {
    return this.#settings().probeEvery;
  }

  /** It was opened by what another node saw. */
  get isForeign(): boolean {
    return this.#isForeign;
  }

  /** Another node gets through where this one does not. */
  get isContradicted(): boolean {
    return this.#isContradicted;
  }

  /** Another node says that the hosts are away. True when that opened it. */
  openedElsewhere(openedAtMs: number, probeAtMs: number): boolean {
    if (this.#openedAtMs !== undefined) {
      this.#probeAtMs = Math.max(this.#probeAtMs, probeAtMs);
      return false;
    }
    this.#failures = Math.max(this.#failures, this.#settings().failures);
    this.#openedAtMs = openedAtMs;
    this.#probeAtMs = probeAtMs;
    this.#isForeign = true;
    return true;
  }

  /** Another node got through. True when that closed it; one that is open for what this node saw has to see for itself. */
  answeredElsewhere(nowMs: number): boolean {
    if (this.#openedAtMs === undefined) return false;
    if (this.#isForeign) return this.succeeded();
    this.#isContradicted = true;
    this.probeNow(nowMs);
    return false;
  }

  /** Another node makes the next probe. */
  postpone(probeAtMs: number): void {
    if (this.#openedAtMs !== undefined) this.#probeAtMs = Math.max(this.#probeAtMs, probeAtMs);
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
    this.#isForeign = false;
    this.#isContradicted = false;
    return wasOpen;
  }

  /** An attempt failed. True when that opened it; later ones, of attempts that were under way, do not count. */
  failed(nowMs: number): boolean {
    const { failures, probeEvery } = this.#settings();
    if (this.state(nowMs) === 'open') return false;
    this.#failures += 1;
    if (this.#failures < failures) return false;
    this.#probeAtMs = nowMs + probeEvery;
    this.#isForeign = false;
    const opened = this.#openedAtMs === undefined;
    this.#openedAtMs ??= nowMs;
    return opened;
  }
}
