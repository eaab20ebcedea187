/**
 * What a DSN says about each recipient, for machines (RFC 3464 §2.3) and for people: made of the
 * record that it is about, and of what the message went through before. Pure.
 */
import type { Recipient } from '../mail/envelope.ts';
import type { RecipientStatus } from '../protocol/dsn/delivery-status.ts';
import type { Explanation } from '../protocol/dsn/explanation.ts';
import {
  type AttemptRecord,
  type DelayRecord,
  foldRecords,
  type RecordedFailure,
  type ReportedRecord,
} from '../spool/message-state.ts';
import type { StoredMessage } from '../spool/store.ts';
import { wants } from './dsn-duty.ts';

/** One recipient of a report. */
export type DsnEntry = {
  readonly recipient: Recipient;
  /** Attempts made for the destination. */
  readonly attempts: number;
  /** When the last one ended; undefined before the first. */
  readonly lastAttemptMs: number | undefined;
} & (
  | {
      readonly action: 'failed';
      readonly failure: RecordedFailure;
      /** Where `failure` is no attempt's: why the last one failed. */
      readonly lastFailure: RecordedFailure | undefined;
      /** The lifetime of the message is over: after so long. */
      readonly givenUpAfterMs: number | undefined;
    }
  | {
      readonly action: 'delayed';
      /** Why the last attempt failed; undefined before the first. */
      readonly failure: RecordedFailure | undefined;
      readonly retryUntilMs: number;
    }
  | { readonly action: 'relayed'; readonly host: string }
);

/** Those a DSN about `record` names; none when there is nothing to tell any more. */
export function dsnEntries(original: StoredMessage, record: ReportedRecord): readonly DsnEntry[] {
  return record.kind === 'delay' ? delayed(original, record) : ended(original, record);
}

function ended({ envelope, records }: StoredMessage, record: AttemptRecord): readonly DsnEntry[] {
  const { atMs, untried } = record;
  const own = records.indexOf(record);
  const made = attemptsAt(record.destination, own < 0 ? records : records.slice(0, own + 1));
  const facts = (index: number) => ({
    recipient: envelope.recipients[index] ?? { address: '' },
    attempts: untried ? made.count : Math.max(1, made.count),
    // RFC 3464 §2.3.7: of the last attempt, if there was any.
    lastAttemptMs: untried ? made.lastMs : atMs,
  });
  return [
    ...record.relayed
      .filter(({ index }) => wants(envelope, index, 'SUCCESS'))
      .map(({ index, host }) => ({ ...facts(index), action: 'relayed' as const, host })),
    ...record.bounced
      .filter(({ index }) => wants(envelope, index, 'FAILURE'))
      .map(({ index, failure }) => ({
        ...facts(index),
        action: 'failed' as const,
        failure,
        lastFailure: untried ? made.failures.get(index) : undefined,
        givenUpAfterMs: failure.expired ? atMs - envelope.receivedAtMs : undefined,
      })),
  ];
}

/** Whoever got a fate since the record was made is not delayed any more. */
function delayed({ envelope, records }: StoredMessage, record: DelayRecord): readonly DsnEntry[] {
  const { pending } = foldRecords(envelope, records, () => undefined);
  const open = new Set(pending.flatMap((delivery) => delivery.pending));
  return record.waiting.flatMap(({ destination, recipients, untilMs }) => {
    const made = attemptsAt(destination, records);
    return recipients
      .filter((index) => open.has(index))
      .map((index) => ({
        action: 'delayed' as const,
        recipient: envelope.recipients[index] ?? { address: '' },
        attempts: made.count,
        lastAttemptMs: made.lastMs,
        failure: made.failures.get(index),
        retryUntilMs: untilMs,
      }));
  });
}

/** The attempts for `destination` that are on record, one that was cut off included. */
function attemptsAt(destination: string, records: StoredMessage['records']) {
  let count = 0;
  let lastMs: number | undefined;
  let isOpen = false;
  /** Why the last one failed, by recipient index. */
  const failures = new Map<number, RecordedFailure>();
  for (const record of records) {
    if (record.kind !== 'attempt' || record.destination !== destination) continue;
    if (record.untried) continue;
    // The transactions of one attempt have a record each.
    if (!isOpen) count += 1;
    isOpen = record.more === true;
    lastMs = record.atMs;
    for (const { index, failure } of record.deferred) failures.set(index, failure);
  }
  return { count, lastMs, failures };
}

/** A recipient's block of the delivery status. `logId` is our id of the message. */
export function recipientStatus(entry: DsnEntry, logId: string): RecipientStatus {
  const { recipient, action, lastAttemptMs } = entry;
  const facts = {
    originalRecipient: recipient.orcpt,
    finalRecipient: recipient.address,
    action,
    lastAttemptMs,
    logId,
  };
  if (action === 'relayed') return { ...facts, status: '2.0.0', remoteMta: entry.host };
  const failure = diagnosisOf(entry);
  // RFC 3461 §6.3: a host and its reply, where one answered.
  const remote = failure?.source === 'remote';
  return {
    ...facts,
    // RFC 3464 §2.3.4: of what ended it, which is not always what the host said.
    status: action === 'failed' ? entry.failure.status : temporary(failure?.status),
    remoteMta: remote ? (failure.host ?? failure.address) : undefined,
    diagnostic: failure && { type: remote ? 'smtp' : 'x-stsrelay', text: failure.text },
    retryUntilMs: action === 'delayed' ? entry.retryUntilMs : undefined,
  };
}

/** What the host said last, also where we gave up ourselves while nothing was tried. */
function diagnosisOf(entry: Exclude<DsnEntry, { action: 'relayed' }>): RecordedFailure | undefined {
  const last = entry.action === 'failed' ? entry.lastFailure : undefined;
  return last?.source === 'remote' ? last : entry.failure;
}

/** RFC 3464 §2.3.4: what is tried again has a status of class 4, also after a 552 that counts as 452. */
function temporary(status: string | undefined): string {
  return status?.replace(/^\d/, '4') ?? '4.0.0';
}

/** The entries as people read them. */
export function explanationOf(
  entries: readonly DsnEntry[],
): Pick<Explanation, 'failed' | 'delayed' | 'relayed'> {
  const failed: Explanation['failed'][number][] = [];
  const waiting: Explanation['delayed'][number][] = [];
  const relayed: Explanation['relayed'][number][] = [];
  for (const entry of entries) {
    const { recipient, attempts, action } = entry;
    if (action === 'relayed') relayed.push({ recipient: recipient.address, host: entry.host });
    else {
      const undelivered = { recipient: recipient.address, attempts, reason: entry.failure };
      if (action === 'failed') {
        const { lastFailure: lastReason, lastAttemptMs, givenUpAfterMs } = entry;
        failed.push({ ...undelivered, lastReason, lastAttemptMs, givenUpAfterMs });
      } else waiting.push({ ...undelivered, retryUntilMs: entry.retryUntilMs });
    }
  }
  return { failed, delayed: waiting, relayed };
}
