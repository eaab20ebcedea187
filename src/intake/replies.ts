/**
 * What the front door says when it says no: reply code, text with its enhanced status in front
 * (RFC 2034 §4, RFC 3463), and the reason under which it is counted.
 *
 * Replies are fixed texts. What a client sent never comes back in one, so that no reply can be
 * split or made to look like another.
 */
import type { RefusalReason } from '../telemetry/intake-events.ts';

export interface Refusal {
  readonly kind: 'refusal';
  readonly code: number;
  /** Starts with the enhanced status: `5.7.1 Relay access denied`. */
  readonly text: string;
  readonly reason: RefusalReason;
}

/** A text that brings its enhanced status with it. */
const ENHANCED = /^[245]\.\d{1,3}\.\d{1,3} /;

const refusal = (code: number, text: string, reason: RefusalReason): Refusal => ({
  kind: 'refusal',
  code,
  text,
  reason,
});

export const REFUSALS = {
  relayDenied: refusal(554, '5.7.1 Relay access denied', 'relay-denied'),
  authRequired: refusal(530, '5.7.0 Authentication required', 'auth-required'),
  startTlsFirst: refusal(530, '5.7.0 Must issue a STARTTLS command first', 'auth-required'),
  authNeedsTls: refusal(
    538,
    '5.7.11 Encryption required for requested authentication mechanism',
    'auth-required',
  ),
  badCredentials: refusal(535, '5.7.8 Authentication credentials invalid', 'auth-failed'),
  tooManyFailedLogins: refusal(421, '4.7.0 Too many failed authentications', 'auth-failed'),
  loginPaused: refusal(
    454,
    '4.7.0 Too many failed authentications from your address, try again later',
    'auth-failed',
  ),
  loginUnavailable: refusal(454, '4.7.0 Temporary authentication failure', 'auth-failed'),
  senderNotAllowed: refusal(553, '5.7.1 Sender address not allowed', 'sender-not-allowed'),
  badSender: refusal(553, '5.1.7 Bad sender mailbox address', 'bad-address'),
  badRecipient: refusal(553, '5.1.3 Bad recipient mailbox address', 'bad-address'),
  needsSmtpUtf8: refusal(
    553,
    '5.6.7 Non-ASCII address without the SMTPUTF8 parameter',
    'bad-address',
  ),
  noPostmaster: refusal(550, '5.1.1 No postmaster is configured here', 'bad-address'),
  requireTlsNeedsTls: refusal(530, '5.7.0 REQUIRETLS needs a TLS session', 'protocol-error'),
  badParameter: refusal(501, '5.5.4 Bad parameter value', 'protocol-error'),
  unknownParameter: refusal(555, '5.5.4 Parameter not recognized', 'protocol-error'),
  tooManyRecipients: refusal(452, '4.5.3 Too many recipients', 'too-many-recipients'),
  rateLimited: refusal(450, '4.7.1 Too many messages, try again later', 'rate-limited'),
  tooLarge: refusal(552, '5.3.4 Message too large', 'too-large'),
  bareLineEnd: refusal(550, '5.6.11 Bare CR, bare LF or NUL in the message', 'smuggling'),
  tooManyHops: refusal(554, '5.4.6 Too many hops, the message is looping', 'loop'),
  spoolFull: refusal(452, '4.3.1 Insufficient system storage', 'spool-full'),
  spoolFailed: refusal(452, '4.3.1 System storage failing, try again later', 'spool-failed'),
  queueFull: refusal(452, '4.3.1 Too many messages queued, try again later', 'queue-full'),
  // RFC 3463 §3.4: X.3.2, the system takes no messages for now; its storage (X.3.1) may be fine.
  queueAway: refusal(451, '4.3.2 Mail queue not available, try again later', 'queue-away'),
  localError: refusal(451, '4.3.0 Local error in processing', 'protocol-error'),
  tooManyConnections: refusal(421, '4.7.0 Too many connections', 'too-many-connections'),
} as const satisfies Record<string, Refusal>;

/** Whether the text of a reply carries its enhanced status already. */
export function hasEnhancedStatus(text: string): boolean {
  return ENHANCED.test(text);
}

/** The form in which smtp-server takes a refusal from a callback. */
export function asError({ code, text }: Refusal): Error & { responseCode: number } {
  return Object.assign(new Error(text), { responseCode: code });
}

/** The reply as it goes out, for the log. */
export function formatRefusal({ code, text }: Refusal): string {
  return `${code} ${text}`;
}
