/**
 * WSP of RFC 5234 §B.1 (SP and HTAB, nothing else): String.trim() also takes line ends and Unicode
 * blanks away, which these grammars do not allow. Loops, not expressions: `/[ \t]+$/` takes
 * quadratic time on a long run of blanks in the middle.
 */

/** `text` without WSP on either side. */
export function trimWsp(text: string): string {
  return trimWspStart(trimWspEnd(text));
}

/** `text` without WSP on its left. */
export function trimWspStart(text: string): string {
  let start = 0;
  while (start < text.length && isWsp(text, start)) start += 1;
  return text.slice(start);
}

/** `text` without WSP on its right. */
export function trimWspEnd(text: string): string {
  let end = text.length;
  while (end > 0 && isWsp(text, end - 1)) end -= 1;
  return text.slice(0, end);
}

function isWsp(text: string, at: number): boolean {
  return text[at] === ' ' || text[at] === '\t';
}
