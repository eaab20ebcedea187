/**
 * Raw values against the declared settings: either settings, or every problem there is. Each
 * section is looked at on its own, so that one bad value hides no problem of another section.
 */
import type { z } from 'zod';
import { parseDomain } from '../protocol/domain.ts';
import { findConflicts, findDoubts, type Sections } from './checks.ts';
import { describeFound, type Place, type Problem, type Warning } from './problems.ts';
import { type Settings, settingsSchema } from './settings.ts';
import { allKeys, elementAt, expectedAt, formatPath, type KeyPath } from './structure.ts';
import { closest } from './suggest.ts';

/** Beyond so many in one section nobody reads on, and finding their lines would take its time. */
const MAX_ISSUES = 50;

export interface Origin {
  /** Where the value at `path` comes from. */
  placeOf(path: KeyPath): Place;
  /** Has a line only where the file says something about it. */
  placeOfWarning(path: KeyPath): Place;
  /** Milliseconds since the epoch, to tell what has expired. */
  readonly nowMs: number;
}

export interface Validation {
  /** Complete when there are no problems. */
  readonly settings: Settings | undefined;
  /** The sections that are well-formed. */
  readonly sections: Sections;
  readonly problems: readonly Problem[];
  readonly warnings: readonly Warning[];
}

/** Check `values`, as read from the file and the environment. */
export function validate(values: unknown, origin: Origin): Validation {
  if (typeof values !== 'object' || values === null || Array.isArray(values)) {
    const found = describeFound('', values);
    const problem = { ...origin.placeOf([]), found, expected: expectedAt([]) };
    return { settings: undefined, sections: {}, problems: [problem], warnings: [] };
  }
  const input = withRedisMode(values as Readonly<Record<string, unknown>>);
  const problems = Object.keys(input)
    .filter((key) => !Object.hasOwn(settingsSchema.shape, key))
    .slice(0, MAX_ISSUES)
    .map((key) => unknownKey([], key, origin));
  const sections: Record<string, unknown> = {};
  for (const [key, schema] of Object.entries(settingsSchema.shape)) {
    const result = schema.safeParse(input[key]);
    if (result.success) sections[key] = result.data;
    else {
      problems.push(
        ...result.error.issues
          .slice(0, MAX_ISSUES)
          .flatMap((issue) => toProblems(issue, [key], { input, origin })),
      );
    }
  }
  for (const { path, found, expected } of findConflicts(sections as Sections)) {
    const described = found ?? describeFound(formatPath(path), valueAt(input, path));
    problems.push({ ...origin.placeOf(path), found: described, expected });
  }
  const doubts = findDoubts(sections as Sections, origin.nowMs).map(({ path, text }) => ({
    ...origin.placeOfWarning(path),
    text,
  }));
  const settings = problems.length === 0 ? (sections as unknown as Settings) : undefined;
  return { settings, sections: sections as Sections, problems, warnings: doubts };
}

/** `redis: { url }` means an external Redis without saying so. */
function withRedisMode(
  input: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const redis = input['redis'];
  if (typeof redis !== 'object' || redis === null || Array.isArray(redis) || 'mode' in redis) {
    return input;
  }
  const { url, sentinels, cluster } = redis as Readonly<Record<string, unknown>>;
  const isSet = (value: unknown) =>
    (typeof value === 'string' || Array.isArray(value)) && value.length > 0;
  if (![url, sentinels, cluster].some(isSet)) return input;
  return { ...input, redis: { ...redis, mode: 'external' } };
}

interface Context {
  readonly input: unknown;
  readonly origin: Origin;
}

function toProblems(
  issue: z.core.$ZodIssue,
  prefix: KeyPath,
  { input, origin }: Context,
): Problem[] {
  const path = [...prefix, ...(issue.path as KeyPath)];
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.slice(0, MAX_ISSUES).map((key) => unknownKey(path, key, origin));
  }
  const found = describeFound(formatPath(path), valueAt(input, path));
  return [{ ...origin.placeOf(path), found, expected: expectedAt(path) }];
}

function unknownKey(path: KeyPath, key: string, origin: Origin): Problem {
  const element = elementAt(path);
  const siblings = element?.shape.kind === 'section' ? [...element.shape.keys.keys()] : [];
  const guess = closest(key, siblings) ?? guessBelow(path, key) ?? guessElsewhere(key);
  let expected = guess ? `a known key: did you mean ${guess}?` : `one of ${siblings.join(', ')}`;
  if (!guess && siblings.includes('domains') && key.includes('.') && parseDomain(key)) {
    const list = formatPath([...path, 'domains']);
    expected = `a known key: what holds for one domain is in the list ${list}, as "- domain: ${key}"`;
  }
  return { ...origin.placeOf([...path, key]), found: 'an unknown key', expected };
}

/** A key that is right, or nearly, and stands too far up. */
function guessBelow(path: KeyPath, key: string): string | undefined {
  const element = path.length > 0 ? elementAt(path) : undefined;
  const below = element ? allKeys(element) : [];
  const name = closest(key, [...new Set(below.map((keys) => keys.at(-1) ?? ''))]);
  const place = name && below.find((keys) => keys.at(-1) === name);
  return place && formatPath([...path, ...place]);
}

function guessElsewhere(key: string): string | undefined {
  return allKeys()
    .find((keys) => keys.at(-1) === key)
    ?.join('.');
}

function valueAt(values: unknown, path: KeyPath): unknown {
  let at = values;
  for (const step of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, step)) return undefined;
    at = (at as Readonly<Record<string | number, unknown>>)[step];
  }
  return at;
}
