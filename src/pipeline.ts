/**
 * One attempt to deliver one message to one destination, top to bottom:
 *
 *   load     what the spool says is left to do
 *   transact route, policy, session: once, or as often as a server's limits ask (transactions.ts);
 *            where its hosts are away or busy, or its rate is used up, the attempt is put off and does not count
 *   recheck  before a policy makes it fail for good, the policy is fetched anew (RFC 8461 §5.1)
 *   settle   every recipient's fate, durable, and the next attempt
 *   finish   the DSN that is owed; the message removed when nobody is left
 *
 * Whatever goes wrong outside comes back as a value and is settled like everything else.
 */
import { localFailure } from './mail/failure.ts';
import type { MessageId } from './mail/message-id.ts';
import type { Destination } from './mail/route.ts';
import { concludeWithoutSession } from './outcome/conclude.ts';
import type { AttemptOutcomes } from './outcome/settle.ts';
import type { PolicyCheck, PolicyUsed } from './policy/last-check.ts';
import type { AttemptEnd } from './queue/attempts.ts';
import {
  type AttemptRecord,
  type DeliveryState,
  type DestinationOf,
  foldRecords,
} from './spool/message-state.ts';
import type { StoredMessage } from './spool/store.ts';
import {
  type AttemptParts,
  attemptOutcomes,
  isStopping,
  release,
  type TransactionStages,
} from './transactions.ts';

/** The stages, each built once by relay.ts. */
export interface Stages extends TransactionStages {
  readonly destinationOf: DestinationOf;
  /** The policy that has to be checked before those who wait are given up now. */
  policyToCheck(attempt: AttemptOutcomes): PolicyUsed | undefined;
  /** See whether a policy that holds a message back is still the latest. */
  recheckPolicy(used: PolicyUsed, signal: AbortSignal): Promise<PolicyCheck>;
  /** Whether a message's time for this destination is over now. */
  isExpired(message: StoredMessage, destination: Destination): boolean;
  finish(id: MessageId): Promise<void>;
  onFirstAttempt(message: StoredMessage): void;
}

/** A delivery as the queue has it. */
export interface QueuedDelivery {
  readonly id: MessageId;
  readonly destination: Destination;
  /** Absolute, ms: what is not attempted after all waits as before. */
  readonly nextAttemptMs: number;
}

/**
 * Make one attempt. `signal` ends it early: when the relay is stopping, what was not settled
 * then is attempted again; an attempt that ran out of time (TimeoutError) is settled as one
 * that failed, so that a host that drips for hours cannot keep a message from expiring.
 */
export async function attemptDelivery(
  { id, destination, nextAttemptMs }: QueuedDelivery,
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
  // Not as on record: an administrator, or another schedule, may have made it due since.
  if (record === 'cut-short') return { kind: 'again', atMs: nextAttemptMs };
  await stages.finish(id);
  return endAfter(record, delivery.attempts + 1);
}

/**
 * Give up what is left of a message for a destination that is not attempted, where its time is over:
 * `reason` says what keeps it from being attempted.
 */
export async function expireDelivery(
  { id, destination, nextAttemptMs }: QueuedDelivery,
  stages: Omit<Stages, 'hasRoomFor'>,
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
  const made = { message, destination, attempts, outcomes, untried: true } as const;
  const record = delivery && (await stages.settle(made));
  await stages.finish(id);
  return record ? endAfter(record, attempts) : { kind: 'closed' };
}

/** How an administrator ends the wait of recipients. */
export interface GiveUp {
  /** Bounced: their sender is told; dropped: nobody is. */
  readonly how: 'bounced' | 'dropped';
  /** For the DSN and the log; may be empty. */
  readonly reason: string;
  /** Those who are meant; absent: all. */
  readonly isMeant?: ((address: string) => boolean) | undefined;
  /** Told how many there were. */
  readonly onDone?: (recipients: number) => void;
}

/** Give up recipients who wait, because an administrator says so. */
export async function giveUpDelivery(
  { id, destination, nextAttemptMs }: QueuedDelivery,
  stages: Pick<Stages, 'spool' | 'destinationOf' | 'settle' | 'finish'>,
  { how, reason, isMeant = () => true, onDone }: GiveUp,
): Promise<AttemptEnd> {
  const message = await stages.spool.read(id);
  if (!message) return { kind: 'closed' };
  const { envelope } = message;
  const state = foldRecords(envelope, message.records, stages.destinationOf);
  const delivery = state.pending.find((pending) => pending.destination === destination);
  const meant = (delivery?.pending ?? []).filter((index) =>
    isMeant(envelope.recipients[index]?.address ?? ''),
  );
  if (delivery && meant.length > 0) {
    const cause = how === 'bounced' ? 'bounced-by-administrator' : 'dropped-by-administrator';
    const text = `an administrator of this relay gave it up${reason === '' ? '' : `: ${reason}`}`;
    const outcomes = concludeWithoutSession(localFailure(cause, text), meant);
    const { attempts } = delivery;
    // No attempt was made: those who are left wait as before.
    await stages.settle({ message, destination, attempts, outcomes, untried: true });
    onDone?.(meant.length);
  }
  await stages.finish(id);
  const isAllOfIt = meant.length === (delivery?.pending ?? []).length;
  return isAllOfIt ? { kind: 'closed' } : { kind: 'again', atMs: nextAttemptMs };
}

function endAfter({ nextAttemptMs, atMs, deferred }: AttemptRecord, attempts: number): AttemptEnd {
  if (nextAttemptMs === undefined) return { kind: 'closed' };
  const causeClass = deferred[0]?.failure.causeClass ?? 'other';
  return { kind: 'again', atMs: nextAttemptMs, tried: { attempts, causeClass, triedAtMs: atMs } };
}

type FullParts = AttemptParts & { readonly stages: Stages };

/** The attempt and its last record, which is durable. */
async function attemptAndSettle(
  message: StoredMessage,
  delivery: DeliveryState,
  { stages, signal }: { stages: Stages; signal: AbortSignal },
): Promise<AttemptRecord | 'cut-short'> {
  const { destination, pending } = delivery;
  const parts: FullParts = { stages, signal, unrecorded: [] };
  const attempt = { message, destination, attempts: delivery.attempts + 1 };
  try {
    const results = await attemptOutcomes(attempt, pending, parts);
    if (results === 'cut-short') return 'cut-short';
    const made = await recheckIfLast({ ...attempt, ...results }, parts);
    return made === 'cut-short' ? 'cut-short' : await stages.settle(made);
  } finally {
    release(parts);
  }
}

/**
 * RFC 8461 §5.1: recipients whom a policy held back are not given up before it was checked
 * for a newer one; if there is one, they get an attempt under it.
 */
async function recheckIfLast(
  attempt: AttemptOutcomes,
  parts: FullParts,
): Promise<AttemptOutcomes | 'cut-short'> {
  const { stages, signal } = parts;
  const used = stages.policyToCheck(attempt);
  if (used === undefined) return attempt;
  const policyCheck = await stages.recheckPolicy(used, signal);
  if (isStopping(signal)) return 'cut-short';
  if (policyCheck !== 'changed') return { ...attempt, policyCheck };
  const waiting = [...attempt.outcomes].filter(([, { kind }]) => kind === 'deferred');
  const pending = waiting.map(([index]) => index);
  const again = await attemptOutcomes(attempt, pending, parts);
  if (again === 'cut-short') return 'cut-short';
  const settled = [...attempt.outcomes].filter(([, { kind }]) => kind !== 'deferred');
  return {
    ...attempt,
    policyCheck,
    outcomes: new Map([...settled, ...again.outcomes]),
    sessions: [...(attempt.sessions ?? []), ...again.sessions],
  };
}
