/**
 * Whether the certificate chain of a host is the one that its usable TLSA records promise
 * (RFC 7672 §3, RFC 7671 §5). Pure: octets, names and a time in, a verdict out. Local roots have no say.
 *
 * DANE-EE(3): the leaf or its key is the one in DNS, and nothing else counts, neither names nor dates
 * nor who signed it (RFC 7672 §3.1.1, RFC 7671 §5.1). DANE-TA(2): the trust anchor in DNS really issued the leaf, link by link
 * (trust-anchor.ts), and the leaf is within its dates and names the host (RFC 7672 §3.1.2).
 *
 * One record that fits is enough, whatever the others say (RFC 7671 §8). Without one the answer is no.
 */
import type { X509Certificate } from 'node:crypto';
import { daneTaNames, dnsNamesFromSubjectAltName, matchDnsId } from '../tls/dns-id.ts';
import { type ChainCertificate, fits, readCertificate } from './chain-certificate.ts';
import { DANE_EE, DANE_TA, type TlsaRecord } from './tlsa.ts';
import { findTrustAnchor, type PathFault, whyUnfit } from './trust-anchor.ts';
import { strongestOnly } from './usable.ts';

export interface DanePeer {
  /** DER of the certificates the host sent, its own first; what is not of that form is passed over. */
  readonly chain: readonly Buffer[];
  /** Since the epoch. */
  readonly nowMs: number;
}

export interface DaneReference {
  /** The usable ones (usable.ts). */
  readonly records: readonly TlsaRecord[];
  /** Names any of which the leaf may have under DANE-TA(2): the TLSA base domain first (RFC 7672 §3.2.2). */
  readonly names: readonly string[];
}

export type DaneFault =
  | PathFault
  /** No record fits the certificate. */
  | 'tlsa-mismatch'
  | 'certificate-host-mismatch'
  | 'certificate-missing';

export type DaneVerdict =
  | {
      readonly authenticated: true;
      readonly record: TlsaRecord;
      /** The name in the certificate, under DANE-TA(2). */
      readonly matchedName: string | undefined;
    }
  | { readonly authenticated: false; readonly cause: DaneFault; readonly detail: string };

/** A chain that is longer proves nothing that a shorter one does not. */
const MOST_CERTIFICATES = 12;

/** Judge what the host sent; see the head of this file. */
export function authenticateDane(peer: DanePeer, { records, names }: DaneReference): DaneVerdict {
  const [leafDer] = peer.chain;
  if (leafDer === undefined) return refused('certificate-missing', 'no certificate was sent');
  const leaf = readCertificate(leafDer);
  if (!leaf) return refused('certificate-invalid', 'its certificate cannot be read');
  const counting = strongestOnly(records);
  const exact = counting.find((record) => record.usage === DANE_EE && fits(record, leaf));
  if (exact) return { authenticated: true, record: exact, matchedName: undefined };
  const anchors = counting.filter(({ usage }) => usage === DANE_TA);
  if (anchors.length === 0) return noneFits(records);
  const issuers = peer.chain.slice(1, MOST_CERTIFICATES).map(readCertificate);
  const sent = issuers.filter((one) => one !== undefined);
  const found = findTrustAnchor({ leaf, issuers: sent, anchors, nowMs: peer.nowMs });
  if (found.kind === 'unfit') return refused(found.cause, found.detail);
  if (found.kind === 'none' || !leaf.x509) return noneFits(records);
  // RFC 7672 §3.1.2: dates and names of the leaf count here.
  const unfit = whyUnfit(leaf, peer.nowMs);
  if (unfit) return refused(unfit.cause, `its certificate ${unfit.detail}`);
  const matchedName = nameOf(leaf.x509, names);
  if (matchedName === undefined) return refused('certificate-host-mismatch', whose(leaf, names));
  return { authenticated: true, record: found.record, matchedName };
}

/** The name of the leaf that is one of `names`. RFC 7672 §3.2.3: a CN counts only beside no dNSName at all. */
function nameOf({ subjectAltName, subject }: X509Certificate, names: readonly string[]) {
  const presented = dnsNamesFromSubjectAltName(subjectAltName);
  const hasDnsNames = subjectAltName?.includes('DNS:') ?? false;
  const commonName = hasDnsNames ? undefined : commonNameOf(subject);
  return matchDnsId(names, daneTaNames(presented, commonName));
}

/** The last one is the most specific; Node gives a distinguished name as one `type=value` a line. */
function commonNameOf(subject: string | undefined): string | undefined {
  const line = subject?.split('\n').findLast((one) => one.startsWith('CN='));
  return line?.slice('CN='.length);
}

function whose({ x509 }: ChainCertificate, names: readonly string[]): string {
  const listed = dnsNamesFromSubjectAltName(x509?.subjectAltName).slice(0, 10).join(', ');
  return `certificate names ${listed || 'no DNS name at all'}, not ${names.join(' or ')}`;
}

function noneFits({ length }: readonly TlsaRecord[]): DaneVerdict {
  const none =
    length === 1 ? 'the TLSA record does not fit' : `none of ${length} TLSA records fits`;
  return refused('tlsa-mismatch', `${none} its certificate`);
}

function refused(cause: DaneFault, detail: string): DaneVerdict {
  return { authenticated: false, cause, detail };
}
