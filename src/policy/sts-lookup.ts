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
import type { PolicyEvents } from '../telemetry/policy-events.ts';
import type { DowngradeDetector } from './downgrade-detector.ts';
import { isPaused } from './fetch-pause.ts';
import { type KeptPolicy, policyInForce, type StsEntry } from './sts-entry.ts';
import type { PolicyFailure, StsFetch } from './sts-fetch.ts';
import { type LiveRecord, readLiveRecord } from './sts-live.ts';
import type { StsStore } from './sts-store.ts';

export type StsLookup =
  | { readonly kind: 'policy'; readonly kept: KeptPolicy }
  /** Nothing is in force. `unsure`: a policy may be published all the same, and why it is not known. */
  | { readonly kind: 'absent'; readonly unsure?: string }
  /** DNS does not say whether there should be a policy, or disk not whether one is in force. */
  | { readonly kind: 'unknown'; readonly reason: string };

export interface StsLookupParts {
  readonly resolver: Resolver;
  readonly store: StsStore;
  readonly fetch: StsFetch;
  readonly clock: Clock;
  readonly events: PolicyEvents;
  readonly detector: Pick<DowngradeDetector, 'suspect'>;
  /** For the TLS report. */
  readonly onPolicyFailure?: ((failure: PolicyFailure) => void) | undefined;
  readonly dnsFailureGraceMs: () => number;
  /**
   * DNS failures further apart than this do not belong to one spell: in between it may have worked.
   * Longer than any wait between attempts, or the grace would never end.
   */
  readonly spellGapMs: () => number;
}

/** How often the end of a spell is written down. */
const SPELL_NOTE_MS = 10 * 60_000;

/** What is kept about the domain; `unreadable` is not nothing. */
type Known =
  | { readonly kind: 'entry'; readonly entry: StsEntry | undefined }
  | { readonly kind: 'unreadable'; readonly reason: string };

/**
 * Look-ups of one domain that see the same record share the work; each sees it for itself, for one
 * under way may have seen an older one. Never rejects for what DNS or the policy host do.
 */
export function createStsLookup(parts: StsLookupParts) {
  const flights = createSingleFlight<StsLookup>();
  return async (domain: DomainName, signal: AbortSignal): Promise<StsLookup> => {
    try {
      const live = await readLiveRecord(domain, parts, signal);
      // When nobody waits any more it is no failure of DNS, and must not start the grace.
      signal.throwIfAborted();
      const settled = settledAlready(domain, live, parts);
      if (settled) {
        await noteUsed(domain, parts);
        parts.events.lookedUp(domain, settled.kept.policy.mode);
        return settled;
      }
      const key = `${live.kind} ${live.kind === 'record' ? live.id : ''} ${domain}`;
      const work = (shared: AbortSignal) => lookup(domain, live, { parts, signal: shared });
      return await flights.run(key, signal, work);
    } catch (error) {
      if (signal.aborted) return { kind: 'unknown', reason: 'the look-up ran out of time' };
      throw error;
    }
  };
}

/** The record names the policy that is in force and in memory: what nearly every look-up comes to. */
function settledAlready(
  domain: DomainName,
  live: LiveRecord,
  { store, clock }: StsLookupParts,
): Extract<StsLookup, { kind: 'policy' }> | undefined {
  if (live.kind !== 'record') return undefined;
  const entry = store.remembered(domain);
  const kept = policyInForce(entry, clock.now());
  if (!kept || kept.id !== live.id || entry?.dnsFailing) return undefined;
  return { kind: 'policy', kept };
}

async function lookup(
  domain: DomainName,
  live: LiveRecord,
  context: { parts: StsLookupParts; signal: AbortSignal },
): Promise<StsLookup> {
  const { parts } = context;
  const known = await readKnown(domain, parts);
  const result = await decide(domain, { live, known }, context);
  if (live.kind !== 'failed' && known.kind === 'entry' && known.entry?.dnsFailing) {
    await parts.store.noteDnsAnswered(domain);
  }
  if (result.kind === 'policy') await noteUsed(domain, parts);
  parts.events.lookedUp(domain, result.kind === 'policy' ? result.kept.policy.mode : result.kind);
  return result;
}

/** Book-keeping: a disk that does not take it changes nothing about the policy that was found. */
async function noteUsed(domain: DomainName, { store, events }: StsLookupParts): Promise<void> {
  try {
    await store.noteUsed(domain);
  } catch (error) {
    events.cacheError('disk', error as Error);
  }
}

async function decide(
  domain: DomainName,
  { live, known }: { live: LiveRecord; known: Known },
  context: { parts: StsLookupParts; signal: AbortSignal },
): Promise<StsLookup> {
  const { clock } = context.parts;
  const entry = known.kind === 'entry' ? known.entry : undefined;
  if (live.kind === 'record') return withRecord(live.id, { domain, known }, context);
  const kept = policyInForce(entry, clock.now());
  if (kept) {
    // RFC 8461 §3.1, §3.3: what is in force stays in force, whatever DNS says.
    tellRecordGone(domain, { kept, live }, context.parts);
    return { kind: 'policy', kept };
  }
  if (known.kind === 'unreadable') return { kind: 'unknown', reason: known.reason };
  if (live.kind === 'none') return { kind: 'absent' };
  return withoutAnswer(live.detail, { domain, entry }, context.parts);
}

/** The record of a policy in force is gone, or cannot be looked up. */
export function tellRecordGone(
  domain: DomainName,
  { kept, live }: { kept: KeptPolicy; live: Exclude<LiveRecord, { kind: 'record' }> },
  { events, detector }: Pick<StsLookupParts, 'events' | 'detector'>,
): void {
  const { mode } = kept.policy;
  events.recordGone(domain, { mode, live: live.kind, detail: live.detail });
  if (mode !== 'enforce') return;
  detector.suspect(
    domain,
    live.kind === 'none' ? 'record-gone' : 'record-lookup-failed',
    live.detail,
  );
}

async function readKnown(domain: DomainName, { store }: StsLookupParts): Promise<Known> {
  try {
    return { kind: 'entry', entry: await store.get(domain) };
  } catch (error) {
    return { kind: 'unreadable', reason: (error as Error).message };
  }
}

/** A record is published: use the policy of its id, fetching it when it is not the one in force. */
async function withRecord(
  id: string,
  { domain, known }: { domain: DomainName; known: Known },
  { parts, signal }: { parts: StsLookupParts; signal: AbortSignal },
): Promise<StsLookup> {
  const { clock, events, store, detector } = parts;
  const entry = known.kind === 'entry' ? known.entry : undefined;
  const kept = policyInForce(entry, clock.now());
  // RFC 8461 §3.1: another id, higher or lower, is a changed policy.
  const pause = { entry, failed: store.failedFetch(domain, id), nowMs: clock.now() };
  if (kept?.id === id || isPaused(id, pause)) {
    return kept ? inForce(kept) : nothingOf(known, 'its policy could not be fetched a while ago');
  }
  const fetched = await parts.fetch(domain, id, signal);
  const atMs = clock.now();
  if (fetched.kind === 'fetched') {
    // RFC 8461 §5.1, §8.1, §8.3: a newly fetched policy takes the place of the old one, weaker or not.
    const { policy, requestedAtMs } = fetched;
    const fresh = { id, policy, fetchedAtMs: requestedAtMs, source: 'fetch' } as const;
    const now = await store.keepPolicy(domain, fresh);
    events.fetched(domain, { id, mode: policy.mode, maxAgeSeconds: policy.maxAgeSeconds });
    return inForce(policyInForce(now, atMs));
  }
  if (signal.aborted) return kept ? inForce(kept) : { kind: 'unknown', reason: fetched.reason };
  const { kind, reason, resultType } = fetched;
  events.fetchFailed(domain, { id, kind, resultType, reason, inForce: kept?.policy.mode });
  parts.onPolicyFailure?.({ domain, fetched, inForce: kept?.policy });
  if (kept?.policy.mode === 'enforce') detector.suspect(domain, 'fetch-failed', fetched.reason);
  const noting = store.noteFailedFetch(domain, { id, atMs, reason, resultType });
  if (known.kind === 'unreadable') {
    await noting.catch(() => {}); // the disk said so before
    return nothingOf(known, reason);
  }
  const now = await noting;
  // RFC 8461 §3.3: what is in force stays; with nothing in force, deliver as without MTA-STS.
  return inForce(policyInForce(now, clock.now()), reason);
}

/** Nothing that is known is in force: absent, unless what is kept cannot be read. */
function nothingOf(known: Known, unsure: string): StsLookup {
  if (known.kind === 'unreadable') return { kind: 'unknown', reason: known.reason };
  return { kind: 'absent', unsure };
}

function inForce(kept: KeptPolicy | undefined, unsure?: string): StsLookup {
  if (kept) return { kind: 'policy', kept };
  return { kind: 'absent', ...(unsure === undefined ? {} : { unsure }) };
}

/** DNS fails and nothing is in force: unknown for a bounded time, counted from the first failure. */
async function withoutAnswer(
  reason: string,
  { domain, entry }: { domain: DomainName; entry: StsEntry | undefined },
  { clock, store, events, detector, dnsFailureGraceMs, spellGapMs }: StsLookupParts,
): Promise<StsLookup> {
  const now = clock.now();
  const spell = entry?.dnsFailing;
  const isSameSpell = spell && now >= spell.lastMs && now - spell.lastMs < spellGapMs();
  const sinceMs = isSameSpell ? spell.sinceMs : now;
  if (!isSameSpell || now - spell.lastMs > SPELL_NOTE_MS) {
    await store.noteDnsFailing(domain, { sinceMs, lastMs: now });
  }
  if (now - sinceMs < dnsFailureGraceMs()) return { kind: 'unknown', reason };
  events.graceOver(domain, reason);
  detector.suspect(domain, 'dns-failure', reason);
  return { kind: 'absent', unsure: reason };
}
