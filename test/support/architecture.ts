/**
 * Reads the sources and says where they break the rules of the house: imports point down the
 * floors and never in a circle, the ground floor does no IO, every file opens with a comment
 * about itself, RFCs are cited in one form. Pure: takes texts, returns lines to print.
 */

export interface SourceFile {
  /** Below src/, with forward slashes. */
  readonly path: string;
  readonly text: string;
}

interface Import {
  readonly line: number;
  /** As written, e.g. `../mail/route.ts`. */
  readonly target: string;
  readonly typeOnly: boolean;
  /** Between the braces. */
  readonly names: string;
}

/** relay.ts and the parts it is split into: all files of src/ itself that have no floor below. */
const ROOT = 'composition root';

/**
 * Imports point to a lower number, or stay inside the folder. Stages rise in the order mail
 * flows: each may use the earlier ones, never a later one.
 */
const FLOORS: Readonly<Record<string, number>> = {
  'version.ts': 0,
  protocol: 0,
  mail: 1,
  platform: 2,
  telemetry: 2,
  config: 2,
  dkim: 3,
  intake: 4,
  spool: 5,
  queue: 6,
  link: 7,
  routing: 7,
  policy: 8,
  delivery: 9,
  outcome: 10,
  reporting: 11,
  admin: 12,
  check: 11,
  roles: 12,
  'transactions.ts': 11,
  'pipeline.ts': 12,
  [ROOT]: 13,
  cli: 14,
  'main.ts': 15,
};

/** What a later stage shows the earlier ones: interfaces and the errors they throw. */
const PORTS = new Set(['spool/store.ts', 'queue/submit-port.ts']);
const PORT_FLOOR = 3;

/** Pure parts of Node.js, all the ground floors may use; of node:net only the address checks. */
const PURE_BUILTINS = new Set(['node:buffer', 'node:crypto', 'node:net', 'node:url']);

function floorOf(path: string): number | undefined {
  if (PORTS.has(path)) return PORT_FLOOR;
  return FLOORS[folderOf(path)];
}

/** The folder below src/; a file that lies in src/ itself stands for itself or is of the root. */
function folderOf(path: string): string {
  const [first = path, ...rest] = path.split('/');
  return rest.length > 0 || first in FLOORS ? first : ROOT;
}

/** Static and dynamic imports and re-exports of a file. */
export function importsOf(text: string): Import[] {
  const found: Import[] = [];
  const pattern =
    /^[ \t]*(import|export)\s+(type\s+)?((?:[\w*$\s,]|\{[^}]*\})*?)\s*(?:from\s+)?['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/gm;
  for (const match of text.matchAll(pattern)) {
    const [whole, , type, clause = '', target, dynamic] = match;
    const braces = /^\{([^}]*)\}$/.exec(clause.trim())?.[1];
    const names = braces?.split(',').filter((name) => name.trim() !== '') ?? [];
    const allTypes = names.length > 0 && names.every((name) => /^\s*type\s/.test(name));
    found.push({
      line: text.slice(0, match.index + whole.search(/\S/)).split('\n').length,
      target: target ?? dynamic ?? '',
      typeOnly: type !== undefined || allTypes,
      names: braces ?? clause,
    });
  }
  return found;
}

/** The path below src/ that a relative import names. */
function resolveImport(from: string, target: string): string {
  const parts = from.split('/').slice(0, -1);
  for (const part of target.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '.') parts.push(part);
  }
  return parts.join('/');
}

/** Every import that points up, or out of the ground floor. */
export function floorBreaches(files: readonly SourceFile[]): string[] {
  const breaches: string[] = [];
  for (const { path, text } of files) {
    if (floorOf(path) === undefined) breaches.push(`${path}: has no floor`);
    for (const one of importsOf(text)) {
      const why = one.target.startsWith('.')
        ? upward(path, resolveImport(path, one.target))
        : impure(path, one);
      if (why !== undefined) breaches.push(`${path}:${one.line}: ${why}`);
    }
  }
  return breaches;
}

function upward(from: string, to: string): string | undefined {
  const here = floorOf(from);
  const there = floorOf(to);
  if (here === undefined || there === undefined) return `imports ${to}, which has no floor`;
  const sideways = folderOf(from) === folderOf(to) || (PORTS.has(from) && PORTS.has(to));
  if (sideways || there < here) {
    const mainAsks = from === 'main.ts' && folderOf(to) !== 'cli' && to !== 'version.ts';
    return mainAsks ? `imports ${to}; main.ts imports cli only` : undefined;
  }
  return `imports ${to}, which is not below it`;
}

function impure(from: string, one: Import): string | undefined {
  const folder = folderOf(from);
  if (folder !== 'protocol' && folder !== 'mail') return undefined;
  const onlyChecks = one.names.split(',').every((name) => /^\s*(isIP(v[46])?)?\s*$/.test(name));
  const pure = PURE_BUILTINS.has(one.target) && (one.target !== 'node:net' || onlyChecks);
  return pure ? undefined : `imports ${one.target}; ${folder}/ is pure`;
}

/** Circles of value imports, each as `a -> b -> a`, once. */
export function importCycles(files: readonly SourceFile[]): string[] {
  const edges = new Map<string, string[]>();
  for (const { path, text } of files) {
    const values = importsOf(text).filter((one) => !one.typeOnly && one.target.startsWith('.'));
    edges.set(
      path,
      values.map((one) => resolveImport(path, one.target)),
    );
  }
  const cycles: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    const at = trail.indexOf(path);
    if (at >= 0) cycles.push([...trail.slice(at), path].join(' -> '));
    if (at >= 0 || done.has(path)) return;
    for (const next of edges.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of edges.keys()) visit(path, []);
  return cycles;
}

/** Files that do not open with a comment about themselves. */
export function missingHeaders(files: readonly SourceFile[]): string[] {
  return files
    .filter(({ text }) => !/^(?:#!.*\n)?\s*\/\*\*[\s*]*[^\s*/]/.test(text))
    .map(({ path }) => `${path}:1: does not open with a header comment`);
}

/** Citations in another form than `RFC 8461`, or `RFC 8461 §3.3` where a section is meant. */
export function oddCitations(files: readonly SourceFile[]): string[] {
  const odd: string[] = [];
  for (const { path, text } of files) {
    for (const [i, line] of text.split('\n').entries()) {
      for (const match of line.matchAll(/\b(?:RFC[\s-]*|rfc[\s-]+)\d+.{0,16}/g)) {
        if (!isGoodCitation(match[0])) odd.push(`${path}:${i + 1}: ${match[0].trim()}`);
      }
    }
  }
  return odd;
}

function isGoodCitation(text: string): boolean {
  if (!/^RFC \d{3,5}(?!\d)/.test(text)) return false;
  const rest = text.replace(/^RFC \d+/, '');
  if (/^,?\s*(?:sec(?:tion|t?\.)|appendix|§\s)/i.test(rest)) return false;
  return !rest.includes('§') || !/^\W{0,2}§/.test(rest) || /^ §(?:\d+|[A-Z])(?:\.\d+)*/.test(rest);
}
