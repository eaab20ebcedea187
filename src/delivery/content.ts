/**
 * The content of a message as it goes over the wire: dots stuffed (RFC 5321 §4.5.2) and the end put
 * behind it, for bodies that are in memory at once and for those that are read while they are sent.
 *
 * It makes exactly what nodemailer's stream makes, at a fraction of the cost. What that one
 * repairs, line breaks that are not CRLF, is left to it.
 */
import type { TransformCallback } from 'node:stream';
import DataStream from 'nodemailer/lib/smtp-connection/data-stream';
import { ContentScanner } from '../protocol/smtp/content.ts';

const DOT = 0x2e;
const LF = 0x0a;
const END = Buffer.from('.\r\n');
const LINE_END = Buffer.from('\r\n');

/** All that follows DATA; undefined when a CR or LF stands alone in `body` (RFC 5321 §2.3.8). */
export function wholeContent(body: Buffer): Buffer | undefined {
  const scanner = new ContentScanner();
  if ((scanner.push(body) ?? scanner.end()) !== undefined) return undefined;
  const stuffed = stuff(body, true);
  // RFC 5321 §4.1.1.4: the CRLF before the lone dot is the last line's own, where it has one.
  const isOpen = body.length > 0 && body[body.length - 1] !== LF;
  return Buffer.concat(isOpen || body.length === 0 ? [stuffed, LINE_END, END] : [stuffed, END]);
}

/** The same for a body that comes in pieces: nodemailer's stream, which is asked only where it has to repair. */
export class ContentStream extends DataStream {
  readonly #scanner = new ContentScanner();

  override _transform(chunk: Buffer, encoding: BufferEncoding, done: TransformCallback): void {
    if (chunk.length === 0 || this.#scanner.push(chunk) !== undefined) {
      super._transform(chunk, encoding, done);
      return;
    }
    const stuffed = stuff(chunk, this.lastByte === false || this.lastByte === LF);
    this.inByteCount += chunk.length;
    this.outByteCount += stuffed.length;
    this.lastByte = chunk[chunk.length - 1] ?? this.lastByte;
    done(null, stuffed);
  }
}

function stuff(octets: Buffer, atLineStart: boolean): Buffer {
  const isFirst = atLineStart && octets[0] === DOT;
  if (!isFirst && !octets.includes('\n.')) return octets;
  const text = octets.toString('latin1').replaceAll('\n.', '\n..');
  return Buffer.from(isFirst ? `.${text}` : text, 'latin1');
}
