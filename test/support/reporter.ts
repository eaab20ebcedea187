/**
 * The test reporter: quiet about what passes, complete about what does not. Prints each failing
 * test with its place and error, the output of test files that failed, every skipped test by
 * name with its reason, and as its very last line `N passed, N failed` (`, N skipped` where
 * there are any). What counts is the leaf: a test without subtests. A suite, or a test with
 * subtests, counts only when it fails by itself (a hook, an assertion of its own), and a file
 * that ends badly counts as one failed test.
 */
import { relative } from 'node:path';
import type { TestEvent } from 'node:test/reporters';
import { inspect } from 'node:util';

/** A test that took longer is named at the end. */
const SLOW_MS = 10_000;
const MAX_FILE_OUTPUT = 20_000;

type DataOf<T extends TestEvent['type']> = Extract<TestEvent, { type: T }>['data'];
type Ended = DataOf<'test:pass'> | DataOf<'test:fail'>;
/** Fields of newer Node.js that its types do not have yet. */
interface Lineage {
  readonly testId?: number | undefined;
  readonly parentId?: number | undefined;
  /** The test file; absent on the event that stands for the file itself. */
  readonly entryFile?: string | undefined;
}

type TestError = Error & {
  readonly failureType?: string;
  readonly exitCode?: number | null;
  readonly signal?: string | null;
};

interface Failure {
  readonly title: string;
  readonly place: string;
  readonly error: unknown;
}

class Tally {
  passed = 0;
  readonly failures: Failure[] = [];
  readonly skipped: string[] = [];
  readonly slow: string[] = [];
  readonly emptyFiles: string[] = [];
  readonly #output = new Map<string, string>();
  readonly #parents = new Set<string>();
  readonly #names = new Map<string, string>();
  readonly #badFiles = new Set<string>();

  /** A test began: its parent is no leaf. */
  started(test: DataOf<'test:start'> & Lineage): void {
    const { entryFile, testId, parentId } = test;
    if (entryFile === undefined || testId === undefined) return;
    const above = parentId ? this.#names.get(`${entryFile}#${parentId}`) : undefined;
    this.#names.set(
      `${entryFile}#${testId}`,
      above === undefined ? test.name : `${above} > ${test.name}`,
    );
    if (parentId) this.#parents.add(`${entryFile}#${parentId}`);
  }

  ended(test: Ended & Lineage, failed: boolean): void {
    const key = `${test.entryFile}#${test.testId}`;
    const title = this.#names.get(key) ?? test.name;
    const isFile = test.entryFile === undefined;
    const isLeaf = !this.#parents.has(key) && test.details.type !== 'suite';
    const todo = test.todo !== undefined && test.todo !== false;
    if ((test.skip !== undefined && test.skip !== false) || todo) {
      const reason = todo ? `todo: ${test.todo}` : test.skip;
      this.skipped.push(`${title} (${reason === true ? 'no reason given' : reason})`);
    } else if (failed) this.#failed(test as DataOf<'test:fail'> & Lineage, title);
    else if (isFile) this.emptyFiles.push(placeOf(test));
    else if (isLeaf) this.passed += 1;
    if (isLeaf && !isFile && test.details.duration_ms > SLOW_MS) {
      this.slow.push(`${(test.details.duration_ms / 1000).toFixed(1)} s  ${title}`);
    }
  }

  said(file: string | undefined, message: string): void {
    const path = shorten(file);
    const text = (this.#output.get(path) ?? '') + message;
    this.#output.set(path, text.slice(-MAX_FILE_OUTPUT));
  }

  /** What files with failures wrote to stdout and stderr. */
  badOutput(): (readonly [string, string])[] {
    return [...this.#output].filter(([path, text]) => this.#badFiles.has(path) && text.trim());
  }

  #failed(test: DataOf<'test:fail'> & Lineage, title: string): void {
    const error = test.details.error as TestError;
    if (error.failureType === 'subtestsFailed') return;
    this.#badFiles.add(shorten(test.file));
    const isFile = test.entryFile === undefined;
    const cause = isFile
      ? `the file ended badly: exit code ${error.exitCode ?? '-'}, signal ${error.signal ?? '-'}`
      : (error.cause ?? error);
    this.failures.push({ title, place: placeOf(test), error: cause });
  }
}

function shorten(file: string | undefined): string {
  return file === undefined ? '' : relative(process.cwd(), file);
}

function placeOf(test: { readonly file?: string; readonly line?: number }): string {
  return `${shorten(test.file)}:${test.line ?? 1}`;
}

function describe(error: unknown): string {
  const text = typeof error === 'string' ? error : inspect(error, { depth: 6, colors: false });
  return text.replace(/\n +at .*\(?node:internal\/.*/g, '').replace(/^/gm, '    ');
}

function* summarize(tally: Tally): Generator<string> {
  for (const [path, text] of tally.badOutput()) yield `\noutput of ${path}:\n${text.trimEnd()}\n`;
  for (const { title, place, error } of tally.failures) {
    yield `\nFAILED ${title}\n  at ${place}\n${describe(error)}\n`;
  }
  for (const file of tally.emptyFiles) yield `no tests in ${file}\n`;
  for (const line of tally.slow) yield `slow: ${line}\n`;
  for (const line of tally.skipped) yield `skipped: ${line}\n`;
  const skipped = tally.skipped.length > 0 ? `, ${tally.skipped.length} skipped` : '';
  yield `${tally.passed} passed, ${tally.failures.length} failed${skipped}\n`;
}

/** For `node --test --test-reporter=./test/support/reporter.ts`. */
// biome-ignore lint/style/noDefaultExport: node:test takes the default export
export default async function* reporter(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const tally = new Tally();
  for await (const { type, data } of events) {
    switch (type) {
      case 'test:start':
        tally.started(data);
        break;
      case 'test:pass':
        tally.ended(data, false);
        break;
      case 'test:fail':
        tally.ended(data, true);
        if (!isOnlyParent(data)) yield `failed: ${data.name} (${placeOf(data)})\n`;
        break;
      case 'test:summary':
        if (data.file !== undefined) yield fileLine(data);
        break;
      case 'test:stdout':
      case 'test:stderr':
        tally.said(data.file, data.message);
        break;
      case 'test:diagnostic':
        if (data.file !== undefined) tally.said(data.file, `${data.message}\n`);
        break;
    }
  }
  yield* summarize(tally);
}

function fileLine(summary: DataOf<'test:summary'>): string {
  const { success, counts, duration_ms: ms } = summary;
  const verdict = success ? 'ok  ' : 'FAIL';
  return `${verdict} ${shorten(summary.file)}: ${counts.tests} tests, ${(ms / 1000).toFixed(1)} s\n`;
}

function isOnlyParent(data: DataOf<'test:fail'>): boolean {
  const error = data.details.error as TestError;
  const todo = data.todo !== undefined && data.todo !== false;
  return error.failureType === 'subtestsFailed' || todo;
}
