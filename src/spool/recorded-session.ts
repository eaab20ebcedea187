/**
 * What one session of an attempt was, as it stands in the attempt's record: enough to explain later
 * where a message was tried, what TLS was asked and reached there, and how it ended. Plain data.
 */
import type { LocalCause, SmtpStage, TlsFailureCause } from '../mail/failure.ts';
import type { TlsLevel } from '../mail/tls-requirement.ts';

/** What TLS a session had to reach. */
export interface RecordedDemand {
  readonly level: TlsLevel;
  /** Who asks for what, in a sentence. */
  readonly text: string;
}

export interface RecordedTls {
  readonly version: string;
  readonly cipher: string;
  /** SHA-256 of the leaf certificate, lower-case hex. */
  readonly certSha256?: string;
  /** Its notAfter, milliseconds since the epoch. */
  readonly certValidToMs?: number;
  /** The name in the certificate that the host was verified as. */
  readonly verifiedAs?: string;
  /** The TLSA record that authenticated it; absent: a trusted root did. */
  readonly tlsa?: string;
  /** Why it was not verified. */
  readonly doubt?: { readonly cause: TlsFailureCause; readonly detail: string };
}

export type RecordedEnd =
  /** The message's recipients got their replies; `reply` is that to the message, of those who were accepted. */
  | { readonly kind: 'transacted'; readonly reply?: string }
  /** Before the transaction, by a reply of the host. */
  | { readonly kind: 'reply'; readonly stage: SmtpStage; readonly text: string }
  /** Before the transaction, for a reason of ours; or the host was not connected to. */
  | { readonly kind: 'local'; readonly cause: LocalCause; readonly text: string };

export interface RecordedSession {
  /** Absent for an address literal. */
  readonly host?: string;
  /** Absent where it was not connected to. */
  readonly address?: string;
  /** Where it is not 25. */
  readonly port?: number;
  /** One more transaction over the session before, which has the TLS facts. */
  readonly continued?: true;
  /** Absent: as with the session before. */
  readonly asked?: RecordedDemand;
  /** Absent in clear text, or where it did not come to TLS. */
  readonly tls?: RecordedTls;
  /** A usual handshake failed, and a small ClientHello was tried: why. */
  readonly smallHelloBecause?: { readonly cause: TlsFailureCause; readonly detail: string };
  /** In clear text although TLS was tried, or wanted where offered: why. */
  readonly clearTextBecause?: { readonly cause: TlsFailureCause; readonly detail: string };
  /** The connection carried messages before. */
  readonly reused?: true;
  readonly end: RecordedEnd;
}
