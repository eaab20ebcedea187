/**
 * The hosts of a route: what TLS the policy asks of each, their addresses, and a session with each
 * of those; and the outcome that the engine concludes from them.
 */
import { probeSession } from '../delivery/session.ts';
import { type LocalFailure, localFailure } from '../mail/failure.ts';
import type { Outcome } from '../mail/outcome.ts';
import type { MxCandidate, Route } from '../mail/route.ts';
import type { CandidateVerdict } from '../mail/tls-requirement.ts';
import { conclude, concludeWithoutSession } from '../outcome/conclude.ts';
import { judgeAddresses, lookupHostAddresses } from '../platform/host-addresses.ts';
import { type DaneFinding, lookupDane } from '../policy/dane-lookup.ts';
import { createTlsPolicy, type TlsPolicy, type TlsPolicyParts } from '../policy/tls-policy.ts';
import { formatTlsa } from '../protocol/dane/tlsa.ts';
import { usableRecords } from '../protocol/dane/usable.ts';
import {
  type CandidateAddresses,
  decideAddresses,
  resolveCandidate,
} from '../routing/addresses.ts';
import type { RouteResult } from '../routing/route.ts';
import type { CheckParts } from './examine.ts';
import { type ProbedHosts, probeHosts } from './probe-hosts.ts';
import type { DaneFacts, HostFacts } from './types.ts';

export interface Visit {
  readonly parts: CheckParts;
  readonly lookupSts: TlsPolicyParts['lookupSts'];
  readonly signal: AbortSignal;
}

/** Policy, addresses and sessions of every candidate, and the outcome of it all. */
export async function examineHosts(
  routed: RouteResult,
  visit: Visit,
): Promise<{ hosts: readonly HostFacts[]; outcome: Outcome }> {
  if (routed.kind === 'failed') return { hosts: [], outcome: undelivered(routed.failure) };
  const { route } = routed;
  const { parts, signal } = visit;
  const decideTls = createTlsPolicy({
    settings: () => parts.tlsPolicySettings,
    lookupSts: visit.lookupSts,
    dane: parts.dane,
    now: () => parts.clock.now(),
  });
  const policy = await decideTls(route, signal);
  const found = new Map<MxCandidate, FoundAddresses>();
  const looking = route.candidates.map(async (candidate) => {
    found.set(candidate, await findAddresses(candidate, route, visit));
  });
  await Promise.all(looking);
  const dane = await examineTlsa(route, found, visit);
  if (policy.kind === 'undecided') {
    const hosts = route.candidates.map((one) => hostFacts(one, { found, dane, policy }));
    return { hosts, outcome: undelivered(policy.failure) };
  }
  const { requirementFor } = policy;
  const bound = await bindAll(route, { found, policy }, signal);
  const sessionParts = { ...parts.sessionParts, onConnection: () => {} };
  const probed = await probeHosts(
    route,
    {
      requirementFor,
      bindByDane: async (one, { requirement }) =>
        bound.get(one) ?? { kind: 'allowed', requirement },
      addressesOf: (candidate) => found.get(candidate)?.usable ?? NO_ADDRESS,
      ...(parts.connect
        ? { probe: (plan, ending) => probeSession(plan, { ...sessionParts, signal: ending }) }
        : {}),
    },
    signal,
  );
  const hosts = route.candidates.map((one) =>
    hostFacts(one, { found, dane, policy, bound, probed }),
  );
  return { hosts, outcome: conclude(probed.walk, [0]).get(0) ?? undelivered(OUT_OF_TIME) };
}

const OUT_OF_TIME = localFailure('timeout', 'the check ran out of time');
const NO_ADDRESS: CandidateAddresses = { kind: 'failed', failure: OUT_OF_TIME };

function undelivered(failure: LocalFailure): Outcome {
  const outcome = concludeWithoutSession(failure, [0]).get(0);
  if (!outcome) throw new Error('a recipient without an outcome');
  return outcome;
}

interface FoundAddresses {
  /** As a delivery gets them. */
  readonly usable: CandidateAddresses;
  readonly refused: readonly string[];
  readonly aliasOf: string | undefined;
}

async function findAddresses(
  candidate: MxCandidate,
  { destination }: Route,
  { parts, signal }: Visit,
): Promise<FoundAddresses> {
  const { resolver, families, guard, clock } = parts;
  const lookup = { resolver, families, guard, destination, signal, clock };
  if (candidate.host === undefined || candidate.address !== undefined) {
    const usable = await resolveCandidate(candidate, lookup);
    return { usable, refused: [], aliasOf: undefined };
  }
  const answers = await lookupHostAddresses(candidate.host, lookup);
  const usable = decideAddresses(candidate, answers, lookup);
  const { refused } = judgeAddresses(answers, (address) =>
    usable.kind === 'addresses' && usable.addresses.includes(address)
      ? { ok: true }
      : guard.check(address, candidate.host),
  );
  // RFC 8461 §4.1: what a name is an alias of never counts; it is looked at for people.
  const target = answers.find((answer) => answer.kind === 'found')?.canonicalName;
  return { usable, refused, aliasOf: target === candidate.host ? undefined : target };
}

/** The verdicts with DANE in them, of the candidates that the policy allows. */
async function bindAll(
  { candidates }: Route,
  context: {
    readonly found: ReadonlyMap<MxCandidate, FoundAddresses>;
    readonly policy: TlsPolicy & { readonly kind: 'decided' };
  },
  signal: AbortSignal,
): Promise<ReadonlyMap<MxCandidate, CandidateVerdict>> {
  const { found, policy } = context;
  const bound = new Map<MxCandidate, CandidateVerdict>();
  const asking = candidates.map(async (candidate) => {
    const { kind, requirement } = policy.requirementFor(candidate);
    const usable = found.get(candidate)?.usable;
    if (kind === 'refused' || usable?.kind !== 'addresses') return;
    const known = { requirement, named: usable.named };
    const verdict = await policy.bindByDane?.(candidate, known, signal);
    if (verdict) bound.set(candidate, verdict);
  });
  await Promise.all(asking);
  return bound;
}

/** What the hosts publish for DANE, whether or not it is asked for here. */
async function examineTlsa(
  { candidates, securedNames }: Route,
  found: ReadonlyMap<MxCandidate, FoundAddresses>,
  { parts, signal }: Visit,
): Promise<ReadonlyMap<MxCandidate, DaneFacts>> {
  const dane = new Map<MxCandidate, DaneFacts>();
  const looking = candidates.map(async (candidate) => {
    const usable = found.get(candidate)?.usable;
    if (candidate.host === undefined || usable?.kind !== 'addresses') return;
    const question = { candidate, named: usable.named };
    const finding: DaneFinding = securedNames
      ? await lookupDane(question, parts.resolver, signal)
      : { kind: 'absent', why: 'DNSSEC does not vouch for the MX records' };
    dane.set(candidate, daneFacts(finding));
  });
  await Promise.all(looking);
  return dane;
}

function daneFacts(finding: DaneFinding): DaneFacts {
  switch (finding.kind) {
    case 'absent':
      return finding;
    case 'failed':
      return { kind: 'failed', detail: finding.reason };
    case 'records': {
      const { baseDomain, records } = finding;
      const usable = usableRecords(records).map(formatTlsa);
      return { kind: 'records', baseDomain, records: records.map(formatTlsa), usable };
    }
  }
}

function hostFacts(
  candidate: MxCandidate,
  context: {
    readonly dane: ReadonlyMap<MxCandidate, DaneFacts>;
    readonly found: ReadonlyMap<MxCandidate, FoundAddresses>;
    readonly policy: TlsPolicy;
    readonly bound?: ReadonlyMap<MxCandidate, CandidateVerdict>;
    readonly probed?: ProbedHosts;
  },
): HostFacts {
  const { found, dane, policy, bound, probed } = context;
  const { host, address, preference, port } = candidate;
  const at = found.get(candidate);
  const verdict =
    bound?.get(candidate) ??
    (policy.kind === 'decided' ? policy.requirementFor(candidate) : undefined);
  const refusal = verdict?.kind === 'refused' ? verdict.failure : undefined;
  const unfound = at?.usable.kind === 'failed' ? at.usable.failure : undefined;
  const tlsa = dane.get(candidate);
  const failure = refusal ?? unfound;
  return {
    host: host ?? address ?? '',
    preference,
    port,
    ...(verdict ? { requirement: verdict.requirement } : {}),
    ...(at?.aliasOf === undefined ? {} : { aliasOf: at.aliasOf }),
    refusedAddresses: at?.refused ?? [],
    ...(tlsa ? { dane: tlsa } : {}),
    foundAddresses: at?.usable.kind === 'addresses' ? at.usable.addresses : [],
    ...(failure ? { failure } : {}),
    addresses: probed?.addresses.get(candidate) ?? [],
  };
}
