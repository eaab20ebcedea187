/**
 * nodemailer's DKIM code (version 10.6), of which its type declarations leave out a member: the hash of the
 * body is its `RelaxedBody`, fed directly, since nobody reads the stream that it is. Its `DKIM` class is not
 * used: it keeps a whole message in memory, or writes a copy to disk, before the first octet comes out; nor is its
 * signature (protocol/dkim/signature.ts). Checked against the pinned version; to be read anew at an upgrade.
 */
import RelaxedBody from 'nodemailer/lib/dkim/relaxed-body';

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
