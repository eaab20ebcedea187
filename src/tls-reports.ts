/**
 * Composition of the TLS reports: what is counted, where it is kept and shared, the reports of a day, and
 * how they leave. Built by relay.ts.
 */
import { join } from 'node:path';
import { domainOfFrom, missingForMail } from './config/report-mail.ts';
import type { Settings } from './config/settings.ts';
import type { Envelope } from './mail/envelope.ts';
import type { MessageId } from './mail/message-id.ts';
import type { Clock } from './platform/clock.ts';
import type { RedisClient } from './platform/redis.ts';
import type { Resolver } from './platform/resolver.ts';
import { besideCounts, Collector } from './reporting/collect.ts';
import { type Counting, createCounting } from './reporting/counting.ts';
import { DayCounts } from './reporting/day-counts.ts';
import { createReportQueue } from './reporting/queue-report.ts';
import { ReportFiles } from './reporting/report-files.ts';
import type { ReportMailParts } from './reporting/report-mail.ts';
import { oldestToSend } from './reporting/report-plan.ts';
import { type MailEnding, ReportSender } from './reporting/report-sender.ts';
import { ReportStates } from './reporting/report-states.ts';
import { excludes, Reports } from './reporting/reports.ts';
import { excludesRua } from './reporting/rua.ts';
import type { HandedOn } from './reporting/send-parts.ts';
import { SharedReports } from './reporting/shared-reports.ts';
import { Suspensions } from './reporting/suspensions.ts';
import type { AttemptRecord, RecordedFailure } from './spool/message-state.ts';
import type { ReportEvents } from './telemetry/report-events.ts';

/** How reports leave. */
export interface ReportWays {
  /** The mail, signed with the key for the domain of its From. Rejects when it cannot be made. */
  compose(parts: ReportMailParts): Promise<Buffer>;
  /** Whether mail from this domain, in A-labels, would be signed now. */
  canSignFor(domain: string): Promise<boolean>;
  post(url: string, gzip: Buffer, signal: AbortSignal): Promise<HandedOn>;
}

export interface TlsReportParts {
  /** Absolute. */
  readonly dataDir: string;
  readonly node: string;
  /** That other nodes use, too; undefined: there are none. */
  readonly redis: RedisClient | undefined;
  /** As they are now: a reload changes them. */
  readonly settings: () => Settings;
  readonly clock: Clock;
  readonly events: ReportEvents;
  readonly lookupTxt: Resolver['lookupTxt'];
  readonly ways: ReportWays;
  /** Commit a message of our own, await `recorded`, and let it be delivered. */
  readonly queueOwn: (
    envelope: Envelope,
    body: Buffer,
    recorded: () => Promise<void>,
  ) => Promise<void>;
}

export interface TlsReports {
  readonly counting: Counting;
  /** Put an attempt on record after what its sessions counted (reporting/collect.ts). */
  readonly besideCounts: <R>(record: () => Promise<R>) => Promise<R>;
  readonly reports: Reports;
  readonly sender: ReportSender;
  readonly suspensions: Suspensions;
  /** An attempt of a report's mail is on record. */
  mailTried(id: MessageId, record: AttemptRecord): void;
  /** Write what was counted, and share it. */
  close(): Promise<void>;
}

/** Rejects with the system's error. */
export async function openTlsReports(parts: TlsReportParts): Promise<TlsReports> {
  const { dataDir, node, redis, settings, clock, events } = parts;
  const directory = join(dataDir, 'state', 'tlsrpt');
  const collector = await Collector.open({
    ...{ directory, clock, events },
    keepMs: () => settings().tlsRpt.keep,
  });
  const { keyPrefix } = settings().redis;
  const shared = redis && new SharedReports({ redis, keyPrefix, node, clock });
  const since = oldestToSend(clock.now());
  const states = await ReportStates.open(directory, { since, events });
  const suspensions = await Suspensions.open({
    file: join(dataDir, 'state', 'tlsrpt-suspended.json'),
    ...{ clock, events },
  });
  const files = new ReportFiles(join(dataDir, 'reports'));
  const counts = new DayCounts({ collector, shared, node, clock });
  const reports = new Reports({ counts, states, files, settings });
  const sender = new ReportSender({
    ...{ clock, node, files, states, shared, suspensions, counts, events },
    lookupTxt: parts.lookupTxt,
    make: (day, domain) => reports.make(day, domain),
    isExcluded: (rua) => excludesRua(settings().tlsRpt.exclude)(rua),
    isExcludedDomain: (domain) => excludes(settings().tlsRpt)(domain),
    missingForMail: () => missingForMail(settings()),
    canSign: () => parts.ways.canSignFor(domainOfFrom(settings().tlsRpt)),
    mail: createReportQueue({
      ...{ settings, clock, compose: parts.ways.compose, queueOwn: parts.queueOwn },
    }),
    post: parts.ways.post,
    settings: () => settings().tlsRpt,
  });
  return {
    ...{ reports, sender, suspensions },
    besideCounts: (record) => besideCounts(collector, record),
    counting: createCounting({
      settings: () => settings().tlsRpt,
      count: (counted) => collector.count(counted),
      onFailure: (domain, { policy, details }, { facts }) => {
        const { resultType, mxHost, reasonCode } = details[0]?.detail ?? {};
        if (resultType === undefined) return;
        const { source } = facts.requirement;
        events.failureCounted(domain, {
          ...{ policyType: policy.type, resultType },
          mode: source.kind === 'mta-sts' ? source.mode : source.kind,
          ...(mxHost === undefined ? {} : { mx: mxHost }),
          ...(reasonCode === undefined ? {} : { reason: reasonCode }),
        });
      },
    }),
    mailTried(id, { delivered, bounced, untried = false }) {
      const [given] = bounced;
      if (given) void sender.mailEnded(id, endingOf(given.failure, untried));
      else if (delivered.length > 0) void sender.mailEnded(id, {});
    },
    async close() {
      await sender.stop();
      await sender.leave();
      await Promise.all([collector.close(), states.close(), suspensions.close()]);
    },
  };
}

/** Causes that say nothing of the other side (outcome/classify.ts). */
const OWN_FAULTS: ReadonlySet<string> = new Set([
  ...['bounced-by-administrator', 'dropped-by-administrator'],
  ...['auth-not-possible', 'auth-paused', 'relay-stopping', 'spool-unreadable'],
]);

/** `untried`: nobody was asked, since an administrator, a hold or a pause was in the way. */
function endingOf({ text, source, cause }: RecordedFailure, untried: boolean): MailEnding {
  return { failure: text, isOwnFault: untried || (source === 'local' && OWN_FAULTS.has(cause)) };
}
