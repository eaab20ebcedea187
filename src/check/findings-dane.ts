/**
 * Findings about the TLSA records of the hosts (RFC 7672). Pure. What a certificate is to them, the session
 * shows (findings-session.ts).
 */
import { parseTlsaText, tlsaName } from '../protocol/dane/tlsa.ts';
import { someOf } from './text.ts';
import type { DomainFacts, Finding, HostFacts } from './types.ts';

/** Of every host that was looked at. `isReached`: some host takes the mail. */
export function daneFindings(facts: DomainFacts, isReached: boolean): readonly Finding[] {
  return facts.hosts.flatMap((host) => {
    switch (host.dane?.kind) {
      case 'failed':
        return [lookupFailed(host, host.dane.detail, isReached)];
      case 'records':
        return recordFindings(host, host.dane);
      default:
        return [];
    }
  });
}

function lookupFailed({ host: subject }: HostFacts, detail: string, isReached: boolean): Finding {
  return {
    severity: isReached ? 'warning' : 'error',
    code: 'dnssec-failed',
    subject,
    text: `${detail}. Senders that check DANE must not use the host while it is so.`,
    fix: 'See that every name server answers TLSA queries, if only with a signed "there is none", and that no signature has expired.',
    rfc: 'RFC 7672 §2.1.2',
  };
}

function recordFindings(
  { host: subject, port }: HostFacts,
  { baseDomain, records, usable }: NonNullable<HostFacts['dane']> & { readonly kind: 'records' },
): readonly Finding[] {
  const where = tlsaName(baseDomain, port);
  const unusable = records.filter((record) => !usable.includes(record));
  const found: Finding[] = [];
  if (usable.length > 0) {
    const text = `${usable.length} usable TLSA record${usable.length === 1 ? '' : 's'} at ${where}`;
    found.push({ severity: 'ok', code: 'tlsa', subject, text, rfc: 'RFC 7672 §2.2' });
  }
  if (unusable.length > 0) {
    const rest =
      usable.length > 0
        ? 'Senders pass over them.'
        : 'Senders ask for TLS, but can check no certificate by them.';
    found.push({
      severity: 'warning',
      code: 'tlsa-unusable',
      subject,
      text: `TLSA records at ${where} that no sender can use: ${someOf(unusable.map(whyUnusable))}. ${rest}`,
      fix: 'Publish "3 1 1" with the SHA2-256 digest of the public key.',
      rfc: 'RFC 7672 §3.1',
    });
  }
  return found;
}

function whyUnusable(text: string): string {
  const { usage, selector, matchingType } = parseTlsaText(text) ?? {};
  const head = `${usage} ${selector} ${matchingType}`;
  if (usage === 0 || usage === 1) return `${head} (usage ${usage} means nothing for SMTP)`;
  return `${head} (no such kind, or malformed data)`;
}
