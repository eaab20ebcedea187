/**
 * Findings about the TLSRPT record (RFC 8460 §3): whether anybody hears of failures. Pure.
 */
import { plainErrors } from '../mail/system-errors.ts';
import { quoted } from '../protocol/quote.ts';
import { someOf } from './text.ts';
import type { DomainFacts, Finding } from './types.ts';

const SAMPLE = (domain: string) => `"v=TLSRPTv1; rua=mailto:tls-reports@${domain}"`;

/** What the record is, or why there is none. */
export function tlsRptFindings({ tlsRpt }: DomainFacts): readonly Finding[] {
  if (!tlsRpt) return [];
  const domain = tlsRpt.name.slice('_smtp._tls.'.length);
  const found = { subject: tlsRpt.name, rfc: 'RFC 8460 §3' };
  if (tlsRpt.kind === 'record') {
    const text = `reports to ${someOf(tlsRpt.rua)}`;
    return [{ ...found, severity: 'ok', code: 'tlsrpt-record', text }];
  }
  if (tlsRpt.kind === 'failed') {
    return [
      {
        ...found,
        severity: 'warning',
        code: 'tlsrpt-lookup-failed',
        text: `The TXT lookup failed: ${plainErrors(tlsRpt.detail)}. While it does, no reports are sent.`,
        fix: 'See that every name server of the domain answers TXT queries for this name.',
      },
    ];
  }
  if (tlsRpt.reason === 'no-record' && !tlsRpt.texts.some((text) => /v\s*=\s*tlsrpt/i.test(text))) {
    return [
      {
        ...found,
        severity: 'warning',
        code: 'tlsrpt-missing',
        text: 'The domain asks for no TLS reports: nobody tells it when senders cannot deliver over TLS.',
        fix: `Publish the TXT record ${SAMPLE(domain)} at ${tlsRpt.name}.`,
      },
    ];
  }
  return [
    {
      ...found,
      severity: 'warning',
      code: tlsRpt.reason === 'multiple' ? 'tlsrpt-multiple' : 'tlsrpt-malformed',
      text: `The record ${someOf(tlsRpt.texts.map(quoted), 2)} counts as none: ${tlsRpt.detail}.`,
      fix: `Publish one TXT record of the form ${SAMPLE(domain)} there.`,
    },
  ];
}
