/**
 * Whether somebody must, or may, be told about a recipient (RFC 3461 §4.1, §5, §6). Pure.
 */
import type { Envelope, Notify } from '../mail/envelope.ts';
import type { AttemptRecord } from '../spool/message-state.ts';

/** Without NOTIFY: of failures, and, as RFC 3461 §4.1 leaves to us, of delays. */
const UNASKED: readonly Notify[] = ['FAILURE', 'DELAY'];

/** Whether the sender wants to hear of `event` for a recipient (RFC 3461 §5.2.2, §5.2.5, §5.2.6). */
export function wants(
  envelope: Envelope,
  index: number,
  event: 'FAILURE' | 'SUCCESS' | 'DELAY',
): boolean {
  return (envelope.recipients[index]?.notify ?? UNASKED).includes(event);
}

/** Whether anybody is ever told about a message: RFC 5321 §6.1, RFC 3461 §6.1: never for the null reverse-path. */
export function hasSender({ reversePath }: Envelope): boolean {
  return reversePath !== '';
}

/**
 * Whether it is a report of this relay that is 8-bit because it returns a message whole, and no host would take it
 * for that: then another is owed that returns the header alone.
 */
function isTooWide(envelope: Envelope, { bounced }: AttemptRecord): boolean {
  const { client, eightBitMime, smtpUtf8, tlsReport } = envelope;
  if (client || tlsReport || !eightBitMime || smtpUtf8) return false;
  return bounced.some(({ failure }) => failure.cause === 'eightbitmime-not-offered');
}

/** Whether a DSN is owed for this attempt. */
export function owesDsn(envelope: Envelope, record: AttemptRecord): boolean {
  if (!hasSender(envelope)) return isTooWide(envelope, record);
  return (
    record.bounced.some(
      ({ index, failure }) =>
        failure.cause !== 'dropped-by-administrator' && wants(envelope, index, 'FAILURE'),
    ) || record.relayed.some(({ index }) => wants(envelope, index, 'SUCCESS'))
  );
}
