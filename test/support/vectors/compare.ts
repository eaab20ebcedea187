/**
 * Comparison by the rules of test/fixtures/vectors/README.md: only the keys that are expected,
 * `reason` advisory, host names without case and final dot.
 */
import { isDeepStrictEqual } from 'node:util';

/** Texts for people. */
const ADVISORY = ['reason'];
/** Keys whose values, lists included, are host names or patterns for them. */
const HOST_KEYS = ['via', 'via_any', 'groups', 'mx', 'base', 'sni', 'references', 'qname'];

/** The ways in which `answer` is not `expected`, one line each; `at` is the key they are values of. */
export function differences(answer: unknown, expected: unknown, at = ''): readonly string[] {
  if (isObject(expected)) {
    if (!isObject(answer)) return [difference(at, answer, expected)];
    return Object.entries(expected).flatMap(([key, value]) => {
      if (ADVISORY.includes(key)) return [];
      return differences(answer[key], value, at === '' ? key : `${at}.${key}`);
    });
  }
  const isHost = HOST_KEYS.includes(at.split('.').at(-1) ?? '');
  const same = isHost
    ? isDeepStrictEqual(plainHosts(answer), plainHosts(expected))
    : isDeepStrictEqual(answer, expected);
  return same ? [] : [difference(at, answer, expected)];
}

/** A line for a value that is not the expected one. */
export function difference(at: string, answer: unknown, expected: unknown): string {
  const name = at === '' ? '' : `${at}: `;
  return `${name}expected ${inOneLine(expected)}, came ${inOneLine(answer)}`;
}

export function inOneLine(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value);
}

/** Host names, also in lists, in lower case and without final dot; anything else as it is. */
export function plainHosts(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plainHosts);
  return typeof value === 'string' ? plainHost(value) : value;
}

export function plainHost(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
