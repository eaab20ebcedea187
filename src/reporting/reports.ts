/**
 * The TLS reports of the days that something is counted of, as they would be sent: also of the day
 * that is not over yet. Whether their domains ask for reports is not looked up here.
 */
import type { Settings } from '../config/settings.ts';
import { makeReport, reportIdOf, submitterOf, type TlsReport } from '../protocol/tlsrpt/report.ts';
import type { Collector } from './collect.ts';
import type { Sums } from './day-tally.ts';

export interface DaySummary extends Sums {
  /** UTC. */
  readonly day: string;
  /** Domains with a report; the sums are those of their sessions. */
  readonly domains: number;
  /** Sessions with domains that there was no room for. */
  readonly other: Sums;
}

export interface DomainReport {
  /** Whose report it is. */
  readonly domain: string;
  readonly report: TlsReport;
}

export interface DayReports {
  readonly day: string;
  /** By domain; made as they are taken. */
  readonly reports: Iterable<DomainReport>;
  readonly other: Sums;
}

export interface ReportsParts {
  readonly collector: Pick<Collector, 'days' | 'tallyOf'>;
  readonly settings: () => Pick<Settings, 'hostname' | 'tlsRpt'>;
}

export class Reports {
  readonly #parts: ReportsParts;

  constructor(parts: ReportsParts) {
    this.#parts = parts;
  }

  /** The days, the latest first. Rejects with the system's error. */
  async days(): Promise<readonly DaySummary[]> {
    const { collector } = this.#parts;
    const days: DaySummary[] = [];
    for (const day of await collector.days()) {
      const { reports, other } = await this.ofDay(day);
      const sums = { domains: 0, successful: 0, failed: 0 };
      for (const { report } of reports) {
        sums.domains += 1;
        for (const { summary } of report.policies) {
          sums.successful += summary['total-successful-session-count'];
          sums.failed += summary['total-failure-session-count'];
        }
      }
      days.push({ day, ...sums, other });
    }
    return days;
  }

  /** The reports of a day for the domains that are wanted. Rejects with the system's error. */
  async ofDay(
    day: string,
    isWanted: (domain: string) => boolean = () => true,
  ): Promise<DayReports> {
    const { collector, settings } = this.#parts;
    const { hostname, tlsRpt } = settings();
    const tally = await collector.tallyOf(day);
    const contact = tlsRpt.contact || `postmaster@${hostname}`;
    const reporter = { organization: tlsRpt.organization || hostname, contact };
    const isExcluded = excludes(tlsRpt);
    function* reports() {
      for (const domain of tally.domains()) {
        if (isExcluded(domain) || !isWanted(domain)) continue;
        const reportId = reportIdOf(day, domain, submitterOf(reporter));
        const report = makeReport({ reporter, day, reportId, counts: tally.countsOf(domain) });
        if (report) yield { domain, report };
      }
    }
    return { day, reports: { [Symbol.iterator]: reports }, other: tally.other };
  }
}

/** Whether a policy domain is one of `tlsRpt.exclude`. */
export function excludes({ exclude }: Pick<Settings['tlsRpt'], 'exclude'>) {
  const excluded = new Set(exclude.map((entry) => entry.toLowerCase().replace(/\.$/, '')));
  return (domain: string): boolean => excluded.has(domain);
}
