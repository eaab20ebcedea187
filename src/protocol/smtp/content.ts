/**
 * What message content may not hold: a CR or an LF outside CRLF, or a NUL (RFC 5321 §2.3.8,
 * §4.1.1.4, RFC 5322 §2.3). A server further on that takes a bare LF or CR for the end of a
 * line sees an end of data where we saw text, and a second message after it (SMTP smuggling).
 * They are refused, not mended: mending breaks signatures and hides the attempt.
 *
 * Sees content as it leaves SMTP, after dot-stuffing was undone, in chunks of any size, and
 * keeps no more of it than the last octet.
 */
import { isAscii } from 'node:buffer';

export type ContentFault = 'bare-cr' | 'bare-lf' | 'nul';

const LF = 0x0a;
const CR = 0x0d;

export class ContentScanner {
  #lastOctet = -1;
  #fault: ContentFault | undefined;
  #eightBit = false;

  /** Whether an octet above 127 came by: the message needs 8BITMIME (RFC 6152 §3). */
  get sawEightBit(): boolean {
    return this.#eightBit;
  }

  /** Take the next octets; gives the first fault of the content, from then on at every call. */
  push(chunk: Buffer): ContentFault | undefined {
    this.#eightBit ||= !isAscii(chunk);
    this.#fault ??= this.#scan(chunk);
    return this.#fault;
  }

  /** No octets follow; a CR as the very last one is bare. */
  end(): ContentFault | undefined {
    if (this.#lastOctet === CR) this.#fault ??= 'bare-cr';
    return this.#fault;
  }

  /**
   * From line end to line end, as a string: the engine's search for one character is far faster than
   * a loop over octets. A message of empty lines, which a stranger may send, is slower, at 50 MB a second.
   */
  #scan(chunk: Buffer): ContentFault | undefined {
    const text = chunk.toString('latin1');
    if (text.length === 0) return undefined;
    let at = 0;
    if (this.#lastOctet === CR) {
      if (chunk[0] !== LF) return 'bare-cr';
      at = 1;
    }
    this.#lastOctet = chunk[chunk.length - 1] as number;
    const nul = text.indexOf('\0');
    for (;;) {
      const lf = text.indexOf('\n', at);
      const cr = text.indexOf('\r', at);
      const end = lf < 0 ? text.length : lf;
      // The first CR belongs to the first LF, or there is none of either.
      const isFine = cr < 0 ? lf < 0 : cr === end - 1;
      const isBareCr = !isFine && cr >= 0 && cr < end;
      if (nul >= at && nul < (isBareCr ? cr : end)) return 'nul';
      if (!isFine) return isBareCr ? 'bare-cr' : 'bare-lf';
      if (lf < 0) return undefined;
      at = lf + 1;
    }
  }
}
