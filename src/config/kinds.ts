/**
 * The kinds of values a setting can have: zod schemas that also know, in one sentence, what
 * they expect (for problems and for the documentation) and how they read from an environment
 * variable. Kinds whose text stands for something else (durations, sizes, host:port, ...) are
 * codecs: settings hold the parsed value, and `config show` writes the text again.
 */
import { isIP } from 'node:net';
import { z } from 'zod';
import { isDomainSyntax, parseDomain } from '../protocol/domain.ts';
import { needsSmtpUtf8 } from '../protocol/mailbox.ts';
import { isAddressPort, isHostPort, isMailbox, isNetwork } from './addresses.ts';
import {
  formatDuration,
  formatRate,
  formatSize,
  parseDuration,
  parseRate,
  parseSize,
  type Rate,
} from './units.ts';

export interface KindFacts {
  /** Completes "expected ...". */
  readonly expected: string;
  /** How it is read from an environment variable. */
  readonly form: 'text' | 'number' | 'boolean' | 'list' | 'boolean-or-list';
}

/** What each kind expects, by schema; the walk over the schema finds it here. */
export const kindFacts = z.registry<KindFacts>();

interface Notation<T> {
  readonly expected: string;
  /** What the text looks like, for editors (JSON Schema). */
  readonly pattern?: RegExp;
  /** The value, wrapped because `undefined` may be one; undefined when the text is no such thing. */
  readonly parse: (text: string) => { readonly value: T } | undefined;
  readonly format: (value: T) => string;
}

/** Text in a notation of its own, held as what it stands for. */
export function notation<T>({ expected, pattern, parse, format }: Notation<T>) {
  return z
    .codec(pattern === undefined ? z.string() : z.string().regex(pattern), z.custom<T>(), {
      decode: (text, context) => {
        const parsed = parse(text);
        if (parsed !== undefined) return parsed.value;
        context.issues.push({ code: 'custom', input: text, message: `expected ${expected}` });
        return z.NEVER;
      },
      encode: format,
    })
    .register(kindFacts, { expected, form: 'text' });
}

const wrap = <T>(value: T | undefined) => (value === undefined ? undefined : { value });

/** Text that passes `matches` and is held as it is. */
export function text(expected: string, matches: (value: string) => boolean) {
  return z.string().refine(matches).register(kindFacts, { expected, form: 'text' });
}

export function integer(min: number, max: number, unit = '') {
  const noun = unit === '' ? 'a whole number' : `a whole number of ${unit}`;
  return z
    .int()
    .min(min)
    .max(max)
    .register(kindFacts, { expected: `${noun} from ${min} to ${max}`, form: 'number' });
}

/** A TCP port to connect to, or, with 0 allowed, to listen on (0: any free one). */
export function port(lowest: 0 | 1 = 1) {
  const expected = `a port from ${lowest} to 65535${lowest === 0 ? ' (0: any free one)' : ''}`;
  return z.int().min(lowest).max(65535).register(kindFacts, { expected, form: 'number' });
}

export function flag() {
  return z.boolean().register(kindFacts, { expected: 'true or false', form: 'boolean' });
}

export function choice<const T extends readonly [string, ...string[]]>(values: T) {
  const all =
    values.length === 1 ? values[0] : `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`;
  return z.enum(values).register(kindFacts, { expected: all, form: 'text' });
}

/** A duration within bounds, held in milliseconds. */
export function duration(min: string, max: string) {
  const [minMs = 0, maxMs = 0] = [parseDuration(min), parseDuration(max)];
  return notation({
    expected: `a duration from ${min} to ${max} (250ms 30s 5m 4h 5d)`,
    pattern: /^\d+(ms|s|m|h|d)$/,
    parse: (value) => {
      const ms = parseDuration(value);
      return wrap(ms !== undefined && ms >= minMs && ms <= maxMs ? ms : undefined);
    },
    format: formatDuration,
  });
}

/** A size within bounds, held in octets. */
export function size(min: string, max: string) {
  const [minBytes = 0, maxBytes = 0] = [parseSize(min), parseSize(max)];
  return notation({
    expected: `a size from ${min} to ${max} (64KiB 50MiB 1GiB)`,
    pattern: /^\d+(B|KiB|MiB|GiB|TiB)$/,
    parse: (value) => {
      const bytes = parseSize(value);
      return wrap(
        bytes !== undefined && bytes >= minBytes && bytes <= maxBytes ? bytes : undefined,
      );
    },
    format: formatSize,
  });
}

/** A rate such as `600/1m`; empty is no limit, held as undefined. */
export function rate() {
  return notation<Rate | undefined>({
    expected: 'a rate such as "600/1m", or "" for no limit',
    parse: (value) => (value === '' ? { value: undefined } : wrap(parseRate(value))),
    format: (value) => (value === undefined ? '' : formatRate(value)),
  });
}

/** A path; "" where the setting may be left empty. */
export function path(expected = 'a path') {
  return text(expected, (value) => value.length <= 4096 && !value.includes('\0'));
}

export function domain() {
  return notation({
    expected: 'a domain name',
    parse: (value) => wrap(parseDomain(value)),
    format: (value) => value,
  });
}

/**
 * A DKIM selector (RFC 6376 §3.1): labels as of a domain, of which any may be digits alone. Those YAML reads as a
 * number, and 0123 as another one, so that they have to be quoted.
 */
export function selector() {
  return notation({
    expected: 'a selector such as s1 or "2026" (digits alone in quotes)',
    parse: (value) => wrap(isDomainSyntax(value) ? value.toLowerCase() : undefined),
    format: (value) => value,
  });
}

/** A domain name, or "" for the one the prose names. */
export function optionalDomain() {
  return notation({
    expected: 'a domain name, or ""',
    parse: (value): { value: string } | undefined =>
      value === '' ? { value } : wrap(parseDomain(value)),
    format: (value) => value,
  });
}

export function hostPort(defaultPort: number) {
  return text(`"host" or "host:port" (port ${defaultPort} when left out)`, isHostPort);
}

/** The address and port of a server that cannot be named, because it is what resolves names. */
export function addressPort(defaultPort: number) {
  return text(`"address" or "address:port" (port ${defaultPort} when left out)`, isAddressPort);
}

export function ipAddress() {
  return text('an IP address', (value) => isIP(value) !== 0);
}

export function network() {
  return text('an IP address or a network such as 10.0.0.0/8', isNetwork);
}

/** One that every host takes, and every report may name (RFC 5322 §3.4.1): no SMTPUTF8 in its local part. */
export function optionalPlainMailbox() {
  return text(
    'a mailbox such as user@example.net with nothing but ASCII before the "@", or ""',
    (value) => value === '' || (isMailbox(value) && !needsSmtpUtf8(value)),
  );
}

export function optionalMailbox() {
  return text(
    'a mailbox such as user@example.net, or ""',
    (value) => value === '' || isMailbox(value),
  );
}

/** A list of scalars; in an environment variable they are separated by commas. */
export function list<S extends z.ZodType>(element: S, { min = 0, max = 1000 } = {}) {
  const each = kindFacts.get(element)?.expected ?? 'values';
  const count = min > 0 ? `a list of at least ${min}` : 'a list';
  return z
    .array(element)
    .min(min)
    .max(max)
    .register(kindFacts, { expected: `${count}, each ${each}`, form: 'list' });
}
