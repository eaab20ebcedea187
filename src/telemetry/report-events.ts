/**
 * What happens to the TLS reports. One function per event: log line and metric together.
 */
import type { Log } from './log.ts';
import type { Metrics } from './metrics.ts';

export function reportEvents(log: Log, metrics: Metrics) {
  return {
    /** Lines of counts could not be read: those reports say less than there was. */
    damaged(file: string, lines: number): void {
      log.write('error', 'report.counts_damaged', { file, lines });
    },
    /** A file of counts could not be made smaller; it is complete. */
    notCompacted(file: string, error: Error): void {
      metrics.spoolErrors.inc({ operation: 'tls-report' });
      log.write('warn', 'report.counts_not_compacted', { file, error: error.message });
    },
    /** The disk does not take the counts: told once, until it does again. */
    delayed(error: Error): void {
      metrics.spoolErrors.inc({ operation: 'tls-report' });
      log.write('error', 'report.counts_delayed', { error: error.message });
    },
    kept(): void {
      log.write('info', 'report.counts_kept', {});
    },
    /** The disk took none for days: those of a day are given up. */
    lost(day: string): void {
      log.write('error', 'report.counts_lost', { day });
    },
  };
}
export type ReportEvents = ReturnType<typeof reportEvents>;
