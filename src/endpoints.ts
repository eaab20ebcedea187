/**
 * Composition of what the relay tells about itself: metrics, health and the API over HTTP, and the
 * control socket. Built by relay.ts.
 */
import { join } from 'node:path';
import { accessAudit } from './admin/access-audit.ts';
import type { ApiParts } from './admin/api.ts';
import { accessByToken } from './admin/api-login.ts';
import { type TokenEvents, TokenGate } from './admin/api-token.ts';
import type { AuditLog } from './admin/audit.ts';
import type { CheckAdmin } from './admin/checks.ts';
import { createControlServer } from './admin/control.ts';
import type { DomainAdmin } from './admin/domains.ts';
import { Flow, type QueueNow } from './admin/flow.ts';
import { createHttpServer, type HttpApi, type Readiness } from './admin/http.ts';
import { Logins } from './admin/logins.ts';
import { reloadNoted } from './admin/noted-reload.ts';
import type { OverrideAdmin } from './admin/overrides.ts';
import { type Overview, overviewMaker } from './admin/overview.ts';
import { readPageFiles } from './admin/page-files.ts';
import { createPolicyAdmin, type PolicyCacheParts } from './admin/policy-cache.ts';
import type { QueueAdmin } from './admin/queue.ts';
import type { ReloadResult } from './admin/relay-routes.ts';
import type { RelayStatus } from './admin/status.ts';
import type { TlsReportAdmin } from './admin/tlsrpt.ts';
import { isLoopback } from './config/checks.ts';
import type { Settings } from './config/settings.ts';
import type { Door, DoorFacts } from './door.ts';
import type { Engine } from './engine.ts';
import { flowCounts } from './flow-counts.ts';
import { gaugeSetter } from './gauges.ts';
import type { PemPair } from './intake/tls-material.ts';
import type { RedisMonitor } from './platform/redis-monitor.ts';
import type { Sharing } from './sharing.ts';
import type { Spool } from './spool/store.ts';
import type { AdminEvents } from './telemetry/admin-events.ts';
import type { Log } from './telemetry/log.ts';
import { formatMetrics } from './telemetry/merge-metrics.ts';
import type { Metrics } from './telemetry/metrics.ts';
import { VERSION } from './version.ts';

export interface EndpointParts {
  readonly settings: Settings;
  /** As they are now: a reload changes them. */
  readonly settingsNow: () => Settings;
  /** Absolute. */
  readonly dataDir: string;
  readonly node: string;
  readonly engine: Engine;
  readonly spool: Spool;
  readonly monitor: RedisMonitor;
  readonly sharing: Pick<Sharing, 'trouble'> | undefined;
  readonly frontDoor: Door;
  /** For HTTPS. */
  readonly certificate: PemPair | undefined;
  readonly policies: Omit<PolicyCacheParts, 'audit'>;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly overrides: OverrideAdmin;
  readonly audit: AuditLog;
  readonly domains: DomainAdmin;
  readonly checks: CheckAdmin;
  readonly queue: QueueAdmin;
  readonly tlsReports: TlsReportAdmin;
  readonly tokenEvents: AdminEvents;
  readonly reload: () => Promise<ReloadResult>;
}

export interface Endpoints {
  /** Another certificate for HTTPS from now on. */
  updateTls(pem: { readonly cert: string; readonly key: string }): void;
  close(): Promise<void>;
}

/** Open both. Rejects with the system's error. */
export async function openEndpoints(parts: EndpointParts): Promise<Endpoints> {
  const { settings, metrics, frontDoor } = parts;
  const setGauges = gaugeSetter(parts);
  const flow = new Flow({
    clock: parts.policies.clock,
    counts: () => flowCounts(metrics, frontDoor),
    queue: () => queueNow(parts.engine),
  });
  const api = apiParts(parts, flow);
  const page = await readPageFiles();
  const http = await createHttpServer({
    address: settings.http.address,
    port: settings.http.port,
    tls: settings.http.tls ? parts.certificate : undefined,
    metrics: async (accept) => {
      await setGauges();
      return formatMetrics(metrics, await frontDoor.metrics(), accept);
    },
    ready: () => readiness(parts),
    api: httpApi(parts, api),
    hostname: () => parts.settingsNow().hostname,
    page,
  }).catch((error: Error) => {
    flow.close();
    const place = `${settings.http.address}:${settings.http.port}`;
    throw new Error(`cannot listen on ${place} (http): ${error.message}`, { cause: error });
  });
  try {
    const control = await createControlServer({
      socketPath: join(parts.dataDir, 'control.sock'),
      ...{ api, page },
    });
    return {
      updateTls: http.updateTls,
      async close() {
        flow.close();
        await control.close();
        await http.close();
      },
    };
  } catch (error) {
    flow.close();
    await http.close();
    throw error;
  }
}

function apiParts(parts: EndpointParts, flow: Flow): ApiParts {
  const startedAt = performance.now();
  const { overrides, domains, checks, queue, tlsReports, audit } = parts;
  return {
    relay: {
      status: () => status(parts, startedAt),
      reload: (actor) => reloadNoted(audit, actor, parts.reload),
    },
    overview: { overview: overviewOf(parts), flow },
    policies: createPolicyAdmin({ ...parts.policies, audit }),
    ...{ overrides, domains, checks, queue, tlsReports, audit },
  };
}

function overviewOf(parts: EndpointParts): () => Promise<Overview> {
  const { engine, policies } = parts;
  const { ledger, gates, summary, breakers, rates } = engine;
  return overviewMaker({
    ...{ ledger, gates, summary, breakers, rates },
    clock: policies.clock,
    refresher: policies.refresher,
    readiness: () => readiness(parts),
    pauses: () => parts.domains.list(),
    holds: () => parts.queue.holds(),
    overrides: () => parts.overrides.list(),
    suspensions: () => parts.tlsReports.suspensions(),
  });
}

function queueNow({ summary }: Engine): QueueNow {
  const { inFlight: active, due, parked, delayed, held } = summary();
  return { active, due, parked, delayed, held };
}

/** A token that crosses a network in clear text is everybody's. */
function httpApi(
  { settings, policies, audit, tokenEvents }: EndpointParts,
  api: ApiParts,
): HttpApi {
  const { address, tls, tokenFile } = settings.http;
  const always = 'the control socket (control.sock below dataDir) has it in any case';
  if (!tls && !isLoopback(address)) {
    const reason = `off loopback the API is served over TLS alone: set http.tls (or a loopback http.address), and http.tokenFile; ${always}`;
    return { kind: 'closed', reason, page: 'no-tls' };
  }
  if (tokenFile === '') {
    const reason = `the API is not served here: set http.tokenFile to a file with a token; ${always}`;
    return { kind: 'closed', reason, page: 'no-token' };
  }
  const { clock } = policies;
  const onError = (error: Error) => tokenEvents.unnoted(error);
  const noted = accessAudit({ audit, clock, onError });
  const events: TokenEvents = {
    ...tokenEvents,
    authFailed(facts) {
      tokenEvents.authFailed(facts);
      noted.refused(facts.client);
    },
  };
  const gate = new TokenGate({ tokenFile, clock, events });
  return { kind: 'open', parts: api, access: accessByToken(gate, new Logins(clock), noted) };
}

async function readiness({
  frontDoor,
  spool,
  monitor,
  sharing,
}: EndpointParts): Promise<Readiness> {
  const parts = {
    listeners: await frontDoor.facts().then(listenersOpen, noAnswer),
    redis: redisStatus({ monitor, sharing }),
    spool: spool.health(),
  };
  return { ready: Object.values(parts).every(({ ok }) => ok), parts };
}

/** Redis that answers is of no use while another relay has the name of this node there. */
function redisStatus({ monitor, sharing }: Pick<EndpointParts, 'monitor' | 'sharing'>) {
  const { trouble } = sharing ?? {};
  return trouble === undefined ? monitor.status : { ok: false, reason: trouble };
}

function listenersOpen({ listeners: { length } }: DoorFacts) {
  return { ok: length > 0, reason: `${length} open` };
}

function noAnswer(error: Error) {
  return { ok: false, reason: error.message };
}

async function status(parts: EndpointParts, startedAt: number): Promise<RelayStatus> {
  const { ok, reason } = redisStatus(parts);
  const door = await parts.frontDoor
    .facts()
    .catch((): DoorFacts => ({ listeners: [], troubles: [] }));
  const troubles = [...parts.log.recentTroubles(), ...door.troubles];
  return {
    version: VERSION,
    uptimeSeconds: Math.round((performance.now() - startedAt) / 1000),
    node: parts.node,
    listeners: door.listeners,
    queue: parts.engine.summary(),
    redis: { up: ok, reason },
    spool: parts.spool.health(),
    lastErrors: troubles
      .toReversed()
      .sort((a, b) => Number(a.time < b.time) - Number(a.time > b.time)),
  };
}
