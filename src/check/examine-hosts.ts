/**
 * The hosts of a route: what TLS the policy asks of each, their addresses, and a session with each
 * of those; and the outcome that the engine concludes from them.
 */
import { probeSession } from '../delivery/session.ts';
import { type LocalFailure, localFailure } from '../mail/failure.ts';
import type { Outcome } from '../mail/outcome.ts';
import type { MxCandidate, Route } from '../mail/route.ts';
import { conclude, concludeWithoutSession } from '../outcome/conclude.ts';
import { judgeAddresses, lookupHostAddresses } from '../platform/host-addresses.ts';
import { createTlsPolicy, type TlsPolicy, type TlsPolicyParts } from '../policy/tls-policy.ts';
import {
  type CandidateAddresses,
  decideAddresses,
  resolveCandidate,
} from '../routing/addresses.ts';
import type { RouteResult } from '../routing/route.ts';
import type { CheckParts } from './examine.ts';
import { type ProbedHosts, probeHosts } from './probe-hosts.ts';
import type { HostFacts } from './types.ts';

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
    now: () => parts.clock.now(),
  });
  const policy = await decideTls(route, signal);
  const found = new Map<MxCandidate, FoundAddresses>();
  const looking = route.candidates.map(async (candidate) => {
    found.set(candidate, await findAddresses(candidate, route, visit));
  });
  await Promise.all(looking);
  if (policy.kind === 'undecided') {
    const hosts = route.candidates.map((one) => hostFacts(one, { found, policy }));
    return { hosts, outcome: undelivered(policy.failure) };
  }
  const { requirementFor } = policy;
  const sessionParts = { ...parts.sessionParts, onConnection: () => {} };
  const probed = await probeHosts(
    route,
    {
      requirementFor,
      addressesOf: (candidate) => found.get(candidate)?.usable ?? NO_ADDRESS,
      ...(parts.connect
        ? { probe: (plan, ending) => probeSession(plan, { ...sessionParts, signal: ending }) }
        : {}),
    },
    signal,
  );
  const hosts = route.candidates.map((one) => hostFacts(one, { found, policy, probed }));
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

function hostFacts(
  candidate: MxCandidate,
  context: {
    readonly found: ReadonlyMap<MxCandidate, FoundAddresses>;
    readonly policy: TlsPolicy;
    readonly probed?: ProbedHosts;
  },
): HostFacts {
  const { found, policy, probed } = context;
  const { host, address, preference, port } = candidate;
  const at = found.get(candidate);
  const verdict = policy.kind === 'decided' ? policy.requirementFor(candidate) : undefined;
  const refusal = verdict?.kind === 'refused' ? verdict.failure : undefined;
  const failure = refusal ?? (at?.usable.kind === 'failed' ? at.usable.failure : undefined);
  return {
    host: host ?? address ?? '',
    preference,
    port,
    ...(verdict ? { requirement: verdict.requirement } : {}),
    ...(at?.aliasOf === undefined ? {} : { aliasOf: at.aliasOf }),
    refusedAddresses: at?.refused ?? [],
    foundAddresses: at?.usable.kind === 'addresses' ? at.usable.addresses : [],
    ...(failure ? { failure } : {}),
    addresses: probed?.addresses.get(candidate) ?? [],
  };
}
