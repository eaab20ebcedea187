/**
 * What is wrong with the text of a policy (RFC 8461 §3.2), with the one change that mends it: most
 * mistakes are one line that is too much, missing, or nearly right. Pure.
 */
import { domainToASCII } from 'node:url';
import { isMxPattern } from '../protocol/mta-sts/policy.ts';
import { quoted } from '../protocol/quote.ts';
import { trimWsp } from '../protocol/wsp.ts';
import { someOf } from './text.ts';

export interface SyntaxTrouble {
  /** The parser's. */
  readonly detail: string;
  /** Counted from 1. */
  readonly line?: number;
  readonly content?: string;
}

interface Advice {
  readonly text: string;
  readonly fix: string;
}

const WHOLE =
  'Write "version: STSv1", "mode: …", one "mx: …" for each MX host and "max_age: …", each on a line of its own, no empty line and nothing else.';
const MAX_AGE = '"max_age: 1209600" (seconds; these are two weeks)';

/** `hosts`: of the MX records, for the lines that should be there. */
export function syntaxAdvice(trouble: SyntaxTrouble, hosts: readonly string[]): Advice {
  const { detail, line, content } = trouble;
  const text = (what: string) => `The policy is not valid: ${what}.`;
  if (/^line \d+ is malformed/.test(detail) && line !== undefined && content !== undefined) {
    const { what, fix } = lineAdvice(line, content);
    return { text: text(what), fix };
  }
  const missing = /^no (version|mode|max_age|mx)$/.exec(detail)?.[1];
  if (missing !== undefined) {
    return { text: text(`it has no ${missing} line`), fix: missingAdvice(missing, hosts) };
  }
  const at = line === undefined ? '' : ` (line ${line})`;
  const field = /^malformed (version|mode|max_age|mx)\b/.exec(detail)?.[1];
  const value = content === undefined ? '' : trimWsp(content.slice(content.indexOf(':') + 1));
  const place = line === undefined ? 'it' : `line ${line}`;
  return { text: text(detail + at), fix: field ? valueAdvice(field, value, place) : WHOLE };
}

/** Of a line that the parser cannot read at all. */
function lineAdvice(line: number, content: string): { what: string; fix: string } {
  const shown = `line ${line} (${quoted(content)})`;
  if (content.trim() === '') {
    return { what: `line ${line} is empty`, fix: `Take line ${line} out.` };
  }
  if (content.startsWith('\u{feff}')) {
    const fix = 'Save the file without a byte order mark ("UTF-8", not "UTF-8 with BOM").';
    return { what: `line ${line} begins with a byte order mark`, fix };
  }
  if (/^\s/.test(content)) {
    return { what: `${shown} begins with a blank`, fix: `Take the blank before line ${line} out.` };
  }
  if (!content.includes(':')) {
    const [, name, value] = /^(version|mode|mx|max_age)[\s=]+(\S.*)$/.exec(content) ?? [];
    const fix =
      name === undefined
        ? `Take line ${line} out, or write it as "name: value".`
        : `Write it as "${name}: ${value}".`;
    return { what: `${shown} has no colon`, fix };
  }
  if (/:\s*$/.test(content)) {
    const fix = `Give it a value behind the colon, or take line ${line} out.`;
    return { what: `${shown} has no value`, fix };
  }
  return { what: `${shown} is malformed`, fix: `Correct line ${line}. ${WHOLE}` };
}

function missingAdvice(field: string, hosts: readonly string[]): string {
  switch (field) {
    case 'version':
      return 'Add the line "version: STSv1", as the first one.';
    case 'mode':
      return 'Add the line "mode: testing"; "mode: enforce" comes later, when the TLS reports show no failures.';
    case 'max_age':
      return `Add the line ${MAX_AGE}.`;
    default:
      return hosts.length === 0
        ? 'Add the line "mx: …" for each MX host.'
        : `Add the ${hosts.length === 1 ? 'line' : 'lines'} ${someOf(hosts.map((host) => `"mx: ${host}"`))}.`;
  }
}

/** Of a field whose value is none of those it may have. */
function valueAdvice(field: string, value: string, place: string): string {
  switch (field) {
    case 'version':
      return `Have ${place} read "version: STSv1", in exactly this case.`;
    case 'mode': {
      const small = value.toLowerCase();
      return /^(?:enforce|testing|none)$/.test(small)
        ? `Have ${place} read "mode: ${small}".`
        : `Have ${place} read "mode: testing", or "mode: enforce" when the TLS reports show no failures.`;
    }
    case 'max_age':
      return `Have ${place} read ${MAX_AGE}: digits alone.`;
    default: {
      const better = betterPattern(value);
      return better === undefined
        ? `Name one MX host in ${place}, or "*." and a domain: no address, no URL, no list.`
        : `Have ${place} read "mx: ${better}".`;
    }
  }
}

/** What was probably meant: in A-labels, without a final dot. */
function betterPattern(value: string): string | undefined {
  const [star, name] = value.startsWith('*.') ? ['*.', value.slice(2)] : ['', value];
  const better = star + domainToASCII(name.replace(/\.$/, ''));
  return better !== value && isMxPattern(better) ? better : undefined;
}
