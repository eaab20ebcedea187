/**
 * Whether a rate held at its destination: windows begin with an attempt and follow each other at the earliest, so by
 * some moment no more than so many windows can have begun, and no more messages arrived than they hold.
 */

export interface RateHeld {
  /** Messages in the fullest stretch as long as a window. */
  readonly most: number;
  readonly total: number;
  readonly seconds: number;
  /** What could have arrived at most by the time of each arrival, and was exceeded. */
  readonly broken: boolean;
}

/** An attempt is counted before it connects. */
const EARLIER_MS = 1000;

/** `arrivedAtMs`: in order. */
export function rateHeld(
  arrivedAtMs: readonly number[],
  rate: { readonly count: number; readonly perMs: number },
): RateHeld {
  const [first = 0] = arrivedAtMs;
  const { count, perMs } = rate;
  let [most, from, broken] = [0, 0, false];
  for (const [i, atMs] of arrivedAtMs.entries()) {
    while ((arrivedAtMs[from] ?? atMs) <= atMs - perMs) from += 1;
    most = Math.max(most, i + 1 - from);
    const windows = Math.floor((atMs - first + EARLIER_MS) / perMs) + 1;
    if (i + 1 > count * windows) broken = true;
  }
  const seconds = ((arrivedAtMs.at(-1) ?? first) - first) / 1000;
  return { most, total: arrivedAtMs.length, seconds, broken };
}
