/**
 * Foreign text inside our own sentences: what a DNS record, a policy or a certificate said,
 * fit for a log line, a terminal and a bounce. Never longer than a line, never a control
 * character. And foreign text that stands for itself, in what people look at.
 */

const MAX_QUOTED = 80;

/**
 * `text` in double quotes: printable ASCII as it is, everything else as `\u{hex}`, at most
 * 80 characters of it and `...` where something was cut off.
 */
export function quoted(text: string): string {
  const shown = text.slice(0, MAX_QUOTED);
  const safe = shown.replace(/[^\x20-\x7e]|["\\]/gu, escaped);
  return `"${safe}${shown.length < text.length ? '...' : ''}"`;
}

/** Turns the direction of what follows, or of a whole line, breaks it, or steers a terminal; C0 has ways of its own. */
const HIDDEN = /[\p{Bidi_Control}\u007f-\u009f\u2028\u2029]/gu;

/**
 * `text` without what makes people see something else than is there: controls of
 * direction, C1 and separators of lines as `\u{hex}`. C0 is left as it is, and letters of every script.
 */
export function unhidden(text: string): string {
  return text.replace(HIDDEN, escaped);
}

/** The same for text that is JSON, and says the same afterwards. */
export function unhiddenJson(json: string): string {
  return json.replace(HIDDEN, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

function escaped(character: string): string {
  if (character === '"' || character === '\\') return `\\${character}`;
  return `\\u{${character.codePointAt(0)?.toString(16)}}`;
}
