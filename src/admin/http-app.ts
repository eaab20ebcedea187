/**
 * What both HTTP servers have in common: small requests, few connections (connections.ts), short times, errors in
 * JSON as `{ error }`, and an end that does not wait for idle connections, and for busy ones
 * only CLOSE_GRACE_MS.
 */
import type { Server } from 'node:http';
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import { limitConnections } from './connections.ts';

export type HttpApp = FastifyInstance<Server>;

const MAX_BODY_BYTES = 8192;
/** A domain in U-labels, percent-encoded, is that long at most; what is no domain gets its answer. */
const MAX_PARAMETER_LENGTH = 4096;
/** For the TLS handshake, and then for the header of a request; also where nothing comes at all. */
const HEADER_TIMEOUT_MS = 5_000;
/** For a whole request, from its first octet. */
const REQUEST_TIMEOUT_MS = 10_000;
/** The two are looked at so often. */
const CHECK_MS = 1_000;
/** Longer than the admin page's longest wait between two requests. */
const KEEP_ALIVE_MS = 35_000;
/** Nothing goes in or out: an answer that takes long to make, or is not read. */
const STANDSTILL_MS = 85_000;
const CLOSE_GRACE_MS = 1000;

export interface AppOptions {
  /** PEM texts; plain HTTP when absent. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
  /** Whether what went wrong inside may be told: to nobody but those who run the relay. */
  readonly tellsErrors: boolean;
}

/** An application without routes. */
export function newApp({ tls, tellsErrors }: AppOptions): HttpApp {
  const options = {
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionTimeout: STANDSTILL_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: MAX_PARAMETER_LENGTH },
    frameworkErrors: answerError(tellsErrors),
  } as const;
  const limits = {
    maxHeaderSize: 8192,
    headersTimeout: HEADER_TIMEOUT_MS,
    connectionsCheckingInterval: CHECK_MS,
  };
  // The routes are the same either way; the type of the server under them is of no use here.
  const app =
    tls === undefined
      ? fastify({ ...options, http: limits })
      : (fastify({
          ...options,
          https: { ...limits, handshakeTimeout: HEADER_TIMEOUT_MS, ...tls },
        }) as unknown as HttpApp);
  limitConnections(app.server);
  app.addHook('onRequest', refuseTwoHosts);
  app.setNotFoundHandler((_request, reply) => reply.code(404).send({ error: 'not found' }));
  app.setErrorHandler(answerError(tellsErrors));
  return app;
}

/** Of two Host fields a proxy may have gone by the other one (RFC 9112 §3.2: 400). */
async function refuseTwoHosts({ raw }: FastifyRequest, reply: FastifyReply) {
  if ((raw.headersDistinct.host?.length ?? 0) <= 1) return undefined;
  return reply.code(400).send({ error: 'there are several Host fields, and may be one' });
}

/** Answers `{ error }`; what went wrong inside is told only where `tellsErrors`. */
export function answerError(tellsErrors: boolean) {
  return (error: unknown, _request: FastifyRequest, reply: FastifyReply) => {
    const { statusCode = 500, message } = error as { statusCode?: number; message: string };
    const text = statusCode < 500 || tellsErrors ? message : 'internal error';
    return reply.code(statusCode).send({ error: text });
  };
}

export async function closeApp(app: HttpApp): Promise<void> {
  const timer = setTimeout(() => app.server.closeAllConnections(), CLOSE_GRACE_MS);
  try {
    await app.close();
  } finally {
    clearTimeout(timer);
  }
}
