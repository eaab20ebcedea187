/**
 * A problem of the configuration: where it stands, what was found, what was expected. Problems
 * stop the relay from starting (or a reload from being applied); warnings do not.
 */
import { maskValue } from './mask.ts';

export interface Place {
  /** The file's path, or the name of an environment variable. */
  readonly source: string;
  /** Line in the file, from 1. */
  readonly line?: number;
  /** Key path such as `listeners[0].port`; empty for the file as a whole. */
  readonly key: string;
}

export interface Problem extends Place {
  readonly found: string;
  readonly expected: string;
}

export interface Warning extends Place {
  readonly text: string;
}

const LONGEST_FOUND = 80;
const LONGEST_PART = 300;

function formatPlace({ source, line, key }: Place): string {
  const where = line === undefined ? source : `${source}:${line}`;
  return key === '' ? where : `${where}: ${cut(key)}`;
}

/** `stsrelay.yaml:3: limits.messageSize: found "50MB", expected a size from ...` */
export function formatProblem(problem: Problem): string {
  const { found, expected } = problem;
  return visible(`${formatPlace(problem)}: found ${cut(found)}, expected ${expected}`);
}

export function formatWarning(warning: Warning): string {
  return visible(`${formatPlace(warning)}: ${warning.text}`);
}

/** On one line, and without what a terminal would act on: keys are whatever stands in the file. */
function visible(text: string): string {
  return text.replace(/\p{Cc}/gu, (control) => `\\u{${control.charCodeAt(0).toString(16)}}`);
}

/** A parser's message may quote all the rest of the file. */
function cut(text: string): string {
  return text.length > LONGEST_PART ? `${text.slice(0, LONGEST_PART)}…` : text;
}

/** What was found, on one line, cut, without secrets and without control characters. */
export function describeFound(key: string, value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'object') return 'a section (keys and values)';
  if (typeof value !== 'string') return String(value);
  const masked = String(maskValue(key, value));
  return JSON.stringify(
    masked.length > LONGEST_FOUND ? `${masked.slice(0, LONGEST_FOUND)}…` : masked,
  );
}

/** In the order of the file; what has no line comes first. */
export function byPlace(a: Place, b: Place): number {
  return a.source === b.source ? (a.line ?? 0) - (b.line ?? 0) : a.source < b.source ? -1 : 1;
}
