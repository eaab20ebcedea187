/**
 * The reports a message's sender gets (RFC 3461 §6), for the story of the message: those that were made,
 * those that are owed, and those to come if nothing changes. Pure.
 */
import type { RetrySettings } from '../queue/retry-schedule.ts';
import type { DestinationOf, ReportedRecord } from '../spool/message-state.ts';
import type { StoredMessage } from '../spool/store.ts';
import { delayRecord } from './delay-record.ts';
import { hasSender, wants } from './dsn-duty.ts';
import type { FateStory } from './story-fates.ts';

export interface DsnStory {
  /** The id of the message it is. */
  readonly id: string;
  /** What it tells of (RFC 3464 §2.3.3). */
  readonly actions: readonly ('failed' | 'relayed' | 'delayed')[];
  /** When it was found to be owed; RFC 3339. */
  readonly at: string;
  /** The destination it is about; absent where it is about all who wait. */
  readonly destination?: string;
  /** When it was put into the queue; absent: it is still owed. */
  readonly queued?: string;
}

/** What the sender will be told of those who wait. */
export interface DsnsToCome {
  /** When the sender is told that they wait, if they still do then; RFC 3339. */
  readonly delayWarningDue?: string;
  /** The sender is told of a failure when they are given up. */
  readonly tellsOfFailure?: true;
}

export interface ToComeParts {
  readonly retry: RetrySettings & {
    /** How long a message waits before its sender is told, in milliseconds; undefined: never told. */
    readonly delayWarning?: number | undefined;
  };
  readonly destinationOf: DestinationOf;
}

/** By the settings of the moment. `fates`: of the recipients, in their order. */
export function dsnsToCome(
  message: StoredMessage,
  fates: readonly FateStory[],
  { retry, destinationOf }: ToComeParts,
): DsnsToCome {
  const { envelope } = message;
  if (!hasSender(envelope)) return {};
  const afterMs = retry.delayWarning ?? Number.POSITIVE_INFINITY;
  const nowMs = envelope.receivedAtMs + afterMs;
  const isWarned =
    Number.isFinite(nowMs) && delayRecord(message, { nowMs, retry, destinationOf }) !== undefined;
  const tellsOfFailure = fates.some(
    ({ fate }, index) => fate === 'waiting' && wants(envelope, index, 'FAILURE'),
  );
  return {
    ...(isWarned ? { delayWarningDue: new Date(nowMs).toISOString() } : {}),
    ...(tellsOfFailure ? { tellsOfFailure } : {}),
  };
}

/** Each once, however often its record was written. */
export function dsnStories({ envelope, records }: StoredMessage): readonly DsnStory[] {
  const queued = new Map<string, number>();
  for (const record of records) {
    if (record.kind === 'notified') queued.set(record.dsnId, record.atMs);
  }
  const dsns = new Map<string, DsnStory>();
  for (const record of records) {
    if (record.kind !== 'attempt' && record.kind !== 'delay') continue;
    if (record.dsnId === undefined) continue;
    const queuedMs = queued.get(record.dsnId);
    dsns.set(record.dsnId, {
      id: record.dsnId,
      actions: actionsOf(record, envelope),
      at: new Date(record.atMs).toISOString(),
      ...(record.kind === 'attempt' ? { destination: record.destination } : {}),
      ...(queuedMs === undefined ? {} : { queued: new Date(queuedMs).toISOString() }),
    });
  }
  return [...dsns.values()];
}

function actionsOf(
  record: ReportedRecord,
  envelope: StoredMessage['envelope'],
): DsnStory['actions'] {
  if (record.kind === 'delay') return ['delayed'];
  if (!hasSender(envelope)) return ['failed']; // a report, made anew
  const { bounced, relayed } = record;
  return [
    ...(bounced.some(({ index }) => wants(envelope, index, 'FAILURE'))
      ? (['failed'] as const)
      : []),
    ...(relayed.some(({ index }) => wants(envelope, index, 'SUCCESS'))
      ? (['relayed'] as const)
      : []),
  ];
}
