/**
 * What a report is called when it leaves: its file, its media type, the header fields of its mail
 * (RFC 8460 §5.1, §5.3). Pure.
 */
import { type Reporter, submitterOf, type TlsReport } from './report.ts';

/** What of a report is in its names. */
export type ReportHead = Omit<TlsReport, 'policies'>;

export const REPORT_CONTENT_TYPE = 'multipart/report; report-type="tlsrpt"';

/** RFC 8460 §5.1: submitter, policy domain, first and last second of the day. */
export function reportFileName(
  report: ReportHead,
  domain: string,
  { gzip }: { readonly gzip: boolean },
): string {
  const range = report['date-range'];
  const seconds = [range['start-datetime'], range['end-datetime']].map(
    (time) => Date.parse(time) / 1000,
  );
  const name = [submitterOf(reporterOf(report)), domain, ...seconds].join('!');
  return `${name}.json${gzip ? '.gz' : ''}`;
}

/** RFC 8460 §5.2, §5.3: of the file itself. */
export function reportMediaType({ gzip }: { readonly gzip: boolean }): string {
  return `application/tlsrpt+${gzip ? 'gzip' : 'json'}`;
}

/** The header fields that a mail with the report for `domain` has of its own (RFC 8460 §5.3). */
export function reportFields(
  report: ReportHead,
  domain: string,
): Readonly<Record<'TLS-Report-Domain' | 'TLS-Report-Submitter' | 'Subject', string>> {
  const submitter = submitterOf(reporterOf(report));
  const id = `<${report['report-id']}>`;
  return {
    'TLS-Report-Domain': domain,
    'TLS-Report-Submitter': submitter,
    Subject: `Report Domain: ${domain} Submitter: ${submitter} Report-ID: ${id}`,
  };
}

function reporterOf(report: ReportHead): Reporter {
  return { organization: report['organization-name'], contact: report['contact-info'] };
}
