/**
 * What a DSN says about each recipient, for machines (RFC 3464 §2.3) and for people: made of the
 * record that it is about, and of what the message went through before. Pure.
 */
import type { Recipient } from '../mail/envelope.ts';
import type { RecipientStatus } from '../protocol/dsn/delivery-status.ts';
import type { Explanation, Undelivered } from '../protocol/dsn/explanation.ts';
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
  /** Of the last one; undefined before the first. */
  readonly lastAttemptMs: number | undefined;
} & (
  | { readonly action: 'failed'; readonly failure: RecordedFailure }
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
  const attempts = Math.max(1, attemptsFor(records, record.destination).length);
  const facts = (index: number) => ({
    recipient: envelope.recipients[index] ?? { address: '' },
    attempts,
    lastAttemptMs: record.atMs,
  });
  return [
    ...record.relayed
      .filter(({ index }) => wants(envelope, index, 'SUCCESS'))
      .map(({ index, host }) => ({ ...facts(index), action: 'relayed' as const, host })),
    ...record.bounced
      .filter(({ index }) => wants(envelope, index, 'FAILURE'))
      .map(({ index, failure }) => ({ ...facts(index), action: 'failed' as const, failure })),
  ];
}

/** Whoever got a fate since the record was made is not delayed any more. */
function delayed({ envelope, records }: StoredMessage, record: DelayRecord): readonly DsnEntry[] {
  const { pending } = foldRecords(envelope, records, () => undefined);
  const open = new Set(pending.flatMap((delivery) => delivery.pending));
  return record.waiting.flatMap(({ destination, recipients, untilMs }) => {
    const made = attemptsFor(records, destination);
    const failures = new Map(
      made.flatMap(({ deferred }) => deferred.map(({ index, failure }) => [index, failure])),
    );
    return recipients
      .filter((index) => open.has(index))
      .map((index) => ({
        action: 'delayed' as const,
        recipient: envelope.recipients[index] ?? { address: '' },
        attempts: made.length,
        lastAttemptMs: made.at(-1)?.atMs,
        failure: failures.get(index),
        retryUntilMs: untilMs,
      }));
  });
}

function attemptsFor(records: StoredMessage['records'], destination: string) {
  return records.filter(
    (made): made is AttemptRecord =>
      made.kind === 'attempt' && made.destination === destination && !made.more,
  );
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
  const { failure } = entry;
  // RFC 3461 §6.3: a host and its reply, where one answered.
  const remote = failure?.source === 'remote';
  return {
    ...facts,
    status: action === 'failed' ? entry.failure.status : temporary(failure?.status),
    remoteMta: remote ? (failure.host ?? failure.address) : undefined,
    diagnostic: failure && { type: remote ? 'smtp' : 'x-stsrelay', text: failure.text },
    retryUntilMs: action === 'delayed' ? entry.retryUntilMs : undefined,
  };
}

/** RFC 3464 §2.3.4: what is tried again has a status of class 4, also after a 552 that counts as 452. */
function temporary(status: string | undefined): string {
  return status?.replace(/^\d/, '4') ?? '4.0.0';
}

/** The entries as people read them. */
export function explanationOf(
  entries: readonly DsnEntry[],
): Pick<Explanation, 'failed' | 'delayed' | 'relayed'> {
  const failed: Undelivered[] = [];
  const waiting: Explanation['delayed'][number][] = [];
  const relayed: Explanation['relayed'][number][] = [];
  for (const entry of entries) {
    const { recipient, attempts, action } = entry;
    if (action === 'relayed') relayed.push({ recipient: recipient.address, host: entry.host });
    else {
      const undelivered = { recipient: recipient.address, attempts, reason: entry.failure };
      if (action === 'failed') failed.push(undelivered);
      else waiting.push({ ...undelivered, retryUntilMs: entry.retryUntilMs });
    }
  }
  return { failed, delayed: waiting, relayed };
}
