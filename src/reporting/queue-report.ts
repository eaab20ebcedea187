/**
 * The mail that carries a report (RFC 8460 §5.3) into the queue, by the one door.
 *
 * Its reverse-path is `tlsRpt.from`: the null one is for what a standard wants it for (RFC 5321 §4.5.5), and
 * SPF has nothing to say for it. No DSN comes of it, here or at hosts that know DSNs (NOTIFY=NEVER, RFC 3461
 * §4.1), and the bounce of a host that does not has a null reverse-path: nothing can loop (RFC 8460 §5.5).
 */
import { createHash } from 'node:crypto';
import type { Settings } from '../config/settings.ts';
import type { Envelope } from '../mail/envelope.ts';
import type { Clock } from '../platform/clock.ts';
import { toAsciiDomain } from '../protocol/mailbox.ts';
import { submitterOf } from '../protocol/tlsrpt/report.ts';
import type { ReportMailParts } from './report-mail.ts';
import type { ReportMail } from './send-parts.ts';

export interface QueueReportParts {
  readonly settings: () => Pick<Settings, 'hostname' | 'tlsRpt'>;
  readonly clock: Clock;
  /** The message, signed. Rejects when it cannot be. */
  readonly compose: (parts: ReportMailParts) => Promise<Buffer>;
  /** Commit it, await `recorded`, and let it be delivered. Rejects as the spool does. */
  readonly queueOwn: (
    envelope: Envelope,
    body: Buffer,
    recorded: () => Promise<void>,
  ) => Promise<void>;
}

export function createReportQueue(parts: QueueReportParts) {
  return async (mail: ReportMail, recorded: () => Promise<void>): Promise<void> => {
    const { clock, settings, compose, queueOwn } = parts;
    const { hostname, tlsRpt } = settings();
    const { report, gzip, domain, mailbox, id } = mail;
    const from = toAsciiDomain(tlsRpt.from);
    const range = report['date-range'];
    const messageId = messageIdOf(mail);
    const body = await compose({
      gzip,
      reportId: report['report-id'],
      organization: report['organization-name'],
      contact: report['contact-info'],
      from,
      policyDomain: domain,
      to: mailbox,
      startDate: new Date(range['start-datetime']),
      endDate: new Date(range['end-datetime']),
      messageId,
      date: new Date(clock.now()),
      host: hostname,
    });
    const envelope: Envelope = {
      id,
      reversePath: from,
      recipients: [{ address: mailbox, notify: ['NEVER'] }],
      receivedAtMs: clock.now(),
      eightBitMime: false,
      smtpUtf8: false,
      tlsRequiredNo: true,
      tlsReport: true,
      messageId: `<${messageId}>`,
    };
    await queueOwn(envelope, body, recorded);
  };
}

/** The same whenever, and by whichever node, the report is sent there: whoever gets it twice can tell. */
function messageIdOf({ day, domain, rua, report }: ReportMail): string {
  const digest = createHash('sha256').update(`${day} ${domain} ${rua}`).digest('hex');
  const organization = report['organization-name'];
  const submitter = submitterOf({ organization, contact: report['contact-info'] });
  return `tlsrpt.${day.replaceAll('-', '')}.${digest.slice(0, 32)}@${submitter}`;
}
