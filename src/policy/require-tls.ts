/**
 * Where a message with REQUIRETLS may go (RFC 8689 §4.2.1): to hosts whose names are known securely. Ours are
 * those that an MTA-STS policy in mode enforce lists, and those that an administrator's route names.
 * Whether such a host proves who it is, and offers REQUIRETLS, its session shows (delivery/).
 *
 * A host that nothing vouches for is refused for good: waiting makes no policy. Where a policy may well be
 * published and could not be had, nothing is decided yet and the message waits.
 *
 * A mode of testing vouches for nothing (RFC 8461 §5). Nor does a certificate alone: whoever forges the MX
 * record has a valid one for the host that it names.
 */
import { type LocalFailure, localFailure } from '../mail/failure.ts';
import type { MxCandidate, Route } from '../mail/route.ts';
import type { CandidateVerdict, TlsRequirement } from '../mail/tls-requirement.ts';
import type { DomainName } from '../protocol/domain.ts';
import type { KeptPolicy } from './sts-entry.ts';
import type { StsLookup } from './sts-lookup.ts';

/** As TlsPolicy of tls-policy.ts. */
type Policy =
  | {
      readonly kind: 'decided';
      readonly requirementFor: (candidate: MxCandidate) => CandidateVerdict;
    }
  | { readonly kind: 'undecided'; readonly failure: LocalFailure };

export interface Known {
  /** The policy of the policy domain. */
  readonly sts: Exclude<StsLookup, { readonly kind: 'unknown' }>;
  /** What an administrator asks for where there is none. */
  readonly fallback: TlsRequirement;
  /** The verdict of a policy on a candidate. */
  readonly underSts: (
    candidate: MxCandidate,
    domain: DomainName | undefined,
    policy: { readonly kept: KeptPolicy; readonly fallback: TlsRequirement },
  ) => CandidateVerdict;
}

/** Of a message that goes with REQUIRETLS or not at all. */
export function underRequireTls(route: Route, { sts, fallback, underSts }: Known): Policy {
  const { policyDomain } = route;
  const asked = (requirement: TlsRequirement): TlsRequirement => ({
    ...requirement,
    level: 'verify',
    requireTls: 'required',
  });
  const unsure = sts.kind === 'absent' ? sts.unsure : undefined;
  if (unsure !== undefined && !route.candidates.some((one) => isNamedByAdmin(one, route))) {
    const detail = `the message has REQUIRETLS, and the MTA-STS policy of ${policyDomain} is not known: ${unsure}`;
    return { kind: 'undecided', failure: localFailure('policy-unknown', detail) };
  }
  return {
    kind: 'decided',
    requirementFor(candidate) {
      if (sts.kind === 'policy' && sts.kept.policy.mode === 'enforce') {
        const verdict = underSts(candidate, policyDomain, { kept: sts.kept, fallback });
        return { ...verdict, requirement: asked(verdict.requirement) };
      }
      const requirement = asked(fallback);
      if (isNamedByAdmin(candidate, route)) return { kind: 'allowed', requirement };
      const failure = localFailure('requiretls-mx-insecure', whyInsecure(candidate, route));
      return { kind: 'refused', requirement, failure };
    },
  };
}

/**
 * Of a message that goes with REQUIRETLS where that is possible: what binds it otherwise, tried with TLS in
 * any case.
 */
export function preferringRequireTls(policy: Policy, route: Route): Policy {
  if (policy.kind === 'undecided') return policy;
  return {
    kind: 'decided',
    requirementFor(candidate) {
      const verdict = policy.requirementFor(candidate);
      const { requirement } = verdict;
      const level = requirement.level === 'none' ? 'opportunistic' : requirement.level;
      const isKnown = isListed(requirement) || isNamedByAdmin(candidate, route);
      return {
        ...verdict,
        requirement: { ...requirement, level, ...(isKnown ? { requireTls: 'preferred' } : {}) },
      };
    },
  };
}

function isListed({ source }: TlsRequirement): boolean {
  return source.kind === 'mta-sts' && source.mode === 'enforce' && source.listed;
}

/** Its name stands in the configuration, not in DNS; an address is no name that a certificate proves. */
function isNamedByAdmin({ host, trusted }: MxCandidate, { policyDomain }: Route): boolean {
  return trusted === true && host !== undefined && host === policyDomain;
}

function whyInsecure({ host, address }: MxCandidate, { policyDomain }: Route): string {
  if (host === undefined || policyDomain === undefined) {
    return `the message has REQUIRETLS, and ${address ?? host} has no name that a certificate could prove`;
  }
  return `the message has REQUIRETLS, and no MTA-STS policy of ${policyDomain} in mode enforce says that ${host} is its host`;
}
