/**
 * Whether somebody must be told about a recipient (RFC 3461 §4.1, §6). Pure.
 */
import type { Envelope, Notify } from '../mail/envelope.ts';
import type { AttemptRecord } from '../spool/message-state.ts';

/** Whether the sender wants to hear of `event` for a recipient: without NOTIFY, of failures alone. */
export function wants(envelope: Envelope, index: number, event: 'FAILURE' | 'SUCCESS'): boolean {
  const notify: readonly Notify[] = envelope.recipients[index]?.notify ?? ['FAILURE'];
  return notify.includes(event);
}

/** Whether a DSN is owed for this attempt. RFC 3461 §6.1: never for the null reverse-path. */
export function owesDsn(envelope: Envelope, record: AttemptRecord): boolean {
  if (envelope.reversePath === '') return false;
  return (
    record.bounced.some(({ index }) => wants(envelope, index, 'FAILURE')) ||
    record.relayed.some(({ index }) => wants(envelope, index, 'SUCCESS'))
  );
}
