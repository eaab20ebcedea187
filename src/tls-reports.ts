/**
 * Composition of the TLS reports: what is counted, where it is kept, and the reports of a day. Built by
 * relay.ts.
 */
import type { Settings } from './config/settings.ts';
import type { Clock } from './platform/clock.ts';
import { Collector } from './reporting/collect.ts';
import { type Counting, createCounting } from './reporting/counting.ts';
import { Reports } from './reporting/reports.ts';
import type { ReportEvents } from './telemetry/report-events.ts';

export interface TlsReportParts {
  /** Where the counts are kept. */
  readonly directory: string;
  /** As they are now: a reload changes them. */
  readonly settings: () => Settings;
  readonly clock: Clock;
  readonly events: ReportEvents;
}

export interface TlsReports {
  readonly counting: Counting;
  readonly reports: Reports;
  /** Write what was counted. */
  close(): Promise<void>;
}

/** Rejects with the system's error. */
export async function openTlsReports(parts: TlsReportParts): Promise<TlsReports> {
  const { directory, settings, clock, events } = parts;
  const collector = await Collector.open({
    ...{ directory, clock, events },
    keepMs: () => settings().tlsRpt.keep,
  });
  return {
    counting: createCounting({
      settings: () => settings().tlsRpt,
      count: (counted) => collector.count(counted),
    }),
    reports: new Reports({ collector, settings }),
    close: () => collector.close(),
  };
}
