/**
 * The TLSRPT TXT record: which of the records at `_smtp._tls.<policy domain>` counts, and the
 * URIs in it that reports are wanted at (RFC 8460 §3). Pure; a lookup that failed never comes
 * here: it says nothing, not "no reports".
 *
 * Strict: a field, a list item or a URI that breaks the grammar makes the record invalid, also
 * where a sender could guess (blanks, `mailto:a@b.example!10m`). Of well-formed URIs those that
 * no report can go to are passed over, those of other schemes among them. Every `rua` field
 * counts, for nothing says that the first one does alone. Sizes are bounded, since each URI is
 * a place we send to because a stranger's record says so.
 */
import { quoted } from '../quote.ts';
import { selectRecord } from '../txt-record.ts';
import { trimWspEnd, trimWspStart } from '../wsp.ts';

export type TlsRptDiscovery =
  /** `rua` as written, at least one URI and at most MAX_URIS; `mailto:` or `https:` in any case. */
  | { readonly kind: 'record'; readonly rua: readonly string[] }
  | {
      readonly kind: 'none';
      /** `syntax` also for a record without a URI that a report can go to. */
      readonly reason: 'no-record' | 'multiple' | 'syntax';
      /** For people, one line. */
      readonly detail: string;
    };

const FORMAT = { version: 'v=TLSRPTv1', name: 'a TLSRPT' };
/** Real records take a tenth of it. */
const MAX_RECORD_OCTETS = 8192;
/** RFC 8460 §3: a sender may report to each; the URIs after these are not used. */
export const MAX_URIS = 20;

/** tlsrpt-extension. */
const EXTENSION = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}=[\x21-\x3a\x3c\x3e-\x7e]+$/;
/** pchar of RFC 3986 §3.3 without `,` `!` and `;`, which RFC 8460 §3 wants encoded. */
const PCHAR = "[\\w.~$&'()*+=:@-]|%[0-9A-Fa-f]{2}";
const AUTHORITY = `//(?:${PCHAR}|[[\\]])*(?:/(?:${PCHAR}|/)*)?`;
/** URI of RFC 3986 §3; no two alternatives begin alike, so that time is linear. */
const URI = new RegExp(
  `^[A-Za-z][A-Za-z0-9+.-]*:(?:${AUTHORITY}|(?!//)(?:${PCHAR}|/)*)` +
    `(?:\\?(?:${PCHAR}|[/?])*)?(?:#(?:${PCHAR}|[/?])*)?$`,
);

/** Find the record among `rrs`, each a TXT RR as its character-strings in order. */
export function discoverTlsRptRecord(rrs: readonly (readonly Buffer[])[]): TlsRptDiscovery {
  const selected = selectRecord(rrs, FORMAT);
  return selected.kind === 'none' ? selected : parseFields(selected.fields);
}

function parseFields(fields: readonly string[]): TlsRptDiscovery {
  if (fields.join(';').length > MAX_RECORD_OCTETS) {
    return invalid(`longer than ${MAX_RECORD_OCTETS} octets`);
  }
  const listed: string[] = [];
  for (const field of fields) {
    if (field.startsWith('rua=')) listed.push(...splitList(field.slice('rua='.length)));
    // RFC 8460 §3: unknown fields are ignored when they are well-formed.
    else if (!EXTENSION.test(field)) return invalid(`malformed field ${quoted(field)}`);
  }
  if (listed.length === 0) return invalid('no rua field');
  const malformed = listed.find((uri) => !URI.test(uri));
  if (malformed !== undefined) return invalid(`malformed URI ${quoted(malformed)} in rua`);
  const rua = listed.filter(takesReports);
  if (rua.length > 0) return { kind: 'record', rua: rua.slice(0, MAX_URIS) };
  return invalid(`no mailbox or https host to report to in ${quoted(listed.join(','))}`);
}

/** Blanks belong to the commas; at the ends of the list there is none to own them. */
function splitList(text: string): string[] {
  const items = text.split(',');
  return items.map((item, index) => {
    const start = index > 0 ? trimWspStart(item) : item;
    return index < items.length - 1 ? trimWspEnd(start) : start;
  });
}

/** RFC 8460 §3: by mail or by HTTPS; with a mailbox or a host in it, or nothing could be sent. */
function takesReports(uri: string): boolean {
  if (/^https:/i.test(uri)) return /^https:\/\/[^/?#]/i.test(uri) && URL.canParse(uri);
  return /^mailto:[^@?#]+@[^@?#]+/i.test(uri);
}

function invalid(detail: string): TlsRptDiscovery {
  return { kind: 'none', reason: 'syntax', detail };
}
