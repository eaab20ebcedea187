/**
 * The whole space of a decision as a table that a person can read: lines are made one where nothing in them
 * differs but values that lead to the same answers. No line is left out and no two overlap, so that a table
 * can be held against every point of the space (`answerIn`).
 */

/** One thing that has a say, in the order in which it is asked. */
export interface Dimension {
  readonly name: string;
  readonly values: readonly string[];
}

export interface DecisionTable {
  readonly dimensions: readonly Dimension[];
  /** Heading of the last column. */
  readonly answer: string;
  readonly decide: (point: readonly string[]) => string;
}

const ANY = '*';
const OR = ' | ';

/** A line: what stands in each column, and the answer. */
type Line = readonly string[];

/** The table as text, with a heading. */
export function formatDecisions(table: DecisionTable): string {
  const heading = [...table.dimensions.map(({ name }) => name), table.answer];
  const lines = [heading, ...linesFrom(table, [])];
  const widths = heading.map((_, column) =>
    Math.max(...lines.map((line) => line[column]?.length ?? 0)),
  );
  const format = (line: Line) =>
    line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('   ');
  const rule = widths.map((width) => '-'.repeat(width));
  return [format(heading), format(rule), ...lines.slice(1).map(format)]
    .map((line) => line.trimEnd())
    .join('\n');
}

/** Lines for everything that begins as `point` does. */
function linesFrom(table: DecisionTable, point: readonly string[]): readonly Line[] {
  const dimension = table.dimensions[point.length];
  if (!dimension) return [[table.decide(point)]];
  const groups = new Map<string, { values: string[]; lines: readonly Line[] }>();
  for (const value of dimension.values) {
    const lines = linesFrom(table, [...point, value]);
    const key = JSON.stringify(lines);
    const group = groups.get(key) ?? { values: [], lines };
    group.values.push(value);
    groups.set(key, group);
  }
  return [...groups.values()].flatMap(({ values, lines }) => {
    const cell = values.length === dimension.values.length ? ANY : values.join(OR);
    return lines.map((line) => [cell, ...line]);
  });
}

/** What a table in `text`, under a heading as `formatDecisions` makes it, answers to a point; throws unless it is one line. */
export function tableReader({ dimensions, answer }: DecisionTable, text: string) {
  const all = text.split('\n');
  const names = [...dimensions.map(({ name }) => name), answer];
  const at = all.findIndex((line) => line.split(/ {2,}/).join('|') === names.join('|'));
  if (at < 0) throw new Error(`no table of ${names.join(', ')}`);
  const end = all.indexOf('', at);
  const lines = all.slice(at + 2, end < 0 ? undefined : end).map((line) => line.split(/ {3,}/));
  return (point: readonly string[]): string => {
    const fitting = lines.filter((line) => point.every((value, n) => fits(line[n] ?? '', value)));
    const found = fitting[0]?.[dimensions.length];
    if (fitting.length !== 1 || found === undefined) {
      throw new Error(`${fitting.length} lines for ${point.join(', ')}`);
    }
    return found;
  };
}

function fits(cell: string, value: string): boolean {
  return cell === ANY || cell.split(OR).includes(value);
}

/** Every point of the space. */
export function* pointsOf(
  dimensions: readonly Dimension[],
  point: readonly string[] = [],
): Generator<readonly string[]> {
  const dimension = dimensions[point.length];
  if (!dimension) {
    yield point;
    return;
  }
  for (const value of dimension.values) yield* pointsOf(dimensions, [...point, value]);
}
