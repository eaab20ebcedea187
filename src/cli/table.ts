/**
 * Rows for people on a terminal, aligned below a heading and no wider than the screen; for
 * everything else plain lines, with a tab between the cells and nothing left out. The last column is the
 * one with sentences: where the screen has little room for it, each stands on a line of its own below its row.
 */
import { printable } from './terminal.ts';

export interface Screen {
  readonly isTTY?: boolean;
  readonly columns?: number;
  /** Columns whose cells may lose their middle where the screen is narrow, by their places. */
  readonly shortened?: readonly number[];
}

const GAP = 2;
/** A last column that gets less goes below. */
const ROOMY = 60;
/** Where it stands there. */
const INDENT = '    ';
/** What is shortened has so many characters at least. */
const LEAST_WIDTH = 12;
/** A last column is not cut to less. */
const LEAST_LAST = 20;

/** The rows as text without a final line end; cells may hold text of strangers. */
export function formatTable(
  heading: readonly string[],
  rows: readonly (readonly string[])[],
  screen: Screen = process.stdout,
): string {
  const cells = rows.map((row) => row.map(printable));
  if (screen.isTTY !== true) return cells.map((row) => row.join('\t')).join('\n');
  const { shortened = [] } = screen;
  const columns = screen.columns || Number.POSITIVE_INFINITY; // 0: a terminal that does not know
  const lines = [heading, ...cells];
  const natural = heading.map((_, i) =>
    lines.reduce((width, line) => Math.max(width, line[i]?.length ?? 0), 0),
  );
  const whole = widthOf(natural.slice(0, -1));
  const isBelow = whole + (natural.at(-1) ?? 0) > columns && columns - whole < ROOMY;
  const others = natural.slice(0, -1);
  const widths = isBelow ? fitted(others, shortened, columns + GAP) : others;
  const left = isBelow ? columns - INDENT.length : columns - widthOf(widths);
  const last = Math.max(LEAST_LAST, left);
  return lines
    .flatMap((line) => {
      const row = widths.map((width, i) => withoutMiddle(line[i] ?? '', width).padEnd(width + GAP));
      const text = cut(line.at(-1) ?? '', last);
      if (!isBelow) return [`${row.join('')}${text}`.trimEnd()];
      const isSaid = text !== '' && text !== '-';
      const above = row.join('').trimEnd();
      return [...(above === '' ? [] : [above]), ...(isSaid ? [`${INDENT}${text}`] : [])];
    })
    .join('\n');
}

function widthOf(widths: readonly number[]): number {
  return widths.reduce((sum, width) => sum + width + GAP, 0);
}

/** Widths for `room` characters, as far as those of `shortened` can give way: the widest do first. */
function fitted(
  natural: readonly number[],
  shortened: readonly number[],
  room: number,
): readonly number[] {
  const others = widthOf(natural) - shortened.reduce((sum, i) => sum + (natural[i] ?? 0), 0);
  const fits = (most: number) =>
    others + shortened.reduce((sum, i) => sum + Math.min(natural[i] ?? 0, most), 0) <= room;
  let most = Math.max(LEAST_WIDTH, ...shortened.map((i) => natural[i] ?? 0));
  while (most > LEAST_WIDTH && !fits(most)) most -= 1;
  return natural.map((width, i) => (shortened.includes(i) ? Math.min(width, most) : width));
}

function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, width - 1)}…`;
}

/** Of an address the begin of its local part and the end of its domain say most. */
function withoutMiddle(text: string, width: number): string {
  if (text.length <= width) return text;
  const end = Math.floor((width - 1) / 2);
  return `${text.slice(0, width - 1 - end)}…${text.slice(text.length - end)}`;
}
