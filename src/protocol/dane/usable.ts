/**
 * Which TLSA records of a host count (RFC 7672 §2.2, §3.1, RFC 7671 §9). Pure.
 *
 * A record is usable when its three numbers mean something for SMTP and its data has the form
 * they promise. Where records exist and none is usable, the host still has to offer TLS (RFC 7672 §2.2): that is
 * the caller's to see to.
 */
import { createPublicKey, X509Certificate } from 'node:crypto';
import {
  DANE_EE,
  DANE_TA,
  EXACT,
  PUBLIC_KEY,
  SHA2_256,
  SHA2_512,
  type TlsaRecord,
  WHOLE_CERTIFICATE,
} from './tlsa.ts';

/** Octets of a digest, by matching type. */
const DIGEST_OCTETS: Readonly<Record<number, number>> = { [SHA2_256]: 32, [SHA2_512]: 64 };

/** An owner needs a few records for a change of keys; the work for one connection has an end. */
const MOST_RECORDS = 64;

/** Those of `records` that can be used, in their order; at most 64. */
export function usableRecords(records: readonly TlsaRecord[]): readonly TlsaRecord[] {
  return records.filter(isUsable).slice(0, MOST_RECORDS);
}

/**
 * Whether a record can be used. PKIX-TA(0) and PKIX-EE(1) cannot: SMTP has no agreed set of
 * roots, so they are undefined for it (RFC 7672 §3.1.3), and nothing is read into them.
 */
export function isUsable({ usage, selector, matchingType, data }: TlsaRecord): boolean {
  if (usage !== DANE_TA && usage !== DANE_EE) return false;
  if (selector !== WHOLE_CERTIFICATE && selector !== PUBLIC_KEY) return false;
  if (matchingType !== EXACT) return DIGEST_OCTETS[matchingType] === data.length;
  return selector === WHOLE_CERTIFICATE ? isCertificate(data) : isPublicKey(data);
}

/**
 * Digest algorithm agility (RFC 7671 §9, RFC 7672 §5): of the digests for one usage and selector only
 * the strongest kind counts, so that an owner can leave a weak one behind and still serve
 * those who know no better. Full values count always. Takes usable records.
 */
export function strongestOnly(usable: readonly TlsaRecord[]): readonly TlsaRecord[] {
  return usable.filter(
    ({ usage, selector, matchingType }) =>
      matchingType === EXACT ||
      !usable.some(
        (other) =>
          other.usage === usage && other.selector === selector && other.matchingType > matchingType,
      ),
  );
}

function isCertificate(der: Buffer): boolean {
  try {
    // Trailing octets would never match, and a PEM text is none of DNS's forms.
    return der[0] === 0x30 && new X509Certificate(der).raw.equals(der);
  } catch {
    return false;
  }
}

function isPublicKey(der: Buffer): boolean {
  try {
    createPublicKey({ key: der, format: 'der', type: 'spki' });
    return true;
  } catch {
    return false;
  }
}
