/**
 * Whether a signature or a key of a chain is too weak to prove anything (RFC 5280 §6.1 leaves that to whoever
 * verifies): what OpenSSL refuses at its security level 1, as it does for chains that end in a root. Pure.
 */
import type { CertificateParts } from '../tls/certificate-der.ts';
import type { ChainCertificate } from './chain-certificate.ts';

/** Signature algorithms over MD2, MD4, MD5 and SHA-1, as in CertificateParts. */
const WEAK = new Set([
  '2a864886f70d010102',
  '2a864886f70d010103',
  '2a864886f70d010104',
  '2a864886f70d010105',
  '2b0e030203',
  '2b0e03021b',
  '2b0e03021d',
  '2a8648ce380403',
  '2a8648ce3d0401',
]);
/** RSASSA-PSS, whose parameters name the digest: SHA-1 where they do not (RFC 4055 §3.1). */
const PSS = '2a864886f70d01010a';
const PSS_DIGEST = 0xa0;
const SHA_1 = Buffer.from('06052b0e03021a', 'hex');
const MD5 = Buffer.from('06082a864886f70d0205', 'hex');

/** Bits of RSA and DSA: 80 bits of security. */
const LEAST_MODULUS = 1024;

/** Whether the signature is over a digest for which somebody could find another certificate. */
export function isSignedWeakly({
  signature: { id, parameters },
}: Pick<CertificateParts, 'signature'>): boolean {
  if (id !== PSS) return WEAK.has(id);
  if (parameters[0] !== PSS_DIGEST) return true;
  const digest = parameters.subarray(0, 2 + (parameters[1] ?? 0));
  return digest.includes(SHA_1) || digest.includes(MD5);
}

/** Whether the private key could be found out. One that OpenSSL cannot read verifies nothing, anyway. */
export function hasWeakKey({ x509 }: Pick<ChainCertificate, 'x509'>): boolean {
  try {
    const bits = x509?.publicKey.asymmetricKeyDetails?.modulusLength;
    return bits !== undefined && bits < LEAST_MODULUS;
  } catch {
    return false;
  }
}
