/**
 * What the TXT records of MTA-STS and TLSRPT have in common (RFC 8461 §3.1, RFC 8460 §3): which
 * of the RRs at the name counts, and its fields. What the fields mean is the two formats' own.
 *
 * The grammar is taken as it stands: blanks around `;` belong to the delimiter and one delimiter
 * may end the record; empty fields and blanks at the very end are left in, for the format to
 * refuse.
 */
import { quoted } from './quote.ts';
import { trimWsp, trimWspEnd, trimWspStart } from './wsp.ts';

export interface TxtFormat {
  /** The first field, e.g. `v=STSv1`. */
  readonly version: string;
  /** For people, with its article, e.g. `an MTA-STS`. */
  readonly name: string;
}

export type TxtSelection =
  /** The fields after the version, in order. */
  | { readonly kind: 'fields'; readonly fields: readonly string[] }
  | {
      readonly kind: 'none';
      readonly reason: 'no-record' | 'multiple';
      /** For people, one line. */
      readonly detail: string;
    };

/** Find the one record of `format` among `rrs`, each a TXT RR as its character-strings in order. */
export function selectRecord(
  rrs: readonly (readonly Buffer[])[],
  { version, name }: TxtFormat,
): TxtSelection {
  // RFC 8461 §3.1, RFC 8460 §3: strings of one RR are joined without blanks. Latin-1 keeps every
  // octet one character, so that a non-ASCII one can match nothing.
  const texts = rrs.map((strings) => Buffer.concat(strings).toString('latin1'));
  // RFC 8461 §3.1, RFC 8460 §3: only among several RRs are those that do not begin so discarded,
  // and to the letter.
  const candidates =
    texts.length > 1 ? texts.filter((text) => text.startsWith(`${version};`)) : texts;
  const [text] = candidates;
  if (candidates.length > 1) {
    return none('multiple', `${candidates.length} records, each with ${version}`);
  }
  if (text === undefined) return none('no-record', `no record with ${version}`);
  const [first = '', ...fields] = text.split(';');
  // RFC 8461 §3.1, RFC 8460 §3: it begins with the version and a delimiter, in exactly this case.
  if (trimWspEnd(first) !== version || fields.length === 0) {
    return none('no-record', `not ${name} record: ${quoted(text)}`);
  }
  // After the last field there is no delimiter to own blanks.
  const last = trimWspStart(fields.pop() ?? '');
  const delimited = fields.map(trimWsp);
  return { kind: 'fields', fields: last === '' ? delimited : [...delimited, last] };
}

function none(reason: 'no-record' | 'multiple', detail: string): TxtSelection {
  return { kind: 'none', reason, detail };
}
