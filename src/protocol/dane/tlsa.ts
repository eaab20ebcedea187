/**
 * TLSA records (RFC 6698 §2): from the octets of DNS to a value, to the presentation form
 * and back. Pure.
 *
 * Whether a record can be used is another question: usable.ts. Here only what is no TLSA record at all
 * is refused, and anything whose data DNS could not carry.
 */

/** Certificate usages (RFC 7218 §2.1): PKIX-TA(0) and PKIX-EE(1) mean nothing for SMTP. */
export const DANE_TA = 2;
export const DANE_EE = 3;

/** Selectors (RFC 7218 §2.2). */
export const WHOLE_CERTIFICATE = 0;
export const PUBLIC_KEY = 1;

/** Matching types (RFC 7218 §2.3); SHA2-256 has to be there (RFC 6698 §6), SHA2-512 should. */
export const EXACT = 0;
export const SHA2_256 = 1;
export const SHA2_512 = 2;

export interface TlsaRecord {
  /** 0-255, as the other two. */
  readonly usage: number;
  readonly selector: number;
  readonly matchingType: number;
  /** The certificate association data. */
  readonly data: Buffer;
}

/** The longest RDATA there is (RFC 1035 §4.1.3). */
const MAX_RDATA = 65_535;
const HEADER_OCTETS = 3;

/** Read the RDATA of a TLSA record (RFC 6698 §2.1); undefined when it is too short to be one. */
export function parseTlsa(rdata: Buffer): TlsaRecord | undefined {
  if (rdata.length < HEADER_OCTETS || rdata.length > MAX_RDATA) return undefined;
  const [usage = 0, selector = 0, matchingType = 0] = rdata;
  // Copied, so that a record that is kept does not keep its whole message alive.
  return { usage, selector, matchingType, data: Buffer.from(rdata.subarray(HEADER_OCTETS)) };
}

/** RFC 6698 §2.2, in the form of a report's policy string (RFC 8460 §4.5): `3 1 1 0123…`, lower case. */
export function formatTlsa({ usage, selector, matchingType, data }: TlsaRecord): string {
  return `${usage} ${selector} ${matchingType} ${data.toString('hex')}`;
}

/** Read what `formatTlsa` gives, blanks within the data allowed (RFC 6698 §2.2); undefined for anything else. */
export function parseTlsaText(text: string): TlsaRecord | undefined {
  if (text.length > 3 * MAX_RDATA) return undefined;
  const [usage, selector, matchingType, ...rest] = text.trim().split(/[ \t]+/);
  const numbers = [usage, selector, matchingType].map(octetOf);
  const hex = rest.join('');
  if (numbers.includes(undefined) || !/^(?:[0-9a-f]{2})*$/i.test(hex)) return undefined;
  return parseTlsa(Buffer.concat([Buffer.from(numbers as number[]), Buffer.from(hex, 'hex')]));
}

/** Where the records of a host stand (RFC 6698 §3): `_25._tcp.` before its TLSA base domain. */
export function tlsaName(baseDomain: string, port: number): string {
  return `_${port}._tcp.${baseDomain}`;
}

function octetOf(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,3}$/.test(text)) return undefined;
  const value = Number(text);
  return value <= 255 ? value : undefined;
}
