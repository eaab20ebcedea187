/**
 * Reads docs/conformance.md and says where it and the project disagree: a requirement without a
 * row, a row that says something else than the list, a source file that does not cite what it
 * is said to obey, a test that is not there. Pure: takes texts, returns lines to print.
 *
 * A row of the document:
 *
 *   | R009 | MUST | 8461 §3.1 | text | met | [a](../src/a.ts) | [b](../test/b.ts) "a test" |
 *
 * Behind the link to a test file stands, in double quotes, the title (or a part of it) of the test;
 * without one the title holds the number of the row.
 */

/** One entry of test/fixtures/requirements.json. */
export interface Requirement {
  /** `R009` */
  readonly number: string;
  /** RFC 2119 word; `*` where the text binds without one; DERIVED where it follows from several. */
  readonly level: string;
  /** `RFC 8461 §3.1`; an RFC without a section, or a CVE, where it comes from there. */
  readonly sections: readonly string[];
  readonly text: string;
}

export interface TestReference {
  readonly path: string;
  readonly name: string;
}

export interface ConformanceRow {
  readonly line: number;
  readonly number: string;
  readonly level: string;
  readonly sections: string;
  readonly text: string;
  readonly status: string;
  /** Paths in the project, `src/…`. */
  readonly sources: readonly string[];
  readonly tests: readonly TestReference[];
}

export interface ConformanceCheck {
  readonly requirements: readonly Requirement[];
  /** docs/conformance.md */
  readonly document: string;
  /** The text of a file of the project; undefined when there is none. */
  readonly read: (path: string) => string | undefined;
}

interface StatusRule {
  readonly pattern: RegExp;
  readonly needsSource: boolean;
  readonly needsTest: boolean;
  /** Levels that may have this status; all when absent. */
  readonly levels?: RegExp;
}

/** The statuses there are, and what a row with each must name. */
const STATUSES: readonly StatusRule[] = [
  { pattern: /^met$/, needsSource: true, needsTest: true },
  { pattern: /^met by \S.*$/, needsSource: false, needsTest: true },
  {
    pattern: /^chosen: \S.*$/,
    needsSource: false,
    needsTest: false,
    levels: /^(MAY|SHOULD|SHOULD NOT|DERIVED)$/,
  },
  { pattern: /^deviates: \S.*$/, needsSource: true, needsTest: true },
  { pattern: /^not yet: \S.*$/, needsSource: false, needsTest: false },
];

const LINK = /\[[^\]]*\]\(\.\.\/([^)\s]+)\)(?: "([^"]+)")?/g;
/** Cells between pipes that no backslash precedes. */
const CELL = /(?<!\\)\|/;

/** The rows of all tables of the document whose first cell is a requirement's number. */
export function rowsOf(document: string): ConformanceRow[] {
  const rows: ConformanceRow[] = [];
  for (const [index, line] of document.split('\n').entries()) {
    if (!/^\|\s*R\d+\s*\|/.test(line)) continue;
    const cells = line.split(CELL).slice(1, -1);
    const [number = '', level = '', sections = '', text = '', status = '', code = '', tests = ''] =
      cells.map((cell) => cell.trim());
    rows.push({
      line: index + 1,
      number,
      level: level.replaceAll('\\*', '*'),
      sections,
      text,
      status,
      sources: [...code.matchAll(LINK)].map(([, path = '']) => path),
      tests: [...tests.matchAll(LINK)].map(([, path = '', name = number]) => ({ path, name })),
    });
  }
  return rows;
}

/** What the document calls the sections: `8461 §3.1, §8.2; 5891`. */
export function formatSections(sections: readonly string[]): string {
  let before: string | undefined;
  let text = '';
  for (const section of sections) {
    const [, rfc, part] = /^RFC (\d+)(?: (§.+))?$/.exec(section) ?? [];
    const same = rfc !== undefined && rfc === before;
    if (text !== '') text += same ? ', ' : '; ';
    text += same ? part : rfc === undefined ? section : [rfc, part].filter(Boolean).join(' ');
    before = rfc;
  }
  return text;
}

/** A requirement's words as they stand in a cell of the document. */
export function asCell(text: string): string {
  return text.replace(/[*_<|]/g, (character) => `\\${character}`);
}

/** Every `RFC nnnn §x.y` of a text, and `RFC nnnn` for each RFC it names; CVEs too. */
export function citationsOf(text: string): ReadonlySet<string> {
  const flowing = text.replace(/\n\s*(?:\*(?!\/)|\/\/)?\s*/g, ' ');
  const found = new Set<string>();
  const list = /\b(RFC \d+)((?:(?:,| and| or)? §[\dA-Z]+(?:\.\d+)*)*)/g;
  for (const [, rfc = '', sections = ''] of flowing.matchAll(list)) {
    found.add(rfc);
    for (const [section] of sections.matchAll(/§[\dA-Z]+(?:\.\d+)*/g))
      found.add(`${rfc} ${section}`);
  }
  for (const [cve] of flowing.matchAll(/\bCVE-\d{4}-\d+/g)) found.add(cve);
  return found;
}

/** The titles of the tests of a file, as far as they are spelled out; those that are skipped do not count. */
export function testTitlesOf(text: string): string[] {
  const code = text.replace(/^\s*\/\/.*$/gm, '');
  const call =
    /(?<![\w.])test\(\s*(?:'((?:\\.|[^'\\\n])*)'|"((?:\\.|[^"\\\n])*)"|`((?:\\.|[^`\\])*)`)/g;
  return [...code.matchAll(call)].map(([, single, double, template]) =>
    (single ?? double ?? template ?? '').replace(/\\(.)/g, '$1'),
  );
}

/** Everything that is wrong with the document. */
export function conformanceProblems(check: ConformanceCheck): string[] {
  const rows = rowsOf(check.document);
  return [
    ...coverageProblems(check.requirements, rows),
    ...rows.flatMap((row) => rowProblems(row, check)),
  ];
}

function coverageProblems(
  requirements: readonly Requirement[],
  rows: readonly ConformanceRow[],
): string[] {
  const known = new Set(requirements.map(({ number }) => number));
  const seen = new Set<string>();
  const problems: string[] = [];
  for (const { number, line } of rows) {
    if (!known.has(number)) problems.push(`line ${line}: ${number} is not on the list`);
    if (seen.has(number)) problems.push(`line ${line}: ${number} has a row already`);
    seen.add(number);
  }
  for (const number of known) if (!seen.has(number)) problems.push(`${number} has no row`);
  return problems;
}

function rowProblems(row: ConformanceRow, { requirements, read }: ConformanceCheck): string[] {
  const requirement = requirements.find(({ number }) => number === row.number);
  if (!requirement) return [];
  const problems = [
    ...wordProblems(row, requirement),
    ...statusProblems(row),
    ...row.sources.flatMap((path) => sourceProblems(path, requirement, read(path))),
    ...row.tests.flatMap((reference) => testProblems(reference, read(reference.path))),
  ];
  return problems.map((problem) => `line ${row.line}: ${row.number} ${problem}`);
}

function wordProblems(row: ConformanceRow, requirement: Requirement): string[] {
  const pairs: readonly (readonly [what: string, here: string, there: string])[] = [
    ['level', row.level, requirement.level],
    ['RFC sections', row.sections, formatSections(requirement.sections)],
    ['requirement', row.text, asCell(requirement.text)],
  ];
  return pairs
    .filter(([, here, there]) => here !== there)
    .map(([what, here, there]) => `has the ${what} ${here}, the list says ${there}`);
}

function statusProblems(row: ConformanceRow): string[] {
  const rule = STATUSES.find(({ pattern }) => pattern.test(row.status));
  if (!rule) return [`has a status that does not exist: ${row.status}`];
  const problems: string[] = [];
  if (rule.levels && !rule.levels.test(row.level)) {
    problems.push(`is ${row.level}: nothing that can be chosen`);
  }
  if (rule.needsSource && row.sources.length === 0)
    problems.push(`is ${row.status} without a file`);
  if (rule.needsTest && row.tests.length === 0) problems.push(`is ${row.status} without a test`);
  return problems;
}

function sourceProblems(
  path: string,
  { sections }: Requirement,
  text: string | undefined,
): string[] {
  if (!path.startsWith('src/')) return [`names ${path}, which is no source file`];
  if (text === undefined) return [`names ${path}, which does not exist`];
  const cited = citationsOf(text);
  return sections.some((section) => cited.has(section))
    ? []
    : [`names ${path}, which cites none of ${sections.join(', ')}`];
}

function testProblems({ path, name }: TestReference, text: string | undefined): string[] {
  if (!path.startsWith('test/')) return [`names ${path}, which is no test`];
  if (text === undefined) return [`names ${path}, which does not exist`];
  const isThere = testTitlesOf(text).some((title) => title.includes(name));
  return isThere ? [] : [`names ${path}, which has no test "${name}"`];
}

/**
 * Citations of `rfc` in a source that name a section no requirement comes from: a slip, or a rule
 * that the list lacks.
 */
export function strayCitations(
  text: string,
  rfc: string,
  requirements: readonly Requirement[],
): string[] {
  const known = new Set(requirements.flatMap(({ sections }) => sections));
  return [...citationsOf(text)].filter(
    (citation) => citation.startsWith(`${rfc} §`) && !known.has(citation),
  );
}
