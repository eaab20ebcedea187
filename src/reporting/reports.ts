/**
 * The TLS reports of the days that something is counted of: those that were made, and what the others come to,
 * also of the day that is not over yet. Whether a domain asks for its report is looked up when it is sent.
 */
import type { Settings } from '../config/settings.ts';
import { toAsciiDomain } from '../protocol/mailbox.ts';
import {
  isReported,
  makeReport,
  reportIdOf,
  submitterOf,
  type TlsReport,
} from '../protocol/tlsrpt/report.ts';
import type { DayCounts } from './day-counts.ts';
import type { Sums } from './day-tally.ts';
import type { ReportFiles } from './report-files.ts';
import type { ReportState, TargetState } from './report-state.ts';
import type { ReportStates } from './report-states.ts';
import { excludedPlaces } from './rua.ts';

export interface DaySummary extends Sums {
  /** UTC. */
  readonly day: string;
  /** Domains with a report; the sums are those of their sessions. */
  readonly domains: number;
  /** Sessions with domains that there was no room for. */
  readonly other: Sums;
  /** How many copies of its reports are in which state. */
  readonly targets: Partial<Record<TargetState, number>>;
}

export interface DomainReport {
  /** Whose report it is. */
  readonly domain: string;
  readonly report: TlsReport;
  /** What became of it; undefined before its time. */
  readonly state?: ReportState;
}

export interface DayReports {
  readonly day: string;
  /** By domain; made as they are taken. */
  readonly reports: AsyncIterable<DomainReport>;
  readonly other: Sums;
}

export interface ReportsParts {
  readonly counts: Pick<DayCounts, 'days' | 'ofAll' | 'ofDomain'>;
  readonly states: Pick<ReportStates, 'ofDay'>;
  readonly files: Pick<ReportFiles, 'report'>;
  readonly settings: () => Pick<Settings, 'hostname' | 'tlsRpt'>;
}

export class Reports {
  readonly #parts: ReportsParts;

  constructor(parts: ReportsParts) {
    this.#parts = parts;
  }

  /** The days, the latest first. Rejects with the system's error. */
  async days(): Promise<readonly DaySummary[]> {
    const { counts, settings, states } = this.#parts;
    const isExcluded = excludes(settings().tlsRpt);
    const days: DaySummary[] = [];
    for (const day of await counts.days()) {
      const tally = await counts.ofAll(day);
      const sums = { domains: 0, successful: 0, failed: 0 };
      for (const domain of tally.domains()) {
        const ofDomain = tally.countsOf(domain);
        if (isExcluded(domain) || !isReported(ofDomain)) continue;
        const sessions = sumOf(ofDomain);
        sums.domains += 1;
        sums.successful += sessions.successful;
        sums.failed += sessions.failed;
      }
      const targets = targetsOf((await states.ofDay(day)).values());
      days.push({ day, ...sums, other: tally.other, targets });
    }
    return days;
  }

  /** The reports of a day for the domains that are wanted. Rejects with the system's error. */
  async ofDay(
    day: string,
    isWanted: (domain: string) => boolean = () => true,
  ): Promise<DayReports> {
    const { counts, settings, states, files } = this.#parts;
    const [tally, known] = [await counts.ofAll(day), await states.ofDay(day)];
    const isExcluded = excludes(settings().tlsRpt);
    const make = (domain: string) => this.#make(day, domain, tally.countsOf(domain));
    const domains = [...new Set([...tally.domains(), ...known.keys()])].sort();
    async function* reports(): AsyncGenerator<DomainReport> {
      for (const domain of domains) {
        if (isExcluded(domain) || !isWanted(domain)) continue;
        const state = known.get(domain);
        const made = state && state.targets.length > 0 && (await files.report(day, domain));
        const report = made || make(domain);
        if (report) yield { domain, report, ...(state ? { state } : {}) };
      }
    }
    return { day, reports: reports(), other: tally.other };
  }

  /** The report of an ended day as it is sent. Rejects also while Redis is away. */
  async make(day: string, domain: string) {
    const { counts, nodes } = await this.#parts.counts.ofDomain(day, domain);
    const report = this.#make(day, domain, counts);
    return report && { report, nodes };
  }

  #make(day: string, domain: string, counts: Parameters<typeof makeReport>[0]['counts']) {
    const { hostname, tlsRpt } = this.#parts.settings();
    // A-labels, as in all names that are made of it (RFC 8460 §5.1).
    const contact = toAsciiDomain(tlsRpt.contact || `postmaster@${hostname}`);
    const reporter = { organization: tlsRpt.organization || hostname, contact };
    const reportId = reportIdOf(day, domain, submitterOf(reporter));
    return makeReport({ reporter, day, reportId, counts });
  }
}

function sumOf(counts: readonly Sums[]): Sums {
  return {
    successful: counts.reduce((sum, { successful }) => sum + successful, 0),
    failed: counts.reduce((sum, { failed }) => sum + failed, 0),
  };
}

function targetsOf(states: Iterable<ReportState>): Partial<Record<TargetState, number>> {
  const targets: Partial<Record<TargetState, number>> = {};
  for (const state of states) {
    for (const { state: name } of state.targets) targets[name] = (targets[name] ?? 0) + 1;
  }
  return targets;
}

/** Whether a policy domain is one of `tlsRpt.exclude`. */
export function excludes({ exclude }: Pick<Settings['tlsRpt'], 'exclude'>) {
  const excluded = excludedPlaces(exclude);
  return (domain: string): boolean => excluded.has(domain);
}
