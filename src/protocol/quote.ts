/**
 * Foreign text inside our own sentences: what a DNS record, a policy or a certificate said,
 * fit for a log line, a terminal and a bounce. Never longer than a line, never a control
 * character.
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

function escaped(character: string): string {
  if (character === '"' || character === '\\') return `\\${character}`;
  return `\\u{${character.codePointAt(0)?.toString(16)}}`;
}
