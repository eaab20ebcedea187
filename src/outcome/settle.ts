/**
 * Turns the outcomes of an attempt into durable facts: one record in the spool with every
 * recipient's fate and the next attempt, the DSN that is owed, and what the queue shall do.
 *
 * The record is on disk before anything else is done about the message. If the disk does not
 * take it, settling waits and tries again: a delivery that is not recorded would be repeated.
 */
import { localFailure } from '../mail/failure.ts';
import { type MessageId, newMessageId } from '../mail/message-id.ts';
import type { Diagnosis, Outcome } from '../mail/outcome.ts';
import type { Destination } from '../mail/route.ts';
import type { SessionResult } from '../mail/session-result.ts';
import { plainErrors } from '../mail/system-errors.ts';
import { describeRequirement } from '../mail/tls-requirement.ts';
import type { Clock } from '../platform/clock.ts';
import type { PolicyCheck, PolicyUsed } from '../policy/last-check.ts';
import { oneLine } from '../protocol/dsn/delivery-status.ts';
import { formatReply } from '../protocol/smtp/reply.ts';
import { nextAttempt, type RetrySettings } from '../queue/retry-schedule.ts';
import type { AttemptRecord, RecordedFailure } from '../spool/message-state.ts';
import { type Spool, SpoolError, type StoredMessage } from '../spool/store.ts';
import type { OutcomeEvents } from '../telemetry/outcome-events.ts';
import { statusAtTheEnd } from './classify.ts';
import { owesDsn } from './dsn-duty.ts';
import { leavesSomebody, recordSessions } from './record-sessions.ts';

export interface SettleParts {
  readonly spool: Spool;
  readonly clock: Clock;
  readonly retry: () => RetrySettings;
  readonly events: OutcomeEvents;
}

export interface AttemptOutcomes {
  readonly message: StoredMessage;
  readonly destination: Destination;
  /** Attempts made, this one included if it is one. */
  readonly attempts: number;
  readonly outcomes: ReadonlyMap<number, Outcome>;
  /** More transactions of this attempt follow: those who were delivered are recorded before them. */
  readonly more?: true;
  /** No attempt was made: recipients are given up while they wait. */
  readonly untried?: true;
  /** Whether the policy that holds recipients back is still the latest; absent: nobody looked. */
  readonly policyCheck?: PolicyCheck;
  /** What came of every host that was tried or skipped, in order, since the last record of the attempt. */
  readonly sessions?: readonly SessionResult[];
  /** The last one that is on record already. */
  readonly sessionBefore?: SessionResult | undefined;
}

/**
 * RFC 8461 §5.1: no message fails for good on a policy before it was checked for a newer one. It
 * waits for that beyond its lifetime, but not for ever: every message has an answer.
 */
const UNCHECKED_MS = 24 * 3_600_000;
const RECORD_AGAIN_MS = 1000;
/** Kept of a failure's text, in characters: certificates and policies of strangers are quoted in it. */
const MAX_TEXT = 1000;

/** Record an attempt; returns the record, already durable. */
export async function settle(attempt: AttemptOutcomes, parts: SettleParts): Promise<AttemptRecord> {
  const record = decide(attempt, parts);
  await appendPatiently(attempt.message.envelope.id, record, parts);
  tell(attempt, record, parts.events);
  return record;
}

/** The record of an attempt: pure but for the clock and the jitter. */
function decide(attempt: AttemptOutcomes, { clock, retry }: SettleParts): AttemptRecord {
  const { envelope } = attempt.message;
  const atMs = clock.now();
  const delivered: number[] = [];
  const relayed: { index: number; host: string; reply: string }[] = [];
  const bounced: { index: number; failure: RecordedFailure }[] = [];
  const deferred: { index: number; failure: RecordedFailure }[] = [];
  for (const [index, outcome] of attempt.outcomes) {
    if (outcome.kind === 'delivered') {
      delivered.push(index);
      const host = outcome.facts.candidate.host ?? outcome.facts.address ?? '';
      // RFC 3461 §5.2.2: the duty to report moved on with the message, or stays here.
      if (!outcome.dsnOffered) relayed.push({ index, host, reply: formatReply(outcome.reply) });
    } else if (outcome.kind === 'bounced') {
      bounced.push({ index, failure: recordFailure(outcome.diagnosis) });
    } else deferred.push({ index, failure: recordFailure(outcome.diagnosis) });
  }
  const base = {
    kind: 'attempt' as const,
    atMs,
    destination: attempt.destination,
    delivered,
    relayed,
    ...(attempt.more ? { more: true as const } : {}),
    ...(attempt.untried ? { untried: true as const } : {}),
  };
  const next = deferred.length === 0 ? undefined : whenNext(attempt, { atMs, retry: retry() });
  const record: AttemptRecord =
    next === 'expired'
      ? { ...base, bounced: [...bounced, ...deferred.map(expired)], deferred: [] }
      : { ...base, bounced, deferred, ...(next === undefined ? {} : { nextAttemptMs: next }) };
  return {
    ...record,
    ...(owesDsn(envelope, record) ? { dsnId: newMessageId(atMs) } : {}),
    // One that is delivered at once pays nothing for its history.
    ...(leavesSomebody(attempt.message, record)
      ? recordSessions(attempt.sessions ?? [], attempt.sessionBefore)
      : {}),
  };
}

/** When those who wait are tried again. */
function whenNext(
  { message, destination, attempts, outcomes, policyCheck }: AttemptOutcomes,
  { atMs, retry }: { atMs: number; retry: RetrySettings },
): number | 'expired' {
  const { id, receivedAtMs, reversePath, tlsReport = false } = message.envelope;
  const question = {
    id,
    destination,
    receivedAtMs,
    // RFC 8460 §5.5: reports are tried for a day, too.
    nullReversePath: reversePath === '' || tlsReport,
    attempts,
    causeClass: causeClassOf(outcomes),
    triedAtMs: atMs,
  };
  const next = nextAttempt(retry, question);
  const isChecked = policyCheck === 'changed' || policyCheck === 'unchanged';
  if (next !== 'expired' || isChecked || !heldByPolicy(outcomes)) return next;
  return nextAttempt(retry, { ...question, extensionMs: UNCHECKED_MS });
}

/**
 * The policy that an attempt was made under and that keeps recipients waiting, when they would be
 * given up now: it has to be checked first (RFC 8461 §5.1).
 */
export function policyToCheck(
  attempt: AttemptOutcomes,
  { clock, retry }: Pick<SettleParts, 'clock' | 'retry'>,
): PolicyUsed | undefined {
  const used = heldByPolicy(attempt.outcomes);
  if (!used) return undefined;
  const asChecked = { ...attempt, policyCheck: 'unchanged' as const };
  const next = whenNext(asChecked, { atMs: clock.now(), retry: retry() });
  return next === 'expired' ? used : undefined;
}

/** The MTA-STS policy that keeps somebody waiting. */
function heldByPolicy(outcomes: AttemptOutcomes['outcomes']): PolicyUsed | undefined {
  for (const outcome of outcomes.values()) {
    if (outcome.kind !== 'deferred') continue;
    const { causeClass, requirement } = outcome.diagnosis;
    const source = requirement?.source;
    if (causeClass !== 'tlsPolicy' || source?.kind !== 'mta-sts') continue;
    return { domain: source.domain, text: source.policyText };
  }
  return undefined;
}

/** Of the first recipient who waits. */
function causeClassOf(outcomes: AttemptOutcomes['outcomes']) {
  for (const outcome of outcomes.values()) {
    if (outcome.kind === 'deferred') return outcome.diagnosis.causeClass;
  }
  return 'other';
}

/**
 * The lifetime is over (RFC 5321 §4.5.4.1, RFC 8461 §5.1): what kept the recipient waiting is now
 * why it bounces. Its status says so (RFC 3463 §3.5, X.4.7), unless it is that of a host, or of the
 * TLS that was missing.
 */
function expired({ index, failure }: { index: number; failure: RecordedFailure }) {
  const telling = failure.source === 'remote' || failure.causeClass === 'tlsPolicy';
  const own = failure.source === 'remote' ? failure.status : statusAtTheEnd(failure.status);
  const status = telling ? own : '4.4.7';
  return { index, failure: { ...failure, status, expired: true } };
}

function recordFailure(diagnosis: Diagnosis): RecordedFailure {
  const { failure, host, address, status, causeClass, requirement } = diagnosis;
  const remote = failure.kind === 'reply';
  return {
    text: oneLine(remote ? formatReply(failure.reply) : plainErrors(failure.detail)).slice(
      0,
      MAX_TEXT,
    ),
    source: remote ? 'remote' : 'local',
    cause: remote ? failure.stage : failure.cause,
    status,
    causeClass,
    ...(host === undefined ? {} : { host }),
    ...(address === undefined ? {} : { address }),
    ...(causeClass === 'tlsPolicy' && requirement
      ? { demand: describeRequirement(requirement) }
      : {}),
  };
}

async function appendPatiently(
  id: MessageId,
  record: AttemptRecord,
  { spool, clock, events }: SettleParts,
): Promise<void> {
  for (;;) {
    try {
      return await spool.append(id, [record]);
    } catch (error) {
      events.recordDelayed(id, error as Error);
      // Somebody removed it from the disk: there is nothing left to record it in.
      if (isGone(error)) return;
      await new Promise<void>((resolve) => clock.after(RECORD_AGAIN_MS, resolve));
    }
  }
}

function tell(
  { message, attempts, outcomes }: AttemptOutcomes,
  record: AttemptRecord,
  events: OutcomeEvents,
) {
  const { envelope } = message;
  const bouncedNow = new Set(record.bounced.map(({ index }) => index));
  for (const [index, outcome] of outcomes) {
    const facts = {
      id: envelope.id,
      recipient: envelope.recipients[index]?.address ?? '',
      destination: record.destination,
      attempt: attempts,
    };
    if (outcome.kind === 'delivered') {
      events.delivered(facts, outcome, record.atMs - envelope.receivedAtMs);
    } else if (bouncedNow.has(index)) {
      const { failure } = outcome.diagnosis;
      if (failure.kind === 'local' && failure.cause === 'dropped-by-administrator') {
        events.dropped(facts, failure.detail);
        continue;
      }
      const lifetimeOver = outcome.kind === 'deferred';
      events.bounced({ ...facts, lifetimeOver }, outcome.diagnosis);
    } else
      events.deferred({ ...facts, nextAttemptMs: record.nextAttemptMs ?? 0 }, outcome.diagnosis);
  }
}

/** The outcome for recipients whose address names no destination. */
export const MALFORMED = localFailure('malformed-address', 'the address has no usable domain');

function isGone(error: unknown): boolean {
  return error instanceof SpoolError && error.kind === 'gone';
}
