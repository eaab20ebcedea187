/**
 * The pause after a failed fetch (RFC 8461 §3.3): at most one fetch for a domain and id in five
 * minutes.
 */
import type { FailedFetch, StsEntry } from './sts-entry.ts';

const FETCH_PAUSE_MS = 5 * 60_000;

/**
 * A fetch for this id failed just now, or gave a policy that expires at once (max_age 0).
 * A time in the future is a clock that was wrong.
 */
export function isPaused(
  id: string,
  {
    entry,
    failed,
    nowMs,
  }: { entry: StsEntry | undefined; failed: FailedFetch | undefined; nowMs: number },
): boolean {
  const { failedFetch, kept } = entry ?? {};
  const ofThisId = [failed, failedFetch].filter((one) => one?.id === id);
  if (ofThisId.some((one) => one && isWithinPause(one.atMs, nowMs))) return true;
  const isGoneAtOnce = kept?.id === id && kept.policy.maxAgeSeconds === 0;
  return isGoneAtOnce && isWithinPause(kept.fetchedAtMs, nowMs);
}

/** Whether `atMs` is less than a pause ago. */
function isWithinPause(atMs: number, nowMs: number): boolean {
  return nowMs - atMs >= 0 && nowMs - atMs < FETCH_PAUSE_MS;
}
