/**
 * Messages of the spool in words, for `stsrelay spool`.
 */
import type { Envelope } from '../mail/envelope.ts';
import type { SpoolRecord } from '../spool/message-state.ts';

export interface RecipientFate {
  readonly address: string;
  readonly state: 'delivered' | 'bounced' | 'waiting';
  /** The last thing said about it. */
  readonly reason?: string;
  /** RFC 3339, UTC; of one that waits. */
  readonly nextAttempt?: string;
}

export interface CheckedMessage {
  readonly id: string;
  readonly envelope?: Envelope;
  readonly sizeBytes?: number;
  readonly recipients?: readonly RecipientFate[];
  /** Why it cannot be read whole. */
  readonly fault?: string;
}

export const LIST_HEADING = ['ID', 'RECEIVED', 'OCTETS', 'SENDER', 'WAITING', 'STATE'];

export function listRow({ id, envelope, sizeBytes, recipients = [], fault }: CheckedMessage) {
  const waiting = recipients.filter(({ state }) => state === 'waiting');
  return [
    id,
    envelope ? new Date(envelope.receivedAtMs).toISOString() : '-',
    String(sizeBytes ?? '-'),
    envelope ? envelope.reversePath || '<>' : '-',
    envelope ? waiting.map(({ address }) => address).join(', ') || 'nobody' : '-',
    fault === undefined ? (waiting[0]?.reason ?? 'ok') : `DAMAGED: ${fault}`,
  ];
}

/** What became of each recipient. */
export function recipientFates(
  { recipients }: Envelope,
  records: readonly SpoolRecord[],
): RecipientFate[] {
  const fates: RecipientFate[] = recipients.map(({ address }) => ({ address, state: 'waiting' }));
  const change = (index: number, fate: Omit<RecipientFate, 'address'>) => {
    const before = fates[index];
    if (before?.state === 'waiting') fates[index] = { address: before.address, ...fate };
  };
  for (const record of records) {
    if (record.kind !== 'attempt') continue;
    const next = record.nextAttemptMs;
    for (const index of record.delivered) change(index, { state: 'delivered' });
    for (const { index, failure } of record.bounced) {
      change(index, { state: 'bounced', reason: failure.text });
    }
    for (const { index, failure } of record.deferred) {
      const when = next === undefined ? {} : { nextAttempt: new Date(next).toISOString() };
      change(index, { state: 'waiting', reason: failure.text, ...when });
    }
  }
  return fates;
}
