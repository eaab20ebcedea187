/**
 * A peer's certificate in words, for people who have to find out what is wrong with one. Says
 * nothing about whether it holds: that is peer-verdict.ts.
 */
import { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { dnsNamesFromSubjectAltName } from '../protocol/tls/dns-id.ts';

export interface CertificateFacts {
  /** The dNSNames of its SAN, at most MOST_NAMES. */
  readonly names: readonly string[];
  /** Its CN: for show, no identity (RFC 8461 §4.2). */
  readonly commonName: string | undefined;
  readonly issuer: string;
  /** RFC 3339, UTC. */
  readonly validFrom: string;
  readonly validTo: string;
  /** Of the DER, lower-case hex. */
  readonly sha256: string;
  /** e.g. `ec prime256v1`, `rsa 2048`. */
  readonly key: string;
}

const MOST_NAMES = 100;

/** The leaf that the peer of a finished handshake showed; undefined when it showed none. */
export function describeCertificate(socket: TLSSocket): CertificateFacts | undefined {
  const leaf = leafOf(socket);
  if (!leaf) return undefined;
  return {
    names: dnsNamesFromSubjectAltName(leaf.subjectAltName).slice(0, MOST_NAMES),
    commonName: attribute(leaf.subject, 'CN'),
    issuer: issuerOf(leaf),
    validFrom: timeOf(leaf.validFromDate),
    validTo: timeOf(leaf.validToDate),
    sha256: leaf.fingerprint256.replaceAll(':', '').toLowerCase(),
    key: keyOf(leaf),
  };
}

/** Not by getPeerX509Certificate: after it, getPeerCertificate finds none (seen in Node 24.21). */
function leafOf(socket: TLSSocket): X509Certificate | undefined {
  const { raw } = socket.getPeerCertificate() as { raw?: Buffer };
  try {
    return raw && new X509Certificate(raw);
  } catch {
    return undefined;
  }
}

/** Node gives a distinguished name as one `type=value` a line. */
function attribute(name: string | undefined, type: string): string | undefined {
  const line = name?.split('\n').find((one) => one.startsWith(`${type}=`));
  return line?.slice(type.length + 1);
}

function issuerOf({ issuer }: X509Certificate): string {
  const parts = [attribute(issuer, 'O'), attribute(issuer, 'CN')];
  return parts.filter((part) => part !== undefined).join(', ') || 'unnamed';
}

/** A date that cannot be read is none, and no reason to fail. */
function timeOf(date: Date): string {
  return Number.isNaN(date.getTime()) ? 'unknown' : date.toISOString();
}

function keyOf(leaf: X509Certificate): string {
  try {
    const { asymmetricKeyType: type, asymmetricKeyDetails: details } = leaf.publicKey;
    const size = details?.namedCurve ?? details?.modulusLength;
    return [type, size].filter((part) => part !== undefined).join(' ');
  } catch {
    return 'unknown'; // a kind of key that OpenSSL cannot read
  }
}
