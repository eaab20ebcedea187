/**
 * TLS reports as the API sees them: the days, their reports, the places that keep failing, and sending what an
 * administrator asks for, which is in the audit log.
 */
import type { Clock } from '../platform/clock.ts';
import { utcDay } from '../reporting/collect.ts';
import { oldestToSend } from '../reporting/report-plan.ts';
import type { ReportSender, SendAnswer } from '../reporting/report-sender.ts';
import type { Reports } from '../reporting/reports.ts';
import type { Suspensions } from '../reporting/suspensions.ts';
import type { AuditLog } from './audit.ts';

export interface SendWish {
  readonly day: string;
  readonly dryRun: boolean;
  readonly isWanted: (domain: string) => boolean;
  /** Reports of this request. */
  readonly limit: number;
}

export type SendMade =
  | {
      readonly ok: true;
      readonly answers: readonly SendAnswer[];
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
    async send({ day, dryRun, isWanted, limit }, actor) {
      if (day >= utcDay(clock.now())) {
        return { ok: false, status: 422, error: `${day} is not over yet (UTC)` };
      }
      if (day < oldestToSend(clock.now())) {
        return { ok: false, status: 422, error: `${day} is more than a week ago` };
      }
      const domains: string[] = [];
      let hasMore = false;
      for await (const { domain } of (await reports.ofDay(day, isWanted)).reports) {
        hasMore = domains.length >= limit;
        if (hasMore) break;
        domains.push(domain);
      }
      const send = async (): Promise<SendMade> => {
        try {
          const answers = await sender.sendNow(day, domains, { dryRun });
          const next = hasMore ? domains.at(-1) : undefined;
          return { ok: true, answers, ...(next === undefined ? {} : { next }) };
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
