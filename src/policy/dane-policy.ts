/**
 * What DANE says about the candidates of a route (RFC 7672 §2.2), for the decision about their TLS
 * (mail/tls-decision.ts). A candidate is asked about once its addresses are known, for what DNS says of them
 * decides whether DANE applies.
 *
 * What DANE says replaces the check of the certificate, never the list of hosts that a policy of MTA-STS has. A
 * failing check is not rescued by anything (RFC 8461 §2). Where DANE does not apply, what was asked for before stays.
 */
import { localFailure } from '../mail/failure.ts';
import type { MxCandidate, Route } from '../mail/route.ts';
import type { DaneAnswer } from '../mail/tls-decision.ts';
import type { CandidateVerdict, DaneSource, TlsRequirement } from '../mail/tls-requirement.ts';
import type { Resolver } from '../platform/resolver.ts';
import { formatTlsa } from '../protocol/dane/tlsa.ts';
import { usableRecords } from '../protocol/dane/usable.ts';
import type { HostName } from '../routing/addresses.ts';
import { type DaneFinding, lookupDane } from './dane-lookup.ts';

/** The verdict on a candidate with DANE in it; `requirement` is what binds it without. */
export type BindByDane = (
  candidate: MxCandidate,
  known: { readonly requirement: TlsRequirement; readonly named: HostName | undefined },
  signal: AbortSignal,
) => Promise<CandidateVerdict>;

/** What DANE says about one candidate; `named` as in CandidateAddresses. */
export type AskDane = (
  candidate: MxCandidate,
  named: HostName | undefined,
  signal: AbortSignal,
) => Promise<DaneAnswer>;

/** DANE for the candidates of a route; undefined where it cannot apply to any of them. */
export type DanePolicy = (route: Route) => AskDane | undefined;

export interface DanePolicyParts {
  readonly resolver: Pick<Resolver, 'lookupTlsa' | 'lookupCname'>;
  /** RFC 7672 §6: a host without usable records that are secure is not used at all. No setting asks for it. */
  readonly mandatory?: boolean;
}

/** `security.dane: auto`. Asks nothing where the MX records are not secure (RFC 7672 §2.2.1). */
export function createDanePolicy({ resolver, mandatory = false }: DanePolicyParts): DanePolicy {
  return ({ securedNames }) => {
    if (securedNames === undefined && !mandatory) return undefined;
    return async (candidate, named, signal) => {
      const finding: DaneFinding = securedNames
        ? await lookupDane({ candidate, named }, resolver, signal)
        : { kind: 'absent', why: 'DNSSEC does not vouch for the MX records' };
      const answer = answerOf(finding, securedNames ?? []);
      return mandatory ? demandUsable(answer, { finding, candidate }) : answer;
    };
  };
}

/** What was found, as the decision needs it; `nextHops` as in Route.securedNames. Pure. */
export function answerOf(finding: DaneFinding, nextHops: readonly string[]): DaneAnswer {
  switch (finding.kind) {
    case 'absent':
      return { kind: 'none' };
    case 'failed': {
      const failure = localFailure('dnssec-failed', finding.reason);
      return { kind: 'failed', source: withoutRecords(finding.baseDomain), failure };
    }
    case 'records': {
      const { baseDomain, records } = finding;
      const usable = usableRecords(records).map(formatTlsa);
      // RFC 7672 §3.2.2: the base domain first, then the next hop, as it was asked for and expanded.
      const names = [...new Set([baseDomain, ...nextHops])];
      const all = records.map(formatTlsa);
      const source: DaneSource = { kind: 'dane', baseDomain, records: all, usable, names };
      // RFC 7672 §2.2: without a usable one TLS is a must all the same.
      return { kind: usable.length > 0 ? 'usable' : 'unusable-only', source };
    }
  }
}

function withoutRecords(baseDomain: string): DaneSource {
  return { kind: 'dane', baseDomain, records: [], usable: [], names: [] };
}

interface Asked {
  readonly finding: DaneFinding;
  readonly candidate: MxCandidate;
}

function demandUsable(answer: DaneAnswer, { finding, candidate }: Asked): DaneAnswer {
  if (answer.kind === 'usable' || answer.kind === 'failed') return answer;
  const why = finding.kind === 'absent' ? finding.why : 'none of its TLSA records can be used';
  const failure = localFailure('dane-required', why);
  const { host = '', address = host } = candidate;
  const source = answer.kind === 'none' ? withoutRecords(address) : answer.source;
  return { kind: 'failed', source, failure };
}
