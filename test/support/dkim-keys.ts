/**
 * Keys for DKIM: the file a relay is told of, and the record a verifier finds (RFC 6376 §3.6.1).
 */
import { generateKeyPairSync } from 'node:crypto';

export interface DkimPair {
  /** PKCS #8, PEM. */
  readonly keyPem: string;
  /** The text of the TXT record. */
  readonly record: string;
}

/** A new RSA pair; making one takes a moment. */
export function rsaPair(bits = 1024, tags = ''): DkimPair {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: bits });
  const p = publicKey.export({ type: 'spki', format: 'der' }).toString('base64');
  return {
    keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    record: `v=DKIM1; k=rsa; ${tags}p=${p}`,
  };
}
