/**
 * Finds the trust anchor of a DANE-TA(2) record above a leaf (RFC 7672 §3.1.2, RFC 7671 §5.2). Pure.
 *
 * A certificate that merely lies in the chain proves nothing: from the leaf upwards every link must be
 * issued, by name and by signature, by the next. The search visits each certificate once, so that the work
 * is bounded by the square of the few that are read. Of the issuers on the way the
 * rules of RFC 5280 §6.1 hold that OpenSSL would apply: dates, CA, path length, purpose, strength. A critical extension
 * that is not understood (name constraints among them) makes a certificate unfit.
 *
 * Digests need the anchor itself in the chain (RFC 7671 §5.2.2). A whole certificate or a bare key in DNS
 * does without: it is held against what it may have signed (RFC 7671 §5.2.2, §5.2.3).
 */
import { createPublicKey, type KeyObject, type X509Certificate } from 'node:crypto';
import { type ChainCertificate, fits, readCertificate } from './chain-certificate.ts';
import { hasWeakKey, isSignedWeakly } from './strength.ts';
import { EXACT, PUBLIC_KEY, type TlsaRecord, WHOLE_CERTIFICATE } from './tlsa.ts';

export interface AnchorSearch {
  readonly leaf: ChainCertificate;
  /** The others that were sent, in any order. */
  readonly issuers: readonly ChainCertificate[];
  /** Usable records of usage 2. */
  readonly anchors: readonly TlsaRecord[];
  /** Since the epoch. */
  readonly nowMs: number;
}

export type PathFault = 'certificate-expired' | 'certificate-not-yet-valid' | 'certificate-invalid';

export interface Unfit {
  readonly cause: PathFault;
  readonly detail: string;
}

export type AnchorFound =
  | { readonly kind: 'found'; readonly record: TlsaRecord }
  /** An issuer on the way is not fit to be one, and there is no other way. */
  | ({ readonly kind: 'unfit' } & Unfit)
  | { readonly kind: 'none' };

/** Search upwards from the leaf, nearest first. */
export function findTrustAnchor({ leaf, issuers, anchors, nowMs }: AnchorSearch): AnchorFound {
  const unvisited = new Set(issuers.filter(({ der }) => !der.equals(leaf.der)));
  const published = publishedCertificates(anchors);
  const keys = bareKeys(anchors, issuers);
  let unfit: Unfit | undefined;
  const step = (issuer: ChainCertificate, below: number): boolean => {
    const why = whyUnfit(issuer, nowMs) ?? whyNoIssuer(issuer, below);
    if (why) unfit ??= { ...why, detail: `a certificate of its issuers ${why.detail}` };
    return why === undefined;
  };
  let level: readonly ChainCertificate[] = [leaf];
  for (let depth = 0; level.length > 0; depth++) {
    const above: ChainCertificate[] = [];
    for (const below of level) {
      if (isSignedWeakly(below.parts)) {
        unfit ??= invalid(`${depth === 0 ? 'its' : 'an issuing'} certificate is signed weakly`);
        continue;
      }
      for (const { record, key } of keys) {
        if (isSignedBy(below, key)) return { kind: 'found', record };
      }
      for (const { record, anchor } of published) {
        if (isIssuedBy(below, anchor) && step(anchor, depth)) return { kind: 'found', record };
      }
      for (const issuer of unvisited) {
        if (!isIssuedBy(below, issuer)) continue;
        unvisited.delete(issuer);
        if (!step(issuer, depth)) continue;
        const record = anchors.find((one) => fits(one, issuer));
        if (record) return { kind: 'found', record };
        above.push(issuer);
      }
    }
    level = above;
  }
  return unfit ? { kind: 'unfit', ...unfit } : { kind: 'none' };
}

/** OIDs as in CertificateParts: key usage, alternative name, constraints, policies, extended key usage. */
const UNDERSTOOD = new Set(['551d0f', '551d11', '551d13', '551d1f', '551d20', '551d25']);
const FOR_TLS_SERVERS = new Set(['1.3.6.1.5.5.7.3.1', '2.5.29.37.0']);

/** Why a certificate cannot count at this time, leaf or issuer (RFC 5280 §6.1.3, §4.2.1.12). */
export function whyUnfit(certificate: ChainCertificate, nowMs: number): Unfit | undefined {
  const { x509, parts } = certificate;
  if (!x509) return invalid('cannot be read');
  const { validFromDate, validToDate, keyUsage: purposes } = x509;
  if (!(nowMs >= validFromDate.getTime())) {
    return { cause: 'certificate-not-yet-valid', detail: `is not valid before ${x509.validFrom}` };
  }
  if (!(nowMs <= validToDate.getTime())) {
    return { cause: 'certificate-expired', detail: `has expired (valid until ${x509.validTo})` };
  }
  if (parts.criticalExtensions.some((id) => !UNDERSTOOD.has(id))) {
    return invalid('has a critical extension that is not understood');
  }
  if (purposes !== undefined && !purposes.some((id) => FOR_TLS_SERVERS.has(id))) {
    return invalid('is not for TLS servers');
  }
  if (hasWeakKey(certificate)) return invalid('has a key that is too short');
  return undefined;
}

/** `below`: how many issuers lie between it and the leaf (RFC 5280 §4.2.1.9). */
function whyNoIssuer({ x509, parts }: ChainCertificate, below: number): Unfit | undefined {
  if (!x509?.ca) return invalid('is not that of a CA');
  if (parts.pathLength !== undefined && below > parts.pathLength) {
    return invalid('allows no chain of this length');
  }
  return undefined;
}

/** The certificates that stand in DNS as a whole: they need not be sent (RFC 7671 §5.2.2). */
function publishedCertificates(anchors: readonly TlsaRecord[]) {
  return anchors.flatMap((record) => {
    const isWhole = record.selector === WHOLE_CERTIFICATE && record.matchingType === EXACT;
    const anchor = isWhole ? readCertificate(record.data) : undefined;
    return anchor ? [{ record, anchor }] : [];
  });
}

/** The keys that stand in DNS as a whole and that no certificate of the chain carries (RFC 7671 §5.2.3). */
function bareKeys(anchors: readonly TlsaRecord[], sent: readonly ChainCertificate[]) {
  return anchors.flatMap((record) => {
    const isBare = record.selector === PUBLIC_KEY && record.matchingType === EXACT;
    if (!isBare || sent.some((one) => fits(record, one))) return [];
    const key = readKey(record.data);
    return key ? [{ record, key }] : [];
  });
}

function readKey(der: Buffer): KeyObject | undefined {
  try {
    return createPublicKey({ key: der, format: 'der', type: 'spki' });
  } catch {
    return undefined;
  }
}

/** By name, key identifier and key usage as OpenSSL compares them, and by signature. */
function isIssuedBy(one: ChainCertificate, issuer: ChainCertificate): boolean {
  if (!one.x509 || !issuer.x509 || one.der.equals(issuer.der)) return false;
  return one.x509.checkIssued(issuer.x509) && isSignedBy(one, keyOf(issuer.x509));
}

function isSignedBy({ x509 }: ChainCertificate, key: KeyObject | undefined): boolean {
  try {
    return key !== undefined && x509?.verify(key) === true;
  } catch {
    return false;
  }
}

function keyOf(x509: X509Certificate): KeyObject | undefined {
  try {
    return x509.publicKey;
  } catch {
    return undefined;
  }
}

function invalid(detail: string): Unfit {
  return { cause: 'certificate-invalid', detail };
}
