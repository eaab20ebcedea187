/**
 * The decision what TLS a host must reach before it gets a message: one pure function of everything that
 * has a say in it, for one message and one candidate. In order (product contract, section 8): REQUIRETLS on the
 * message; an override; the route's own level or `security.default`, and with it, the stronger one binding, what
 * the domain publishes: DANE, then MTA-STS. `TLS-Required: No` sets what is published aside, and nothing else; a TLS
 * report of ours goes without what `security.default` asks, too: it may be about just that.
 *
 * The whole of it is written out in test/fixtures/tls-decisions.txt, which a test holds against this file. What
 * becomes of a session under such a requirement: delivery/admission.ts.
 */
import { type LocalFailure, localFailure } from './failure.ts';
import type { CandidateVerdict, TlsLevel, TlsRequirement } from './tls-requirement.ts';
import type { TlsWish } from './tls-wish.ts';

/** What DANE says about a host (RFC 7672 §2.2). */
export type DaneAnswer =
  /** Not looked at; no secure chain to it; or securely no TLSA record (RFC 7672 §2.2). */
  | { readonly kind: 'none' }
  /** Secure TLSA records, at least one of them usable: they say who it is. */
  | { readonly kind: 'usable'; readonly source: DaneSource }
  /** Secure TLSA records, none usable: it has TLS, and nobody says who it is. */
  | { readonly kind: 'unusable-only'; readonly source: DaneSource }
  /** Bogus, or no answer: whether there are records is not known (RFC 7672 §2.1.2). */
  | { readonly kind: 'failed'; readonly source: DaneSource; readonly failure: LocalFailure };

/** What the MTA-STS policy in force says about a host. */
export type StsAnswer =
  /** None, mode none (RFC 8461 §5), or not asked for. `unsure`: there may be one, and why that is not known. */
  | { readonly kind: 'none'; readonly unsure?: string }
  | { readonly kind: 'policy'; readonly source: StsSource; readonly mx: readonly string[] }
  /** Whether one is in force cannot be said. */
  | { readonly kind: 'unknown'; readonly reason: string };

type Source<Kind> = TlsRequirement['source'] & { readonly kind: Kind };
export type DaneSource = Source<'dane'>;
export type StsSource = Source<'mta-sts'>;

/** What an administrator says of a domain. */
export interface LocalRule {
  readonly domain: string;
  readonly tls: TlsLevel;
}

export interface TlsSituation {
  /** What the message says, as far as it is honored. */
  readonly wish: TlsWish | undefined;
  /** The one in force for the destination. */
  readonly override: LocalRule | undefined;
  /** Of the route that was taken; a login is a password in need of TLS. */
  readonly route: (LocalRule & { readonly hasLogin: boolean }) | undefined;
  readonly dane: DaneAnswer;
  readonly sts: StsAnswer;
  /** `security.default` and `security.minTlsVersion`. */
  readonly defaultLevel: TlsLevel;
  readonly minVersion: TlsRequirement['minVersion'];
  /** The host, or its address where it has no name. */
  readonly host: string | undefined;
  /** Its name stands in the configuration, or in DNS where DNSSEC vouches for it (RFC 8689 §4.2.1). */
  readonly isNamedSecurely: boolean;
  /** Whose DANE and MTA-STS bind. */
  readonly policyDomain: string | undefined;
}

export type TlsDecision =
  | CandidateVerdict
  /** What binds is not known for now: the mail waits. */
  | {
      readonly kind: 'undecided';
      /** As far as it is known. */
      readonly requirement: TlsRequirement;
      readonly failure: LocalFailure;
    };

/** Patterns of a policy named in a refusal. */
const MOST_QUOTED = 10;

/** Whether anything that a domain publishes has a say: where it has none, nobody needs to be asked. */
export function asksWhatIsPublished({
  wish,
  override,
}: Pick<TlsSituation, 'wish' | 'override'>): boolean {
  if (wish === 'required') return true; // RFC 8689 §4.2.1: an override never weakens it
  return override === undefined && wish !== 'waived' && wish !== 'report';
}

/** Decide it. */
export function decideTls(situation: TlsSituation): TlsDecision {
  switch (situation.wish) {
    case 'required':
      return underRequireTls(situation);
    case 'preferred':
      return preferringRequireTls(situation);
    case 'waived':
    case 'report':
    case undefined:
      return unlessRequired(situation);
  }
}

function unlessRequired(situation: TlsSituation): TlsDecision {
  const { wish, override, minVersion } = situation;
  if (override) {
    const source = { kind: 'override', domain: override.domain } as const;
    return allowed({ level: override.tls, minVersion, source });
  }
  const own = ownDemand(situation);
  // RFC 8460 §3: a report about TLS that fails gets there without.
  if (wish === 'report') return allowed(setAside(asReport(own)));
  // RFC 8689 §4.2.2: it is the domain's word that is set aside, not the administrator's.
  return wish === 'waived' ? allowed(setAside(own)) : underPublished(situation, own);
}

/** The administrator's word where nothing is published: the route's, else the default. */
function ownDemand({ route, defaultLevel, minVersion }: TlsSituation): TlsRequirement {
  if (!route) return { level: defaultLevel, minVersion, source: { kind: 'default' } };
  // RFC 8314 §5.1: whoever logs in never falls back to clear text.
  const level = route.hasLogin && route.tls === 'opportunistic' ? 'encrypt' : route.tls;
  return { level, minVersion, source: { kind: 'route', domain: route.domain } };
}

/** A route is a host that somebody knows; the default is about the domain that has troubles. */
function asReport(own: TlsRequirement): TlsRequirement {
  const { level, source } = own;
  if (source.kind !== 'default' || level === 'none') return own;
  return { ...own, level: 'opportunistic' };
}

function setAside(own: TlsRequirement): TlsRequirement {
  const { source } = own;
  if (source.kind !== 'default' && source.kind !== 'route') return own;
  return { ...own, source: { kind: 'tls-required-no', instead: source } };
}

function underPublished(situation: TlsSituation, own: TlsRequirement): TlsDecision {
  const { dane, sts, policyDomain } = situation;
  const { minVersion } = own;
  if (dane.kind === 'failed') {
    // RFC 7672 §2.1.2, RFC 8461 §2: not used, and no MTA-STS policy rescues it.
    const requirement = { level: 'verify', minVersion, source: dane.source } as const;
    return { kind: 'refused', requirement, failure: dane.failure };
  }
  if (sts.kind === 'unknown') return undecided(own, unknownPolicy(policyDomain, sts.reason));
  const decision = sts.kind === 'none' ? allowed(own) : underSts(situation, { sts, own });
  // DANE takes the place of the certificate check, not of the policy's list of hosts.
  if (dane.kind === 'none' || decision.kind === 'refused') return decision;
  const { source } = dane;
  if (dane.kind === 'usable') return allowed({ level: 'verify', minVersion, source });
  // RFC 7672 §2.2: TLS, whoever it is; unless somebody else wants to know that.
  const isEnough = decision.requirement.level === 'verify';
  return isEnough ? decision : allowed({ level: 'encrypt', minVersion, source });
}

type StsParts = {
  readonly sts: StsAnswer & { readonly kind: 'policy' };
  readonly own: TlsRequirement;
};

function underSts({ host, policyDomain }: TlsSituation, { sts, own }: StsParts): CandidateVerdict {
  const { source, mx } = sts;
  // RFC 8461 §5: testing delivers as without the policy and reports.
  if (source.mode === 'testing') return allowed({ ...own, source });
  const requirement: TlsRequirement = { ...own, level: 'verify', source };
  if (source.listed) return allowed(requirement);
  const detail = `${host} is not among the hosts of the policy of ${policyDomain} (${someOf(mx)})`;
  return { kind: 'refused', requirement, failure: localFailure('mx-outside-policy', detail) };
}

/**
 * RFC 8689 §4.2.1: to hosts whose names are known securely, over TLS that proves it, or not at all. Whether such
 * a host offers REQUIRETLS its session shows. Nothing that an override says counts here.
 *
 * A host that nothing vouches for is refused for good: waiting makes no policy. Nor does a mode of testing
 * vouch for it (RFC 8461 §5), nor a certificate alone: whoever forges the MX record has a valid one.
 */
function underRequireTls(situation: TlsSituation): TlsDecision {
  const { sts, dane, policyDomain } = situation;
  const decision = underPublished(situation, ownDemand(situation));
  if (decision.kind === 'undecided') return decision;
  const isRefused = decision.kind === 'refused';
  // Whoever else names the host has its certificate checked by the roots.
  const isNamed = isRefused || namesHost(decision.requirement);
  const demand = isNamed ? decision.requirement : ownDemand(situation);
  const requirement: TlsRequirement = { ...demand, level: 'verify', requireTls: 'required' };
  if (isRefused) return { ...decision, requirement };
  if (isKnownSecurely(situation)) return allowed(requirement);
  const unsure = sts.kind === 'none' && dane.kind === 'none' ? sts.unsure : undefined;
  if (unsure !== undefined) {
    const detail = `the message has REQUIRETLS, and the MTA-STS policy of ${policyDomain} is not known: ${unsure}`;
    return undecided(requirement, localFailure('policy-unknown', detail));
  }
  const failure = localFailure('requiretls-mx-insecure', whyInsecure(situation));
  return { kind: 'refused', requirement, failure };
}

/** RFC 8689 §5: of a message that goes with REQUIRETLS where that is possible; in any case TLS is tried. */
function preferringRequireTls(situation: TlsSituation): TlsDecision {
  const decision = unlessRequired(situation);
  if (decision.kind === 'undecided') return decision;
  const { requirement } = decision;
  const level = requirement.level === 'none' ? 'opportunistic' : requirement.level;
  const { override, isNamedSecurely } = situation;
  // Beside an override nobody was asked for what is published.
  const isKnown = override ? isNamedSecurely : isKnownSecurely(situation);
  const asked = { ...requirement, level, ...(isKnown ? { requireTls: 'preferred' as const } : {}) };
  return { ...decision, requirement: asked };
}

/** By DNSSEC, by an MTA-STS policy in mode enforce, or by an administrator (RFC 8689 §4.2.1). */
function isKnownSecurely({ sts, dane, isNamedSecurely }: TlsSituation): boolean {
  if (isNamedSecurely || dane.kind === 'usable' || dane.kind === 'unusable-only') return true;
  return sts.kind === 'policy' && sts.source.mode === 'enforce' && sts.source.listed;
}

/** Something that the domain publishes says what proves that it is this host. */
function namesHost({ level, source }: TlsRequirement): boolean {
  if (level !== 'verify') return false;
  return source.kind === 'dane' || (source.kind === 'mta-sts' && source.mode === 'enforce');
}

function whyInsecure({ host, policyDomain }: TlsSituation): string {
  if (policyDomain === undefined) {
    return `the message has REQUIRETLS, and ${host} has no name that a certificate could prove`;
  }
  return `the message has REQUIRETLS, and neither DNSSEC nor an MTA-STS policy of ${policyDomain} in mode enforce says that ${host} is its host`;
}

function unknownPolicy(domain: string | undefined, reason: string): LocalFailure {
  const detail = `the MTA-STS record of ${domain} could not be looked up: ${reason}`;
  return localFailure('policy-unknown', detail);
}

/** A policy may list thousands of hosts: enough of them to see what is meant. */
function someOf(patterns: readonly string[]): string {
  const more = patterns.length > MOST_QUOTED ? ', ...' : '';
  return patterns.slice(0, MOST_QUOTED).join(', ') + more;
}

function allowed(requirement: TlsRequirement): CandidateVerdict & { readonly kind: 'allowed' } {
  return { kind: 'allowed', requirement };
}

function undecided(requirement: TlsRequirement, failure: LocalFailure): TlsDecision {
  return { kind: 'undecided', requirement, failure };
}
