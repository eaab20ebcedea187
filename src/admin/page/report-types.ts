/** What the API tells about TLS reports, as far as the page shows it (tlsrpt-routes.ts has all of it). */

import type { TlsReport } from '../../protocol/tlsrpt/report.ts';
import type { TargetState } from '../../reporting/report-state.ts';
import type { DaySummary } from '../../reporting/reports.ts';

export interface ReportDays {
  readonly days: readonly DaySummary[];
  readonly suspended: readonly {
    readonly domain: string;
    readonly rua: string;
    readonly failures: number;
    readonly reason: string;
    readonly until: string;
  }[];
}

export interface ReportSending {
  readonly outcome: string;
  readonly at: string;
  readonly reason?: string;
  readonly targets: readonly {
    readonly rua: string;
    readonly state: TargetState;
    readonly at: string;
    readonly attempts: number;
    readonly nextAttempt?: string;
    readonly reason?: string;
  }[];
}

export interface ReportPage {
  readonly day: string;
  readonly reports: readonly {
    readonly domain: string;
    readonly report: TlsReport;
    readonly sending?: ReportSending;
  }[];
  readonly next?: string;
}

export interface SendAnswers {
  readonly reports: readonly {
    readonly domain: string;
    readonly sends: boolean;
    readonly error?: string;
  }[];
  readonly next?: string;
}
