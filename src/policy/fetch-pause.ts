/**
 * The pause after a failed fetch (RFC 8461 §3.3): at most one fetch for a domain and id in five
 * minutes.
 */
import type { StsEntry } from './sts-entry.ts';

const FETCH_PAUSE_MS = 5 * 60_000;

/**
 * A fetch for this id failed just now, or gave a policy that expires at once (max_age 0).
 * A time in the future is a clock that was wrong.
 */
export function isPaused(entry: StsEntry | undefined, id: string, nowMs: number): boolean {
  const { failedFetch, kept } = entry ?? {};
  if (failedFetch?.id === id && isWithinPause(failedFetch.atMs, nowMs)) return true;
  const isGoneAtOnce = kept?.id === id && kept.policy.maxAgeSeconds === 0;
  return isGoneAtOnce && isWithinPause(kept.fetchedAtMs, nowMs);
}

/** Whether `atMs` is less than a pause ago. */
function isWithinPause(atMs: number, nowMs: number): boolean {
  return nowMs - atMs >= 0 && nowMs - atMs < FETCH_PAUSE_MS;
}
