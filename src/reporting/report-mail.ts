/**
 * A TLS report as a mail (RFC 8460 §5.3): multipart/report with a text for people and the gzip-compressed
 * JSON, signed. MIME is nodemailer's, the signature dkim/signer.ts's; what is said is ours.
 *
 * It goes with `TLS-Required: No` (RFC 8689 §3), since it may be about the very TLS it would fail with
 * (RFC 8460 §3), and is marked as made by a machine, so that nothing answers it (RFC 3834 §5). ASCII in short
 * lines, whatever strangers' records put into domain and address: every host takes it.
 *
 * A report that cannot be signed is none: RFC 8460 §3 wants receivers to ignore it.
 */
import MimeNode from 'nodemailer/lib/mime-node';
import type { DkimSigner } from '../dkim/signer.ts';
import { formatRfc5322Date } from '../protocol/smtp/date.ts';
import {
  REPORT_CONTENT_TYPE,
  type ReportHead,
  reportFields,
  reportFileName,
  reportMediaType,
} from '../protocol/tlsrpt/report-names.ts';

export interface ReportMailParts {
  /** The JSON, compressed. */
  readonly gzip: Buffer;
  readonly reportId: string;
  /** May be empty. */
  readonly organization: string;
  /** An addr-spec; its domain, in A-labels, is the submitter. */
  readonly contact: string;
  /** The author; a key for its domain signs. */
  readonly from: string;
  /** A-labels. */
  readonly policyDomain: string;
  /** The mailbox that the report goes to; ASCII. */
  readonly to: string;
  /** First and last second of what is reported. */
  readonly startDate: Date;
  readonly endDate: Date;
  /** Without angle brackets. */
  readonly messageId: string;
  /** When it was made. */
  readonly date: Date;
  /** The name of this relay, for people. */
  readonly host: string;
}

/** There is no key for the domain of `from`, or none that works. */
export class ReportUnsignedError extends Error {
  constructor(from: string, reason: string) {
    super(`a report from ${from} cannot be signed: ${reason}`);
    this.name = 'ReportUnsignedError';
  }
}

/** nodemailer writes names in its own case; these are written as the RFC does. */
const NAMES = new Map(
  ['TLS-Report-Domain', 'TLS-Report-Submitter', 'TLS-Required'].map((name) => [
    name.toLowerCase(),
    name,
  ]),
);

/** The mail, signed, with CRLF line ends. Rejects with ReportUnsignedError. */
export async function composeReportMail(
  parts: ReportMailParts,
  signer: Pick<DkimSigner, 'sign'>,
): Promise<Buffer> {
  const message = await unsignedMail(parts).build();
  const signed = await signer.sign(message);
  if (signed.kind === 'signed') return Buffer.concat([Buffer.from(signed.fields), message]);
  const reason = signed.kind === 'failed' ? signed.reason : 'no key of dkim is for its domain';
  throw new ReportUnsignedError(parts.from, reason);
}

function unsignedMail(parts: ReportMailParts): MimeNode {
  const { gzip, organization, from, to, policyDomain } = parts;
  const head: ReportHead = {
    'organization-name': organization,
    'date-range': {
      'start-datetime': parts.startDate.toISOString(),
      'end-datetime': parts.endDate.toISOString(),
    },
    'contact-info': parts.contact,
    'report-id': parts.reportId,
  };
  const root = new MimeNode('multipart/report', {
    disableFileAccess: true,
    disableUrlAccess: true,
    normalizeHeaderKey: (key: string) => NAMES.get(key.toLowerCase()) ?? key,
  });
  root.setHeader('From', { name: oneLine(organization), address: from });
  root.setHeader('To', { name: '', address: to });
  for (const [name, value] of Object.entries(reportFields(head, policyDomain))) {
    root.setHeader(name, oneLine(value));
  }
  root.setHeader('Date', formatRfc5322Date(parts.date.getTime()));
  root.setHeader('Message-ID', `<${parts.messageId.replace(/[^\x21-\x7e]/g, '?')}>`);
  root.setHeader('TLS-Required', 'No'); // RFC 8689 §3
  root.setHeader('Auto-Submitted', 'auto-generated'); // RFC 3834 §5.1
  root.setHeader('MIME-Version', '1.0');
  root.buildHeaders(); // draws the boundary
  // RFC 8460 §5.3 writes the quotes; nodemailer would leave them out.
  const value = `${REPORT_CONTENT_TYPE};\r\n boundary="${root.boundary}"`;
  root.setHeader('Content-Type', { prepared: true, value });
  root.createChild('text/plain; charset=utf-8').setContent(explanation(parts));
  const filename = oneLine(reportFileName(head, policyDomain, { gzip: true }));
  const report = root.createChild(reportMediaType({ gzip: true }), { filename });
  report.setHeader('Content-Transfer-Encoding', 'base64');
  report.setContent(gzip);
  return root;
}

/** For whoever opens it: what it is, about what, and how to be rid of it. */
function explanation(parts: ReportMailParts): string {
  const { organization, policyDomain, startDate, endDate, reportId, contact, host } = parts;
  const time = (date: Date) => date.toISOString().slice(0, 19).replace('T', ' ');
  const lines = [
    `This is a TLS report (RFC 8460) of the mail system ${host}: how its`,
    'connections to the domain below were secured, and how often that failed.',
    '',
    `  Domain      ${policyDomain}`,
    `  From        ${time(startDate)} UTC`,
    `  To          ${time(endDate)} UTC`,
    ...(organization === '' ? [] : [`  Made by     ${organization}`]),
    `  Questions   ${contact}`,
    `  Report-ID   ${reportId}`,
    '',
    'The attached file has the figures: JSON, compressed with gzip, for',
    'programs to read. It comes to this address because the TXT record at',
    `_smtp._tls.${policyDomain} asks for it.`,
  ];
  return `${lines.map(oneLine).join('\r\n')}\r\n`;
}

/** Nothing in it can end a line. */
function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ').trimEnd();
}
