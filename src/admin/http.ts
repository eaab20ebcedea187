/**
 * The relay's HTTP endpoints: metrics and health for everybody on `http.address`, and the control
 * socket for `stsrelay status` and `stsrelay reload`, which only the relay's own user can open.
 *
 * Whoever connects gets little: small requests, few connections, short times. Everything that
 * is no endpoint is a 404 in JSON. Stopping does not wait for idle connections, and for busy
 * ones only CLOSE_GRACE_MS.
 */
import { chmod, lstat, rm } from 'node:fs/promises';
import type { Server } from 'node:http';
import type { Server as SecureServer } from 'node:https';
import { type FastifyInstance, fastify } from 'fastify';
import { shortPath } from './socket-path.ts';
import type { RelayStatus } from './status.ts';

/** What /metrics serves; a prom-client registry is one. */
export interface MetricsText {
  readonly contentType: string;
  metrics(): Promise<string>;
}

export interface Readiness {
  readonly ready: boolean;
  /** By part (listeners, redis, spool), with a reason people understand. */
  readonly parts: Readonly<Record<string, { readonly ok: boolean; readonly reason: string }>>;
}

export interface HttpOptions {
  readonly address: string;
  /** 0: any free one. */
  readonly port: number;
  /** PEM texts; plain HTTP when absent. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
  readonly metrics: MetricsText;
  readonly ready: () => Promise<Readiness>;
}

export interface HttpServer {
  readonly address: string;
  readonly port: number;
  /** Another certificate for connections from now on; does nothing without TLS. */
  updateTls(pem: { readonly cert: string; readonly key: string }): void;
  close(): Promise<void>;
}

export type ReloadResult =
  /** Applied; `needRestart` names settings that take effect at the next start only. */
  | { readonly ok: true; readonly needRestart?: readonly string[] }
  | { readonly ok: false; readonly problems: readonly string[] };

export interface ControlOptions {
  /** A file left behind by a relay that is gone is removed; the data directory must be locked. */
  readonly socketPath: string;
  readonly status: () => Promise<RelayStatus>;
  readonly reload: () => Promise<ReloadResult>;
}

const MAX_CONNECTIONS = 200;
const MAX_BODY_BYTES = 1024;
const REQUEST_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_MS = 75_000;
const READY_TIMEOUT_MS = 5000;
const CLOSE_GRACE_MS = 1000;

/** Open the HTTP endpoints. Rejects with the system's error when the port cannot be had. */
export async function createHttpServer(options: HttpOptions): Promise<HttpServer> {
  const { metrics, ready, tls } = options;
  const app = newApp(tls);
  app.get('/metrics', async (_request, reply) => {
    reply.header('content-type', metrics.contentType);
    return metrics.metrics();
  });
  app.get('/healthz', async () => ({ status: 'ok' }));
  app.get('/readyz', async (_request, reply) => {
    const readiness = await withinTime(ready());
    return reply.code(readiness.ready ? 200 : 503).send(readiness);
  });
  await app.listen({ host: options.address, port: options.port });
  const bound = app.server.address();
  return {
    address: options.address,
    port: typeof bound === 'object' && bound !== null ? bound.port : options.port,
    updateTls(pem) {
      if (tls !== undefined) (app.server as unknown as SecureServer).setSecureContext(pem);
    },
    close: () => close(app),
  };
}

/** Open the control socket, mode 0600. Rejects when its path cannot be used. */
export async function createControlServer(
  options: ControlOptions,
): Promise<{ readonly close: () => Promise<void> }> {
  const path = shortPath(options.socketPath);
  await removeStaleSocket(path);
  const app = newApp();
  app.get('/api/v1/status', async () => options.status());
  app.post('/api/v1/reload', async (_request, reply) => {
    const result = await options.reload();
    return reply.code(result.ok ? 200 : 422).send(result);
  });
  await app.listen({ path });
  // Until here the mode of the data directory (0700) keeps others out.
  await chmod(path, 0o600);
  return {
    async close() {
      await close(app);
      await rm(path, { force: true });
    },
  };
}

function newApp(tls?: HttpOptions['tls']): FastifyInstance<Server> {
  const options = {
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionTimeout: KEEP_ALIVE_MS + REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    forceCloseConnections: 'idle',
  } as const;
  const limits = { maxHeaderSize: 8192, headersTimeout: REQUEST_TIMEOUT_MS };
  // The routes are the same either way; the type of the server under them is of no use here.
  const app =
    tls === undefined
      ? fastify({ ...options, http: limits })
      : (fastify({
          ...options,
          https: { ...limits, ...tls },
        }) as unknown as FastifyInstance<Server>);
  app.server.maxConnections = MAX_CONNECTIONS;
  app.setNotFoundHandler((_request, reply) => reply.code(404).send({ error: 'not found' }));
  app.setErrorHandler((error, _request, reply) => {
    const { statusCode = 500, message } = error as { statusCode?: number; message: string };
    // What went wrong inside is nobody's business outside.
    const text = statusCode < 500 ? message : 'internal error';
    return reply.code(statusCode).send({ error: text });
  });
  return app;
}

/** A part that hangs is not ready; the probe gets its answer all the same. */
async function withinTime(ready: Promise<Readiness>): Promise<Readiness> {
  const late = Promise.withResolvers<Readiness>();
  const reason = `no answer in ${READY_TIMEOUT_MS / 1000} s`;
  const failed = (why: string) => ({ ready: false, parts: { relay: { ok: false, reason: why } } });
  const timer = setTimeout(() => late.resolve(failed(reason)), READY_TIMEOUT_MS);
  try {
    return await Promise.race([ready, late.promise]);
  } catch (error) {
    return failed(error instanceof Error ? error.message : String(error));
  } finally {
    clearTimeout(timer);
  }
}

async function close(app: FastifyInstance<Server>): Promise<void> {
  const timer = setTimeout(() => app.server.closeAllConnections(), CLOSE_GRACE_MS);
  try {
    await app.close();
  } finally {
    clearTimeout(timer);
  }
}

async function removeStaleSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket()) throw new Error(`${path} is in the way: it is no socket`);
  await rm(path, { force: true });
}
