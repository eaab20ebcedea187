/**
 * What the commands that list something have in common: the options of their filters, the pages asked of the relay
 * one after the other as they are shown, and how they end. Without --limit a list is complete.
 */
import { InvalidArgumentError, Option } from 'commander';
import { z } from 'zod';
import { MOST_OF_PAGE } from '../admin/api-page.ts';
import { parseDuration } from '../config/units.ts';
import { readAnswer, TIMEOUT_MS } from './answers.ts';
import { EXIT, type ExitCode, type Invocation } from './command.ts';
import { askRelay } from './control-client.ts';
import { formatTable } from './table.ts';
import { print, printError, printJsonList } from './terminal.ts';

/** Rows whose columns are aligned together: a long list is seen as it comes. */
const ALIGNED = 500;

export const LIST_EXIT_CODES = `
Away from a terminal: no heading, a tab between the columns, nothing shortened.

Exit codes:
  0  listed, also when there is nothing at all
  1  nothing fits the filters
  2  wrong usage or configuration
  3  the relay cannot be reached`;

export const limitOption = () => new Option('--limit <n>', 'at most so many').argParser(parseLimit);

export const domainOption = () =>
  new Option('--domain <pattern>', 'for these domains; * stands for any characters');

/** For an option: how long something is, as the API takes it. */
export function durationText(text: string): string {
  if (parseDuration(text) !== undefined) return text;
  throw new InvalidArgumentError('It is a duration: 30m, 2h, 7d.');
}

function parseLimit(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It is a whole number from 1 on.');
}

export function limitOf({ options }: Invocation): number | undefined {
  return options['limit'] as number | undefined;
}

/** Those of the options with these names that were given, as the API takes them. */
export function filtersOf(
  { options }: Invocation,
  names: readonly string[],
): Readonly<Record<string, string>> {
  const given: Record<string, string> = {};
  for (const name of names) {
    const value = options[name];
    if (typeof value === 'string') given[name] = value;
  }
  return given;
}

/** What is known when the last entry was taken. */
export interface ListEnd {
  /** There are more than were asked for. */
  readonly hasMore: boolean;
  /** How many fit, where the relay says it. */
  readonly total?: number | undefined;
}

export interface ListWish<T> {
  /** `/api/v1/...` */
  readonly path: string;
  readonly filters: Readonly<Record<string, string>>;
  /** Undefined: all. */
  readonly limit: number | undefined;
  /** Under which name the answer has the entries, and what each of them is. */
  readonly name: string;
  readonly entry: z.ZodType<T>;
  /** The most entries that the relay gives at once. */
  readonly most?: number;
  /** How `next` is said in the next question. */
  readonly cursor?: 'after' | 'before';
}

/** The entries of a list of the relay, asked for page by page as they are taken. */
export async function* listAll<T>(dataDir: string, wish: ListWish<T>): AsyncGenerator<T, ListEnd> {
  const { path, filters, name, entry, most = MOST_OF_PAGE, cursor = 'after' } = wish;
  const entries = z.looseObject({ [name]: z.array(entry) });
  const rest = z.looseObject({
    next: z.union([z.string(), z.number()]).optional(),
    total: z.number().optional(),
  });
  let wanted = wish.limit ?? Number.POSITIVE_INFINITY;
  let next: string | number | undefined;
  let total: number | undefined;
  do {
    const query = new URLSearchParams({ ...filters, limit: `${Math.min(wanted, most)}` });
    if (next !== undefined) query.set(cursor, `${next}`);
    const asked = { method: 'GET', path: `${path}?${query}`, timeoutMs: TIMEOUT_MS } as const;
    const answer = await askRelay(dataDir, asked);
    const page = readAnswer(answer, entries)[name] as readonly T[];
    yield* page.slice(0, wanted);
    wanted -= page.length;
    ({ next, total } = readAnswer(answer, rest));
  } while (next !== undefined && wanted > 0);
  return { hasMore: next !== undefined || wanted < 0, total };
}

export interface Shown<T> {
  readonly heading: readonly string[];
  readonly rowOf: (entry: T, nowMs: number, isScreen: boolean) => readonly string[];
  /** Columns that may be shortened on a screen. */
  readonly shortened?: readonly number[];
  /** `3 deliveries`, for a last line. */
  readonly counted?: (count: number) => string;
  /** What is said when there is nothing at all. */
  readonly none: string;
  /** The same when filters were given. */
  readonly isFiltered: boolean;
}

/** Show a list as it comes, and say how that ends. */
export async function showList<T>(
  { json }: Invocation,
  entries: AsyncGenerator<T, ListEnd>,
  shown: Shown<T>,
): Promise<ExitCode> {
  let end: ListEnd = { hasMore: false };
  const watched = (async function* () {
    end = yield* entries;
  })();
  const count = json ? await printJsonList(watched) : await printRows(watched, shown);
  const { none, isFiltered } = shown;
  if (!json) {
    const said = count === 0 ? (isFiltered ? 'nothing fits' : none) : lastLine(count, end, shown);
    if (said !== undefined) printError(said);
  }
  return count === 0 && isFiltered ? EXIT.no : EXIT.done;
}

/** How many there are, and whether that is all. */
function lastLine<T>(count: number, { hasMore, total }: ListEnd, { counted }: Shown<T>) {
  const rest = 'the others are left out by --limit';
  if (!hasMore) return counted?.(count);
  return total === undefined || !counted ? rest : `${count} of ${counted(total)}: ${rest}`;
}

/** Prints rows as they come, some at a time aligned together; how many there were. */
async function printRows<T>(
  entries: AsyncIterable<T>,
  { heading, rowOf, shortened = [] }: Shown<T>,
): Promise<number> {
  const { isTTY = false, columns = 0 } = process.stdout;
  let count = 0;
  let block: (readonly string[])[] = [];
  const flush = () => {
    if (block.length > 0) print(formatTable(heading, block, { isTTY, columns, shortened }));
    block = [];
  };
  for await (const entry of entries) {
    block.push(rowOf(entry, Date.now(), isTTY));
    count += 1;
    if (block.length >= ALIGNED) flush();
  }
  flush();
  return count;
}
