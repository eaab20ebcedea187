/**
 * What happens to the TLS reports. One function per event: log line and metric together.
 */
import type { Log } from './log.ts';
import type { Metrics } from './metrics.ts';

/** What the log says of one copy of a report. */
interface CopyFacts {
  readonly rua: string;
  readonly state: string;
  readonly attempts: number;
  readonly nextAtMs?: number | undefined;
  readonly reason?: string | undefined;
  readonly messageId?: string | undefined;
}

/** States that an operator should look at. */
const TROUBLES = new Set(['failed', 'suspended']);

export function reportEvents(log: Log, metrics: Metrics) {
  const written = { operation: 'tls-report' };
  return {
    /** Lines of counts, or of what became of reports, could not be read: those are lost. */
    damaged(file: string, lines: number): void {
      log.write('error', 'report.counts_damaged', { file, lines });
    },
    /** A file of counts could not be made smaller; it is complete. */
    notCompacted(file: string, error: Error): void {
      metrics.spoolErrors.inc(written);
      log.write('warn', 'report.counts_not_compacted', { file, error: error.message });
    },
    /** The disk does not take the counts: told once, until it does again. */
    delayed(error: Error): void {
      metrics.spoolErrors.inc(written);
      log.write('error', 'report.counts_delayed', { error: error.message });
    },
    kept(): void {
      log.write('info', 'report.counts_kept', {});
    },
    /** The disk took none for days: those of a day are given up. */
    lost(day: string): void {
      log.write('error', 'report.counts_lost', { day });
    },
    /** A session was counted as failed, as it will be in the report. */
    failureCounted(
      domain: string,
      facts: { policyType: string; mode: string; resultType: string; mx?: string; reason?: string },
    ): void {
      log.write('info', 'report.failure_counted', { domain, ...facts });
    },
    /** A report is made, and is handed on from now on. */
    made(facts: {
      day: string;
      domain: string;
      reportId: string;
      octets: number;
      nodes: readonly string[];
      without: readonly string[];
    }): void {
      metrics.tlsReports.inc({ transport: 'none', result: 'made' });
      log.write('info', 'report.made', facts);
    },
    nobodyAsks(day: string, domain: string, reason: string): void {
      log.write('debug', 'report.nobody_asks', { day, domain, reason });
    },
    gaveUp(day: string, domain: string, reason: string): void {
      metrics.tlsReports.inc({ transport: 'none', result: 'failed' });
      log.write('warn', 'report.gave_up', { day, domain, reason });
    },
    /** What became of a copy: `report.queued`, `.delivered`, `.posted`, `.failed`, `.waiting`, … */
    target(day: string, domain: string, copy: CopyFacts): void {
      const { rua, state, attempts, nextAtMs, reason, messageId } = copy;
      const transport = /^https:/i.test(rua) ? 'https' : 'mailto';
      metrics.tlsReports.inc({ transport, result: state });
      log.write(TROUBLES.has(state) ? 'warn' : 'info', `report.${state.replaceAll('-', '_')}`, {
        ...(messageId ? { id: messageId } : {}),
        ...{ day, domain, rua, attempts, reason },
        ...(nextAtMs === undefined ? {} : { nextAttempt: new Date(nextAtMs).toISOString() }),
      });
    },
    /** A rua of a domain keeps failing, and is left alone for a while. */
    suspended(
      domain: string,
      facts: { rua: string; failures: number; until: string; reason: string },
    ): void {
      log.write('warn', 'report.rua_suspended', { domain, ...facts });
    },
    suspensionsUnreadable(aside: string, reason: string): void {
      log.write('error', 'report.suspensions_unreadable', { aside, reason });
    },
    /** The disk, or Redis, did not take what became of a report. */
    stateDelayed(day: string, domain: string, error: Error): void {
      log.write('error', 'report.state_delayed', { day, domain, error: error.message });
    },
    /** Told once, until reports can be looked after again. */
    roundFailed(error: Error): void {
      log.write('warn', 'report.round_failed', { error: error.message });
    },
    sendFailed(day: string, domain: string, error: Error): void {
      log.write('warn', 'report.send_failed', { day, domain, error: error.message });
    },
    /** Nodes whose counts were awaited for an hour: reports go without what they did not share. */
    nodesMissing(day: string, nodes: readonly string[]): void {
      log.write('warn', 'report.nodes_missing', { day, nodes });
    },
    /** What this node counted is not in the report that went out. */
    lateCounts(day: string, domain: string): void {
      log.write('warn', 'report.late_counts', { day, domain });
    },
  };
}
export type ReportEvents = ReturnType<typeof reportEvents>;
