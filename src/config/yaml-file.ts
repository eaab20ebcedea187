/**
 * The configuration file as values with line numbers. Hostile or broken text gives problems,
 * never an exception: size, depth, number of values and aliases are limited.
 *
 * A key without a value (`limits:` with everything below it commented out) is as if it were
 * not there.
 */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  visit,
  type YAMLParseError,
} from 'yaml';
import type { Problem } from './problems.ts';
import type { KeyPath } from './structure.ts';

/** Larger files are refused. */
export const MAX_FILE_BYTES = 1024 * 1024;
const MAX_ALIASES = 100;
const MAX_DEPTH = 100;
const MAX_VALUES = 200_000;
/** One broken line can break every line after it. */
const MAX_PROBLEMS = 10;

export interface ConfigText {
  /** The values, or an empty object where the file holds none. */
  readonly values: unknown;
  readonly problems: readonly Problem[];
  /** The line of the key at `path`, or of what is nearest above it. */
  lineOf(path: KeyPath): number | undefined;
  /** The same for what need not be there: the line of the key, or of the list entry that lacks it. */
  lineWhereSaid(path: KeyPath): number | undefined;
}

/** Of a file that holds no values. */
export const NOWHERE = { lineOf: () => undefined, lineWhereSaid: () => undefined };

/** Parse the `text` of the configuration file called `source`: keys without a value are left out. */
export function readConfigText(source: string, text: string): ConfigText {
  return readYaml(source, text, withoutEmpty);
}

/** Parse any YAML file of ours under the same limits; `shape` may change the values, and throw. */
export function readYaml(
  source: string,
  text: string,
  shape: (values: unknown) => unknown = (values) => values,
): ConfigText {
  const problem = (found: string, expected: string, line?: number): ConfigText => ({
    values: {},
    problems: [{ source, key: '', found, expected, ...(line === undefined ? {} : { line }) }],
    ...NOWHERE,
  });
  if (Buffer.byteLength(text) > MAX_FILE_BYTES) {
    return problem('a larger file', `at most ${MAX_FILE_BYTES} octets`);
  }
  if (deepestFlow(text) > MAX_DEPTH) return problem('brackets in brackets', 'less depth');
  try {
    return parse(source, text, shape);
  } catch (error) {
    // Too deep for the parser's stack, too many aliases, an alias to nothing.
    const reason = error instanceof RangeError ? 'values too deep' : String(error);
    return problem(reason.slice(0, 200), 'plain YAML');
  }
}

function parse(source: string, text: string, shape: (values: unknown) => unknown): ConfigText {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    // `silent` would pass over a second document without a word.
    logLevel: 'error',
    stringKeys: true,
    // The parser compares every key with every other: a minute for 1 MiB. See repeatedKeys.
    uniqueKeys: false,
  });
  const line = (offset: number) => lines.linePos(offset).line;
  const problems = [
    ...document.errors.map(describeError),
    ...repeatedKeys(document).map(({ key, offset }) => ({
      offset,
      found: `the key ${key} for the second time`,
      expected: 'each key once',
    })),
  ]
    .slice(0, MAX_PROBLEMS)
    .map(({ offset, ...rest }) => ({ source, line: line(offset), key: '', ...rest }));
  if (problems.length > 0) return { values: {}, problems, ...NOWHERE };
  return {
    values: shape(document.toJS({ maxAliasCount: MAX_ALIASES }) ?? {}),
    problems: [],
    lineOf(path) {
      const { offset } = locate(document.contents, path);
      return offset === undefined ? undefined : line(offset);
    },
    lineWhereSaid(path) {
      const { offset, steps } = locate(document.contents, path);
      const isSaid = steps === path.length || typeof path[steps - 1] === 'number';
      return offset === undefined || !isSaid ? undefined : line(offset);
    },
  };
}

function describeError({ code, message, pos: [offset] }: YAMLParseError) {
  if (code === 'MULTIPLE_DOCS') {
    return { offset, found: 'a second document (behind ---)', expected: 'one document' };
  }
  const found = /call stack|stack overflow/i.test(message) ? 'values too deep' : message;
  return { offset, found, expected: 'valid YAML' };
}

/** Keys that stand twice in the same mapping, in linear time. */
function repeatedKeys(document: Document): readonly { key: string; offset: number }[] {
  const repeated: { key: string; offset: number }[] = [];
  visit(document, {
    Map(_, map) {
      const seen = new Set<unknown>();
      for (const { key } of map.items) {
        if (!isScalar(key)) continue;
        if (seen.has(key.value)) {
          repeated.push({ key: String(key.value).slice(0, 80), offset: key.range?.[0] ?? 0 });
        }
        seen.add(key.value);
      }
    },
  });
  return repeated;
}

/** Offset of the key at `path`, or of the last part of it that is there, and how many parts that are. */
function locate(root: Node | null, path: KeyPath): { offset: number | undefined; steps: number } {
  let node: unknown = root;
  let offset = root?.range?.[0];
  for (const [steps, step] of path.entries()) {
    // What an alias stands for is said elsewhere: its own key is where somebody looks.
    if (isAlias(node)) return { offset, steps: path.length };
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && key.value === step);
      if (pair === undefined || !isScalar(pair.key)) return { offset, steps };
      offset = pair.key.range?.[0] ?? offset;
      node = pair.value;
    } else if (isSeq(node) && typeof step === 'number' && node.items[step] !== undefined) {
      node = node.items[step];
      offset = (node as Node | undefined)?.range?.[0] ?? offset;
    } else return { offset, steps };
  }
  return { offset, steps: path.length };
}

/** A copy without keys that have no value, and without shared parts; throws when it is too large. */
function withoutEmpty(values: unknown): unknown {
  let count = 0;
  const copy = (value: unknown): unknown => {
    if (++count > MAX_VALUES) throw new Error(`more than ${MAX_VALUES} values`);
    if (Array.isArray(value)) return value.map(copy);
    if (typeof value !== 'object' || value === null) return value;
    // Object.fromEntries defines its keys: a key called __proto__ stays a key.
    return Object.fromEntries(
      Object.entries(value)
        .filter(([, child]) => child !== null)
        .map(([key, child]) => [key, copy(child)]),
    );
  };
  return copy(values);
}

/** How deep `[` and `{` go; brackets in quotes and comments count too, which only errs on the safe side. */
function deepestFlow(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (const character of text) {
    if (character === '[' || character === '{') deepest = Math.max(deepest, ++depth);
    else if (character === ']' || character === '}') depth = Math.max(0, depth - 1);
  }
  return deepest;
}
