/**
 * Settings from environment variables: `STSRELAY_LIMITS_MESSAGESIZE=10MiB` is
 * `limits.messageSize`. Lists of scalars are separated by commas; in lists of sections the
 * position is part of the name (`STSRELAY_LISTENERS_0_PORT`), the next free one adds a section.
 *
 * A variable with our prefix that is no setting is a problem: a slip must not go unnoticed.
 * `STSRELAY_CONFIG` names the file; what Kubernetes sets by itself for a service called
 * "stsrelay" is ignored.
 */
import type { KindFacts } from './kinds.ts';
import { describeFound, type Problem } from './problems.ts';
import { allKeys, type Element, elementAt, type KeyPath, root, type Shape } from './structure.ts';
import { closest } from './suggest.ts';

const PREFIX = 'STSRELAY_';
const NO_SETTING =
  /^STSRELAY_(CONFIG|SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)$/;

const NAMES_A_REDIS: ReadonlySet<string> = new Set([
  'STSRELAY_REDIS_URL',
  'STSRELAY_REDIS_SENTINELS',
  'STSRELAY_REDIS_CLUSTER',
]);

export type Environment = Readonly<Record<string, string | undefined>>;

export interface EnvironmentOverrides {
  /** The values with the variables' in place. */
  readonly values: unknown;
  readonly problems: readonly Problem[];
  /** The variable behind the value at `path`, or undefined when it is not from one. */
  variableOf(path: KeyPath): string | undefined;
}

/** The name of the variable for a key path. */
export function variableName(path: KeyPath): string {
  return PREFIX + path.map((step) => String(step).toUpperCase()).join('_');
}

/** Put the variables of `environment` into `values` (which is changed). */
export function applyEnvironment(values: unknown, environment: Environment): EnvironmentOverrides {
  const problems: Problem[] = [];
  const set = new Set<string>();
  for (const [name, text] of Object.entries(environment).sort()) {
    if (text === undefined || !name.startsWith(PREFIX) || NO_SETTING.test(name)) continue;
    const path = pathOf(name);
    const shape = path === undefined ? undefined : elementAt(path)?.shape;
    if (path === undefined || shape?.kind !== 'setting') {
      problems.push(unknownVariable(name, text));
    } else if (place(values, path, readValue(text, shape.facts))) {
      set.add(variableName(path));
      if (NAMES_A_REDIS.has(name) && text !== '') forgetRedisMode(values, environment);
    } else {
      const expected = 'positions in a list without a gap';
      problems.push({ source: name, key: '', found: describeFound('', text), expected });
    }
  }
  return {
    values,
    problems,
    variableOf: (path) => {
      const names = path.map((_, i) => variableName(path.slice(0, i + 1)));
      return names.find((name) => set.has(name));
    },
  };
}

/** The key path that a variable's name stands for. */
function pathOf(name: string): KeyPath | undefined {
  const path: (string | number)[] = [];
  let at: Element = root();
  for (const part of name.slice(PREFIX.length).split('_')) {
    const shape: Shape = at.shape;
    if (shape.kind === 'section') {
      const found = [...shape.keys].find(([key]) => key.toUpperCase() === part);
      if (found === undefined) return undefined;
      path.push(found[0]);
      at = found[1];
    } else if (shape.kind === 'sections' && /^\d{1,4}$/.test(part)) {
      path.push(Number(part));
      at = shape.element;
    } else return undefined;
  }
  return path;
}

function readValue(text: string, { form }: KindFacts): unknown {
  const isFlag = text === 'true' || text === 'false';
  if (form === 'number' && /^-?\d{1,15}$/.test(text)) return Number(text);
  if ((form === 'boolean' || form === 'boolean-or-list') && isFlag) return text === 'true';
  if (form === 'list' || form === 'boolean-or-list') {
    return text.trim() === '' ? [] : text.split(',').map((part) => part.trim());
  }
  return text;
}

/**
 * Set `value` at `path`, sections and list elements made on the way; false where a list has a
 * gap before it.
 */
function place(values: unknown, path: KeyPath, value: unknown): boolean {
  let at = values;
  for (const [i, step] of path.entries()) {
    // The file has nonsense there, and is told so when it is checked.
    if (typeof at !== 'object' || at === null) return true;
    if (Array.isArray(at) && (typeof step !== 'number' || step > at.length)) return false;
    const container = at as Record<string | number, unknown>;
    if (i === path.length - 1) container[step] = value;
    else container[step] ??= emptyAt(path.slice(0, i + 1));
    at = container[step];
  }
  return true;
}

/** What a section or list is before the first variable goes in: a list starts with its default. */
function emptyAt(path: KeyPath): unknown {
  const element = elementAt(path);
  return element?.shape.kind === 'sections' ? structuredClone(element.default ?? []) : {};
}

/** A Redis named by the environment replaces an embedded one that the file asks for. */
function forgetRedisMode(values: unknown, environment: Environment): void {
  if (environment['STSRELAY_REDIS_MODE'] !== undefined) return;
  const redis = (values as { redis?: { mode?: unknown } } | null)?.redis;
  if (redis?.mode === 'embedded') delete redis.mode;
}

function unknownVariable(name: string, text: string): Problem {
  const settings = allKeys().filter((path) => elementAt(path)?.shape.kind === 'setting');
  const guess = closest(name, settings.map(variableName));
  const hint = guess === undefined ? '' : `; did you mean ${guess}?`;
  const found = `${describeFound(name, text)} for an unknown setting`;
  return { source: name, key: '', found, expected: `the name of a setting${hint}` };
}
