/**
 * What one connection attempt to one address of one candidate gave: the facts that make up
 * the evidence of a delivery, and either an end before the transaction or a result for
 * every recipient.
 */
import type { Reply } from '../protocol/smtp/reply.ts';
import type { Failure, TlsFailureCause } from './failure.ts';
import type { MxCandidate } from './route.ts';
import type { TlsRequirement } from './tls-requirement.ts';

/** What TLS was reached and what we think of it. */
export interface TlsFacts {
  /** e.g. `TLSv1.3` */
  readonly version: string;
  readonly cipher: string;
  /** SHA-256 of the leaf certificate, lower-case hex. */
  readonly certSha256: string | undefined;
  /** Its notAfter, milliseconds since the epoch; NaN when that is no date. */
  readonly certValidToMs?: number | undefined;
  /** Our own verdict, reached before MAIL FROM. */
  readonly verdict: PeerVerdict;
  /** The TLS session of an earlier connection: certificate and verdict are those of its full handshake. */
  readonly resumed?: true;
}

export type PeerVerdict =
  | {
      readonly verified: true;
      /** The name of the certificate; under DANE-EE(3), where it has no say, the TLSA base domain. */
      readonly matchedName: string;
      /** The TLSA record that authenticated it, in place of a trusted root. */
      readonly tlsa?: string;
    }
  | { readonly verified: false; readonly cause: TlsFailureCause; readonly detail: string };

/** How TLS is tried on a connection. */
export type TlsMode =
  | 'full'
  /** Few groups and suites: for middleboxes that choke on a large ClientHello. No weaker. */
  | 'small-hello'
  /** No STARTTLS: only where the requirement allows clear text. */
  | 'clear';

/** What went wrong on the way to TLS that did not end the attempt. */
export interface TlsTrouble {
  readonly cause: TlsFailureCause;
  readonly detail: string;
}

export interface SessionFacts {
  readonly candidate: MxCandidate;
  /** Remote address; undefined when none could be tried. */
  readonly address: string | undefined;
  readonly localAddress: string | undefined;
  readonly requirement: TlsRequirement;
  /** Undefined while the session is, or stayed, in clear text. */
  readonly tls: TlsFacts | undefined;
  /** What the host called itself in its last reply to EHLO (RFC 5321 §4.1.1.1): its own word. */
  readonly announcedName?: string;
  /** Messages went over the session before: TLS and verdict are those of its handshake. */
  readonly reused?: true;
  /** TLS was tried with a small ClientHello, or beyond it in clear text: why a usual one did not do. */
  readonly smallHelloBecause?: TlsTrouble;
  /** In clear text under an opportunistic requirement: why TLS was not reached. */
  readonly clearTextBecause?: TlsTrouble;
  /** Where somebody traces it. */
  readonly times?: SessionTimes;
}

/** How far a session came, in order: connected, in the handshake, through it, open, at MAIL. */
export type SessionMark = 'connected' | 'securing' | 'secured' | 'opened' | 'transaction';

/** When it came how far: milliseconds since the epoch, with fractions. */
export type SessionTimes = Readonly<
  { started: number; ended: number } & Partial<Record<SessionMark, number>>
>;

/** One recipient's fate within a transaction. */
export type RecipientReply =
  | { readonly kind: 'accepted'; readonly reply: Reply; readonly dsnOffered: boolean }
  | { readonly kind: 'failed'; readonly failure: Failure };

export type SessionResult =
  | {
      readonly kind: 'ended-early';
      readonly facts: SessionFacts;
      readonly failure: Failure;
    }
  | {
      readonly kind: 'transacted';
      readonly facts: SessionFacts;
      /** By recipient index in the envelope. */
      readonly recipients: ReadonlyMap<number, RecipientReply>;
      /** Those who were too many for this transaction: their turn is in another one. */
      readonly left?: readonly number[];
    };
