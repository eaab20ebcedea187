/**
 * The Received field the relay puts on top of each message it takes (RFC 5321 §4.4), with the
 * protocol names of RFC 3848 and RFC 6531 §4.3 and the cipher suite of RFC 8314 §4.3.
 *
 * Promises printable ASCII, CRLF line ends and nothing but clauses we wrote: what the client
 * chose (its HELO name, above all) is reduced to the characters of a host name, so that it can
 * neither end the field nor look like another clause.
 */
import { isIP } from 'node:net';
import { parseDomain } from '../domain.ts';
import { needsSmtpUtf8, parseMailbox, toAsciiDomain } from '../mailbox.ts';
import { formatRfc5322Date } from './date.ts';

/** How the message came in, for the `with` clause. */
export interface TraceProtocol {
  /** EHLO rather than HELO. */
  readonly esmtp: boolean;
  readonly tls: boolean;
  /** The client is authenticated. */
  readonly auth: boolean;
  /** SMTPUTF8 was declared for the message. */
  readonly utf8: boolean;
}

export interface TraceFacts {
  /** What the client said in HELO or EHLO: any text. */
  readonly heloName: string;
  /** IPv4 or IPv6 address of the client. */
  readonly clientAddress: string;
  /** Its name by reverse lookup, when that was made and confirmed. */
  readonly clientHostname?: string;
  /** Our own host name. */
  readonly byHost: string;
  readonly protocol: TraceProtocol;
  readonly id: string;
  /** `version` as `TLSv1.3`; `cipher` is a clause of its own under its IANA name (`TLS_...`) only. */
  readonly tls?: { readonly version: string; readonly cipher: string };
  /** Only where the message has exactly one recipient: several would tell on each other (RFC 5321 §7.2). */
  readonly forRecipient?: string;
  /** Milliseconds since the epoch. */
  readonly dateMs: number;
}

const MAX_TOKEN = 255;
const IANA_CIPHER = /^TLS_[A-Z0-9_]{1,80}$/;

/** The whole field, folded, with the CRLF at its end. */
export function formatReceived(facts: TraceFacts): string {
  const lines = [
    `Received: from ${formatClient(facts)}`,
    `by ${token(facts.byHost)} with ${protocolName(facts.protocol)} id ${token(facts.id)}`,
    ...formatFor(facts.forRecipient),
    ...formatTls(facts.tls),
  ];
  return `${lines.join('\r\n\t')};\r\n\t${formatRfc5322Date(facts.dateMs)}\r\n`;
}

/** RFC 3848 for the letters, RFC 6531 §4.3 for UTF8SMTP; HELO knows neither TLS nor AUTH. */
function protocolName({ esmtp, tls, auth, utf8 }: TraceProtocol): string {
  if (!esmtp) return 'SMTP';
  return `${utf8 ? 'UTF8SMTP' : 'ESMTP'}${tls ? 'S' : ''}${auth ? 'A' : ''}`;
}

/** RFC 5321 §4.4 Extended-Domain: the name it claims, then what we know about it. */
function formatClient({ heloName, clientAddress, clientHostname }: TraceFacts): string {
  const name = clientHostname && parseDomain(clientHostname);
  const known = [...(name ? [name] : []), addressLiteral(clientAddress)].join(' ');
  return `${token(parseDomain(heloName) ?? heloName)} (${known})`;
}

/** RFC 5321 §4.1.3. */
function addressLiteral(address: string): string {
  const bare = address.split('%', 1)[0] ?? '';
  const family = isIP(bare);
  if (family === 0) return 'unknown';
  return family === 6 ? `[IPv6:${bare}]` : `[${bare}]`;
}

/**
 * The `for` clause, its domain in A-labels. Left out for a non-ASCII local part, which would
 * make a header of an ASCII message international (RFC 6532 §3), and for text that is no mailbox.
 */
function formatFor(recipient: string | undefined): string[] {
  if (recipient === undefined || !parseMailbox(recipient) || needsSmtpUtf8(recipient)) return [];
  return [`for <${toAsciiDomain(recipient)}>`];
}

/** RFC 8314 §4.3: the `tls` clause; the version as a comment behind it. */
function formatTls(tls: TraceFacts['tls']): string[] {
  if (!tls) return [];
  if (IANA_CIPHER.test(tls.cipher)) return [`tls ${tls.cipher} (${token(tls.version)})`];
  return [`(${token(tls.version)} ${token(tls.cipher)})`];
}

/**
 * `text` with a question mark for every character that stands in no host name and no address
 * literal: blanks, line ends, brackets of comments, semicolons, quotes, anything not ASCII.
 */
function token(text: string): string {
  return text.slice(0, MAX_TOKEN).replace(/[^\w.:[\]-]/g, '?') || 'unknown';
}
