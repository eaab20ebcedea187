/**
 * The clock port: everything that depends on time takes one, so that tests can turn it.
 */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Run `task` after `delayMs`; the returned function cancels it. Never keeps the process alive. */
  after(delayMs: number, task: () => void): () => void;
}

/** The longest delay Node's timers take; anything longer fires at once, so it is cut. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  after(delayMs, task) {
    const timer = setTimeout(task, Math.min(Math.max(delayMs, 0), MAX_TIMER_MS));
    timer.unref();
    return () => clearTimeout(timer);
  },
};
