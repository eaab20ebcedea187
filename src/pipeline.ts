/**
 * One attempt to deliver one message to one destination, top to bottom:
 *
 *   load     what the spool says is left to do
 *   route    MX hosts or a smart host, in order            (RFC 5321 §5.1)
 *   policy   the TLS each of them must reach               (RFC 8461 §5)
 *   deliver  sessions, until one gets to the transaction
 *   recheck  before a policy makes it fail for good, the policy is fetched anew (RFC 8461 §5.1)
 *   settle   every recipient's fate, durable, and the next attempt
 *   finish   the DSN that is owed; the message removed when nobody is left
 *
 * Whatever goes wrong outside comes back as a value and is settled like everything else.
 */
import { deliver, type WalkSteps } from './delivery/deliver.ts';
import type { Consignment } from './delivery/session.ts';
import { localFailure } from './mail/failure.ts';
import type { MessageId } from './mail/message-id.ts';
import type { Outcome } from './mail/outcome.ts';
import type { Destination, MxCandidate, Route } from './mail/route.ts';
import type { SessionResult } from './mail/session-result.ts';
import { classify } from './outcome/classify.ts';
import { conclude, concludeWithoutSession } from './outcome/conclude.ts';
import { type AttemptOutcomes, MALFORMED } from './outcome/settle.ts';
import type { PolicyCheck, PolicyUsed } from './policy/last-check.ts';
import type { TlsPolicy } from './policy/tls-policy.ts';
import type { AttemptEnd } from './queue/worker.ts';
import type { CandidateAddresses } from './routing/addresses.ts';
import type { RouteResult } from './routing/route.ts';
import {
  type AttemptRecord,
  type DeliveryState,
  type DestinationOf,
  foldRecords,
  NO_DESTINATION,
} from './spool/message-state.ts';
import type { Spool, StoredMessage } from './spool/store.ts';

/** The stages, each built once by relay.ts. */
export interface Stages {
  readonly spool: Spool;
  readonly destinationOf: DestinationOf;
  findRoute(destination: Destination, signal: AbortSignal): Promise<RouteResult>;
  tlsPolicy(route: Route, signal: AbortSignal): Promise<TlsPolicy>;
  addressesOf(
    candidate: MxCandidate,
    destination: Destination,
    signal: AbortSignal,
  ): Promise<CandidateAddresses>;
  readonly runSession: WalkSteps['runSession'];
  /** The policy that has to be checked before those who wait are given up now. */
  policyToCheck(attempt: AttemptOutcomes): PolicyUsed | undefined;
  /** See whether a policy that holds a message back is still the latest. */
  recheckPolicy(used: PolicyUsed, signal: AbortSignal): Promise<PolicyCheck>;
  /** Whether a message's time for this destination is over now. */
  isExpired(message: StoredMessage, destination: Destination): boolean;
  settle(attempt: AttemptOutcomes): Promise<AttemptRecord>;
  finish(id: MessageId): Promise<void>;
  onFirstAttempt(message: StoredMessage): void;
  onRoute(route: Route): void;
  onSession(id: MessageId, destination: Destination, result: SessionResult): void;
  /** All sessions of an attempt. */
  onSessions(destination: Destination, results: readonly SessionResult[]): void;
}

/**
 * Make one attempt. `signal` ends it early: when the relay is stopping, what was not settled
 * then is attempted again; an attempt that ran out of time (TimeoutError) is settled as one
 * that failed, so that a host that drips for hours cannot keep a message from expiring.
 */
export async function attemptDelivery(
  { id, destination }: { id: MessageId; destination: Destination },
  stages: Stages,
  signal: AbortSignal,
): Promise<AttemptEnd> {
  const message = await stages.spool.read(id);
  if (!message) return { kind: 'closed' };
  const state = foldRecords(message.envelope, message.records, stages.destinationOf);
  const delivery = state.pending.find((pending) => pending.destination === destination);
  if (!delivery) {
    await stages.finish(id);
    return { kind: 'closed' };
  }
  if (delivery.attempts === 0) stages.onFirstAttempt(message);
  const record = await attemptAndSettle(message, delivery, { stages, signal });
  if (record === 'cut-short') return { kind: 'again', atMs: delivery.nextAttemptMs };
  await stages.finish(id);
  return endAfter(record.nextAttemptMs);
}

/**
 * Give up what is left of a message for a destination that is not attempted, where its time is over:
 * `reason` says what keeps it from being attempted.
 */
export async function expireDelivery(
  {
    id,
    destination,
    nextAttemptMs,
  }: { id: MessageId; destination: Destination; nextAttemptMs: number },
  stages: Stages,
  reason: string,
): Promise<AttemptEnd> {
  const message = await stages.spool.read(id);
  if (!message) return { kind: 'closed' };
  if (!stages.isExpired(message, destination)) return { kind: 'again', atMs: nextAttemptMs };
  const state = foldRecords(message.envelope, message.records, stages.destinationOf);
  const delivery = state.pending.find((pending) => pending.destination === destination);
  const failure = localFailure('destination-closed', reason);
  const outcomes = concludeWithoutSession(failure, delivery?.pending ?? []);
  const attempts = delivery?.attempts ?? 0;
  const record = delivery && (await stages.settle({ message, destination, attempts, outcomes }));
  await stages.finish(id);
  return endAfter(record?.nextAttemptMs);
}

function endAfter(nextAttemptMs: number | undefined): AttemptEnd {
  return nextAttemptMs === undefined ? { kind: 'closed' } : { kind: 'again', atMs: nextAttemptMs };
}

/** The attempt and its record, which is durable. */
async function attemptAndSettle(
  message: StoredMessage,
  delivery: DeliveryState,
  { stages, signal }: { stages: Stages; signal: AbortSignal },
): Promise<AttemptRecord | 'cut-short'> {
  const { destination } = delivery;
  const recorded = Promise.withResolvers<void>();
  const parts = { stages, signal, recorded: recorded.promise };
  try {
    const outcomes = await attemptOutcomes(message, delivery, parts);
    if (outcomes === 'cut-short') return 'cut-short';
    const attempts = delivery.attempts + 1;
    const made = { message, destination, attempts, outcomes };
    const attempt = await recheckIfLast(made, delivery, parts);
    return attempt === 'cut-short' ? 'cut-short' : await stages.settle(attempt);
  } finally {
    recorded.resolve();
  }
}

interface AttemptParts {
  readonly stages: Stages;
  readonly signal: AbortSignal;
  /** Resolved when the attempt is on disk, or came to nothing. */
  readonly recorded: Promise<void>;
}

/**
 * RFC 8461 §5.1: recipients whom a policy held back are not given up before it was checked
 * for a newer one; if there is one, they get an attempt under it.
 */
async function recheckIfLast(
  attempt: AttemptOutcomes,
  delivery: DeliveryState,
  parts: AttemptParts,
): Promise<AttemptOutcomes | 'cut-short'> {
  const { stages, signal } = parts;
  const used = stages.policyToCheck(attempt);
  if (used === undefined) return attempt;
  const policyCheck = await stages.recheckPolicy(used, signal);
  if (isStopping(signal)) return 'cut-short';
  if (policyCheck !== 'changed') return { ...attempt, policyCheck };
  const waiting = [...attempt.outcomes].filter(([, { kind }]) => kind === 'deferred');
  const pending = waiting.map(([index]) => index);
  const again = await attemptOutcomes(attempt.message, { ...delivery, pending }, parts);
  if (again === 'cut-short') return 'cut-short';
  return { ...attempt, policyCheck, outcomes: new Map([...attempt.outcomes, ...again]) };
}

/** Route, policy, deliver: an outcome for every pending recipient. */
async function attemptOutcomes(
  message: StoredMessage,
  { destination, pending }: DeliveryState,
  { stages, signal, recorded }: AttemptParts,
): Promise<ReadonlyMap<number, Outcome> | 'cut-short'> {
  if (destination === NO_DESTINATION) return concludeWithoutSession(MALFORMED, pending);

  const routed = await stages.findRoute(destination, signal);
  if (isStopping(signal)) return 'cut-short';
  if (routed.kind === 'failed') return concludeWithoutSession(routed.failure, pending);

  stages.onRoute(routed.route);

  const policy = await stages.tlsPolicy(routed.route, signal);
  if (isStopping(signal)) return 'cut-short';
  if (policy.kind === 'undecided') return concludeWithoutSession(policy.failure, pending);

  const { id } = message.envelope;
  const consignment: Consignment = {
    envelope: message.envelope,
    sizeBytes: message.sizeBytes,
    recipients: pending,
    openBody: () => stages.spool.openBody(id),
    bodyInMemory: () => stages.spool.bodyInMemory(id),
    recorded,
  };
  const steps: WalkSteps = {
    requirementFor: policy.requirementFor,
    addressesOf: (candidate, ending) => stages.addressesOf(candidate, destination, ending),
    runSession: stages.runSession,
    triesNextHost: (failure) => classify(failure).tryNextHost,
    onResult: (result) => stages.onSession(id, destination, result),
  };
  const results = await deliver(routed.route, consignment, { steps, signal });
  if (!isStopping(signal)) stages.onSessions(destination, results);
  const reached = results.some(({ kind }) => kind === 'transacted');
  return isStopping(signal) && !reached ? 'cut-short' : conclude(results, pending);
}

function isStopping(signal: AbortSignal): boolean {
  return signal.aborted && (signal.reason as Error | undefined)?.name !== 'TimeoutError';
}
