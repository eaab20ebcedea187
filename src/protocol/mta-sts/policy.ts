/**
 * The MTA-STS policy: judging what the policy host answered (RFC 8461 §3.2, §3.3). Pure; the
 * HTTPS exchange, its certificate and the cache are policy/'s.
 *
 * Fails closed: a body that breaks the grammar anywhere is no policy, nothing is defaulted,
 * and a body over the limit is never parsed in part. The one leniency keeps protection: a
 * max_age above the maximum counts as the maximum (prose and grammar of RFC 8461 §3.2
 * disagree about it; erratum 7282).
 */
import { isDomainSyntax } from '../domain.ts';
import { quoted } from '../quote.ts';
import { trimWsp } from '../wsp.ts';

export type StsMode = 'enforce' | 'testing' | 'none';

export interface StsPolicy {
  readonly mode: StsMode;
  /** Patterns in the order of the policy, lower case; may be empty in mode none. */
  readonly mx: readonly string[];
  /** At most 31,557,600; 0 expires at once. */
  readonly maxAgeSeconds: number;
  /** As published. */
  readonly text: string;
  /** As published, without line ends (RFC 8460 §4.4 policy-string). */
  readonly lines: readonly string[];
}

/** What came back, after a finished HTTPS exchange with a validated policy host. */
export interface PolicyResponse {
  readonly status: number;
  /** The Content-Type field; undefined when there was none. */
  readonly contentType: string | undefined;
  /** May be cut off anywhere after MAX_POLICY_OCTETS. */
  readonly body: Buffer;
}

export interface InvalidPolicy {
  readonly ok: false;
  readonly reason: 'status' | 'content-type' | 'too-large' | 'syntax';
  /** For people, one line. */
  readonly detail: string;
  /** With `syntax`: the text with its errors, by line (RFC 8460 §4.3.2.2); empty when it was no text. */
  readonly lines: readonly string[];
}
export type PolicyVerdict = { readonly ok: true; readonly policy: StsPolicy } | InvalidPolicy;

/** RFC 8461 §3.3 suggests 64 kilobytes as the limit of a policy body. */
export const MAX_POLICY_OCTETS = 65_536;
/** RFC 8461 §3.2: max_age is at most about one year. */
export const MAX_MAX_AGE_SECONDS = 31_557_600;

/** sts-policy-ext-name, the blanks after the colon left to the value; `s` because a value may hold U+2028. */
const LINE = /^([A-Za-z0-9][A-Za-z0-9_.-]{0,31}):(.*)$/s;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is being refused
const CONTROL = /[\0-\x1f\x7f]/;
const MAX_AGE = /^[0-9]{1,10}$/;

/** Judge a whole response: status, media type, size, then the text. */
export function judgeFetchResponse(response: PolicyResponse): PolicyVerdict {
  // RFC 8461 §3.3: only 200 gives a policy; redirects are not followed.
  if (response.status !== 200) return invalid('status', `HTTP status ${response.status}`);
  // RFC 8461 §3.2: text/plain, so that a page a user of the web site could make is no policy.
  if (mediaType(response.contentType) !== 'text/plain') {
    const found = response.contentType;
    const detail = found === undefined ? 'no media type' : `media type ${quoted(found)}`;
    return invalid('content-type', `${detail} instead of text/plain`);
  }
  return parsePolicy(response.body);
}

/** Parse a policy body; fails with `too-large` or `syntax` only. */
export function parsePolicy(body: Buffer): PolicyVerdict {
  if (body.length > MAX_POLICY_OCTETS) {
    return invalid('too-large', `policy is larger than ${MAX_POLICY_OCTETS} octets`);
  }
  const text = decodeUtf8(body);
  if (text === undefined) return invalid('syntax', 'policy is not UTF-8');
  const lines = splitLines(text);
  const fields = parseLines(lines);
  if ('detail' in fields) return { ...invalid('syntax', fields.detail), lines };
  const terms = parseTerms(fields);
  if ('detail' in terms) return { ...invalid('syntax', terms.detail), lines };
  return { ok: true, policy: { ...terms, text, lines } };
}

/**
 * Whether `text` is an mx value of RFC 8461 §3.2: a Domain in A-labels, or `*.` and one. A
 * final dot, an underscore, a U-label or a star elsewhere make it none.
 */
export function isMxPattern(text: string): boolean {
  return isDomainSyntax(text.startsWith('*.') ? text.slice(2) : text);
}

interface Fields {
  /** First value of each field but mx. */
  readonly first: ReadonlyMap<string, string>;
  readonly mx: readonly string[];
}
interface Problem {
  readonly detail: string;
}

/** The grammar of a line, for every line: an empty or malformed one invalidates the policy. */
function parseLines(lines: readonly string[]): Fields | Problem {
  const first = new Map<string, string>();
  const mx: string[] = [];
  for (const [index, line] of lines.entries()) {
    const [, name, rest = ''] = LINE.exec(line) ?? [];
    const value = trimWsp(rest);
    if (name === undefined || value === '' || CONTROL.test(value)) {
      return { detail: `line ${index + 1} is malformed: ${quoted(line)}` };
    }
    if (name === 'mx') mx.push(value);
    // RFC 8461 §3.2: of a repeated field only the first counts; later ones are not even read.
    else if (!first.has(name)) first.set(name, value);
  }
  return { first, mx };
}

/** The values the four fields may have; unknown fields are ignored (RFC 8461 §3.2). */
function parseTerms({
  first,
  mx,
}: Fields): Pick<StsPolicy, 'mode' | 'mx' | 'maxAgeSeconds'> | Problem {
  if (first.get('version') !== 'STSv1') return problem('version', first.get('version'));
  const mode = first.get('mode');
  if (mode !== 'enforce' && mode !== 'testing' && mode !== 'none') return problem('mode', mode);
  const maxAge = first.get('max_age');
  if (maxAge === undefined || !MAX_AGE.test(maxAge)) return problem('max_age', maxAge);
  const malformed = mx.find((pattern) => !isMxPattern(pattern));
  if (malformed !== undefined) return problem('mx', malformed);
  if (mx.length === 0 && mode !== 'none') return problem('mx', undefined);
  return {
    mode,
    mx: mx.map((pattern) => pattern.toLowerCase()),
    maxAgeSeconds: Math.min(Number(maxAge), MAX_MAX_AGE_SECONDS),
  };
}

function problem(field: string, value: string | undefined): Problem {
  return { detail: value === undefined ? `no ${field}` : `malformed ${field} ${quoted(value)}` };
}

/** RFC 8461 §3.2: LF or CRLF, with or without one after the last line; a lone CR ends nothing. */
function splitLines(text: string): string[] {
  const lines = text.split(/\r?\n/);
  if (lines.at(-1) === '') lines.pop();
  return lines;
}

/** A byte order mark stays in the text, where it makes the first line malformed. */
function decodeUtf8(body: Buffer): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    return undefined;
  }
}

function mediaType(contentType: string | undefined): string | undefined {
  return contentType && trimWsp(contentType.split(';', 1)[0] ?? '').toLowerCase();
}

function invalid(reason: InvalidPolicy['reason'], detail: string): InvalidPolicy {
  return { ok: false, reason, detail, lines: [] };
}
