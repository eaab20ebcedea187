/**
 * nodemailer's DKIM code (version 10.6), of which its type declarations leave out a member: the hash of the
 * body is its `RelaxedBody`, fed directly, since nobody reads the stream that it is. Its `DKIM` class is not
 * used: it keeps a whole message in memory, or writes a copy to disk, before the first octet comes out.
 * Checked against the pinned version; to be read anew at an upgrade.
 */
import type { KeyObject } from 'node:crypto';
import RelaxedBody from 'nodemailer/lib/dkim/relaxed-body';
import sign from 'nodemailer/lib/dkim/sign';
import type { HeaderField } from '../protocol/dkim/header.ts';

const HASH = 'sha256'; // RFC 8301 §3.1

/** The hash of a body, canonicalization relaxed (RFC 6376 §3.4.4). Memory does not grow with the body. */
export class BodyHash {
  readonly #relaxed = new RelaxedBody({ hashAlgo: HASH });

  /** The next octets. */
  update(chunk: Buffer): void {
    this.#relaxed.updateHash(chunk);
  }

  /** Base64. */
  digest(): string {
    let hash = '';
    this.#relaxed.once('hash', (value: string) => {
      hash = value;
    });
    this.#relaxed._flush(() => {});
    return hash;
  }
}

export interface SignedBy {
  readonly domain: string;
  readonly selector: string;
  readonly key: KeyObject;
}

/**
 * A DKIM-Signature field with its CRLF, rsa-sha256, relaxed/relaxed, without `l=` (RFC 6376 §3.5, RFC 8460 §3): of each
 * name in `names` that occurs, the lowest field is covered (RFC 6376 §5.4.2). Undefined when the key cannot sign.
 */
export function dkimSignature(
  { header, bodyHash }: { readonly header: readonly HeaderField[]; readonly bodyHash: string },
  names: readonly string[],
  { domain, selector, key }: SignedBy,
): string | undefined {
  const field = sign([...header], HASH, bodyHash, {
    domainName: domain,
    keySelector: selector,
    privateKey: key,
    headerFieldNames: names.join(':'),
  });
  return field === false ? undefined : `${field}\r\n`;
}
