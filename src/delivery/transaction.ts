/**
 * One mail transaction (RFC 5321 §3.3) as values: what is handed over, what came back, and the
 * small conversions in between.
 */
import { Transform } from 'node:stream';
import type { Recipient } from '../mail/envelope.ts';
import { parseReply, type Reply } from '../protocol/smtp/reply.ts';

/** What the client library says when things end badly. */
export interface WireError extends Error {
  readonly code?: string;
  readonly response?: string;
  /** The connection was in the TLS handshake. */
  readonly duringHandshake?: boolean;
}

/** The message as the wire sees it. */
export interface WireMessage {
  readonly reversePath: string;
  readonly recipients: readonly { readonly address: string; readonly dsn: Recipient }[];
  /** The body must have exactly so many octets, or the message is not ended. */
  readonly sizeBytes: number;
  readonly eightBitMime: boolean;
  readonly smtpUtf8: boolean;
  /** Only in a session that has TLS and offers it. */
  readonly requireTls?: boolean;
  readonly ret?: 'FULL' | 'HDRS' | undefined;
  readonly envid?: string | undefined;
}

/** The replies of one transaction; what is missing was never answered. */
export interface TransactionReplies {
  mail?: Reply | undefined;
  rcpt: (Reply | undefined)[];
  data?: Reply | undefined;
  /** The reply to the end of the message. */
  final?: Reply | undefined;
  /** The final dot was handed to the socket. */
  messageSent: boolean;
  /** Why the connection failed, when it did. */
  error?: WireError | undefined;
}

/**
 * A reply as a value. RFC 5321 §4.2.1: the first digit says enough; a reply of another form is
 * taken by it, because not understanding that a message was accepted would repeat it.
 */
export function asReply(raw: string): Reply | undefined {
  const parsed = parseReply(raw);
  if (parsed || !/^[2-5]/.test(raw)) return parsed;
  return { code: Number(raw[0]) * 100, enhanced: undefined, text: 'a reply of no known form' };
}

/** Passes `octets` octets through; errors when there are more or fewer: a body cut short is not delivered. */
export function exactly(octets: number): Transform {
  let seen = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      seen += chunk.length;
      done(seen > octets ? new Error('the body is longer than it was') : null, chunk);
    },
    flush(done) {
      done(seen === octets ? null : new Error(`the body has ${seen} octets of ${octets}`));
    },
  });
}

/** The body is not the one that was announced. */
export function wrongSize(octets: number, announced: number): WireError {
  const error = new Error(`the body has ${octets} octets of ${announced}`);
  return Object.assign(error, { code: 'ESTREAM' });
}

/** What xtext leaves as it is, inverted (RFC 3461 §4). */
const NOT_XCHAR = /[^!-*,-<>-~]/g;
/** The same for an address of type utf-8, whose escapes begin with a backslash (RFC 6533 §3 QCHAR). */
const NOT_QCHAR = /[^!-*,-<>-~]|\\(?!x\{[0-9A-F]{2,6}\})/gu;

/**
 * The value of ORCPT (RFC 3461 §4.2): `type;address` in xtext. An address of type utf-8 has escapes
 * of its own, `\x{FC}` (RFC 6533 §3 utf-8-addr-xtext): ASCII, too, and understood by every host.
 */
export function formatOrcpt(orcpt: string): string {
  const at = orcpt.indexOf(';');
  const [type, address] = [orcpt.slice(0, at), orcpt.slice(at + 1)];
  if (type.toLowerCase() !== 'utf-8') return `${xtext(type)};${xtext(address)}`;
  return `${type};${address.replace(NOT_QCHAR, (character) => `\\x{${hexadecimal(character)}}`)}`;
}

function xtext(text: string): string {
  return text.replace(NOT_XCHAR, (character) => `+${hexadecimal(character)}`);
}

function hexadecimal(character: string): string {
  return (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(2, '0');
}
