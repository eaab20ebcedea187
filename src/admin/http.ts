/**
 * The relay's HTTP endpoints on `http.address`: metrics and health for everybody, the admin page, and the
 * API for whoever has the token. Everything that is no endpoint is a 404 in JSON; the limits are those of
 * http-app.ts.
 */
import type { Server as SecureServer } from 'node:https';
import { type ApiParts, addApi, addClosedApi } from './api.ts';
import type { Access } from './api-login.ts';
import { refuseBentNames } from './host-name.ts';
import { type AppOptions, closeApp, newApp } from './http-app.ts';
import type { ClosedReason } from './page-document.ts';
import { addPage, type PageFiles } from './page-files.ts';

/** What /metrics serves to a scraper that accepts this (the field of its request). */
export type ServeMetrics = (accept: string | undefined) => Promise<MetricsText>;

export interface MetricsText {
  readonly contentType: string;
  readonly text: string;
}

export interface Readiness {
  readonly ready: boolean;
  /** By part (listeners, redis, spool), with a reason people understand. */
  readonly parts: Readonly<Record<string, { readonly ok: boolean; readonly reason: string }>>;
}

/** Whether the API is here, too. */
export type HttpApi =
  | { readonly kind: 'open'; readonly parts: ApiParts; readonly access: Access }
  /** `reason` says what to do about it; `page`: the same, for the page that is there instead. */
  | {
      readonly kind: 'closed';
      readonly reason: string;
      readonly page: ClosedReason['reason'];
    };

export interface HttpOptions {
  readonly address: string;
  /** 0: any free one. */
  readonly port: number;
  readonly tls?: AppOptions['tls'];
  readonly metrics: ServeMetrics;
  readonly ready: () => Promise<Readiness>;
  readonly api: HttpApi;
  readonly page?: PageFiles | undefined;
  /** What the relay is called, as it is now; by it it may be asked over loopback, too. */
  readonly hostname?: () => string;
}

export interface HttpServer {
  readonly address: string;
  readonly port: number;
  /** Another certificate for connections from now on; does nothing without TLS. */
  updateTls(pem: { readonly cert: string; readonly key: string }): void;
  close(): Promise<void>;
}

const READY_TIMEOUT_MS = 5000;

/** Open the HTTP endpoints. Rejects with the system's error when the port cannot be had. */
export async function createHttpServer(options: HttpOptions): Promise<HttpServer> {
  const { metrics, ready, tls, api } = options;
  const app = newApp({ tls, tellsErrors: false });
  refuseBentNames(app, () => options.hostname?.());
  app.get('/metrics', async (request, reply) => {
    const { contentType, text } = await metrics(request.headers.accept);
    reply.header('content-type', contentType).header('vary', 'accept');
    return text;
  });
  app.get('/healthz', async () => ({ status: 'ok' }));
  app.get('/readyz', async (_request, reply) => {
    const readiness = await withinTime(ready());
    return reply.code(readiness.ready ? 200 : 503).send(readiness);
  });
  if (api.kind === 'open') addApi(app, api.parts, api.access);
  else addClosedApi(app, api.reason);
  addPage(app, options.page, api.kind === 'open' ? undefined : { reason: api.page });
  await app.listen({ host: options.address, port: options.port });
  const bound = app.server.address();
  return {
    address: options.address,
    port: typeof bound === 'object' && bound !== null ? bound.port : options.port,
    updateTls(pem) {
      if (tls !== undefined) (app.server as unknown as SecureServer).setSecureContext(pem);
    },
    close: () => closeApp(app),
  };
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
