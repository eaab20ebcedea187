/**
 * Mailboxes: the text of a forward-path or reverse-path without its angle brackets
 * (RFC 5321 §4.1.2, RFC 6531 §3.3). Whatever parses here may be written into a command line:
 * no control character, no blank or bracket outside quotes.
 *
 * More liberal than the grammar in two places, because mail for such mailboxes exists and
 * only their own host can judge a local part (RFC 5321 §2.3.11): dots may stand anywhere in an
 * unquoted local part (`a..b@`), and a local part may be longer than 64 octets, up to what
 * the path leaves. Source routes and general address literals are refused.
 */
import { isIP } from 'node:net';
import { type DomainName, parseDomain } from './domain.ts';

export type MailDomain =
  | { readonly kind: 'domain'; readonly name: DomainName }
  /** RFC 5321 §4.1.3; `address` without brackets and tag, lower case. */
  | { readonly kind: 'literal'; readonly address: string; readonly family: 4 | 6 };

export interface Mailbox {
  /** As written, quotes and backslashes included (RFC 5321 §2.4: case kept, not interpreted). */
  readonly localPart: string;
  readonly domain: MailDomain;
}

/** RFC 5321 §4.5.3.1.3: a path is at most 256 octets, its two angle brackets among them. */
const MAX_MAILBOX_OCTETS = 254;

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is being refused
const CONTROL = /[\0-\x1f\x7f-\x9f\u2028\u2029]/;
/** atext and dots, with the UTF8-non-ascii that RFC 6531 §3.3 adds. */
const UNQUOTED = /^[\w!#$%&'*+\-/=?^`{|}~.\u{80}-\u{10ffff}]+$/u;
/** Quoted-string up to and with its closing quote; controls are refused before. */
const QUOTED = /^"(?:[^"\\]|\\[\x20-\x7e])*"/;
const IPV6_TAG = /^ipv6:/i;
const NON_ASCII = /[\u{80}-\u{10ffff}]/u;

/**
 * Take `address` apart; undefined when it is no mailbox with a domain. The null reverse-path
 * and a bare `postmaster` are the caller's to know.
 */
export function parseMailbox(address: string): Mailbox | undefined {
  if (Buffer.byteLength(address) > MAX_MAILBOX_OCTETS) return undefined;
  if (CONTROL.test(address) || !address.isWellFormed()) return undefined;
  const localPart = leadingLocalPart(address);
  if (localPart === undefined || address[localPart.length] !== '@') return undefined;
  const domain = parseMailDomain(address.slice(localPart.length + 1));
  return domain && { localPart, domain };
}

/**
 * Whether a host must offer SMTPUTF8 to be given this address: only for a non-ASCII local
 * part, since a domain has an A-label form (RFC 6531 §3.2). Text that is no mailbox needs it
 * as soon as it holds any non-ASCII.
 */
export function needsSmtpUtf8(address: string): boolean {
  return NON_ASCII.test(parseMailbox(address)?.localPart ?? address);
}

/**
 * `address` with its domain in A-labels, for hosts without SMTPUTF8 (RFC 6531 §3.7.1); the
 * local part is never rewritten. An address that is ASCII already, or no mailbox, comes
 * back unchanged.
 */
export function toAsciiDomain(address: string): string {
  if (!NON_ASCII.test(address)) return address;
  const mailbox = parseMailbox(address);
  if (mailbox?.domain.kind !== 'domain') return address;
  return `${mailbox.localPart}@${mailbox.domain.name}`;
}

/**
 * An unquoted local part cannot hold '@' and a quoted one ends at its quote, so the first '@'
 * after either is the last one outside quotes.
 */
function leadingLocalPart(address: string): string | undefined {
  if (address.startsWith('"')) return QUOTED.exec(address)?.[0];
  const unquoted = address.slice(0, Math.max(address.indexOf('@'), 0));
  return UNQUOTED.test(unquoted) ? unquoted : undefined;
}

function parseMailDomain(text: string): MailDomain | undefined {
  if (text.startsWith('[')) return text.endsWith(']') ? parseLiteral(text.slice(1, -1)) : undefined;
  const name = parseDomain(text);
  return name && { kind: 'domain', name };
}

/** RFC 5321 §4.1.3. A zone (`%eth0`) is no part of it, though `isIP` takes one. */
function parseLiteral(text: string): MailDomain | undefined {
  const tagged = IPV6_TAG.test(text);
  const address = text.replace(IPV6_TAG, '').toLowerCase();
  const family = address.includes('%') ? 0 : isIP(address);
  if (tagged && family === 6) return { kind: 'literal', address, family: 6 };
  if (!tagged && family === 4) return { kind: 'literal', address, family: 4 };
  return undefined;
}
