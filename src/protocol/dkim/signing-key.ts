/**
 * Private keys for DKIM (RFC 6376 §3.3): which text is one that signatures can be made with. Pure.
 *
 * RSA alone: the signer (signature.ts) knows no other algorithm. What is wrong with a key is said
 * in words that continue a sentence about its file, and never show what is in it.
 */
import { createPrivateKey, type KeyObject } from 'node:crypto';

/** RFC 8301 §3.2: signers use 1024 bits at least; verifiers do not believe less. */
const LEAST_BITS = 1024;

/** Of a file with a key: one of 16,384 bits takes 13,000. */
export const MOST_KEY_OCTETS = 16 * 1024;

export type SigningKeyParsed =
  | { readonly ok: true; readonly secret: KeyObject }
  | { readonly ok: false; readonly why: string };

/** The key that is the PEM text of a file, PKCS #1 or PKCS #8. */
export function parseSigningKey(text: string): SigningKeyParsed {
  if (text.trim() === '') return { ok: false, why: 'is empty' };
  if (/^-----BEGIN (?:RSA )?PUBLIC KEY-----/m.test(text)) {
    return { ok: false, why: 'holds a public key; the private one signs' };
  }
  if (/^-----BEGIN ENCRYPTED |^Proc-Type:.*ENCRYPTED/m.test(text)) {
    return { ok: false, why: 'holds a key that is protected by a passphrase' };
  }
  let secret: KeyObject;
  try {
    secret = createPrivateKey(text);
  } catch {
    return { ok: false, why: 'holds no private key in PEM' };
  }
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = secret;
  if (type !== 'rsa')
    return { ok: false, why: `holds a key of type ${type}; only RSA is signed with` };
  const bits = details?.modulusLength ?? 0;
  if (bits < LEAST_BITS) {
    const why = `holds an RSA key of ${bits} bits, and no verifier believes one below ${LEAST_BITS}`;
    return { ok: false, why };
  }
  return { ok: true, secret };
}
