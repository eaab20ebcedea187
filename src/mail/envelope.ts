/**
 * The envelope: what SMTP said about a message, apart from its content (RFC 5321 §2.3.1),
 * with the parameters of the extensions we offer. Written to the spool before the message
 * is acknowledged, never changed afterwards.
 */
import type { MessageId } from './message-id.ts';

/** RFC 3461 §4.1: when a sender wants to hear about a recipient. Absent means FAILURE (and DELAY at our choice). */
export type Notify = 'NEVER' | 'SUCCESS' | 'FAILURE' | 'DELAY';

export interface Recipient {
  /** Forward-path without angle brackets; domain as the client wrote it (may hold U-labels). */
  readonly address: string;
  readonly notify?: readonly Notify[];
  /** ORCPT as `addr-type;address`, xtext decoded (RFC 3461 §4.2). */
  readonly orcpt?: string;
}

/** Who handed the message over. */
export interface ClientFacts {
  readonly address: string;
  readonly helo: string;
  /** Name of the authenticated user. */
  readonly user?: string;
  readonly tls: boolean;
}

export interface Envelope {
  readonly id: MessageId;
  /** Reverse-path without angle brackets; empty for the null reverse-path (RFC 5321 §4.5.5). */
  readonly reversePath: string;
  /** Order matters: a recipient's index is its name in the spool's records. */
  readonly recipients: readonly Recipient[];
  /** Milliseconds since the epoch. */
  readonly receivedAtMs: number;
  /** BODY=8BITMIME was declared (RFC 6152), or there is content that needs it. */
  readonly eightBitMime: boolean;
  /** SMTPUTF8 was declared (RFC 6531). */
  readonly smtpUtf8: boolean;
  /**
   * All of the content is ASCII, although one of the two was declared: no host need offer either for its sake.
   * Absent where it is not, where nothing was declared, and in what an older version recorded.
   */
  readonly sevenBit?: true;
  /** RET and ENVID (RFC 3461 §4.3, §4.4); ENVID xtext decoded. */
  readonly ret?: 'FULL' | 'HDRS';
  readonly envid?: string;
  /** REQUIRETLS was declared (RFC 8689 §4.1). */
  readonly requireTls?: true;
  /** The header says `TLS-Required: No`, and nothing above it says otherwise (RFC 8689 §4.1). */
  readonly tlsRequiredNo?: true;
  /** It is a TLS report of ours (RFC 8460 §5.3). */
  readonly tlsReport?: true;
  /**
   * Message-ID as the header had it when the message came in (RFC 5322 §3.6.4): by it people find the message.
   * Printable, at most 300 characters; absent where there was none, and in what an older version recorded.
   */
  readonly messageId?: string;
  /**
   * The DKIM-Signature fields made when the message came in (RFC 6376), each with its CRLF, ASCII: they go on
   * top of it wherever it goes. Absent where there are none.
   */
  readonly signature?: string;
  /** Absent for messages the relay made itself (DSNs). */
  readonly client?: ClientFacts;
}
