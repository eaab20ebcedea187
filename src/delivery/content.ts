/**
 * The content of a message as it goes over the wire, for bodies that are in memory at once: dots
 * stuffed (RFC 5321 §4.5.2) and the end put behind it. Pure.
 *
 * It makes exactly what nodemailer's stream makes, at a fraction of the cost. What that one
 * repairs, line breaks that are not CRLF, is left to it.
 */

import { ContentScanner } from '../protocol/smtp/content.ts';

const DOT = 0x2e;
const LF = 0x0a;
const END = Buffer.from('.\r\n');
const LINE_END = Buffer.from('\r\n');

/** All that follows DATA; undefined when a CR or LF stands alone in `body` (RFC 5321 §2.3.8). */
export function wholeContent(body: Buffer): Buffer | undefined {
  const scanner = new ContentScanner();
  if ((scanner.push(body) ?? scanner.end()) !== undefined) return undefined;
  const stuffed = body[0] === DOT || body.includes('\n.') ? stuff(body) : body;
  // RFC 5321 §4.1.1.4: the CRLF before the lone dot is the last line's own, where it has one.
  const isOpen = body.length > 0 && body[body.length - 1] !== LF;
  return Buffer.concat(isOpen || body.length === 0 ? [stuffed, LINE_END, END] : [stuffed, END]);
}

function stuff(body: Buffer): Buffer {
  const text = body.toString('latin1').replaceAll('\n.', '\n..');
  return Buffer.from(text.startsWith('.') ? `.${text}` : text, 'latin1');
}
