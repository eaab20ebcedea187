/**
 * The composition root: builds every part of the relay once, in order, and takes it down in the
 * other order. With engine.ts, policies.ts, outside.ts, outbound.ts, front-door.ts, remote-door.ts and
 * endpoints.ts it is the only place where clients, caches, queues and servers are made; tests pass
 * overrides. What it builds owns the spool; the listeners are open in the same process, or in
 * another one that receive.ts composes.
 *
 * Start: lock the data directory, recover the queue from the spool, open the listeners. Redis is
 * not waited for: without it mail is taken and kept. Stop: no new connections, messages in
 * transit and attempts under way finish, STOP_GRACE_MS at most; nothing is half-done.
 */
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Settings } from './config/settings.ts';
import { type Door, intakeSocket, STOP_GRACE_MS } from './door.ts';
import { type Endpoints, openEndpoints } from './endpoints.ts';
import { createEngine, type Engine } from './engine.ts';
import { FrontDoor } from './front-door.ts';
import { openTlsMaterial, type PemPair } from './intake/tls-material.ts';
import { createOutbound, type Outbound } from './outbound.ts';
import { type Clock, systemClock } from './platform/clock.ts';
import { type DataDir, nodeId, openDataDir } from './platform/data-dir.ts';
import { startEmbeddedRedis } from './platform/embedded-redis.ts';
import { connectRedis, type RedisClient, type RedisTarget } from './platform/redis.ts';
import { RedisMonitor, UnsafeRedisError } from './platform/redis-monitor.ts';
import { openPolicies, type Policies } from './policies.ts';
import { RemoteDoor } from './remote-door.ts';
import { openSegmentStore } from './spool/segment-store.ts';
import type { Spool } from './spool/store.ts';
import { intakeEvents } from './telemetry/intake-events.ts';
import { createLog, type Log } from './telemetry/log.ts';
import { createMetrics } from './telemetry/metrics.ts';
import { outcomeEvents } from './telemetry/outcome-events.ts';
import { type PolicyEvents, policyEvents } from './telemetry/policy-events.ts';
import { queueEvents } from './telemetry/queue-events.ts';
import { relayEvents } from './telemetry/relay-events.ts';
import { ownerEvents, type RoleName } from './telemetry/role-events.ts';
import { VERSION } from './version.ts';

export interface RelayOptions {
  readonly settings: Settings;
  /** Warnings of the configuration, for the log. */
  readonly warnings?: readonly string[];
  /** What `stsrelay reload` does when it comes in over the control socket. */
  readonly onReloadRequest?: () => Promise<ReloadAnswer>;
  /** Leave the listeners to a receiving role in a process of its own. */
  readonly receiver?: ReceiverLink;
}

export interface ReceiverLink {
  /** Process id of the supervisor, which starts and ends both; 0 without one. */
  readonly supervisor: number;
  /** The start is done when the listeners are open, and fails when they cannot be opened. */
  readonly isAwaited: boolean;
  /** The receiving role may connect. */
  readonly onListening: (dataDir: string) => void;
}

export type ReloadAnswer =
  | { readonly ok: true; readonly needRestart: readonly string[] }
  | { readonly ok: false; readonly problems: readonly string[] };

/** What tests may put in the place of the real thing. */
export interface RelayOverrides {
  readonly clock?: Clock;
  readonly log?: Log;
}

export interface Relay {
  readonly log: Log;
  /** Stop gracefully; see the head of this file. Safe to call again. */
  stop(signal: string): Promise<void>;
  /** Put changed settings into force; when they cannot be, everything stays as it was. */
  reload(settings: Settings): Promise<ReloadAnswer>;
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
  readonly log: Log;
  readonly #clock: Clock;
  readonly #options: RelayOptions;
  readonly #metrics = createMetrics();
  /** Takes down what was started, the last first. */
  readonly #undo: (() => unknown)[] = [];
  readonly #events: ReturnType<typeof relayEvents>;
  readonly #ownerEvents: ReturnType<typeof ownerEvents>;
  readonly #policyEvents: PolicyEvents;
  #settings: Settings;
  #policies: Policies | undefined;
  #outbound: Outbound | undefined;
  #frontDoor: Door | undefined;
  #engine: Engine | undefined;
  #endpoints: Endpoints | undefined;
  #stopped: Promise<void> | undefined;

  constructor(options: RelayOptions, { clock, log }: RelayOverrides) {
    const { level, format } = options.settings.log;
    this.#options = options;
    this.#settings = options.settings;
    this.#clock = clock ?? systemClock;
    this.log = log ?? createLog({ level, format });
    this.#events = relayEvents(this.log, this.#metrics);
    this.#ownerEvents = ownerEvents(this.log, this.#metrics);
    this.#policyEvents = policyEvents(this.log, this.#metrics);
  }

  async start(): Promise<void> {
    const { warnings = [] } = this.#options;
    for (const warning of warnings) this.#events.warning(warning);
    const supervisor = this.#options.receiver?.supervisor ?? 0;
    const dataDir = await openDataDir(this.#settings.dataDir, supervisor);
    this.#undo.push(() => dataDir.unlock());
    const node = this.#settings.node || (await nodeId(dataDir.path));
    const target = await this.#redisTarget(dataDir);
    const shared = this.#connectShared(target);
    const spool = await this.#openSpool(dataDir);
    const policies = await this.#openPolicies(dataDir, shared);
    this.#policies = policies;
    this.#outbound = this.#buildOutbound(this.#settings, policies);
    this.#undo.push(() => this.#outbound?.close());
    const engine = await this.#createEngine({ node, target, spool, policies });
    this.#engine = engine;
    const monitor = await this.#watchRedis({ client: shared, node, engine });
    this.#frontDoor = await this.#openDoor({ dataDir, engine });
    const endpoints = await openEndpoints({
      settings: this.#settings,
      dataDir: dataDir.path,
      node,
      engine,
      spool,
      monitor,
      frontDoor: this.#frontDoor,
      certificate: await this.#httpCertificate(dataDir, this.#frontDoor),
      policies: {
        ...policies,
        events: this.#policyEvents,
        clock: this.#clock,
        refresh: (domain, signal) => this.#wayOut().refreshPolicy(domain, 'admin', signal),
      },
      metrics: this.#metrics,
      log: this.log,
      overrides: () => this.#settings.overrides,
      reload: async () =>
        this.#options.onReloadRequest?.() ?? { ok: false, problems: ['reload is not set up'] },
    });
    this.#endpoints = endpoints;
    this.#undo.push(() => endpoints.close());
    policies.refresher.start();
    engine.begin();
    const { recovered } = engine;
    const pid = supervisor || process.pid;
    this.#events.started({ version: VERSION, node, dataDir: dataDir.path, recovered, pid });
  }

  stop(signal: string): Promise<void> {
    this.#stopped ??= (async () => {
      this.#events.stopping(signal);
      await this.takeDown(STOP_GRACE_MS);
      this.#events.stopped();
    })();
    return this.#stopped;
  }

  /** Take down whatever was started; what is under way gets `graceMs`. */
  async takeDown(graceMs: number): Promise<void> {
    await Promise.allSettled([this.#frontDoor?.close(graceMs), this.#engine?.drain(graceMs)]);
    for (const undo of this.#undo.reverse()) {
      try {
        await undo();
      } catch (error) {
        this.#events.warning(`while stopping: ${(error as Error).message}`);
      }
    }
  }

  async reload(settings: Settings): Promise<ReloadAnswer> {
    if (!this.#policies || !this.#frontDoor) return this.#refuse(['the relay is not ready yet']);
    try {
      const outbound = this.#buildOutbound(settings, this.#policies);
      await this.#frontDoor.update(settings);
      void this.#outbound?.close(); // never rejects; attempts under way keep what they have
      this.#outbound = outbound;
    } catch (error) {
      return this.#refuse([(error as Error).message]);
    }
    const needRestart = RESTART_KEYS.filter((key) => differs(this.#settings[key], settings[key]));
    this.#settings = settings;
    this.log.setLevel('info'); // or nobody would see that the level was raised
    this.#events.reloaded({ needRestart });
    this.log.setLevel(settings.log.level);
    return { ok: true, needRestart };
  }

  reloadRefused(problems: readonly string[]): void {
    this.#events.reloadRefused(problems);
  }

  roleRestarted(role: RoleName, count = 1): void {
    this.#ownerEvents.roleRestarted(role, count);
  }

  #refuse(problems: readonly string[]): ReloadAnswer {
    this.#events.reloadRefused(problems);
    return { ok: false, problems };
  }

  /** Start the private Redis, or say where the configured one is. */
  async #redisTarget(dataDir: DataDir): Promise<RedisTarget> {
    const { mode, url, sentinels, cluster } = this.#settings.redis;
    if (cluster.length > 0) return { kind: 'cluster', nodes: cluster, url };
    if (sentinels.length > 0) return { kind: 'sentinel', url, sentinels };
    if (mode === 'external') return { kind: 'url', url };
    const redis = await startEmbeddedRedis(join(dataDir.path, 'redis'), {
      started: this.#events.redisStarted,
      died: this.#events.redisDied,
      output: this.#events.redisOutput,
      setAside: this.#events.redisDataSetAside,
      persistenceOff: this.#events.redisPersistenceOff,
      persistenceOn: this.#events.redisPersistenceOn,
    });
    this.#undo.push(() => redis.stop());
    return { kind: 'socket', path: redis.socketPath };
  }

  #connectShared(target: RedisTarget): RedisClient {
    const { redisError } = queueEvents(this.log, this.#metrics);
    const client = connectRedis(target, 'fail-fast', (error) => redisError('connection', error));
    this.#undo.push(() => client.disconnect());
    return client;
  }

  async #openSpool(dataDir: DataDir): Promise<Spool> {
    const { spoolTook, spoolFailed, spoolDamaged, spoolLeftover } = this.#events;
    const spool = await openSegmentStore({
      directory: join(dataDir.path, 'spool'),
      minFreeBytes: () => this.#settings.limits.minFreeDisk,
      events: {
        took: spoolTook,
        failed: spoolFailed,
        damaged: spoolDamaged,
        leftover: spoolLeftover,
      },
    });
    this.#undo.push(() => spool.close());
    return spool;
  }

  async #openPolicies(dataDir: DataDir, redis: RedisClient): Promise<Policies> {
    const policies = await openPolicies({
      directory: join(dataDir.path, 'state'),
      redis,
      settings: () => this.#settings,
      clock: this.#clock,
      events: this.#policyEvents,
      refresh: (domain, signal) => this.#wayOut().refreshPolicy(domain, 'background', signal),
    });
    this.#undo.push(() => policies.close());
    return policies;
  }

  #wayOut(): Outbound {
    if (!this.#outbound) throw new Error('an attempt before the way out was built');
    return this.#outbound;
  }

  #buildOutbound(settings: Settings, { store, detector }: Policies): Outbound {
    return createOutbound({
      settings,
      clock: this.#clock,
      policies: store,
      detector,
      policyEvents: this.#policyEvents,
      outcomeEvents: outcomeEvents(this.log, this.#metrics),
    });
  }

  async #createEngine(parts: {
    node: string;
    target: RedisTarget;
    spool: Spool;
    policies: Policies;
  }): Promise<Engine> {
    const engine = await createEngine({
      settings: () => this.#settings,
      node: parts.node,
      clock: this.#clock,
      spool: parts.spool,
      redis: parts.target,
      outbound: () => this.#wayOut(),
      detector: parts.policies.detector,
      policyEvents: this.#policyEvents,
      queueEvents: queueEvents(this.log, this.#metrics),
      outcomeEvents: outcomeEvents(this.log, this.#metrics),
    });
    this.#undo.push(() => engine.stop());
    return engine;
  }

  async #watchRedis({ client, node, engine }: RedisWatch): Promise<RedisMonitor> {
    const { redisUp, redisDown } = queueEvents(this.log, this.#metrics);
    const probeKey = `${this.#settings.redis.keyPrefix}:probe:${node}`;
    const events = {
      up: () => {
        redisUp();
        engine.redisIsBack();
      },
      down: redisDown,
      latency: (seconds: number) => this.#metrics.redisLatency.observe(seconds),
      evictionPolicy: (policy: string | undefined) => this.#events.evictionPolicy(policy),
    };
    const monitor = new RedisMonitor(client, probeKey, { clock: this.#clock, events });
    this.#undo.push(() => monitor.stop());
    await monitor.start();
    const policy = monitor.evictionPolicy;
    if (policy !== undefined && policy !== 'noeviction') throw new UnsafeRedisError(policy);
    return monitor;
  }

  async #openDoor({ dataDir, engine }: DoorParts): Promise<Door> {
    const { receiver } = this.#options;
    this.#ownerEvents.opened(!receiver);
    const shared = {
      settings: this.#settings,
      submit: engine.submit,
      clock: this.#clock,
      certificateChanged: (pem: PemPair) => this.#endpoints?.updateTls(pem),
    };
    if (!receiver) {
      const own = { dataDir: dataDir.path, relayEvents: this.#events };
      const events = intakeEvents(this.log, this.#metrics);
      return FrontDoor.open({ ...shared, ...own, intakeEvents: events });
    }
    const { supervisor, isAwaited, onListening } = receiver;
    const path = intakeSocket(dataDir.path);
    const events = this.#ownerEvents;
    const door = await RemoteDoor.open({ ...shared, path, supervisor, events });
    this.#frontDoor = door; // taken down when the wait fails
    onListening(dataDir.path);
    if (isAwaited) await door.untilOpen();
    return door;
  }

  /** The certificate of the listeners; read here while nobody has them open. */
  async #httpCertificate(dataDir: DataDir, door: Door): Promise<PemPair | undefined> {
    if (!this.#settings.http.tls || door.certificate) return door.certificate;
    const material = await openTlsMaterial({
      files: this.#settings.tls,
      dataDir: dataDir.path,
      hostname: this.#settings.hostname,
      clock: this.#clock,
      changed: () => {},
      failed: () => {},
    });
    material.close();
    return material.current();
  }
}

interface DoorParts {
  readonly dataDir: DataDir;
  readonly engine: Engine;
}

interface RedisWatch {
  readonly client: RedisClient;
  readonly node: string;
  readonly engine: Engine;
}

/** Settings that are read once. */
const RESTART_KEYS = ['dataDir', 'node', 'redis', 'http'] as const;

function differs(a: unknown, b: unknown): boolean {
  return !isDeepStrictEqual(a, b);
}
