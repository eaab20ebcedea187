/**
 * The arguments of MAIL and RCPT (RFC 5321 §4.1.2, §4.1.1.11): a path in angle brackets and
 * parameters. Pure; one line in, values or a refusal out.
 *
 * Written here and not left to smtp-server, which turns A-labels into U-labels, takes no quoted
 * local part with a blank or an @ in it, decodes `+XX` in every parameter, and lets parameters
 * pass that nobody offered: nothing is offered that the queue does not honour.
 *
 * More liberal than the grammar in two places: blanks between the colon and the path, and `=`
 * inside a parameter's value.
 */
import { REFUSALS, type Refusal } from './replies.ts';

export interface PathCommand {
  readonly kind: 'parsed';
  /** Without angle brackets and source route, exactly as written; empty for `<>`. */
  readonly path: string;
  /** By keyword in capitals; `true` for a keyword without a value. ENVID and ORCPT are decoded. */
  readonly parameters: Readonly<Record<string, string | true>>;
  /** A keyword that was there twice. */
  readonly duplicate?: string;
}

/** `malformed`: no such command, no path in brackets, or not a parameter where one should be. */
export type PathCommandResult = PathCommand | { readonly kind: 'malformed' } | Refusal;

/** What may follow the path. AUTH is taken and ignored (RFC 4954 §5: nobody here is trusted with it). */
const PARAMETERS = {
  MAIL: new Set(['SIZE', 'BODY', 'SMTPUTF8', 'REQUIRETLS', 'RET', 'ENVID', 'AUTH']),
  RCPT: new Set(['NOTIFY', 'ORCPT']),
};
/** Limits of RFC 3461 §4.2 and §4.4, in characters as sent. */
const MAX_XTEXT: Readonly<Record<string, number>> = { ORCPT: 500, ENVID: 100 };

const COMMAND = { MAIL: /^mail from *: */i, RCPT: /^rcpt to *: */i };
/** RFC 5321 §4.1.2 A-d-l: accepted and ignored. */
const SOURCE_ROUTE = /^@[^\s,:@"]+(?:,@[^\s,:@"]+)*:/;
const PARAMETER = /^([a-z0-9][a-z0-9-]*)(?:=([^\s]+))?$/i;
const XTEXT = /^(?:[^+=]|\+[0-7][0-9A-F])*$/;
const ASCII = /^[\x20-\x7e]*$/;
const UTF8_ADDRESS = /^utf-8;/i;
const ESCAPE = /\+([0-7][0-9A-F])/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is being refused
const CONTROL = /[\0-\x1f\x7f-\x9f\u2028\u2029]/;

/** Take a command line apart; it holds no control characters. */
export function parsePathCommand(verb: 'MAIL' | 'RCPT', line: string): PathCommandResult {
  const start = COMMAND[verb].exec(line)?.[0].length;
  const end = start === undefined ? -1 : closingBracket(line, start);
  if (start === undefined || end < 0) return { kind: 'malformed' };
  const rest = line.slice(end + 1);
  if (rest !== '' && !rest.startsWith(' ')) return { kind: 'malformed' };
  const path = line.slice(start + 1, end).replace(SOURCE_ROUTE, '');
  return parseParameters(verb, path, rest);
}

/** Position of the `>` that ends the path opened at `start`, quoted strings skipped; -1 without one. */
function closingBracket(line: string, start: number): number {
  if (line[start] !== '<') return -1;
  let quoted = false;
  for (let at = start + 1; at < line.length; at++) {
    const character = line[at];
    if (quoted && character === '\\') at += 1;
    else if (character === '"') quoted = !quoted;
    else if (!quoted && character === '>') return at;
    else if (!quoted && (character === '<' || character === ' ')) return -1;
  }
  return -1;
}

function parseParameters(verb: 'MAIL' | 'RCPT', path: string, rest: string): PathCommandResult {
  const parameters: Record<string, string | true> = {};
  let duplicate: string | undefined;
  for (const word of rest.split(' ')) {
    if (word === '') continue;
    const match = PARAMETER.exec(word);
    if (match?.[1] === undefined) return { kind: 'malformed' };
    const keyword = match[1].toUpperCase();
    if (!PARAMETERS[verb].has(keyword)) return REFUSALS.unknownParameter;
    const value = decodeValue(keyword, match[2]);
    if (value === undefined) return REFUSALS.badParameter;
    if (Object.hasOwn(parameters, keyword)) duplicate = keyword;
    parameters[keyword] = value;
  }
  return { kind: 'parsed', path, parameters, ...(duplicate === undefined ? {} : { duplicate }) };
}

/** A parameter's value, xtext decoded where it is xtext; undefined when it must not be. */
function decodeValue(keyword: string, value: string | undefined): string | true | undefined {
  const maxLength = MAX_XTEXT[keyword];
  if (value === undefined || maxLength === undefined) return value ?? true;
  if (value.length > maxLength) return undefined;
  // Only an address of RFC 6533 §3 may hold anything else.
  const international = keyword === 'ORCPT' && UTF8_ADDRESS.test(value);
  return international || ASCII.test(value) ? decodeXtext(value) : undefined;
}

/**
 * RFC 3461 §4: `+` and two capital hexadecimal digits stand for an ASCII character, decoded once
 * (`+2B41` is `+41`). Undefined when a `+` is followed by anything else, for a bare `=`, and for
 * control characters, which would otherwise come out in a DSN as line ends.
 */
function decodeXtext(value: string): string | undefined {
  if (!XTEXT.test(value)) return undefined;
  const text = value.replace(ESCAPE, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
  return CONTROL.test(text) ? undefined : text;
}
