/**
 * The URIs of a TLSRPT record (RFC 8460 §3) as places to send to. Pure.
 */
import { needsSmtpUtf8, parseMailbox } from '../protocol/mailbox.ts';
import { normalPlace } from '../protocol/tlsrpt/exclusion.ts';

/** The mailbox of a `mailto:` URI, decoded; undefined when there is none that mail can go to. */
export function mailboxOf(rua: string): string | undefined {
  const [, encoded = ''] = /^mailto:([^?#]+)/i.exec(rua) ?? [];
  try {
    const address = decodeURIComponent(encoded);
    // An address literal is nothing that a stranger's record may send us to; nor is a report SMTPUTF8 mail.
    const isPlain = parseMailbox(address)?.domain.kind === 'domain' && !needsSmtpUtf8(address);
    return isPlain ? address : undefined;
  } catch {
    return undefined; // what is encoded is no UTF-8
  }
}

/** By list, since it is asked for each domain and rua; a reload brings another list. */
const normalLists = new WeakMap<readonly string[], ReadonlySet<string>>();

/** The entries of `tlsRpt.exclude` in normal form. */
export function excludedPlaces(exclude: readonly string[]): ReadonlySet<string> {
  const known = normalLists.get(exclude);
  if (known) return known;
  const places = new Set(exclude.flatMap((entry) => normalPlace(entry) ?? []));
  normalLists.set(exclude, places);
  return places;
}

/** Whether `tlsRpt.exclude` names a rua, as an address or a whole URI. */
export function excludesRua(exclude: readonly string[]): (rua: string) => boolean {
  const excluded = excludedPlaces(exclude);
  return (rua) => excluded.has(normalPlace(rua) ?? '');
}
