/**
 * The URIs of a TLSRPT record (RFC 8460 §3) as places to send to. Pure.
 */
import { needsSmtpUtf8, parseMailbox } from '../protocol/mailbox.ts';

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

/** Whether `tlsRpt.exclude` names a place, as an address or a whole URI. */
export function excludesRua(exclude: readonly string[]): (rua: string) => boolean {
  const excluded = new Set(exclude.map((entry) => entry.toLowerCase()));
  return (rua) =>
    excluded.has(rua.toLowerCase()) || excluded.has(mailboxOf(rua)?.toLowerCase() ?? rua);
}
