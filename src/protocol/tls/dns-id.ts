/**
 * The identity in a certificate: whether a DNS name it presents is the one we asked for
 * (RFC 9525 §6.3, RFC 6125 §6.4). Replaces Node's own check, which also takes a CN and partial
 * wildcards. Chain and dates are judged elsewhere.
 */
import { isDomainSyntax, parseDomain } from '../domain.ts';

/**
 * `TYPE:value` and a separator with more to come, or the end; each right after the one before.
 * The value is bare (no comma, no double quote) or a JSON string, the latter perhaps after a tag
 * of its own (otherName).
 */
const ENTRIES = /([A-Za-z0-9 ]+):([^",]*(?:"(?:[^"\\]|\\.)*")?)(?:, (?=.)|$)/gy;

/**
 * The first presented dNSName that matches any of the references, as presented; undefined
 * when none does. One match is enough (RFC 9525 §6.1).
 *
 * References are host names in any spelling (RFC 6125 §6.4.1, §6.4.2); one that is an address or no domain matches
 * nothing (RFC 9525 §6.1 knows other identities for those). A presented name that is not
 * LDH, with a NUL, blank, comma or final dot in it, matches nothing.
 */
export function matchDnsId(
  references: readonly string[],
  presented: readonly string[],
): string | undefined {
  const names = references.map(parseDomain).filter((name) => name !== undefined);
  return presented.find((candidate) => names.some((name) => matchesPresented(name, candidate)));
}

/**
 * What counts as presented under DANE-TA(2): the dNSNames, and only where there is none at
 * all the subject's CN (RFC 7672 §3.2.3). MTA-STS has no such fallback (RFC 8461 §4.2).
 */
export function daneTaNames(
  dnsNames: readonly string[],
  commonName: string | undefined,
): readonly string[] {
  if (dnsNames.length > 0 || commonName === undefined) return dnsNames;
  return [commonName];
}

/**
 * The dNSName entries of a certificate, from the text Node gives for its subjectAltName
 * extension (`subjectaltname` of a peer certificate, `subjectAltName` of X509Certificate).
 *
 * That text joins the entries with `, ` and writes a value as a JSON string wherever it holds
 * a comma, a quote, a control character or the like, so a value cannot pass for another
 * entry as long as the quotes are read (CVE-2021-44532). Text of any other form gives no
 * names at all: half-understood evidence proves no identity.
 */
export function dnsNamesFromSubjectAltName(text: string | undefined): readonly string[] {
  if (text === undefined) return [];
  const names: string[] = [];
  let end = 0;
  for (const entry of text.matchAll(ENTRIES)) {
    const [whole, type, value = ''] = entry;
    end += whole.length;
    if (type !== 'DNS') continue;
    const name = value.startsWith('"') ? unquoted(value) : value;
    if (name === undefined) return [];
    names.push(name);
  }
  return end === text.length ? names : [];
}

function matchesPresented(name: string, presented: string): boolean {
  // RFC 9525 §6.3: a wildcard is the complete left-most label and stands for exactly one.
  const wildcard = presented.startsWith('*.');
  const domain = wildcard ? presented.slice(2) : presented;
  const covered = wildcard ? parentOf(name) : name;
  return isDomainSyntax(domain) && domain.toLowerCase() === covered;
}

function parentOf(name: string): string | undefined {
  const firstDot = name.indexOf('.');
  return firstDot < 0 ? undefined : name.slice(firstDot + 1);
}

function unquoted(value: string): string | undefined {
  try {
    const parsed: unknown = JSON.parse(value);
    return typeof parsed === 'string' ? parsed : undefined;
  } catch {
    return undefined;
  }
}
