/**
 * TLS reports as the API sees them: the days, their reports, the places that keep failing, and sending what an
 * administrator asks for, which is in the audit log. A dry run is told with the reports themselves, and may be of
 * the day that is not over yet.
 */
import type { Clock } from '../platform/clock.ts';
import type { TlsReport } from '../protocol/tlsrpt/report.ts';
import { utcDay } from '../reporting/collect.ts';
import { oldestToSend } from '../reporting/report-plan.ts';
import type { ReportSender, SendAnswer } from '../reporting/report-sender.ts';
import type { Reports } from '../reporting/reports.ts';
import type { Suspensions } from '../reporting/suspensions.ts';
import type { AuditLog } from './audit.ts';

/** Reports are taken until an answer is as long as this. */
export const MAX_PAGE_OCTETS = 1024 * 1024;

export interface SendWish {
  readonly day: string;
  readonly dryRun: boolean;
  readonly isWanted: (domain: string) => boolean;
  /** Reports of this request. */
  readonly limit: number;
}

/** Of a dry run with the report as it is now. */
export interface SentReport extends SendAnswer {
  readonly report?: TlsReport;
}

export type SendMade =
  | {
      readonly ok: true;
      readonly answers: readonly SentReport[];
      /** The day is not over: so far. */
      readonly isUnfinished: boolean;
      /** The last domain, where there are more. */
      readonly next?: string;
    }
  | { readonly ok: false; readonly status: 422 | 503; readonly error: string };

export interface TlsReportAdmin extends Pick<Reports, 'days' | 'ofDay'> {
  suspensions(): ReturnType<Suspensions['list']>;
  send(wish: SendWish, actor: string): Promise<SendMade>;
}

export interface TlsReportAdminParts {
  readonly reports: Pick<Reports, 'days' | 'ofDay'>;
  readonly sender: Pick<ReportSender, 'sendNow'>;
  readonly suspensions: Pick<Suspensions, 'list'>;
  readonly audit: Pick<AuditLog, 'during'>;
  readonly clock: Clock;
}

export function createTlsReportAdmin(parts: TlsReportAdminParts): TlsReportAdmin {
  const { reports, sender, suspensions, audit, clock } = parts;
  return {
    days: () => reports.days(),
    ofDay: (day, isWanted) => reports.ofDay(day, isWanted),
    suspensions: () => suspensions.list(),
    async send(wish, actor) {
      const { day, dryRun } = wish;
      const isUnfinished = day >= utcDay(clock.now());
      if (isUnfinished && !dryRun) {
        return { ok: false, status: 422, error: `${day} is not over yet (UTC)` };
      }
      if (day < oldestToSend(clock.now())) {
        return { ok: false, status: 422, error: `${day} is more than a week ago` };
      }
      const { domains, hasMore, made } = await chosen(reports, wish);
      const send = async (): Promise<SendMade> => {
        try {
          const sent = await sender.sendNow(day, domains, { dryRun });
          const next = hasMore ? domains.at(-1) : undefined;
          const answers = sent.map((one) => ({ ...one, ...reportOf(made.get(one.domain)) }));
          return { ok: true, answers, isUnfinished, ...(next === undefined ? {} : { next }) };
        } catch (error) {
          return { ok: false, status: 503, error: (error as Error).message };
        }
      };
      if (dryRun || domains.length === 0) return send();
      const facts = { domains: domains.length };
      return audit.during({ actor, action: 'tlsrpt.send', target: day, facts }, send);
    },
  };
}

/** What one request is about: as many as it wants, and of a dry run no more than fits into an answer. */
async function chosen(
  reports: Pick<Reports, 'ofDay'>,
  { day, dryRun, isWanted, limit }: SendWish,
): Promise<{ domains: string[]; hasMore: boolean; made: ReadonlyMap<string, TlsReport> }> {
  const domains: string[] = [];
  const made = new Map<string, TlsReport>();
  let octets = 0;
  for await (const { domain, report } of (await reports.ofDay(day, isWanted)).reports) {
    if (domains.length >= limit || octets >= MAX_PAGE_OCTETS) {
      return { domains, hasMore: true, made };
    }
    domains.push(domain);
    if (!dryRun) continue;
    made.set(domain, report);
    octets += JSON.stringify(report).length;
  }
  return { domains, hasMore: false, made };
}

function reportOf(report: TlsReport | undefined): { report?: TlsReport } {
  return report ? { report } : {};
}
