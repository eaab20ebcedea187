/**
 * The TLS reports of one node as relay.ts composes them, on a clock that tests move: real files, and where a
 * test wants other nodes a real Redis. What stands for the rest are a TXT table, a spool in memory,
 * and lists of what was queued and posted.
 */
import { gunzipSync } from 'node:zlib';
import { settingsFrom } from '../../src/config/load.ts';
import type { SettingsInput } from '../../src/config/settings.ts';
import type { Envelope } from '../../src/mail/envelope.ts';
import type { RedisClient } from '../../src/platform/redis.ts';
import type { TlsReport } from '../../src/protocol/tlsrpt/report.ts';
import type { HandedOn } from '../../src/reporting/send-parts.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { reportEvents } from '../../src/telemetry/report-events.ts';
import { openTlsReports, type TlsReports } from '../../src/tls-reports.ts';
import type { FakeClock } from '../support/fake-clock.ts';
import { MemorySpool } from '../support/memory-spool.ts';
import type { TempDir } from '../support/temp-dir.ts';
import { assertIsReport } from '../support/tlsrpt-schema.ts';
import { NO_TXT, type TxtAnswer, txt } from './policy-parts.ts';

export const DAY = '2026-03-14';
export const NEXT_DAY = '2026-03-15';
export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;

/** What is outside, for all nodes of a test. */
export class Outdoors {
  readonly txt = new Map<string, TxtAnswer>();
  readonly asked: string[] = [];
  readonly mails: { readonly envelope: Envelope; readonly report: TlsReport }[] = [];
  /** Mails that were about to be queued. */
  begun = 0;
  readonly posts: { readonly url: string; readonly atMs: number }[] = [];
  /** The key works. */
  canSign = true;
  /** Domains that a key was asked for. */
  readonly signsFor: string[] = [];
  answer: (url: string) => HandedOn | Promise<HandedOn> = () => ({ ok: true });
  /** What happens to mail: `lost` and `unrecorded` are crashes before and behind its being durable. */
  mail: 'taken' | 'refused' | 'lost' | 'unrecorded' = 'taken';

  publish(domain: string, ...rua: readonly string[]): void {
    this.txt.set(`_smtp._tls.${domain}`, txt(`v=TLSRPTv1; rua=${rua.join(',')}`));
  }
}

export const CRASH = new Promise<never>(() => {});

export interface NodeOptions {
  readonly dir: TempDir;
  readonly clock: FakeClock;
  readonly outdoors: Outdoors;
  readonly name?: string;
  readonly redis?: RedisClient;
  readonly spool?: MemorySpool;
  readonly settings?: Pick<SettingsInput, 'tlsRpt' | 'dkim' | 'redis'>;
}

export const REPORTER: Pick<SettingsInput, 'tlsRpt' | 'dkim'> = {
  tlsRpt: {
    organization: 'Example Ltd',
    contact: 'tls@example.net',
    from: 'noreply@example.net',
  },
  dkim: [{ domain: 'example.net', selector: 's1', keyFile: '/nowhere' }],
};

export class ReportNode {
  readonly clock: FakeClock;
  readonly spool: MemorySpool;
  readonly reports: TlsReports;
  readonly lines: readonly Record<string, unknown>[];
  readonly metrics: ReturnType<typeof createMetrics>;
  settings: ReturnType<typeof settingsFrom>;

  private constructor(
    { clock }: NodeOptions,
    parts: Pick<ReportNode, 'spool' | 'reports' | 'lines' | 'metrics' | 'settings'>,
  ) {
    this.clock = clock;
    this.spool = parts.spool;
    this.reports = parts.reports;
    this.lines = parts.lines;
    this.metrics = parts.metrics;
    this.settings = parts.settings;
  }

  static async open(options: NodeOptions): Promise<ReportNode> {
    const { dir, clock, outdoors, name = 'a', redis, settings = REPORTER } = options;
    const { spool = new MemorySpool() } = options;
    const lines: Record<string, unknown>[] = [];
    const destination = { write: (text: string) => void lines.push(JSON.parse(text)) };
    const metrics = createMetrics();
    const log = createLog({ level: 'debug', format: 'json', destination });
    let node: ReportNode | undefined;
    const first = settingsFrom({ hostname: 'relay.example.net', ...settings });
    const reports = await openTlsReports({
      ...{ dataDir: dir.path, node: name, redis, clock },
      settings: () => node?.settings ?? first,
      events: reportEvents(log, metrics),
      lookupTxt: async (asked) => {
        outdoors.asked.push(asked);
        return outdoors.txt.get(asked) ?? NO_TXT;
      },
      ways: {
        compose: async ({ gzip }) => gzip,
        canSignFor: async (domain) => {
          outdoors.signsFor.push(domain);
          return outdoors.canSign;
        },
        async post(url, gzip) {
          assertIsReport(JSON.parse(gunzipSync(gzip).toString()));
          outdoors.posts.push({ url, atMs: clock.now() });
          return outdoors.answer(url);
        },
      },
      async queueOwn(envelope, body, recorded) {
        if (outdoors.mail === 'refused') throw new Error('the disk is full');
        if (outdoors.mail === 'lost') outdoors.begun += 1;
        if (outdoors.mail === 'lost') await CRASH;
        const draft = await spool.begin(envelope.id);
        await draft.write(body);
        await draft.commit(envelope);
        const report = JSON.parse(gunzipSync(body).toString());
        assertIsReport(report);
        outdoors.mails.push({ envelope, report });
        outdoors.begun += 1;
        if (outdoors.mail === 'unrecorded') await CRASH;
        await recorded();
      },
    });
    await reports.sender.resume(async (id) => (await spool.read(id)) !== undefined);
    node = new ReportNode(options, { spool, reports, lines, metrics, settings: first });
    return node;
  }

  /** Count sessions with `domain` now. */
  count(domain: string, sessions = 1): void {
    for (let i = 0; i < sessions; i++) {
      this.reports.counting.session(
        {},
        { policyDomain: domain as never },
        {
          kind: 'transacted',
          recipients: new Map(),
          facts: {
            candidate: { host: `mx.${domain}` as never, preference: 0, port: 25 },
            ...{ address: '192.0.2.1', localAddress: undefined },
            requirement: {
              ...{ level: 'opportunistic', minVersion: 'TLSv1.2' },
              source: { kind: 'default' },
            },
            tls: {
              ...{ version: 'TLSv1.3', cipher: 'x', certSha256: undefined },
              verdict: { verified: true, matchedName: `mx.${domain}` },
            },
          },
        },
      );
    }
  }

  /** A round at a time. */
  async roundAt(time: string | number): Promise<void> {
    this.clock.set(time);
    await this.reports.sender.round();
  }

  /** Where the copies of a report are, by rua. */
  async targets(domain: string, day = DAY): Promise<Readonly<Record<string, string>>> {
    for await (const one of (await this.reports.reports.ofDay(day)).reports) {
      if (one.domain !== domain) continue;
      return Object.fromEntries((one.state?.targets ?? []).map(({ rua, state }) => [rua, state]));
    }
    return {};
  }

  logged(event: string): readonly Record<string, unknown>[] {
    return this.lines.filter((line) => line['event'] === event);
  }
}
