/**
 * The policy cache as it is looked at and tended: the port that the control server's routes
 * speak to, and what they show of an entry.
 *
 * Times are RFC 3339 in UTC. A view carries text of strangers (the policy, its id, reasons) as
 * it came: whoever puts it on a terminal makes it printable first.
 */
import type { DowngradeSignal } from '../mail/downgrade-signal.ts';
import {
  expiresAtMs,
  type PolicySource,
  policyInForce,
  type StsEntry,
  type Suspicions,
} from '../policy/sts-entry.ts';
import type { DomainName } from '../protocol/domain.ts';
import type { StsMode } from '../protocol/mta-sts/policy.ts';

export interface PolicyFacts {
  /** Of the TXT record that led to the fetch. */
  readonly id: string;
  readonly mode: StsMode;
  readonly mx: readonly string[];
  readonly maxAgeSeconds: number;
  readonly fetchedAt: string;
  readonly expiresAt: string;
  /** Not past its max_age. */
  readonly inForce: boolean;
  readonly source: PolicySource;
}

export interface LastFailure {
  readonly kind: 'fetch' | 'refresh' | 'dns';
  readonly at: string;
  /** With `refresh` and `dns`: the first one since the last that went well. */
  readonly since?: string;
  /** With `refresh`: how many since then. */
  readonly count?: number;
  /** With `fetch`: the id that the TXT record showed. */
  readonly id?: string;
  /** RFC 8460 §4.3.2.2. */
  readonly resultType?: string;
  readonly reason: string;
}

export interface SuspicionView {
  readonly signal: DowngradeSignal;
  readonly firstAt: string;
  readonly lastAt: string;
  readonly count: number;
  /** Of the last time. */
  readonly detail: string;
}

/** What is known about one domain, without the text of its policy. */
export interface PolicyListing {
  readonly domain: DomainName;
  /** Undefined: no policy is kept, only troubles. */
  readonly policy?: PolicyFacts;
  readonly nextRefreshAt?: string;
  readonly lastUsedAt?: string;
  /** The latest of those that nothing has put right since. */
  readonly lastFailure?: LastFailure;
  /** The latest first. */
  readonly suspicions: readonly SuspicionView[];
}

export interface PolicyView extends PolicyListing {
  /** `text` is the policy as published. */
  readonly policy?: PolicyFacts & { readonly text: string };
}

export interface RefreshAnswer {
  /** The policy that is published now is kept. */
  readonly ok: boolean;
  /** One line for people, without the name of the domain. */
  readonly text: string;
  /** Another policy is kept than before. */
  readonly changed: boolean;
  /** What is known afterwards. */
  readonly view?: PolicyView;
}

export interface PolicyAdmin {
  /**
   * Everything that is known, by domain in the order of `<`, from the first domain behind `after`
   * on; `isMeant` chooses by domain. Whoever iterates may stop anywhere.
   */
  list(
    after: DomainName | undefined,
    isMeant?: (domain: DomainName) => boolean,
  ): AsyncIterable<PolicyView>;
  /** Undefined: nothing is known. Rejects with UnreadableEntryError. */
  show(domain: DomainName): Promise<PolicyView | undefined>;
  /** Look up and fetch now, whatever failed just before; a failure is a value and loses nothing. */
  refresh(domain: DomainName, actor: string, signal: AbortSignal): Promise<RefreshAnswer>;
  /** Whether there was something to forget. */
  forget(domain: DomainName, actor: string): Promise<boolean>;
}

/**
 * What people are shown of `entry`. `nextRefreshMs` is in milliseconds since the epoch; only a policy
 * in force is refreshed, so without one it is left out.
 */
export function viewOf(entry: StsEntry, nowMs: number, nextRefreshMs?: number): PolicyView {
  const { domain, kept, lastUsedMs, suspicions = {} } = entry;
  const lastFailure = lastFailureOf(entry);
  const inForce = policyInForce(entry, nowMs) !== undefined;
  return {
    domain,
    ...(kept && {
      policy: {
        id: kept.id,
        mode: kept.policy.mode,
        mx: kept.policy.mx,
        maxAgeSeconds: kept.policy.maxAgeSeconds,
        fetchedAt: rfc3339(kept.fetchedAtMs),
        expiresAt: rfc3339(expiresAtMs(kept)),
        inForce,
        source: kept.source,
        text: kept.policy.text,
      },
    }),
    ...(inForce && nextRefreshMs !== undefined ? { nextRefreshAt: rfc3339(nextRefreshMs) } : {}),
    ...(lastUsedMs === undefined ? {} : { lastUsedAt: rfc3339(lastUsedMs) }),
    ...(lastFailure && { lastFailure }),
    suspicions: suspicionViews(suspicions),
  };
}

/** `view` without the text of the policy. */
export function listingOf({ policy, ...rest }: PolicyView): PolicyListing {
  if (policy === undefined) return rest;
  const { text: _, ...facts } = policy;
  return { ...rest, policy: facts };
}

function lastFailureOf(entry: StsEntry): LastFailure | undefined {
  const { failedFetch: fetch, failedRefresh: refresh, dnsFailing: dns } = entry;
  const failures: { readonly atMs: number; readonly failure: LastFailure }[] = [];
  if (fetch) {
    const { id, atMs, reason, resultType } = fetch;
    const failure = { kind: 'fetch', at: rfc3339(atMs), id, resultType, reason } as const;
    failures.push({ atMs, failure });
  }
  if (refresh) {
    const { sinceMs, lastMs, failures: count, reason, resultType } = refresh;
    const spell = { at: rfc3339(lastMs), since: rfc3339(sinceMs), count };
    failures.push({ atMs: lastMs, failure: { kind: 'refresh', ...spell, resultType, reason } });
  }
  if (dns) {
    const spell = { at: rfc3339(dns.lastMs), since: rfc3339(dns.sinceMs) };
    const reason = 'DNS does not say whether there is a policy';
    failures.push({ atMs: dns.lastMs, failure: { kind: 'dns', ...spell, reason } });
  }
  return failures.sort((a, b) => b.atMs - a.atMs)[0]?.failure;
}

function suspicionViews(suspicions: Suspicions): SuspicionView[] {
  return Object.entries(suspicions)
    .sort(([, a], [, b]) => b.lastMs - a.lastMs)
    .map(([signal, { firstMs, lastMs, count, detail }]) => ({
      signal: signal as DowngradeSignal,
      firstAt: rfc3339(firstMs),
      lastAt: rfc3339(lastMs),
      count,
      detail,
    }));
}

/** The last instant RFC 3339 can write; a clock that was wrong may have written a later one. */
const LAST_INSTANT_MS = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

function rfc3339(atMs: number): string {
  return new Date(Math.min(atMs, LAST_INSTANT_MS)).toISOString();
}
