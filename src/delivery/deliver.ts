/**
 * Walks the candidates of a route (RFC 5321 §5.1): each in order, each of its addresses, until
 * a session gets as far as the transaction or nothing is left. The TLS requirement is computed
 * for each candidate before it is connected to; a candidate that the policy refuses is
 * skipped like an unreachable one (RFC 8461 §8.4), and so is one whose TLSA records cannot be had
 * (RFC 7672 §2.1.2). Each is bound by its own records (RFC 7672 §2.2.1).
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
import type { BindByDane } from '../policy/dane-policy.ts';
import type { CandidateAddresses } from '../routing/addresses.ts';
import { decideSession, firstMode } from './admission.ts';
import type { Credentials } from './credentials.ts';
import type { Consignment, SessionPlan } from './session.ts';

/** The steps of a walk; handed in, so that it reads as the decision it is. */
export interface WalkSteps {
  requirementFor(candidate: MxCandidate): CandidateVerdict;
  /** Absent where DANE cannot apply to any of them. */
  readonly bindByDane?: BindByDane | undefined;
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
    const ready = await prepare(candidate, steps, signal);
    if (ready.kind === 'skipped') {
      note({ kind: 'ended-early', facts: ready.facts, failure: ready.failure });
      continue;
    }
    const { requirement, found } = ready;
    let broken = 0;
    for (const address of found.addresses.slice(0, MOST_ADDRESSES)) {
      if (signal.aborted || sessions++ >= MOST_SESSIONS) return results;
      const plan = {
        ...{ destination: route.destination, candidate, address },
        requirement,
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

type Ready =
  | {
      readonly kind: 'ready';
      readonly requirement: TlsRequirement;
      readonly found: CandidateAddresses & { readonly kind: 'addresses' };
    }
  | { readonly kind: 'skipped'; readonly facts: SessionFacts; readonly failure: LocalFailure };

/** What a candidate has to reach and where it is: the policy, its addresses, and DANE by what was found on the way to them. */
async function prepare(
  candidate: MxCandidate,
  steps: WalkSteps,
  signal: AbortSignal,
): Promise<Ready> {
  const skip = (requirement: TlsRequirement, failure: LocalFailure): Ready => ({
    kind: 'skipped',
    facts: untried(candidate, requirement),
    failure,
  });
  const verdict = steps.requirementFor(candidate);
  const { requirement } = verdict;
  if (verdict.kind === 'refused') return skip(requirement, verdict.failure);
  const found = await steps.addressesOf(candidate, signal);
  if (found.kind === 'failed') return skip(requirement, found.failure);
  const { bindByDane } = steps;
  const bound = await bindByDane?.(candidate, { requirement, named: found.named }, signal);
  if (bound?.kind === 'refused') return skip(bound.requirement, bound.failure);
  return { kind: 'ready', requirement: bound?.requirement ?? requirement, found };
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
