/**
 * Decides the TLS requirement of every candidate of a route. In this order: REQUIRETLS on the message
 * (require-tls.ts); an override for the domain; a route; MTA-STS of the policy domain;
 * `security.default` (product contract, section 8). A route's own level and the next hop's MTA-STS bind
 * together: the stronger one counts. `TLS-Required: No` in the message sets MTA-STS aside, and nothing else; a
 * TLS report of ours goes without what `security.default` asks, too: it may be about just that.
 */
import { isDeepStrictEqual } from 'node:util';
import { type LocalFailure, localFailure } from '../mail/failure.ts';
import type { Destination, MxCandidate, Route } from '../mail/route.ts';
import type { CandidateVerdict, TlsLevel, TlsRequirement } from '../mail/tls-requirement.ts';
import type { TlsWish } from '../mail/tls-wish.ts';
import type { DomainName } from '../protocol/domain.ts';
import { isListedMx } from '../protocol/mta-sts/match.ts';
import { preferringRequireTls, underRequireTls } from './require-tls.ts';
import type { KeptPolicy } from './sts-entry.ts';
import type { StsLookup } from './sts-lookup.ts';

/** The settings it depends on, read afresh for every delivery. */
export interface TlsPolicySettings {
  readonly defaultLevel: TlsLevel;
  readonly minVersion: TlsRequirement['minVersion'];
  readonly mtaStsEnabled: boolean;
  /** Whether `TLS-Required: No` counts. */
  readonly honorTlsRequiredNo: boolean;
  readonly overrides: readonly {
    readonly domain: string;
    readonly tls: TlsLevel;
    /** Milliseconds since the epoch; absent: never. */
    readonly expires?: number | undefined;
  }[];
  readonly routes: readonly {
    readonly domain: string;
    readonly tls: TlsLevel;
    /** For AUTH; a password needs TLS. */
    readonly user?: string;
  }[];
}

/** Patterns of a policy named in a refusal. */
const MOST_QUOTED = 10;

export type TlsPolicy =
  | {
      readonly kind: 'decided';
      readonly requirementFor: (candidate: MxCandidate) => CandidateVerdict;
    }
  /** Not known for now: the mail waits. */
  | { readonly kind: 'undecided'; readonly failure: LocalFailure };

export interface TlsPolicyParts {
  readonly settings: () => TlsPolicySettings;
  readonly lookupSts: (domain: DomainName, signal: AbortSignal) => Promise<StsLookup>;
  readonly now: () => number;
}

/** The policy for one message on one route; asks DNS and policy hosts only where they have a say. */
export function createTlsPolicy({ settings, lookupSts, now }: TlsPolicyParts) {
  /** Verdicts on the hosts of a policy: the same ones are asked about for every message. */
  const judged = new WeakMap<KeptPolicy, Map<string, Judged>>();
  return async (route: Route, signal: AbortSignal, wish?: TlsWish): Promise<TlsPolicy> => {
    const current = settings();
    if (wish === 'required') return requireTls(route, current, signal);
    const policy = await unlessRequired(route, { current, wish }, signal);
    return wish === 'preferred' ? preferringRequireTls(policy, route) : policy;
  };

  /** RFC 8689 §4.2.1: nothing that an override says counts here. */
  async function requireTls(
    route: Route,
    current: TlsPolicySettings,
    signal: AbortSignal,
  ): Promise<TlsPolicy> {
    const { policyDomain } = route;
    const isAsked = current.mtaStsEnabled && policyDomain !== undefined;
    const sts = isAsked ? await lookupSts(policyDomain, signal) : ({ kind: 'absent' } as const);
    if (sts.kind === 'unknown') return undecided(policyDomain, sts.reason);
    return underRequireTls(route, { sts, fallback: withoutPolicy(route, current), underSts });
  }

  async function unlessRequired(
    route: Route,
    { current, wish }: { readonly current: TlsPolicySettings; readonly wish: TlsWish | undefined },
    signal: AbortSignal,
  ): Promise<TlsPolicy> {
    const { minVersion } = current;
    const override = current.overrides.find(
      ({ domain, expires }) => domain === route.destination && (expires ?? Infinity) > now(),
    );
    if (override) {
      const source = { kind: 'override', domain: override.domain } as const;
      return same({ level: override.tls, minVersion, source });
    }
    const fallback = withoutPolicy(route, current);
    // RFC 8689 §4.2.2: not even asked for, so that no trouble with it holds the message up.
    if (wish === 'waived' && current.honorTlsRequiredNo) return same(withoutSts(fallback));
    // RFC 8460 §3: a report about TLS that fails gets there without.
    if (wish === 'report') return same(withoutSts(asReport(fallback)));
    if (!current.mtaStsEnabled || route.policyDomain === undefined) return same(fallback);
    const sts = await lookupSts(route.policyDomain, signal);
    switch (sts.kind) {
      case 'absent':
        return same(fallback);
      case 'unknown':
        return undecided(route.policyDomain, sts.reason);
      case 'policy':
        // RFC 8461 §5: mode none is as no policy.
        if (sts.kept.policy.mode === 'none') return same(fallback);
        return {
          kind: 'decided',
          requirementFor: (candidate) => {
            const known = judged.get(sts.kept) ?? new Map<string, Judged>();
            judged.set(sts.kept, known);
            const key = `${route.policyDomain} ${candidate.host ?? candidate.address}`;
            const before = known.get(key);
            if (before && isSame(before.fallback, fallback)) return before.verdict;
            const verdict = underSts(candidate, route.policyDomain, {
              kept: sts.kept,
              fallback,
            });
            if (known.size < MOST_JUDGED) known.set(key, { fallback, verdict });
            return verdict;
          },
        };
    }
  }
}

function undecided(domain: DomainName | undefined, reason: string): TlsPolicy {
  const detail = `the MTA-STS record of ${domain} could not be looked up: ${reason}`;
  return { kind: 'undecided', failure: localFailure('policy-unknown', detail) };
}

/** A route is a host that somebody knows; the default is about the domain that has troubles. */
function asReport(fallback: TlsRequirement): TlsRequirement {
  return fallback.source.kind === 'default' ? { ...fallback, level: 'opportunistic' } : fallback;
}

/** What an administrator asks for, of a message whose sender asks for nothing. */
function withoutSts(fallback: TlsRequirement): TlsRequirement {
  const { source } = fallback;
  if (source.kind !== 'default' && source.kind !== 'route') return fallback;
  return { ...fallback, source: { kind: 'tls-required-no', instead: source } };
}

interface Judged {
  readonly fallback: TlsRequirement;
  readonly verdict: CandidateVerdict;
}

/** An MX set may be as large as it likes. */
const MOST_JUDGED = 100;

function isSame(a: TlsRequirement, b: TlsRequirement): boolean {
  return (
    a.level === b.level && a.minVersion === b.minVersion && isDeepStrictEqual(a.source, b.source)
  );
}

/** What holds where nothing is published: the route's level, or the default. */
function withoutPolicy(route: Route, settings: TlsPolicySettings): TlsRequirement {
  const { minVersion, defaultLevel, routes } = settings;
  const own = route.kind === 'configured' ? routeFor(route.destination, routes) : undefined;
  if (!own) return { level: defaultLevel, minVersion, source: { kind: 'default' } };
  // RFC 8314 §5.1: whoever logs in never falls back to clear text.
  const level = own.user && own.tls === 'opportunistic' ? 'encrypt' : own.tls;
  return { level, minVersion, source: { kind: 'route', domain: own.domain } };
}

function routeFor(destination: Destination, routes: TlsPolicySettings['routes']) {
  return (
    routes.find(({ domain }) => domain === destination) ??
    routes.find(({ domain }) => domain === '*')
  );
}

function underSts(
  candidate: MxCandidate,
  domain: DomainName | undefined,
  { kept, fallback }: { readonly kept: KeptPolicy; readonly fallback: TlsRequirement },
): CandidateVerdict {
  const { id, policy } = kept;
  if (domain === undefined || policy.mode === 'none')
    return { kind: 'allowed', requirement: fallback };
  // RFC 8461 §4.1: the name in the MX record is matched, nothing it resolves to.
  const listed = candidate.host !== undefined && isListedMx(policy, candidate.host);
  const { mode, text: policyText } = policy;
  const source = { kind: 'mta-sts', domain, policyId: id, policyText, mode, listed } as const;
  const { minVersion } = fallback;
  // RFC 8461 §5: testing delivers as without the policy and reports.
  if (policy.mode === 'testing') {
    return { kind: 'allowed', requirement: { level: fallback.level, minVersion, source } };
  }
  const requirement: TlsRequirement = { level: 'verify', minVersion, source };
  if (listed) return { kind: 'allowed', requirement };
  const detail = `${candidate.host ?? candidate.address} is not among the hosts of the policy of ${domain} (${someOf(policy.mx)})`;
  return { kind: 'refused', requirement, failure: localFailure('mx-outside-policy', detail) };
}

/** A policy may list thousands of hosts: enough of them to see what is meant. */
function someOf(patterns: readonly string[]): string {
  const more = patterns.length > MOST_QUOTED ? ', ...' : '';
  return patterns.slice(0, MOST_QUOTED).join(', ') + more;
}

function same(requirement: TlsRequirement): TlsPolicy {
  return { kind: 'decided', requirementFor: () => ({ kind: 'allowed', requirement }) };
}
