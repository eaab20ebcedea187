/**
 * Domain names as the wire protocols want them: A-labels, lower case, no final dot
 * (RFC 5321 §2.3.5, RFC 5891 §5). A `DomainName` is canonical: two of them name the same
 * domain exactly when they are `===`.
 *
 * U-labels are converted by Node's UTS #46 mapping (`domainToASCII`), which is the host parser
 * of the WHATWG URL standard and does more than that: it decodes `%61`, cuts at `/` and `#`,
 * drops tabs, and reads `0x7f.1` as 127.0.0.1. So ASCII text never goes through it, other
 * text only when every ASCII character in it may stand in a domain, and the result is
 * checked like any other text.
 *
 * Does not know which domains exist; a single label is a domain.
 */
import { domainToASCII } from 'node:url';

declare const domainName: unique symbol;
export type DomainName = string & { readonly [domainName]: true };

/** Limits of RFC 1035 §2.3.4 in octets; 253 is 255 on the wire, as text without the final dot. */
const MAX_DOMAIN = 253;
/** Longest text that is looked at: no U-label form of a legal domain comes near it. */
const MAX_TEXT = 1024;

/** A label of letters, digits and inner hyphens (RFC 5321 §4.1.2 sub-domain; RFC 1035 §2.3.4). */
const LDH_LABEL = /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/;
/** The same with underscores anywhere, as found in host names in MX records. */
const HOST_LABEL = /^\w(?:[\w-]{0,61}\w)?$/;
/** What address parsers take for a number: no top-level domain looks like that (RFC 3696 §2). */
const NUMERIC_LABEL = /^(?:[0-9]+|0x[0-9a-f]*)$/;
const NON_ASCII = /[\u{80}-\u{10ffff}]/u;
/** Text with U-labels: any ASCII in it is LDH or a dot. */
const INTERNATIONAL = /^[A-Za-z0-9.\-\u{80}-\u{10ffff}]*$/u;

/**
 * The domain that `text` names, in U-labels or A-labels, with or without one final dot;
 * undefined when it is none: empty, too long, a label that is not LDH, an IPv4 address in
 * any of its spellings.
 */
export function parseDomain(text: string): DomainName | undefined {
  const name = canonicalName(text);
  if (name === undefined || !hasLabels(name, LDH_LABEL) || endsInNumber(name)) return undefined;
  return name as DomainName;
}

/**
 * The host that an MX record names, from the text of its RDATA.
 *
 * RFC 5321 §2.3.5 wants LDH labels here too, but hosts with an underscore exist and take
 * mail, so they are let through to be connected to. They never match an MTA-STS pattern
 * or a certificate: both matchers parse with `parseDomain`, and a host no policy can
 * name fails closed. Raw non-ASCII is refused, not converted: in the DNS a UTF-8 label and
 * its A-label are different names, and the record named the first.
 */
export function mxHostName(text: string): DomainName | undefined {
  if (NON_ASCII.test(text)) return undefined;
  const name = canonicalName(text);
  if (name === undefined || !hasLabels(name, HOST_LABEL) || endsInNumber(name)) return undefined;
  return name as DomainName;
}

/**
 * Whether `text` is a Domain of RFC 5321 §4.1.2 as it stands, in any case: LDH labels within
 * the limits, no final dot. Takes digits-and-dots, which the grammar does.
 *
 * Ask before lower-casing: `toLowerCase` turns the Kelvin sign into an ASCII k.
 */
export function isDomainSyntax(text: string): boolean {
  return text.length <= MAX_DOMAIN && hasLabels(text, LDH_LABEL);
}

/** Lower case, A-labels, without one final dot; labels are not judged yet. */
function canonicalName(text: string): string | undefined {
  if (text.length > MAX_TEXT) return undefined;
  const ascii = NON_ASCII.test(text) ? toAscii(text) : text;
  const name = ascii?.endsWith('.') ? ascii.slice(0, -1) : ascii;
  if (name === undefined || name.length > MAX_DOMAIN) return undefined;
  return name.toLowerCase();
}

function toAscii(text: string): string | undefined {
  return INTERNATIONAL.test(text) ? domainToASCII(text) : undefined;
}

function hasLabels(name: string, label: RegExp): boolean {
  return name.split('.').every((part) => label.test(part));
}

function endsInNumber(name: string): boolean {
  return NUMERIC_LABEL.test(name.slice(name.lastIndexOf('.') + 1));
}
