/**
 * Walks the candidates of a route (RFC 5321 §5.1): each in order, each of its addresses, until
 * a session gets as far as the transaction or nothing is left. The TLS requirement is computed
 * for each candidate before it is connected to; a candidate that the policy refuses is
 * skipped like an unreachable one (RFC 8461 §8.4).
 */
import {
  type Failure,
  type HandshakeCause,
  isHandshakeCause,
  type LocalFailure,
} from '../mail/failure.ts';
import type { MxCandidate, Route } from '../mail/route.ts';
import type { SessionFacts, SessionResult } from '../mail/session-result.ts';
import type { CandidateVerdict, TlsRequirement } from '../mail/tls-requirement.ts';
import type { CandidateAddresses } from '../routing/addresses.ts';
import { decideSession, firstMode } from './admission.ts';
import type { Credentials } from './credentials.ts';
import type { Consignment, SessionPlan } from './session.ts';

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
/** Of one candidate, at which no handshake succeeded either way: a host that has no TLS for us costs so many tries. */
const MOST_BROKEN = 2;

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
    let broken = 0;
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
      if (handshakeFailureOf(result) && ++broken >= MOST_BROKEN) break;
    }
  }
  return results;
}

/**
 * Sessions with one address: again, with less TLS, only after a handshake that failed, and
 * always over a new connection (RFC 3207 §4.1). What is tried next decideSession says; there are three at most.
 */
async function connectInModes(
  plan: Omit<SessionPlan, 'mode'>,
  consignment: Consignment,
  { steps, signal }: { steps: WalkSteps; signal: AbortSignal },
): Promise<SessionResult> {
  let because: Pick<SessionFacts, 'smallHelloBecause' | 'clearTextBecause'> = {};
  for (let mode = firstMode(plan); ; ) {
    const ended = await steps.runSession({ ...plan, mode }, consignment, signal);
    const result = { ...ended, facts: { ...ended.facts, ...because } };
    const failure = handshakeFailureOf(result);
    // Out of time is no reason to do without TLS.
    if (!failure || signal.aborted) return result;
    const next = decideSession({ ...plan, mode }, { kind: 'broken', failure });
    if (next.kind !== 'again') return result;
    const { cause, detail } = failure;
    const key = next.mode === 'clear' ? 'clearTextBecause' : 'smallHelloBecause';
    because = { ...because, [key]: { cause, detail } };
    mode = next.mode;
  }
}

type HandshakeFailure = LocalFailure & { readonly cause: HandshakeCause };

function handshakeFailureOf(result: SessionResult): HandshakeFailure | undefined {
  if (result.kind === 'transacted' || result.failure.kind !== 'local') return undefined;
  const { cause } = result.failure;
  return isHandshakeCause(cause) ? { ...result.failure, cause } : undefined;
}

function untried(candidate: MxCandidate, requirement: TlsRequirement): SessionFacts {
  return { candidate, address: undefined, localAddress: undefined, requirement, tls: undefined };
}
