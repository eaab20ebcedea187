/**
 * The time of day in milliseconds since the epoch with fractions, for what is shorter than a millisecond
 * and may begin in one thread and end in another.
 */

/** A clock that was set, or a machine that slept, differs by more. */
const MOST_APART_MS = 2;
let offsetMs = performance.timeOrigin;

export function wallMs(): number {
  const exactMs = offsetMs + performance.now();
  const nowMs = Date.now();
  if (Math.abs(exactMs - nowMs) <= MOST_APART_MS) return exactMs;
  offsetMs += nowMs - exactMs;
  return nowMs;
}
