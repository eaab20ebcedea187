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
import { selectRecord } from '../txt-record.ts';

export type StsDiscovery =
  | { readonly kind: 'record'; readonly id: string }
  | {
      readonly kind: 'none';
      readonly reason: 'no-record' | 'multiple' | 'syntax';
      /** For people, one line. */
      readonly detail: string;
    };

const FORMAT = { version: 'v=STSv1', name: 'an MTA-STS' };
/** sts-ext-name and sts-ext-value; `id` has this form, too. */
const FIELD = /^([A-Za-z0-9][A-Za-z0-9_.-]{0,31})=([\x21-\x3a\x3c\x3e-\x7e]+)$/;
const ID = /^[A-Za-z0-9]{1,32}$/;

/** Find the record among `rrs`, each a TXT RR as its character-strings in order. */
export function discoverRecord(rrs: readonly (readonly Buffer[])[]): StsDiscovery {
  const selected = selectRecord(rrs, FORMAT);
  return selected.kind === 'none' ? selected : parseFields(selected.fields);
}

function parseFields(fields: readonly string[]): StsDiscovery {
  let id: string | undefined;
  for (const field of fields) {
    const [, name, value = ''] = FIELD.exec(field) ?? [];
    if (name === undefined) return invalid(`malformed field ${quoted(field)}`);
    // RFC 8461 §3.2: of a repeated field only the first counts; unknown ones are ignored.
    if (name !== 'id' || id !== undefined) continue;
    if (!ID.test(value)) return invalid(`malformed id ${quoted(value)}`);
    id = value;
  }
  return id === undefined ? invalid('no id field') : { kind: 'record', id };
}

function invalid(detail: string): StsDiscovery {
  return { kind: 'none', reason: 'syntax', detail };
}
