/**
 * Rows for people on a terminal, aligned below a heading and no wider than the screen; for
 * everything else plain lines, with a tab between the cells and nothing left out.
 */
import { printable } from './terminal.ts';

export interface Screen {
  readonly isTTY?: boolean;
  readonly columns?: number;
}

const GAP = 2;
/** A last column is not cut to less. */
const LEAST_WIDTH = 20;

/** The rows as text without a final line end; cells may hold text of strangers. */
export function formatTable(
  heading: readonly string[],
  rows: readonly (readonly string[])[],
  screen: Screen = process.stdout,
): string {
  const cells = rows.map((row) => row.map(printable));
  if (screen.isTTY !== true) return cells.map((row) => row.join('\t')).join('\n');
  const lines = [heading, ...cells];
  const widths = heading.map((_, i) =>
    lines.reduce((width, line) => Math.max(width, line[i]?.length ?? 0), 0),
  );
  const before = widths.slice(0, -1).reduce((sum, width) => sum + width + GAP, 0);
  const left = Math.max(LEAST_WIDTH, (screen.columns ?? Number.POSITIVE_INFINITY) - before);
  return lines
    .map((line) => {
      const padded = line.slice(0, -1).map((cell, i) => cell.padEnd((widths[i] ?? 0) + GAP));
      return (padded.join('') + cut(line.at(-1) ?? '', left)).trimEnd();
    })
    .join('\n');
}

function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, width - 1)}…`;
}
