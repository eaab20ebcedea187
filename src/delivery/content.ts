/**
 * The content of a message as it goes over the wire, for bodies that are in memory at once: dots
 * stuffed (RFC 5321 §4.5.2) and the end put behind it. Pure.
 *
 * It makes exactly what nodemailer's stream makes, at a fraction of the cost. What that one
 * repairs, line breaks that are not CRLF, is left to it.
 */

/** RFC 5321 §2.3.8: CR and LF stand together or not at all. */
const LONE_CR_OR_LF = /\r(?!\n)|(?<!\r)\n/;

/** All that follows DATA, an octet a character (latin1); undefined when a CR or LF stands alone in `body`. */
export function wholeContent(body: Buffer): string | undefined {
  const text = body.toString('latin1');
  if (LONE_CR_OR_LF.test(text)) return undefined;
  const stuffed = `${text.startsWith('.') ? '.' : ''}${text.replaceAll('\n.', '\n..')}`;
  // RFC 5321 §4.1.1.4: the CRLF before the lone dot is the last line's own, where it has one.
  return text.endsWith('\n') ? `${stuffed}.\r\n` : `${stuffed}\r\n.\r\n`;
}
