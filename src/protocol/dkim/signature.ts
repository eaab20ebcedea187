/**
 * The DKIM-Signature field (RFC 6376 §3.5): rsa-sha256, relaxed/relaxed, without `l=` (RFC 8301 §3.1, RFC 8460 §3). Pure.
 *
 * Which fields are covered, and how many of a name: all that are there, from the bottom up (RFC 6376 §5.4.2). What readers see, or
 * what tells them how to read the rest, is listed once more than it occurs: nobody on the way can add another above it and
 * have the signature hold (RFC 6376 §8.15). Written here because nodemailer's lists each name once at most.
 *
 * A field is octets, one character each ('latin1'), as in header.ts.
 */
import { type KeyObject, sign } from 'node:crypto';
import type { HeaderField } from './header.ts';

/** Nothing of these may be added, also where there is none: no host on the way has to. */
const CLOSED = ['From', 'Reply-To', 'Subject', 'To', 'Cc'];
/** No second one may be added; where there is none, hosts on the way put one in, and may. */
const CLOSED_IF_PRESENT = [
  ...['Sender', 'Date', 'Message-ID', 'In-Reply-To', 'References'],
  ...['MIME-Version', 'Content-Type', 'Content-Transfer-Encoding'],
];
/**
 * More may be added above: RFC 6376 §5.4.1 and its kin, those of list mail (RFC 8058 §4 wants both List-Unsubscribe
 * fields covered), and those of TLS reports (RFC 8460 §3, §5.3).
 */
const OPEN = [
  ...['Content-ID', 'Content-Description', 'Resent-Date', 'Resent-From', 'Resent-Sender'],
  ...['Resent-To', 'Resent-Cc', 'Resent-Message-ID', 'List-Id', 'List-Help', 'List-Unsubscribe'],
  ...['List-Unsubscribe-Post', 'List-Subscribe', 'List-Post', 'List-Owner', 'List-Archive'],
  ...['Auto-Submitted', 'TLS-Report-Domain', 'TLS-Report-Submitter'],
];
const COVERED = [...CLOSED, ...CLOSED_IF_PRESENT, ...OPEN].map((name) => name.toLowerCase());
const COVERED_KEYS: ReadonlySet<string> = new Set(COVERED);
const CLOSED_KEYS: ReadonlySet<string> = new Set(CLOSED.map((name) => name.toLowerCase()));
const OPEN_KEYS: ReadonlySet<string> = new Set(OPEN.map((name) => name.toLowerCase()));

/** A name is listed so often at most: the lowest are covered. Which message has more of one? */
export const MOST_OF_A_NAME = 20;
/** Characters in a line, where it can be cut (RFC 5322 §2.1.1). */
const LINE = 76;

export interface SignedBy {
  readonly domain: string;
  readonly selector: string;
  readonly key: KeyObject;
}

/** Whether a signature has to know of this field. */
export function isCovered({ key }: HeaderField): boolean {
  return COVERED_KEYS.has(key);
}

/**
 * The field with its CRLF, ASCII. `header`: from the top; `bodyHash`: base64. Undefined when the key cannot sign.
 */
export function dkimSignature(
  { header, bodyHash }: { readonly header: readonly HeaderField[]; readonly bodyHash: string },
  { domain, selector, key }: SignedBy,
): string | undefined {
  const { names, lines } = chosen(header);
  const tags = [
    ...['v=1', 'a=rsa-sha256', 'c=relaxed/relaxed', `d=${domain}`, 'q=dns/txt', `s=${selector}`],
    `bh=${bodyHash}`,
    `h=${names.join(':')}`,
  ];
  const field = `${fold(`DKIM-Signature: ${tags.join('; ')}`)};\r\n b=`;
  // RFC 6376 §3.7: this field comes last, with an empty b= and without a line end.
  const signed = `${lines.map((line) => `${line}\r\n`).join('')}${relaxed('dkim-signature', field)}`;
  try {
    const octets = sign('sha256', Buffer.from(signed, 'latin1'), key).toString('base64');
    return `${field}${octets.match(/.{1,72}/g)?.join('\r\n ') ?? ''}\r\n`;
  } catch {
    return undefined;
  }
}

/** What stands in `h=`, and what of the header is hashed for it: nothing for a name beyond those that occur. */
function chosen(header: readonly HeaderField[]) {
  const names: string[] = [];
  const lines: string[] = [];
  for (const name of COVERED) {
    const fields = header.filter(({ key }) => key === name).reverse();
    const isClosed = CLOSED_KEYS.has(name) || (fields.length > 0 && !OPEN_KEYS.has(name));
    const listed = Math.min(fields.length + (isClosed ? 1 : 0), MOST_OF_A_NAME);
    for (let i = 0; i < listed; i += 1) names.push(name);
    for (const { line } of fields.slice(0, listed)) lines.push(relaxed(name, line));
  }
  return { names, lines };
}

/** RFC 6376 §3.4.2. SP and HTAB alone are blanks: 0xA0 is part of many a letter. */
function relaxed(name: string, line: string): string {
  const value = line.slice(line.indexOf(':') + 1).replaceAll('\r\n', '');
  return `${name}:${value.replace(/[ \t]+/g, ' ').replace(/^ | $/g, '')}`;
}

/** Lines of `LINE` characters at most, where there are blanks or, in `h=`, colons to cut at (RFC 6376 §3.5). */
function fold(text: string): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.match(/[^ :]*:? ?/g) ?? []) {
    if (line !== '' && line.length + word.trimEnd().length > LINE) {
      lines.push(line.trimEnd());
      line = ' ';
    }
    line += word;
  }
  return [...lines, line.trimEnd()].join('\r\n');
}
