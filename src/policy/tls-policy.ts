/**
 * The TLS requirement of every candidate of a route: gathers what the decision (mail/tls-decision.ts) depends on,
 * from the settings and from what the policy domain publishes. Whoever has no say is not asked. DANE is asked when the
 * addresses of a candidate are known, for what DNS says of them decides whether it applies.
 */
import { isDeepStrictEqual } from 'node:util';
import type { LocalFailure } from '../mail/failure.ts';
import type { Destination, MxCandidate, Route } from '../mail/route.ts';
import {
  asksWhatIsPublished,
  type DaneAnswer,
  decideTls,
  type StsAnswer,
  type TlsDecision,
  type TlsSituation,
} from '../mail/tls-decision.ts';
import type { CandidateVerdict, TlsLevel, TlsRequirement } from '../mail/tls-requirement.ts';
import type { TlsWish } from '../mail/tls-wish.ts';
import type { DomainName } from '../protocol/domain.ts';
import { isListedMx } from '../protocol/mta-sts/match.ts';
import type { BindByDane, DanePolicy } from './dane-policy.ts';
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

export type TlsPolicy =
  | {
      readonly kind: 'decided';
      readonly requirementFor: (candidate: MxCandidate) => CandidateVerdict;
      /** The verdict with DANE in it, on a candidate that is allowed; absent where it cannot apply to any. */
      readonly bindByDane?: BindByDane;
    }
  /** Not known for now: the mail waits. */
  | { readonly kind: 'undecided'; readonly failure: LocalFailure };

export interface TlsPolicyParts {
  readonly settings: () => TlsPolicySettings;
  readonly lookupSts: (domain: DomainName, signal: AbortSignal) => Promise<StsLookup>;
  /** Absent: `security.dane: off`. */
  readonly dane?: DanePolicy | undefined;
  readonly now: () => number;
}

/** The same for all candidates of a route. */
type Common = Omit<TlsSituation, 'sts' | 'dane' | 'host' | 'isNamedSecurely'>;

/** The policy for one message on one route; asks DNS and policy hosts only where they have a say. */
export function createTlsPolicy({ settings, lookupSts, dane, now }: TlsPolicyParts) {
  const judged = new JudgedHosts();
  return async (route: Route, signal: AbortSignal, wish?: TlsWish): Promise<TlsPolicy> => {
    const current = settings();
    const common = commonOf(route, current, { wish, now: now() });
    const { policyDomain } = route;
    const isAsked = asksWhatIsPublished(common);
    const askDane = isAsked ? dane?.(route) : undefined;
    const found: StsLookup =
      isAsked && current.mtaStsEnabled && policyDomain !== undefined
        ? await lookupSts(policyDomain, signal)
        : { kind: 'absent' };
    const decide = (candidate: MxCandidate, daneAnswer = DANE_NOT_LOOKED_AT): TlsDecision =>
      decideTls({
        ...common,
        dane: daneAnswer,
        sts: stsAnswer(found, candidate, policyDomain),
        host: candidate.host ?? candidate.address,
        isNamedSecurely: isNamedSecurely(candidate, route),
      });
    const waits = whyAllWait(route, decide);
    if (waits) return { kind: 'undecided', failure: waits };
    return {
      kind: 'decided',
      requirementFor: (candidate) =>
        found.kind === 'policy'
          ? judged.verdict(
              found.kept,
              { common, candidate, isNamedSecurely: isNamedSecurely(candidate, route) },
              () => verdictOf(decide(candidate)),
            )
          : verdictOf(decide(candidate)),
      ...(askDane && {
        bindByDane: async (candidate, { named }, ending) =>
          verdictOf(decide(candidate, await askDane(candidate, named, ending))),
      }),
    };
  };
}

const DANE_NOT_LOOKED_AT: DaneAnswer = { kind: 'none' };

function commonOf(
  route: Route,
  settings: TlsPolicySettings,
  { wish, now }: { readonly wish: TlsWish | undefined; readonly now: number },
): Common {
  const { destination, policyDomain } = route;
  const { overrides, routes, defaultLevel, minVersion, honorTlsRequiredNo } = settings;
  const isInForce = ({ expires = Infinity }) => expires > now;
  const own = route.kind === 'configured' ? routeFor(destination, routes) : undefined;
  return {
    wish: wish === 'waived' && !honorTlsRequiredNo ? undefined : wish,
    override: overrides.find((one) => one.domain === destination && isInForce(one)),
    route: own && { domain: own.domain, tls: own.tls, hasLogin: Boolean(own.user) },
    defaultLevel,
    minVersion,
    policyDomain,
  };
}

function routeFor(destination: Destination, routes: TlsPolicySettings['routes']) {
  return (
    routes.find(({ domain }) => domain === destination) ??
    routes.find(({ domain }) => domain === '*')
  );
}

/** RFC 8689 §4.2.1: by DNSSEC, all the way from the recipient domain, or by an administrator. */
function isNamedSecurely(candidate: MxCandidate, route: Route): boolean {
  const bySecureMx = route.securedNames !== undefined && candidate.host !== undefined;
  return bySecureMx || isNamedByAdmin(candidate, route);
}

/** Its name stands in the configuration, not in DNS; an address is no name that a certificate proves. */
function isNamedByAdmin({ host, trusted }: MxCandidate, { policyDomain }: Route): boolean {
  return trusted === true && host !== undefined && host === policyDomain;
}

function stsAnswer(
  found: StsLookup,
  { host }: MxCandidate,
  domain: DomainName | undefined,
): StsAnswer {
  if (found.kind === 'unknown') return found;
  if (found.kind === 'absent') {
    return { kind: 'none', ...(found.unsure === undefined ? {} : { unsure: found.unsure }) };
  }
  const { id: policyId, policy } = found.kept;
  const { mode, mx, text: policyText } = policy;
  // RFC 8461 §5: mode none is as no policy.
  if (mode === 'none' || domain === undefined) return { kind: 'none' };
  // RFC 8461 §4.1: the name in the MX record is matched, nothing it resolves to.
  const listed = host !== undefined && isListedMx(policy, host);
  return {
    kind: 'policy',
    source: { kind: 'mta-sts', domain, policyId, policyText, mode, listed },
    mx,
  };
}

/** Why no candidate may be tried for now; undefined when one may, or none ever. */
function whyAllWait(
  { candidates }: Route,
  decide: (candidate: MxCandidate) => TlsDecision,
): LocalFailure | undefined {
  let failure: LocalFailure | undefined;
  for (const candidate of candidates) {
    const decision = decide(candidate);
    if (decision.kind !== 'undecided') return undefined;
    failure ??= decision.failure;
  }
  return failure;
}

/** A host that waits alone is passed over for now. */
function verdictOf(decision: TlsDecision): CandidateVerdict {
  return decision.kind === 'undecided' ? { ...decision, kind: 'refused' } : decision;
}

/** An MX set may be as large as it likes. */
const MOST_JUDGED = 100;

interface JudgedBy {
  readonly common: Common;
  readonly candidate: MxCandidate;
  /** DNS may say otherwise the next time. */
  readonly isNamedSecurely: boolean;
}

interface Judged {
  readonly common: Common;
  readonly verdict: CandidateVerdict;
}

/** Verdicts on the hosts of a policy: the same ones are asked about for every message. */
class JudgedHosts {
  readonly #judged = new WeakMap<KeptPolicy, Map<string, Judged>>();

  verdict(
    kept: KeptPolicy,
    { common, candidate, isNamedSecurely: isNamed }: JudgedBy,
    decide: () => CandidateVerdict,
  ): CandidateVerdict {
    const known = this.#judged.get(kept) ?? new Map<string, Judged>();
    this.#judged.set(kept, known);
    const { host, address } = candidate;
    const key = `${common.wish} ${common.policyDomain} ${host ?? address} ${isNamed}`;
    const before = known.get(key);
    if (before && isDeepStrictEqual(before.common, common)) return before.verdict;
    const verdict = decide();
    if (known.size < MOST_JUDGED) known.set(key, { common, verdict });
    return verdict;
  }
}
