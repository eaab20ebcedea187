/**
 * Long lines on a terminal, broken between words instead of wherever the screen ends; what follows
 * begins below the text of its line, so that labels stay easy to find. Anywhere else lines stay whole.
 */
import type { Screen } from './table.ts';

/** Sentences are not wider, however wide the screen is. */
const MOST_COLUMNS = 120;
/** Text gets so much room at least; below that, the indent gives way. */
const LEAST_TEXT = 20;
/** Of a line without a label. */
const DEEPER = 2;
/** The indent, and a label of a word or two with room behind it. */
const LABEL = /^ *(?:\S+(?: \S+)? {2,})?/;

/** The text, line by line. `hang`: what follows begins there, whatever the line looks like. */
export function fold(
  text: string,
  { isTTY, columns, hang }: Screen & { readonly hang?: number } = process.stdout,
): string {
  if (isTTY !== true || !columns) return text; // 0: a terminal that does not know
  const width = Math.min(columns, MOST_COLUMNS);
  return text
    .split('\n')
    .flatMap((line) => foldLine(line, width, hang))
    .join('\n');
}

function foldLine(line: string, width: number, fixed?: number): readonly string[] {
  if (line.length <= width) return [line];
  const start = fixed === undefined ? (LABEL.exec(line)?.[0] ?? '') : line.slice(0, fixed);
  const isLabelled = /\S/.test(start);
  const deeper = isLabelled || fixed !== undefined ? 0 : DEEPER;
  const hang = Math.min(start.length + deeper, Math.max(0, width - LEAST_TEXT));
  const lines: string[] = [];
  let current = start;
  let isEmpty = true;
  for (const word of line.slice(start.length).split(' ')) {
    if (!isEmpty && current.length + 1 + word.length > width) {
      lines.push(current);
      current = ' '.repeat(hang);
      isEmpty = true;
    }
    current += isEmpty ? word : ` ${word}`;
    isEmpty = false;
  }
  return [...lines, current];
}
