/**
 * A policy fetched without a delivery that needs it: in the background before it expires
 * (RFC 8461 §3.3, §10.2), because an administrator asked, and before a message that it holds
 * back is given up (RFC 8461 §5.1). The policy that is kept gives way only to one that
 * was fetched: a refresh that fails takes nothing away.
 */
import type { Clock } from '../platform/clock.ts';
import type { Resolver } from '../platform/resolver.ts';
import type { DomainName } from '../protocol/domain.ts';
import type { ResultType } from '../protocol/tlsrpt/result-type.ts';
import type { PolicyEvents, RefreshCause } from '../telemetry/policy-events.ts';
import type { DowngradeDetector } from './downgrade-detector.ts';
import { isPaused } from './fetch-pause.ts';
import { type KeptPolicy, policyInForce, type StsEntry } from './sts-entry.ts';
import type { FetchResult, PolicyFailure, StsFetch } from './sts-fetch.ts';
import { type LiveRecord, readLiveRecord } from './sts-live.ts';
import { tellRecordGone } from './sts-lookup.ts';
import type { StsStore } from './sts-store.ts';

export interface StsRefreshParts {
  readonly resolver: Resolver;
  readonly store: StsStore;
  readonly fetch: StsFetch;
  readonly clock: Clock;
  readonly events: PolicyEvents;
  readonly detector: Pick<DowngradeDetector, 'suspect'>;
  /** For the TLS report. */
  readonly onPolicyFailure?: ((failure: PolicyFailure) => void) | undefined;
}

/** `live` is what DNS said; undefined when it was not asked. */
export type RefreshResult = { readonly live: LiveRecord | undefined } & (
  | { readonly kind: 'refreshed'; readonly kept: KeptPolicy; readonly changed: boolean }
  /** Fresh enough: it was fetched, here or by another node, or a fetch failed, just now. */
  | { readonly kind: 'not-due'; readonly kept: KeptPolicy | undefined; readonly changed: boolean }
  | {
      readonly kind: 'failed';
      readonly reason: string;
      readonly resultType: ResultType | undefined;
      /** What stays in force. */
      readonly kept: KeptPolicy | undefined;
    }
);

/**
 * Fetch the policy of `domain` anew. `admin` fetches in any case; the others not within five
 * minutes of a fetch that failed. Rejects when disk cannot say what is kept, and with the signal's
 * reason.
 */
export async function refreshPolicy(
  domain: DomainName,
  { cause, ...parts }: StsRefreshParts & { readonly cause: RefreshCause },
  signal: AbortSignal,
): Promise<RefreshResult> {
  const { store, clock } = parts;
  // A file that cannot be read is what an administrator may want to mend with it.
  const known = store.get(domain);
  const before = await (cause === 'admin' ? known.catch(() => undefined) : known);
  const entry = cause === 'admin' ? before : await store.takeShared(domain);
  const kept = policyInForce(entry, clock.now());
  const changed = isOther(kept, policyInForce(before, clock.now()));
  const isNews = kept !== undefined && kept.fetchedAtMs !== before?.kept?.fetchedAtMs;
  if (cause === 'background' && isNews) return { kind: 'not-due', live: undefined, kept, changed };
  const options = { resolver: parts.resolver, fresh: cause === 'admin' };
  const live = await readLiveRecord(domain, options, signal);
  signal.throwIfAborted();
  if (kept && live.kind !== 'record') tellRecordGone(domain, { kept, live }, parts);
  // RFC 8461 §3.3, §10.2: whatever the record says, the policy host is asked; a policy that has
  // expired needs a record to come back (RFC 8461 §3.1).
  const id = live.kind === 'record' ? live.id : kept?.id;
  if (id === undefined) {
    const reason = live.kind === 'record' ? '' : live.detail;
    return { kind: 'failed', reason, resultType: undefined, kept, live };
  }
  const pause = { entry, failed: store.failedFetch(domain, id), nowMs: clock.now() };
  if (cause !== 'admin' && (isPaused(id, pause) || isLastAttemptsFetch(id, { cause, ...pause }))) {
    return { kind: 'not-due', live, kept, changed };
  }
  const fetched = await parts.fetch(domain, id, signal);
  if (fetched.kind === 'failed') signal.throwIfAborted();
  return { live, ...(await settle(domain, { fetched, id, kept }, { cause, ...parts })) };
}

/** Thousands of messages may come to their end together: they share what was fetched just now. */
const LAST_ATTEMPTS_MS = 1000;

function isLastAttemptsFetch(
  id: string,
  { cause, entry, nowMs }: { cause: RefreshCause; entry: StsEntry | undefined; nowMs: number },
): boolean {
  if (cause !== 'last-attempt' || entry?.kept?.id !== id) return false;
  return Math.abs(nowMs - entry.kept.fetchedAtMs) < LAST_ATTEMPTS_MS;
}

type Settled =
  | { kind: 'refreshed'; kept: KeptPolicy; changed: boolean }
  | { kind: 'failed'; reason: string; resultType: ResultType; kept: KeptPolicy | undefined };

async function settle(
  domain: DomainName,
  { fetched, id, kept }: { fetched: FetchResult; id: string; kept: KeptPolicy | undefined },
  parts: StsRefreshParts & { cause: RefreshCause },
): Promise<Settled> {
  const { cause, store, clock, events, detector } = parts;
  const atMs = clock.now();
  if (fetched.kind === 'fetched') {
    const { policy, requestedAtMs } = fetched;
    const fresh: KeptPolicy = { id, policy, fetchedAtMs: requestedAtMs, source: 'refresh' };
    const now = (await store.keepPolicy(domain, fresh)).kept ?? fresh;
    const changed = isOther(now, kept);
    const { mode, maxAgeSeconds } = now.policy;
    events.refreshed(domain, { cause, id: now.id, mode, maxAgeSeconds, changed });
    return { kind: 'refreshed', kept: now, changed };
  }
  const { reason, resultType } = fetched;
  events.refreshFailed(domain, { cause, id, reason, resultType, inForce: kept?.policy.mode });
  parts.onPolicyFailure?.({ domain, fetched, inForce: kept?.policy });
  if (kept?.policy.mode === 'enforce') detector.suspect(domain, 'fetch-failed', reason);
  try {
    await store.noteFailedFetch(domain, { id, atMs, reason, resultType });
    const now = await store.noteFailedRefresh(domain, { atMs, reason, resultType });
    return { kind: 'failed', reason, resultType, kept: policyInForce(now, clock.now()) };
  } catch (error) {
    const both = `${reason}; and ${(error as Error).message}`;
    return { kind: 'failed', reason: both, resultType, kept };
  }
}

/** Whether they ask for different things; the time of the fetch is none of them. */
function isOther(one: KeptPolicy | undefined, other: KeptPolicy | undefined): boolean {
  return one?.policy.text !== other?.policy.text;
}
