/**
 * The MTA-STS policy in force for a domain (RFC 8461 §3): TXT record, cache, HTTPS.
 *
 * A policy in force is never lost to trouble: while it lasts, a TXT record that is gone,
 * broken or cannot be looked up, and a fetch that fails, leave it standing (RFC 8461 §3.1,
 * §3.3). With nothing in force, a failed TXT lookup is "unknown", not "none": the mail waits for
 * `dnsFailureGrace`, then goes as if nothing were published.
 */
import type { Clock } from '../platform/clock.ts';
import type { Resolver } from '../platform/resolver.ts';
import { createSingleFlight } from '../platform/single-flight.ts';
import type { DomainName } from '../protocol/domain.ts';
import { discoverRecord } from '../protocol/mta-sts/record.ts';
import type { PolicyEvents } from '../telemetry/policy-events.ts';
import { type KeptPolicy, policyInForce, type StsEntry } from './sts-entry.ts';
import type { FetchResult } from './sts-fetch.ts';
import type { StsStore } from './sts-store.ts';

export type StsLookup =
  | { readonly kind: 'policy'; readonly kept: KeptPolicy }
  | { readonly kind: 'absent' }
  /** DNS does not say whether there should be a policy, or disk not whether one is in force. */
  | { readonly kind: 'unknown'; readonly reason: string };

export interface StsLookupParts {
  readonly resolver: Resolver;
  readonly store: StsStore;
  readonly fetch: (domain: DomainName, signal: AbortSignal) => Promise<FetchResult>;
  readonly clock: Clock;
  readonly events: PolicyEvents;
  readonly dnsFailureGraceMs: () => number;
}

/** RFC 8461 §3.3: the least time between a failed fetch and the next one for the same id. */
const FETCH_PAUSE_MS = 5 * 60_000;

/** What the TXT record says today. */
type LiveRecord =
  | { readonly kind: 'record'; readonly id: string }
  | { readonly kind: 'none'; readonly detail: string }
  | { readonly kind: 'failed'; readonly reason: string };

/** Look-ups of one domain share the work; never rejects for what DNS or the policy host do. */
export function createStsLookup(parts: StsLookupParts) {
  const flights = createSingleFlight<StsLookup>();
  return async (domain: DomainName, signal: AbortSignal): Promise<StsLookup> => {
    try {
      return await flights.run(domain, signal, (shared) => lookup(domain, parts, shared));
    } catch (error) {
      if (signal.aborted) return { kind: 'unknown', reason: 'the look-up ran out of time' };
      throw error;
    }
  };
}

async function lookup(
  domain: DomainName,
  parts: StsLookupParts,
  signal: AbortSignal,
): Promise<StsLookup> {
  const { store, clock, events } = parts;
  let entry: StsEntry | undefined;
  try {
    entry = await store.get(domain);
  } catch (error) {
    return { kind: 'unknown', reason: `what is kept cannot be read: ${(error as Error).message}` };
  }
  const live = await readRecord(domain, parts, signal);
  const kept = policyInForce(entry, clock.now());
  let result: StsLookup;
  if (live.kind === 'record')
    result = await withRecord(live.id, { domain, entry, kept }, parts, signal);
  else if (kept) {
    // RFC 8461 §3.1, §3.3: what is in force stays in force, whatever DNS says.
    events.recordGone(domain, { mode: kept.policy.mode, live: live.kind, detail: detailOf(live) });
    result = { kind: 'policy', kept };
  } else if (live.kind === 'none') result = { kind: 'absent' };
  else if (signal.aborted) {
    // Nobody waits any more: that is no failure of DNS, and must not start the grace.
    return { kind: 'unknown', reason: live.reason };
  } else result = await withoutAnswer(live.reason, { domain, entry }, parts);
  if (live.kind !== 'failed' && entry?.dnsFailingSinceMs !== undefined)
    await forgetFailing(domain, parts);
  events.lookedUp(domain, result.kind === 'policy' ? result.kept.policy.mode : result.kind);
  return result;
}

async function readRecord(
  domain: DomainName,
  { resolver }: StsLookupParts,
  signal: AbortSignal,
): Promise<LiveRecord> {
  // RFC 8461 §3.1: the record stands at _mta-sts.<policy domain>.
  const answer = await resolver.lookupTxt(`_mta-sts.${domain}`, signal);
  if (answer.kind === 'failed') return { kind: 'failed', reason: answer.reason };
  if (answer.kind === 'absent') return { kind: 'none', detail: 'no TXT record' };
  return discoverRecord(answer.records);
}

interface Known {
  readonly domain: DomainName;
  readonly entry: StsEntry | undefined;
  readonly kept?: KeptPolicy | undefined;
}

/** A record is published: use the policy of its id, fetching it when it is not the one in force. */
async function withRecord(
  id: string,
  { domain, entry, kept }: Known,
  parts: StsLookupParts,
  signal: AbortSignal,
): Promise<StsLookup> {
  const { clock, events, store } = parts;
  const standing: StsLookup = kept ? { kind: 'policy', kept } : { kind: 'absent' };
  if (kept?.id === id) return standing;
  if (isPaused(entry, id, clock.now())) return standing;
  const fetched = await parts.fetch(domain, signal);
  const atMs = clock.now();
  if (fetched.kind === 'fetched') {
    // RFC 8461 §5.1: a newly fetched policy takes the place of the old one, weaker or not.
    const fresh: KeptPolicy = { id, policy: fetched.policy, fetchedAtMs: atMs };
    await store.put({ domain, kept: fresh, changedAtMs: atMs });
    events.fetched(domain, {
      id,
      mode: fetched.policy.mode,
      maxAgeSeconds: fetched.policy.maxAgeSeconds,
    });
    return fetched.policy.maxAgeSeconds > 0 ? { kind: 'policy', kept: fresh } : { kind: 'absent' };
  }
  if (signal.aborted)
    return kept ? standing : { kind: 'unknown', reason: 'the fetch was cut short' };
  events.fetchFailed(domain, { id, ...fetched, inForce: kept?.policy.mode });
  const failedFetch = { id, atMs, reason: fetched.reason };
  await store.put({
    domain,
    ...(entry?.kept ? { kept: entry.kept } : {}),
    failedFetch,
    changedAtMs: atMs,
  });
  // RFC 8461 §3.3: no policy could be had and none is in force: deliver as without MTA-STS.
  return standing;
}

/** A fetch for this id failed just now; a failure in the future is a clock that was wrong. */
function isPaused(entry: StsEntry | undefined, id: string, nowMs: number): boolean {
  if (entry?.failedFetch?.id !== id) return false;
  const agoMs = nowMs - entry.failedFetch.atMs;
  return agoMs >= 0 && agoMs < FETCH_PAUSE_MS;
}

/** DNS fails and nothing is in force: unknown for a bounded time, counted from the first failure. */
async function withoutAnswer(
  reason: string,
  { domain, entry }: Known,
  { clock, store, events, dnsFailureGraceMs }: StsLookupParts,
): Promise<StsLookup> {
  const now = clock.now();
  const sinceMs = entry?.dnsFailingSinceMs ?? now;
  if (entry?.dnsFailingSinceMs === undefined) {
    await store.put({ ...entry, domain, dnsFailingSinceMs: sinceMs, changedAtMs: now });
  }
  if (now - sinceMs < dnsFailureGraceMs()) return { kind: 'unknown', reason };
  events.graceOver(domain, reason);
  return { kind: 'absent' };
}

async function forgetFailing(domain: DomainName, { store, clock }: StsLookupParts): Promise<void> {
  const entry = await store.get(domain);
  if (entry?.dnsFailingSinceMs === undefined) return;
  const { dnsFailingSinceMs: _over, ...rest } = entry;
  await store.put({ ...rest, changedAtMs: clock.now() });
}

function detailOf(live: Exclude<LiveRecord, { kind: 'record' }>): string {
  return live.kind === 'failed' ? live.reason : live.detail;
}
