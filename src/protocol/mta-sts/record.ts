/**
 * The MTA-STS TXT record: which of the records at `_mta-sts.<domain>` counts, and the policy
 * id in it (RFC 8461 §3.1). Pure; a lookup that failed never comes here, and what a missing
 * record means for a cached policy (nothing) is policy/'s to know.
 *
 * The grammar is taken as it stands, a blank before `;` included: erratum 6285, which would
 * forbid it, is only reported. Empty fields and blanks at the very end are outside the
 * grammar and make the record invalid.
 */
import { quoted } from '../quote.ts';
import { trimWsp, trimWspEnd, trimWspStart } from '../wsp.ts';

export type StsDiscovery =
  | { readonly kind: 'record'; readonly id: string }
  | {
      readonly kind: 'none';
      readonly reason: 'no-record' | 'multiple' | 'syntax';
      /** For people, one line. */
      readonly detail: string;
    };

const VERSION = 'v=STSv1';
/** sts-ext-name and sts-ext-value; `id` has this form, too. */
const FIELD = /^([A-Za-z0-9][A-Za-z0-9_.-]{0,31})=([\x21-\x3a\x3c\x3e-\x7e]+)$/;
const ID = /^[A-Za-z0-9]{1,32}$/;

/** Find the record among `rrs`, each a TXT RR as its character-strings in order. */
export function discoverRecord(rrs: readonly (readonly Buffer[])[]): StsDiscovery {
  // RFC 8461 §3.1: strings of one RR are joined without blanks. Latin-1 keeps every octet one
  // character, so that a non-ASCII one can match nothing.
  const texts = rrs.map((strings) => Buffer.concat(strings).toString('latin1'));
  // RFC 8461 §3.1: only among several RRs are those that do not begin so discarded, and to the letter.
  const candidates =
    texts.length > 1 ? texts.filter((text) => text.startsWith(`${VERSION};`)) : texts;
  const [text] = candidates;
  if (candidates.length > 1) return none('multiple', `${candidates.length} MTA-STS records`);
  if (text === undefined) return none('no-record', 'no MTA-STS record');
  return parseRecord(text);
}

function parseRecord(text: string): StsDiscovery {
  const [version = '', ...fields] = text.split(';');
  // RFC 8461 §3.1: the record begins with the version and a delimiter, in exactly this case.
  if (trimWspEnd(version) !== VERSION || fields.length === 0) {
    return none('no-record', `not an MTA-STS record: ${quoted(text)}`);
  }
  // Blanks around a delimiter belong to it: after the last field there is none to own them.
  // One delimiter may end the record.
  const last = trimWspStart(fields.pop() ?? '');
  const delimited = fields.map(trimWsp);
  return parseFields(last === '' ? delimited : [...delimited, last]);
}

function parseFields(fields: readonly string[]): StsDiscovery {
  let id: string | undefined;
  for (const field of fields) {
    const [, name, value = ''] = FIELD.exec(field) ?? [];
    if (name === undefined) return none('syntax', `malformed field ${quoted(field)}`);
    // RFC 8461 §3.2: of a repeated field only the first counts; unknown ones are ignored.
    if (name !== 'id' || id !== undefined) continue;
    if (!ID.test(value)) return none('syntax', `malformed id ${quoted(value)}`);
    id = value;
  }
  return id === undefined ? none('syntax', 'no id field') : { kind: 'record', id };
}

function none(reason: 'no-record' | 'multiple' | 'syntax', detail: string): StsDiscovery {
  return { kind: 'none', reason, detail };
}
