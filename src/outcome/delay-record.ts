/**
 * Decides whether the sender of a message that waits is told so now (`retry.delayWarning`), and
 * about which recipients: those without a fate, whose NOTIFY allows it (RFC 3461 §5.2.5). Pure.
 *
 * Once per message: all its recipients have waited for as long. Not for one that is given up
 * with its next attempt anyway.
 */
import { newMessageId } from '../mail/message-id.ts';
import { expiry, type RetrySettings } from '../queue/retry-schedule.ts';
import { type DelayRecord, type DestinationOf, foldRecords } from '../spool/message-state.ts';
import type { StoredMessage } from '../spool/store.ts';
import { hasSender, wants } from './dsn-duty.ts';

export interface DelayParts {
  readonly nowMs: number;
  readonly retry: RetrySettings;
  readonly destinationOf: DestinationOf;
}

/** The record to make; undefined when nobody is to be told. The caller knows that it is time. */
export function delayRecord(
  { envelope, records }: Pick<StoredMessage, 'envelope' | 'records'>,
  { nowMs, retry, destinationOf }: DelayParts,
): DelayRecord | undefined {
  if (!hasSender(envelope) || records.some(({ kind }) => kind === 'delay')) return undefined;
  const { receivedAtMs } = envelope;
  const { pending } = foldRecords(envelope, records, destinationOf);
  const waiting = pending.flatMap(({ destination, pending: open }) => {
    const recipients = open.filter((index) => wants(envelope, index, 'DELAY'));
    const untilMs = expiry(retry, { destination, receivedAtMs, nullReversePath: false });
    return recipients.length === 0 || untilMs <= nowMs
      ? []
      : [{ destination, recipients, untilMs }];
  });
  if (waiting.length === 0) return undefined;
  return { kind: 'delay', atMs: nowMs, waiting, dsnId: newMessageId(nowMs) };
}
