/**
 * The transactions of one attempt: one as a rule, more where a server takes fewer recipients in one
 * (RFC 5321 §4.5.3.1.10, RFC 9422 §4.2). For each:
 *
 *   route    MX hosts or a smart host, in order            (RFC 5321 §5.1)
 *   policy   the TLS each of them must reach               (RFC 8461 §5)
 *   deliver  sessions, until one gets to the transaction
 *
 * Those whom a transaction delivered are on disk before the next one begins, so that nobody gets
 * the message twice however it ends. The outcomes of all others are the caller's to settle.
 */
import { type Course, courseOf, stayOn } from './delivery/course.ts';
import type { CredentialsRead } from './delivery/credentials.ts';
import { deliver, type WalkSteps } from './delivery/deliver.ts';
import { outgoingContent } from './delivery/outgoing-content.ts';
import type { Consignment } from './delivery/session.ts';
import type { Envelope } from './mail/envelope.ts';
import type { Failure } from './mail/failure.ts';
import type { Outcome } from './mail/outcome.ts';
import type { Destination, MxCandidate, Route } from './mail/route.ts';
import type { SessionResult } from './mail/session-result.ts';
import { type TlsWish, tlsWishOf } from './mail/tls-wish.ts';
import { classify } from './outcome/classify.ts';
import { conclude, concludeWithoutSession, whyNotOn } from './outcome/conclude.ts';
import { type AttemptOutcomes, MALFORMED } from './outcome/settle.ts';
import type { TlsPolicy } from './policy/tls-policy.ts';
import type { CandidateAddresses } from './routing/addresses.ts';
import type { RouteResult } from './routing/route.ts';
import { type AttemptRecord, NO_DESTINATION } from './spool/message-state.ts';
import type { Spool } from './spool/store.ts';

/** The stages of a transaction, and what it is recorded with. */
export interface TransactionStages {
  readonly spool: Spool;
  findRoute(destination: Destination, signal: AbortSignal): Promise<RouteResult>;
  tlsPolicy(route: Route, signal: AbortSignal, wish: TlsWish | undefined): Promise<TlsPolicy>;
  addressesOf(
    candidate: MxCandidate,
    destination: Destination,
    signal: AbortSignal,
  ): Promise<CandidateAddresses>;
  /** What AUTH to the hosts of the route is made with, as it is now. */
  credentialsFor(route: Route): Promise<CredentialsRead>;
  readonly runSession: WalkSteps['runSession'];
  settle(attempt: AttemptOutcomes): Promise<AttemptRecord>;
  /** Whether there is room for an attempt at these hosts; from then on it counts for their rate. */
  hasRoomFor(route: Route): boolean | Promise<boolean>;
  /** A session ended, a message went over it, or a host was not asked at all. */
  onSession(envelope: Envelope, route: Route, result: SessionResult): void;
  /** All sessions of a transaction, or of the search for one. */
  onSessions(route: Route, results: readonly SessionResult[]): void;
}

export type Attempt = Omit<AttemptOutcomes, 'outcomes'>;

export interface AttemptParts {
  readonly stages: TransactionStages;
  readonly signal: AbortSignal;
  /** What tells sessions that the outcome of their transaction is on disk, or came to nothing. */
  readonly unrecorded: (() => void)[];
}

/** What is to be settled is on disk, or came to nothing. */
export function release({ unrecorded }: AttemptParts): void {
  for (const tell of unrecorded.splice(0)) tell();
}

/** What is to be settled at the end of an attempt. */
export type AttemptResults = Required<
  Pick<AttemptOutcomes, 'outcomes' | 'sessions' | 'sessionBefore'>
>;

/**
 * Transaction after transaction, until everybody had a turn: an outcome for every recipient who is
 * not recorded as delivered by then, and the sessions that are not recorded with one.
 */
export async function attemptOutcomes(
  attempt: Attempt,
  pending: readonly number[],
  parts: AttemptParts,
): Promise<AttemptResults | 'cut-short'> {
  const all = new Map<number, Outcome>();
  let left = pending;
  let sessions: SessionResult[] = [];
  let sessionBefore: SessionResult | undefined;
  for (let course: Course | undefined; ; ) {
    const turn = await attemptTransaction(attempt, left, { ...parts, course });
    if (turn === 'cut-short') return 'cut-short';
    for (const [index, outcome] of turn.outcomes) all.set(index, outcome);
    sessions.push(...turn.sessions);
    const stop = turn.left.length > 0 ? whyNotOn(turn.outcomes) : undefined;
    if (stop) for (const index of turn.left) all.set(index, stop);
    if (stop || turn.left.length === 0) return { outcomes: all, sessions, sessionBefore };
    const outcomes = new Map([...all].filter(([, { kind }]) => kind === 'delivered'));
    if (outcomes.size > 0) {
      const told = { sessions, sessionBefore };
      await parts.stages.settle({ ...attempt, ...told, outcomes, more: true });
      sessionBefore = sessions.at(-1);
      sessions = [];
    }
    for (const index of outcomes.keys()) all.delete(index);
    release(parts);
    ({ left, course } = turn);
  }
}

interface Turn {
  readonly outcomes: ReadonlyMap<number, Outcome>;
  /** Those who were too many for the transaction. */
  readonly left: readonly number[];
  readonly course: Course | undefined;
  readonly sessions: readonly SessionResult[];
}

/** Route, policy, deliver: one transaction, with all of `pending` or as many as the server takes. */
async function attemptTransaction(
  { message, destination }: Attempt,
  pending: readonly number[],
  { stages, signal, unrecorded, course }: AttemptParts & { readonly course: Course | undefined },
): Promise<Turn | 'cut-short'> {
  const withoutSession = (failure: Failure): Turn => ({
    outcomes: concludeWithoutSession(failure, pending),
    left: [],
    course,
    sessions: [],
  });
  if (destination === NO_DESTINATION) return withoutSession(MALFORMED);

  const routed = await stages.findRoute(destination, signal);
  if (isStopping(signal)) return 'cut-short';
  if (routed.kind === 'failed') return withoutSession(routed.failure);
  const hasRoom = course !== undefined || stages.hasRoomFor(routed.route);
  if (!(typeof hasRoom === 'boolean' ? hasRoom : await hasRoom)) return 'cut-short';
  const route = stayOn(course, routed.route);

  const policy = await stages.tlsPolicy(route, signal, tlsWishOf(message.envelope));
  if (isStopping(signal)) return 'cut-short';
  if (policy.kind === 'undecided') return withoutSession(policy.failure);

  const read = await stages.credentialsFor(route);
  if (read.kind === 'failed') return withoutSession(read.failure);

  const recorded = Promise.withResolvers<void>();
  unrecorded.push(recorded.resolve);
  const recipients = pending.slice(0, course?.mostRecipients);
  const consignment: Consignment = {
    envelope: message.envelope,
    recipients,
    ...outgoingContent(message, stages.spool),
    recorded: recorded.promise,
  };
  const steps: WalkSteps = {
    requirementFor: policy.requirementFor,
    bindByDane: policy.bindByDane,
    addressesOf: (candidate, ending) => stages.addressesOf(candidate, destination, ending),
    runSession: stages.runSession,
    ...(read.kind === 'found' ? { credentials: read.credentials } : {}),
    triesNextHost: (failure) => classify(failure).tryNextHost,
    onResult: (result) => stages.onSession(message.envelope, route, result),
  };
  const results = await deliver(route, consignment, { steps, signal });
  if (!isStopping(signal)) stages.onSessions(routed.route, results);
  const transaction = results.find((result) => result.kind === 'transacted');
  if (isStopping(signal) && !transaction) return 'cut-short';
  // Without a transaction what is known is about all of them.
  if (!transaction) {
    return { outcomes: conclude(results, pending), left: [], course, sessions: results };
  }
  // In this order: those who can only be refused there come last (hand-over.ts).
  const left = [...(transaction.left ?? []), ...pending.slice(recipients.length)];
  const unnamed = new Set(left);
  const named = pending.filter((index) => !unnamed.has(index));
  return {
    outcomes: conclude(results, named),
    left,
    course: courseOf(transaction),
    sessions: results,
  };
}

/** The relay is stopping; the time of an attempt that is over is another matter (TimeoutError). */
export function isStopping(signal: AbortSignal): boolean {
  return signal.aborted && (signal.reason as Error | undefined)?.name !== 'TimeoutError';
}
