/**
 * An SMTP reply (RFC 5321 §4.2) with its enhanced status code (RFC 2034, RFC 3463).
 * Pure: parses what a client library read off the wire; bounded in size.
 */
import { unhidden } from '../quote.ts';

/** A reply as received. */
export interface Reply {
  /** 200-599. */
  readonly code: number;
  /** `class.subject.detail` when the reply carries one whose class agrees with the code. */
  readonly enhanced: string | undefined;
  /** All lines, without code and enhanced status, joined by ` / `; printable, at most 1,000 characters. */
  readonly text: string;
}

const MAX_TEXT = 1000;
const LINE = /^([2-5]\d\d)(?!\d)[ \t-]?(.*)$/s;
const ENHANCED = /^([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)/;

/**
 * Parse a whole reply, its lines separated by LF or CRLF. Only the first digit decides what
 * is done with a reply (RFC 5321 §4.3.2), so lines need to agree in no more than that; the code
 * is the first line's. The text is for people and may be anything. Undefined when the lines
 * are no reply.
 */
export function parseReply(raw: string): Reply | undefined {
  const lines = raw.split(/\r?\n/).filter((line) => line !== '');
  let code: number | undefined;
  let enhanced: string | undefined;
  const texts: string[] = [];
  for (const line of lines) {
    const match = LINE.exec(line);
    if (!match) return undefined;
    const lineCode = Number(match[1]);
    if (code !== undefined && Math.floor(lineCode / 100) !== Math.floor(code / 100))
      return undefined;
    code ??= lineCode;
    let text = match[2] ?? '';
    const status = ENHANCED.exec(text);
    if (status?.[1]?.[0] === String(code)[0]) {
      enhanced ??= status?.[1];
      text = text.slice(status?.[0].length ?? 0);
    }
    texts.push(text);
  }
  if (code === undefined) return undefined;
  return { code, enhanced, text: printable(texts.join(' / ')).slice(0, MAX_TEXT) };
}

/** `550 5.1.1 no such user`, the form used in a Diagnostic-Code and in logs. */
export function formatReply(reply: Reply): string {
  return [String(reply.code), reply.enhanced, reply.text].filter(Boolean).join(' ');
}

/** Remote text goes into logs, bounces, terminals and pages: no control characters survive. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is being removed
  return unhidden(text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ').trim());
}

const FULL_MAILBOX = /\b(?:full|quota|overquota|storage)\b/i;

/**
 * Whether a reply to RCPT says that the transaction has enough recipients: 452, or 552 as some say
 * it (RFC 5321 §4.5.3.1.10). Either means for now. Without an enhanced status a 552 is that, too, unless its
 * text speaks of a full mailbox, which is the other thing it stands for (§4.2.3).
 */
export function takesNoMoreRecipients({ code, enhanced, text }: Reply): boolean {
  if (code !== 452 && code !== 552) return false;
  if (enhanced !== undefined) return enhanced.endsWith('.5.3');
  return code === 452 || !FULL_MAILBOX.test(text) || /\brecipients\b/i.test(text);
}
