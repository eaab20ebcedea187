/**
 * One certificate of the chain that a host sent, read once, and whether a TLSA record is about it
 * (RFC 6698 §2.1). Pure.
 */
import { hash, X509Certificate } from 'node:crypto';
import { type CertificateParts, readCertificateParts } from '../tls/certificate-der.ts';
import { EXACT, SHA2_256, SHA2_512, type TlsaRecord, WHOLE_CERTIFICATE } from './tlsa.ts';

export interface ChainCertificate {
  readonly der: Buffer;
  readonly parts: CertificateParts;
  /** Undefined for one that OpenSSL cannot read. */
  readonly x509: X509Certificate | undefined;
}

/** Read one certificate; undefined when it is none. */
export function readCertificate(der: Buffer): ChainCertificate | undefined {
  const parts = readCertificateParts(der);
  if (parts === undefined) return undefined;
  try {
    return { der, parts, x509: new X509Certificate(der) };
  } catch {
    return { der, parts, x509: undefined };
  }
}

/** Whether a record is about this certificate (RFC 6698 §2.1.2, §2.1.3); usage is the caller's matter. */
export function fits(
  { selector, matchingType, data }: TlsaRecord,
  { der, parts }: Pick<ChainCertificate, 'der' | 'parts'>,
): boolean {
  const selected = selector === WHOLE_CERTIFICATE ? der : parts.publicKeyInfo;
  switch (matchingType) {
    case EXACT:
      return selected.equals(data);
    case SHA2_256:
      return hash('sha256', selected, 'buffer').equals(data);
    case SHA2_512:
      return hash('sha512', selected, 'buffer').equals(data);
    default:
      return false;
  }
}
