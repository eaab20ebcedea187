/**
 * The words in which tests tell a scripted MX host what to do, and what it records.
 */
import type { SecureVersion } from 'node:tls';
import type { IssuedCertificate } from './ca.ts';

/** What the client does that can be answered; besides the SMTP verbs: */
export interface MxCommand {
  /** In capitals; `CONNECT` is the connection itself, `.` the end of the content. */
  readonly verb: string;
  /** What follows the verb. */
  readonly argument: string;
  /** The whole line without CRLF. */
  readonly line: string;
  readonly overTls: boolean;
}

/** What comes after the reply, or instead of it. */
export type Ending = 'close' | 'reset' | 'hang';

export interface ScriptedAnswer {
  /** Lines apart by CRLF; the last CRLF is added. Absent: the usual one, or none before `ending`. */
  readonly reply?: string;
  readonly delayMs?: number;
  readonly ending?: Ending;
}
export type ScriptedReply = string | ScriptedAnswer | undefined;

/** Undefined: answer as usual. */
export type Script = (
  session: MxSessionRecord,
  command: MxCommand,
) => ScriptedReply | Promise<ScriptedReply>;

export type StartTls =
  | 'offered'
  /** Not among the EHLO keywords, but works. */
  | 'hidden'
  /** Offered, then `454`. */
  | 'refused'
  /** Offered, then the connection is reset. */
  | 'reset'
  /** Offered, `220`, then octets that are no TLS. */
  | 'garbage'
  /** Offered, `220`, then silence. */
  | 'hang'
  /** Neither offered nor known. */
  | 'off';

export interface MxBehaviour {
  /** Needed for TLS of any kind. */
  readonly certificate?: IssuedCertificate;
  /** Default: `offered` with a certificate, `off` without. */
  readonly startTls?: StartTls;
  /** TLS from the first octet. */
  readonly implicitTls?: boolean;
  readonly minTls?: SecureVersion;
  readonly maxTls?: SecureVersion;
  /** OpenSSL cipher list; versions below TLS 1.2 get `@SECLEVEL=0` by themselves. */
  readonly ciphers?: string;
  /** EHLO keywords besides STARTTLS and AUTH. */
  readonly keywords?: readonly string[];
  /** Those after STARTTLS, where they differ. */
  readonly keywordsOverTls?: readonly string[];
  /** AUTH is offered (over TLS) and needed for MAIL. */
  readonly auth?: {
    readonly user: string;
    readonly password: string;
    /** Default: PLAIN. */
    readonly mechanisms?: readonly ('PLAIN' | 'LOGIN' | 'CRAM-MD5')[];
  };
  readonly script?: Script;
  /** Written in clear right behind the `220` of STARTTLS, in the same packet. */
  readonly injectAfterStartTls?: string;
  /** In a packet of its own, before the handshake. */
  readonly injectApart?: boolean;
  /** After so many octets of content: stop reading, close or reset. */
  readonly duringContent?: { readonly afterOctets: number; readonly ending: Ending };
}

export const DEFAULT_KEYWORDS: readonly string[] = [
  'PIPELINING',
  'SIZE 52428800',
  '8BITMIME',
  'ENHANCEDSTATUSCODES',
  'SMTPUTF8',
  'DSN',
];

export interface Path {
  readonly address: string;
  /** ESMTP parameters as sent, e.g. `SIZE=100`. */
  readonly params: readonly string[];
}

/** A message whose final dot arrived, whether it was accepted or not. */
export interface ReceivedMessage {
  readonly mailFrom: Path;
  /** Those whose RCPT was accepted. */
  readonly recipients: readonly Path[];
  /** Octet for octet, dots unstuffed. */
  readonly data: Buffer;
  readonly helo: string;
  readonly tls: MxTlsFacts | undefined;
  readonly session: MxSessionRecord;
  /** The reply to the final dot; undefined when none was sent (yet). */
  reply: string | undefined;
}

export interface MxTlsFacts {
  readonly version: string | null;
  readonly cipher: string;
  /** The SNI the client sent. */
  readonly serverName: string | undefined;
  readonly resumed: boolean;
}

/** One connection, from accept to close. */
export interface MxSessionRecord {
  /** Counts from 1. */
  readonly number: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
  helo: string | undefined;
  tls: MxTlsFacts | undefined;
  /** Why TLS failed or broke, in OpenSSL's words. */
  tlsError: string | undefined;
  authenticatedAs: string | undefined;
  readonly commands: MxCommand[];
  readonly replies: string[];
  readonly messages: ReceivedMessage[];
  /** What the client did against the rules. */
  readonly violations: string[];
  /** Octets read; `content*` counts those after DATA among them. */
  readonly octets: {
    clear: number;
    encrypted: number;
    contentClear: number;
    contentEncrypted: number;
  };
  ended: boolean;
}
