/**
 * What report mail needs: who reports, whom it is from, and a key it is signed with (RFC 8460 §3). Pure.
 */
import { toAsciiDomain } from '../protocol/mailbox.ts';
import type { Settings } from './settings.ts';

/** Whose key signs report mail, in A-labels; empty without `tlsRpt.from`. */
export function domainOfFrom({ from }: Pick<Settings['tlsRpt'], 'from'>): string {
  const ascii = toAsciiDomain(from);
  return ascii.slice(ascii.lastIndexOf('@') + 1).toLowerCase();
}

/** What is missing for reports to leave by mail, as names of settings; undefined when nothing is. */
export function missingForMail({
  tlsRpt,
  dkim,
}: Pick<Settings, 'tlsRpt' | 'dkim'>): string | undefined {
  const domain = domainOfFrom(tlsRpt);
  const missing = [
    ...(tlsRpt.contact === '' ? ['tlsRpt.contact'] : []),
    ...(tlsRpt.from === '' ? ['tlsRpt.from'] : []),
    ...(dkim.some((key) => key.domain.toLowerCase() === domain)
      ? []
      : [`a dkim key for ${domain || 'the domain of tlsRpt.from'}`]),
  ];
  return missing.length === 0 ? undefined : missing.join(', ');
}
