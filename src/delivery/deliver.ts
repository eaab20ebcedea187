/**
 * Walks the candidates of a route (RFC 5321 §5.1): each in order, each of its addresses, until
 * a session gets as far as the transaction or nothing is left. The TLS requirement is computed
 * for each candidate before it is connected to; a candidate that the policy refuses is
 * skipped like an unreachable one (RFC 8461 §8.4).
 */
import { type Failure, type LocalFailure, localFailure } from '../mail/failure.ts';
import type { MxCandidate, Route } from '../mail/route.ts';
import type { SessionFacts, SessionResult } from '../mail/session-result.ts';
import {
  allowsClearText,
  type CandidateVerdict,
  type TlsRequirement,
} from '../mail/tls-requirement.ts';
import type { CandidateAddresses } from '../routing/addresses.ts';
import type { Credentials } from './credentials.ts';
import type { Consignment, SessionPlan, TlsMode } from './session.ts';

/** The steps of a walk; handed in, so that it reads as the decision it is. */
export interface WalkSteps {
  requirementFor(candidate: MxCandidate): CandidateVerdict;
  addressesOf(candidate: MxCandidate, signal: AbortSignal): Promise<CandidateAddresses>;
  runSession(
    plan: SessionPlan,
    consignment: Consignment,
    signal: AbortSignal,
  ): Promise<SessionResult>;
  /** Whether another host may do better after this failure (outcome/classify.ts). */
  triesNextHost(failure: Failure): boolean;
  /** For AUTH to the hosts of the route. */
  readonly credentials?: Credentials;
  /** Told about every session and every skipped candidate, as it happens. */
  onResult(result: SessionResult): void;
}

/** Addresses connected to in one attempt, all candidates together, and of one candidate. */
const MOST_SESSIONS = 10;
const MOST_ADDRESSES = 4;

/** Deliver one consignment along `route`; the results of all sessions in order; empty only when time ran out. */
export async function deliver(
  route: Route,
  consignment: Consignment,
  { steps, signal }: { steps: WalkSteps; signal: AbortSignal },
): Promise<readonly SessionResult[]> {
  const results: SessionResult[] = [];
  let sessions = 0;
  const note = (result: SessionResult) => {
    results.push(result);
    steps.onResult(result);
    return result;
  };
  for (const candidate of route.candidates) {
    if (signal.aborted) break;
    const verdict = steps.requirementFor(candidate);
    const facts = untried(candidate, verdict.requirement);
    if (verdict.kind === 'refused') {
      note({ kind: 'ended-early', facts, failure: verdict.failure });
      continue;
    }
    const found = await steps.addressesOf(candidate, signal);
    if (found.kind === 'failed') {
      note({ kind: 'ended-early', facts, failure: found.failure });
      continue;
    }
    for (const address of found.addresses.slice(0, MOST_ADDRESSES)) {
      if (signal.aborted || sessions++ >= MOST_SESSIONS) return results;
      const plan = {
        ...{ destination: route.destination, candidate, address },
        requirement: verdict.requirement,
        ...(route.smartHost?.implicitTls ? { implicitTls: true } : {}),
        ...(steps.credentials ? { credentials: steps.credentials } : {}),
      };
      const result = note(await connectInModes(plan, consignment, { steps, signal }));
      if (result.kind === 'transacted' || !steps.triesNextHost(result.failure)) return results;
    }
  }
  return results;
}

/**
 * The ways to try TLS on one address, best first. Where TLS is required there is no way
 * without it (RFC 8461 §5); where nothing asks for it, any TLS is better than none (RFC 7435).
 * The small ClientHello is not weaker.
 */
export function modesFor(requirement: TlsRequirement, implicitTls = false): readonly TlsMode[] {
  // RFC 8314 §5.1: where TLS comes first there is nothing else to fall back to.
  if (implicitTls) return ['full', 'small-hello'];
  if (requirement.level === 'none') return ['clear'];
  return allowsClearText(requirement) ? ['full', 'small-hello', 'clear'] : ['full', 'small-hello'];
}

/**
 * Sessions with one address: again, with less TLS, only after a handshake that failed, and
 * always over a new connection (RFC 3207 §4.1).
 */
async function connectInModes(
  plan: Omit<SessionPlan, 'mode'>,
  consignment: Consignment,
  { steps, signal }: { steps: WalkSteps; signal: AbortSignal },
): Promise<SessionResult> {
  let handshake: LocalFailure | undefined;
  let last: SessionResult | undefined;
  for (const mode of modesFor(plan.requirement, plan.implicitTls)) {
    const result = await steps.runSession({ ...plan, mode }, consignment, signal);
    last = handshake && mode === 'clear' ? withReason(result, handshake) : result;
    if (result.kind === 'transacted' || !isHandshakeFailure(result.failure)) return last;
    handshake = result.failure;
  }
  return last ?? noMode(plan);
}

function isHandshakeFailure(failure: Failure): failure is LocalFailure {
  return (
    failure.kind === 'local' &&
    (failure.cause === 'tls-handshake-failed' || failure.cause === 'tls-version-too-low')
  );
}

/** A session in clear text says what became of TLS. */
function withReason(result: SessionResult, { cause, detail }: LocalFailure): SessionResult {
  const reason = cause === 'tls-version-too-low' ? cause : 'tls-handshake-failed';
  return { ...result, facts: { ...result.facts, clearTextBecause: { cause: reason, detail } } };
}

function noMode(plan: Omit<SessionPlan, 'mode'>): SessionResult {
  const failure = localFailure('tls-handshake-failed', 'no way to reach the TLS that is required');
  return { kind: 'ended-early', facts: untried(plan.candidate, plan.requirement), failure };
}

function untried(candidate: MxCandidate, requirement: TlsRequirement): SessionFacts {
  return { candidate, address: undefined, localAddress: undefined, requirement, tls: undefined };
}
