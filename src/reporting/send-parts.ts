/**
 * What sending a report is made of: the job, what it needs, and what it tells (send-report.ts, hand-on.ts).
 */
import type { MessageId } from '../mail/message-id.ts';
import type { Clock } from '../platform/clock.ts';
import type { Resolver } from '../platform/resolver.ts';
import type { TlsReport } from '../protocol/tlsrpt/report.ts';
import type { ReportFiles } from './report-files.ts';
import type { ReportTarget } from './report-state.ts';
import type { ReportStates } from './report-states.ts';
import type { SharedReports } from './shared-reports.ts';
import type { Suspensions } from './suspensions.ts';

/** A report for one place, made and compressed. */
export interface ReportCopy {
  readonly day: string;
  readonly domain: string;
  readonly report: TlsReport;
  readonly gzip: Buffer;
}

/** What became of a copy that was to be handed on; `reason` is one line. */
export type HandedOn =
  | { readonly ok: true }
  /** `permanent`: the same again would fail the same way. */
  | { readonly ok: false; readonly reason: string; readonly permanent?: boolean };

export interface ReportMail extends ReportCopy {
  /** Of the rua. */
  readonly mailbox: string;
  readonly rua: string;
  /** What it is queued under. */
  readonly id: MessageId;
}

export interface SendReportEvents {
  made(facts: {
    day: string;
    domain: string;
    reportId: string;
    octets: number;
    nodes: readonly string[];
    without: readonly string[];
  }): void;
  /** Nobody wants the report of a domain. */
  nobodyAsks(day: string, domain: string, reason: string): void;
  /** DNS did not say who wants it, for a day. */
  gaveUp(day: string, domain: string, reason: string): void;
  /** What became of a copy, or that it is tried again. */
  target(day: string, domain: string, target: ReportTarget): void;
  suspended(
    domain: string,
    facts: { rua: string; failures: number; until: string; reason: string },
  ): void;
  /** The disk, or Redis, did not take the state of a report. */
  stateDelayed(day: string, domain: string, error: Error): void;
}

export interface SendReportParts {
  readonly clock: Clock;
  readonly node: string;
  readonly lookupTxt: Resolver['lookupTxt'];
  /** The report as it is to be sent, of all nodes; undefined when there is nothing in it. */
  readonly make: (
    day: string,
    domain: string,
  ) => Promise<{ readonly report: TlsReport; readonly nodes: readonly string[] } | undefined>;
  readonly files: ReportFiles;
  readonly states: Pick<ReportStates, 'get' | 'put'>;
  /** Absent: there are no other nodes. */
  readonly shared?: SharedReports | undefined;
  readonly suspensions: Suspensions;
  readonly isExcluded: (rua: string) => boolean;
  /** Settings without which no report leaves by mail; undefined when none is missing. */
  readonly missingForMail: () => string | undefined;
  /** Whether a key for the domain of `tlsRpt.from` works now. */
  readonly canSign: () => Promise<boolean>;
  /**
   * Queue the mail. `recorded` is awaited between its being durable and its delivery: so a crash finds it in
   * the spool, or in the records. Rejects when it could not be made or taken.
   */
  readonly mail: (mail: ReportMail, recorded: () => Promise<void>) => Promise<void>;
  readonly post: (url: string, gzip: Buffer, signal: AbortSignal) => Promise<HandedOn>;
  readonly events: SendReportEvents;
}

export interface ReportJob {
  readonly day: string;
  readonly domain: string;
  /** Nodes that were awaited in vain. */
  readonly without: readonly string[];
  /** An administrator asks: what came to nothing is tried again, suspended or not. */
  readonly anew?: boolean;
}
