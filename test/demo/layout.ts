/**
 * How the tour looks: headings, paragraphs, and the board of the domains, as lines for a width.
 * Pure; colours come from `Paint`, which may be none.
 */
import type { Step, StepKind } from './story.ts';

export type Colour = 'green' | 'yellow' | 'red' | 'cyan' | 'bold' | 'dim';
export type Paint = (colour: Colour, text: string) => string;

export interface BoardRow {
  readonly domain: string;
  /** What it is like; empty where that was told before. */
  readonly words: string;
  /** Those to tell. */
  readonly steps: readonly Step[];
  /** How its last message stands; undefined before there is one. */
  readonly last: Step | undefined;
}

/** Sentences are not wider, however wide the screen is. */
const WIDEST = 132;
const INDENT = 4;
/** How a message stands, in brief; and from which width on there are other words beside it. */
const BRIEF_WIDTH = 50;
const WITH_WORDS = 100;
const MARKS: Readonly<Record<StepKind, readonly [string, Colour]>> = {
  taken: ['·', 'dim'],
  noted: ['·', 'dim'],
  delivered: ['✓', 'green'],
  held: ['■', 'yellow'],
  bounced: ['✗', 'red'],
};

/** Words on lines of at most `width` characters; what is longer has a line of its own. */
export function wrap(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) {
      lines[lines.length - 1] = `${last} ${word}`;
    } else lines.push(word);
  }
  return lines;
}

/** A paragraph. */
export function paragraph(text: string, columns: number): readonly string[] {
  return wrap(text, Math.min(columns, WIDEST));
}

/** Labels, and what they stand for below each other. */
export function labelled(
  rows: readonly (readonly [label: string, text: string])[],
  { columns, paint }: { readonly columns: number; readonly paint: Paint },
): readonly string[] {
  const labelWidth = Math.max(...rows.map(([label]) => label.length)) + 2;
  return rows.flatMap(([label, text]) =>
    wrap(text, Math.min(columns, WIDEST) - labelWidth).map(
      (line, i) => paint('dim', (i === 0 ? label : '').padEnd(labelWidth)) + line,
    ),
  );
}

/** A command line; where it is too long for one, its options go below. */
export function commandLines(words: readonly string[], columns: number): readonly string[] {
  const whole = words.join(' ');
  if (whole.length + 2 <= columns) return [whole];
  const lines: string[] = [];
  for (const word of words) {
    const last = lines.at(-1);
    if (last === undefined || word.startsWith('--')) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines.map(
    (line, i) => (i === 0 ? '' : '    ') + line + (i < lines.length - 1 ? ' \\' : ''),
  );
}

/** JSON as short as it can be read: what fits on a line is not broken. */
export function jsonLines(value: unknown, width: number, indent = ''): readonly string[] {
  const flat = JSON.stringify(value, undefined, 1).replace(/\n\s*/g, ' ');
  if (indent.length + flat.length <= width || typeof value !== 'object' || value === null) {
    return [indent + flat];
  }
  const isList = Array.isArray(value);
  const parts = Object.entries(value).map(([key, part]) => {
    const lines = jsonLines(part, width - 1, `${indent}  `);
    if (isList) return lines;
    const own = jsonLines(part, width - key.length - 5, `${indent}  `);
    const [first = '', ...rest] = own;
    return [`${indent}  ${JSON.stringify(key)}: ${first.trimStart()}`, ...rest];
  });
  return [
    indent + (isList ? '[' : '{'),
    ...parts.flatMap((lines, i) =>
      lines.map((line, j) => (j === lines.length - 1 && i < parts.length - 1 ? `${line},` : line)),
    ),
    indent + (isList ? ']' : '}'),
  ];
}

/** One line a domain, for a screen that is drawn again and again; what it is like where there is room. */
export function briefBoard(
  rows: readonly BoardRow[],
  view: { readonly columns: number; readonly paint: Paint; readonly spinner: string },
): readonly string[] {
  const { columns, paint, spinner } = view;
  const nameWidth = widest(rows);
  const room = columns - nameWidth - INDENT - 2;
  const wordsWidth = room >= WITH_WORDS ? room - BRIEF_WIDTH : 0;
  return rows.map(({ domain, words, steps, last }) => {
    const isOver = last !== undefined && last.kind !== 'taken';
    const [mark, colour] = isOver ? MARKS[last.kind] : [last ? spinner : ' ', 'cyan' as const];
    const now = isOver ? last.brief : last ? (steps.at(-1)?.brief ?? '') : '';
    const like = wordsWidth > 0 ? `${cut(words, wordsWidth - 2).padEnd(wordsWidth)}` : '';
    const text = cut(now === '' && like === '' ? words : now, room - wordsWidth);
    const status = paint(isOver ? colour : 'dim', text);
    return ` ${paint(colour, mark)} ${paint('bold', domain.padEnd(nameWidth))}  ${paint('dim', like)}${status}`;
  });
}

function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, width - 1)}…`;
}

/** Everything about each domain. */
export function fullBoard(
  rows: readonly BoardRow[],
  { columns, paint }: { readonly columns: number; readonly paint: Paint },
): readonly string[] {
  const nameWidth = widest(rows);
  const width = Math.min(columns, WIDEST);
  return rows.flatMap(({ domain, words, steps, last }) => {
    if (words === '')
      return steps.flatMap((step) => namedLines(domain, step, { width, nameWidth, paint }));
    const [mark, colour] = last ? MARKS[last.kind] : [' ', 'dim' as const];
    const [first = '', ...rest] = wrap(words, width - INDENT - nameWidth - 1);
    const below = ' '.repeat(INDENT + nameWidth + 1);
    return [
      ` ${paint(colour, mark)} ${paint('bold', domain.padEnd(nameWidth))}  ${paint('dim', first)}`,
      ...rest.map((line) => below + paint('dim', line)),
      ...steps.flatMap((step) => stepLines(step, width, paint)),
    ];
  });
}

/** A step beside the name of its domain. */
function namedLines(
  domain: string,
  step: Step,
  {
    width,
    nameWidth,
    paint,
  }: { readonly width: number; readonly nameWidth: number; readonly paint: Paint },
): readonly string[] {
  const [mark, colour] = MARKS[step.kind];
  const below = ' '.repeat(INDENT + nameWidth + 1);
  const head = ` ${paint(colour, mark)} ${paint('bold', domain.padEnd(nameWidth))}  `;
  return wrap(step.text, width - below.length).map(
    (line, i) => (i === 0 ? head : below) + paint(colour, line),
  );
}

function stepLines(step: Step, width: number, paint: Paint): readonly string[] {
  if (step.kind === 'taken' || step.text.startsWith('policy fetched')) return [];
  const [mark, colour] = MARKS[step.kind];
  const lines = wrap(step.text, width - INDENT - 2);
  return lines.map((line, i) => {
    const sign = i === 0 ? paint(colour, mark) : ' ';
    return `${' '.repeat(INDENT)}${sign} ${step.kind === 'noted' ? line : paint(colour, line)}`;
  });
}

/** A line of a story where nothing can be drawn over. */
export function plainStep(domain: string, { kind, text }: Step, nameWidth: number): string {
  return `${MARKS[kind][0]} ${domain.padEnd(nameWidth)}  ${text}`;
}

function widest(rows: readonly { readonly domain: string }[]): number {
  return Math.max(...rows.map(({ domain }) => domain.length));
}
