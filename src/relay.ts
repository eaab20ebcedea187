/**
 * The composition root: builds every part of the relay once, in order, and takes it down in the
 * other order. With ground.ts, redis-side.ts, sharing.ts, engine.ts, policies.ts, outside.ts, outbound.ts,
 * open-door.ts, front-door.ts, remote-door.ts and endpoints.ts it is the only place where clients,
 * caches, queues and servers are made; tests pass overrides. What it builds owns the spool; the
 * listeners are open in the same process, or in another one that receive.ts composes.
 *
 * Start: lock the data directory, recover the queue from the spool, open the listeners. Redis is
 * not waited for: without it mail is taken and kept. Stop: no new connections, messages in
 * transit and attempts under way finish, STOP_GRACE_MS at most; nothing is half-done.
 */
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { AuditLog } from './admin/audit.ts';
import { Checks } from './admin/checks.ts';
import { Domains } from './admin/domains.ts';
import { reloadBySignal } from './admin/noted-reload.ts';
import { Overrides } from './admin/overrides.ts';
import { createQueueAdmin } from './admin/queue.ts';
import { createTlsReportAdmin } from './admin/tlsrpt.ts';
import { examineInThread } from './check-threads.ts';
import type { Settings } from './config/settings.ts';
import { SessionThreads } from './delivery/threads/session-threads.ts';
import { type Door, STOP_GRACE_MS } from './door.ts';
import { type Endpoints, openEndpoints } from './endpoints.ts';
import { createEngine, type Engine } from './engine.ts';
import { Ground, type RelayOverrides } from './ground.ts';
import { httpCertificate, openDoor, type ReceiverLink } from './open-door.ts';
import { createOutbound, destinationOf, type Outbound } from './outbound.ts';
import { nodeId, openDataDir } from './platform/data-dir.ts';
import type { RedisClient, RedisTarget } from './platform/redis.ts';
import type { RedisMonitor } from './platform/redis-monitor.ts';
import { openPolicies, type Policies } from './policies.ts';
import { HoldRules } from './queue/hold-rules.ts';
import { Pauses } from './queue/pauses.ts';
import { openRedis, watchRedis } from './redis-side.ts';
import { composeReportMail } from './reporting/report-mail.ts';
import { openSharing, type Sharing } from './sharing.ts';
import { openSegmentStore } from './spool/segment-store.ts';
import type { Spool } from './spool/store.ts';
import type { Log } from './telemetry/log.ts';
import type { RoleName } from './telemetry/role-events.ts';
import { openTlsReports, type TlsReports } from './tls-reports.ts';
import { VERSION } from './version.ts';

export type { RelayOverrides } from './ground.ts';
export type { ReceiverLink } from './open-door.ts';

export interface RelayOptions {
  readonly settings: Settings;
  /** Warnings of the configuration, for the log. */
  readonly warnings?: readonly string[];
  /** What `stsrelay reload` does when it comes in over the control socket. */
  readonly onReloadRequest?: () => Promise<ReloadAnswer>;
  /** Leave the listeners to a receiving role in a process of its own. */
  readonly receiver?: ReceiverLink;
  /** Everything is open; called before `relay.started` is logged. */
  readonly beforeStarted?: (relay: Relay) => Promise<void>;
}

export type ReloadAnswer =
  | { readonly ok: true; readonly needRestart: readonly string[] }
  | { readonly ok: false; readonly problems: readonly string[] };

export interface Relay {
  readonly log: Log;
  /** Stop gracefully; see the head of this file. Safe to call again. */
  stop(signal: string): Promise<void>;
  /** Put changed settings into force; when they cannot be, everything stays as it was. */
  reload(settings: Settings): Promise<ReloadAnswer>;
  /** SIGHUP: `onReloadRequest`, and a note of it in the audit log. */
  reloadBySignal(): Promise<void>;
  /** A changed configuration that did not even load: told to log and metrics. */
  reloadRefused(problems: readonly string[]): void;
  /** The supervisor started a role again, so many times: told to the metrics. */
  roleRestarted(role: RoleName, count?: number): void;
}

/** Start the relay. Rejects with DataDirLockedError, RedisNotInstalledError or the system's error. */
export async function startRelay(
  options: RelayOptions,
  overrides: RelayOverrides = {},
): Promise<Relay> {
  const relay = new RunningRelay(options, overrides);
  try {
    await relay.start();
    return relay;
  } catch (error) {
    await relay.takeDown(0);
    throw error;
  }
}

class RunningRelay implements Relay {
  readonly #options: RelayOptions;
  readonly #ground: Ground;
  readonly #threads: SessionThreads;
  #policies: Policies | undefined;
  #tlsReports: TlsReports | undefined;
  #outbound: Outbound | undefined;
  #engine: Engine | undefined;
  #door: Door | undefined;
  #endpoints: Endpoints | undefined;
  #audit: AuditLog | undefined;
  #stopped: Promise<void> | undefined;

  constructor(options: RelayOptions, overrides: RelayOverrides) {
    this.#options = options;
    const ground = new Ground(options.settings, overrides);
    this.#ground = ground;
    this.#threads = new SessionThreads(ground.events.outcome);
  }

  get log(): Log {
    return this.#ground.log;
  }

  async start(): Promise<void> {
    const { warnings = [], receiver } = this.#options;
    const ground = this.#ground;
    for (const warning of warnings) ground.events.relay.warning(warning);
    const supervisor = receiver?.supervisor ?? 0;
    const lock = await openDataDir(ground.settings.dataDir, supervisor);
    ground.undo(() => lock.unlock());
    await ground.openTraces();
    ground.undo(() => this.#threads.end());
    const dataDir = lock.path;
    const node = ground.settings.node || (await nodeId(dataDir));
    const audit = await AuditLog.open(join(dataDir, 'state', 'audit.log'), ground.clock);
    ground.undo(() => audit.close());
    this.#audit = audit;
    const { target, shared } = await openRedis(ground, dataDir);
    const sharing = await openSharing(ground, { redis: shared, node, dataDir });
    const spool = await openSpool(ground, dataDir);
    const tlsReports = await this.#openTlsReports({ dataDir, node, redis: shared });
    await tlsReports.sender.resume(async (id) => (await spool.read(id)) !== undefined);
    const policies = await this.#openPolicies(dataDir, shared);
    this.#outbound = this.#buildOutbound(ground.settings, policies);
    ground.undo(() => this.#outbound?.close());
    const pauses = await this.#openPauses(dataDir);
    const holdRules = await this.#openHoldRules(dataDir);
    const engine = this.#createEngine({
      ...{ node, target, spool, policies, pauses, holdRules, tlsReports, sharing },
    });
    const monitor = await watchRedis(ground, { client: shared, node, engine, sharing });
    await sharing?.start({
      ...{ pauses, overrides: policies.overrides, audit, resumed: engine.resumed },
    });
    const door = await openDoor(ground, {
      dataDir,
      submit: engine.submit,
      receiver,
      certificateChanged: (pem) => this.#endpoints?.updateTls(pem),
      opened: (opened) => {
        this.#door = opened;
      },
    });
    const recovered = await engine.recover();
    await this.#openEndpoints({
      ...{ dataDir, node, engine, spool, monitor, door, policies, pauses, holdRules },
      ...{ tlsReports, sharing, audit },
    });
    policies.refresher.start();
    engine.begin();
    tlsReports.sender.start();
    const pid = supervisor || process.pid;
    await this.#options.beforeStarted?.(this);
    ground.events.relay.started({ version: VERSION, node, dataDir, recovered, pid });
  }

  async reload(settings: Settings): Promise<ReloadAnswer> {
    const ground = this.#ground;
    if (!this.#policies || !this.#door) return this.#refuse(['the relay is not ready yet']);
    try {
      const outbound = this.#buildOutbound(settings, this.#policies);
      await this.#door.update(settings);
      void this.#outbound?.close(); // never rejects; attempts under way keep what they have
      this.#outbound = outbound;
    } catch (error) {
      return this.#refuse([(error as Error).message]);
    }
    const running = this.#options.settings;
    const needRestart = RESTART_KEYS.filter((key) => differs(running[key], settings[key]));
    const hasOtherRetries = differs(ground.settings.retry, settings.retry);
    ground.settings = settings;
    ground.signer.use(settings.dkim);
    if (hasOtherRetries) void this.#engine?.retryChanged();
    this.#engine?.settingsChanged();
    this.log.setLevel('info'); // or nobody would see that the level was raised
    ground.events.relay.reloaded({ needRestart });
    this.log.setLevel(settings.log.level);
    return { ok: true, needRestart };
  }

  async reloadBySignal(): Promise<void> {
    const { onReloadRequest } = this.#options;
    if (!onReloadRequest || !this.#audit) return;
    await reloadBySignal(this.#audit, onReloadRequest, ({ message }) =>
      this.#ground.events.relay.warning(`a reload is not in the audit log: ${message}`),
    );
  }

  reloadRefused(problems: readonly string[]): void {
    this.#ground.events.relay.reloadRefused(problems);
  }

  roleRestarted(role: RoleName, count = 1): void {
    this.#ground.events.owner.roleRestarted(role, count);
  }

  stop(signal: string): Promise<void> {
    this.#stopped ??= (async () => {
      this.#ground.events.relay.stopping(signal);
      await this.takeDown(STOP_GRACE_MS);
      this.#ground.events.relay.stopped();
    })();
    return this.#stopped;
  }

  /** Take down whatever was started; what is under way gets `graceMs`. */
  async takeDown(graceMs: number): Promise<void> {
    await Promise.allSettled([this.#door?.close(graceMs), this.#engine?.drain(graceMs)]);
    await this.#ground.takeDown();
  }

  #refuse(problems: readonly string[]): ReloadAnswer {
    this.reloadRefused(problems);
    return { ok: false, problems };
  }

  async #openPolicies(dataDir: string, redis: RedisClient): Promise<Policies> {
    const ground = this.#ground;
    const policies = await openPolicies({
      directory: join(dataDir, 'state'),
      redis,
      settings: () => ground.settings,
      clock: ground.clock,
      events: ground.events.policy,
      refresh: (domain, signal) => this.#wayOut().refreshPolicy(domain, 'background', signal),
    });
    ground.undo(() => policies.close());
    this.#policies = policies;
    return policies;
  }

  async #openTlsReports(parts: {
    dataDir: string;
    node: string;
    redis: RedisClient;
  }): Promise<TlsReports> {
    const ground = this.#ground;
    const { dataDir, node, redis } = parts;
    const tlsReports = await openTlsReports({
      ...{ dataDir, node },
      // A private Redis has no other nodes.
      redis: ground.settings.redis.mode === 'embedded' ? undefined : redis,
      settings: () => ground.settings,
      clock: ground.clock,
      events: ground.events.report,
      lookupTxt: (name, signal) => this.#wayOut().lookupTxt(name, signal),
      ways: {
        compose: (mail) => composeReportMail(mail, ground.signer),
        canSignFor: (domain) => ground.signer.canSignFor(domain),
        post: async (...report) => {
          const posted = await this.#wayOut().postReport(...report);
          if (posted.kind === 'sent') return { ok: true };
          return { ok: false, reason: posted.detail, permanent: posted.permanent };
        },
      },
      queueOwn: async (...message) => {
        if (!this.#engine) throw new Error('the queue is not there yet');
        await this.#engine.queueOwn(...message);
      },
    });
    ground.undo(() => tlsReports.close());
    this.#tlsReports = tlsReports;
    return tlsReports;
  }

  async #openPauses(dataDir: string): Promise<Pauses> {
    const ground = this.#ground;
    const pauses = await Pauses.open({
      file: join(dataDir, 'state', 'pauses.json'),
      clock: ground.clock,
      events: ground.events.queue,
      onOver: (destination) => this.#engine?.resumed(destination),
    });
    ground.undo(() => pauses.close());
    return pauses;
  }

  async #openHoldRules(dataDir: string): Promise<HoldRules> {
    const ground = this.#ground;
    const rules = await HoldRules.open({
      file: join(dataDir, 'state', 'holds.json'),
      clock: ground.clock,
      events: ground.events.queue,
      onOver: () => this.#engine?.holdsChanged(),
    });
    ground.undo(() => rules.close());
    return rules;
  }

  #wayOut(): Outbound {
    if (!this.#outbound) throw new Error('an attempt before the way out was built');
    return this.#outbound;
  }

  #buildOutbound(settings: Settings, { store, detector, overrides }: Policies): Outbound {
    const { clock, events } = this.#ground;
    return createOutbound({
      settings,
      clock,
      policies: store,
      detector,
      policyEvents: events.policy,
      onPolicyFailure: (failure) => this.#tlsReports?.counting.policyFailure(failure),
      addedOverrides: () => overrides.list(),
      sessions: this.#threads,
      loginEvents: events.outcome,
    });
  }

  #createEngine(parts: {
    node: string;
    target: RedisTarget;
    spool: Spool;
    policies: Policies;
    pauses: Pauses;
    holdRules: HoldRules;
    tlsReports: TlsReports;
    sharing: Sharing | undefined;
  }): Engine {
    const ground = this.#ground;
    const engine = createEngine({
      settings: () => ground.settings,
      node: parts.node,
      clock: ground.clock,
      spool: parts.spool,
      redis: parts.target,
      sharing: parts.sharing,
      outbound: () => this.#wayOut(),
      detector: parts.policies.detector,
      pauses: parts.pauses,
      holdRules: parts.holdRules,
      countSession: parts.tlsReports.counting.session,
      besideCounts: parts.tlsReports.besideCounts,
      reportMailTried: parts.tlsReports.mailTried,
      policyEvents: ground.events.policy,
      queueEvents: ground.events.queue,
      outcomeEvents: ground.events.outcome,
      signer: ground.signer,
      traces: ground.traces,
    });
    ground.undo(() => engine.stop());
    this.#engine = engine;
    return engine;
  }

  #createChecks(audit: AuditLog, { overrides }: Policies): Checks {
    const ground = this.#ground;
    const { clock } = ground;
    const checks = new Checks({
      ...{ audit, clock },
      examine: (wish, { signal, onStep }) => {
        const all = [...ground.settings.overrides, ...overrides.list()];
        const settings = { ...ground.settings, overrides: all };
        const order = { ...wish, settings, timeoutMs: CHECK_MS };
        return examineInThread(order, { clock, signal, onStep });
      },
    });
    ground.undo(() => checks.close());
    return checks;
  }

  async #openEndpoints(parts: EndpointParts): Promise<void> {
    const ground = this.#ground;
    const { dataDir, door, policies, audit } = parts;
    const overrides = new Overrides({
      store: policies.overrides,
      configured: () => ground.settings.overrides,
      audit,
      clock: ground.clock,
    });
    const checks = this.#createChecks(audit, policies);
    const endpoints = await openEndpoints({
      ...parts,
      checks,
      tlsReports: createTlsReportAdmin({
        ...parts.tlsReports,
        ...{ audit, clock: ground.clock },
      }),
      settings: ground.settings,
      settingsNow: () => ground.settings,
      frontDoor: door,
      certificate: await httpCertificate(ground, door, dataDir),
      policies: {
        ...policies,
        events: ground.events.policy,
        clock: ground.clock,
        refresh: (domain, signal) => this.#wayOut().refreshPolicy(domain, 'admin', signal),
      },
      metrics: ground.metrics,
      log: this.log,
      tokenEvents: ground.events.admin,
      domains: new Domains({
        pauses: parts.pauses,
        audit,
        clock: ground.clock,
        waiting: (domain) => parts.engine.control.waiting(domain),
        resumed: (domain) => parts.engine.resumed(domain),
      }),
      overrides,
      queue: createQueueAdmin({
        ...parts.engine,
        ...{ spool: parts.spool, rules: parts.holdRules, audit, clock: ground.clock },
        destinationOf,
        retry: () => ground.settings.retry,
        overrides: () => overrides.list(),
        preview: parts.engine.previewRetry,
      }),
      reload: async () =>
        this.#options.onReloadRequest?.() ?? { ok: false, problems: ['reload is not set up'] },
    });
    this.#endpoints = endpoints;
    ground.undo(() => endpoints.close());
  }
}

interface EndpointParts {
  readonly dataDir: string;
  readonly node: string;
  readonly engine: Engine;
  readonly spool: Spool;
  readonly monitor: RedisMonitor;
  readonly door: Door;
  readonly policies: Policies;
  readonly pauses: Pauses;
  readonly holdRules: HoldRules;
  readonly tlsReports: TlsReports;
  readonly sharing: Sharing | undefined;
  readonly audit: AuditLog;
}

async function openSpool(ground: Ground, dataDir: string): Promise<Spool> {
  const { spoolTook, spoolFailed, spoolDamaged, spoolLeftover } = ground.events.relay;
  const spool = await openSegmentStore({
    directory: join(dataDir, 'spool'),
    minFreeBytes: () => ground.settings.limits.minFreeDisk,
    events: {
      took: spoolTook,
      failed: spoolFailed,
      damaged: spoolDamaged,
      leftover: spoolLeftover,
    },
  });
  ground.undo(() => spool.close());
  return spool;
}

/** For the examination of one domain, as of the command without `--timeout`. */
const CHECK_MS = 60_000;

/** Settings that are read once. */
const RESTART_KEYS = ['dataDir', 'node', 'redis', 'http'] as const;

function differs(a: unknown, b: unknown): boolean {
  return !isDeepStrictEqual(a, b);
}
