/**
 * The HTTPS port for fetching: one GET from a host whose name and addresses strangers chose, as the fetch
 * of an MTA-STS policy is (RFC 8461 §3.3).
 *
 * Promises what https-connect.ts does; follows no redirect; the caller's signal ends all of it, a body
 * that drips in slowly included. Never throws.
 */
import type { DomainName } from '../protocol/domain.ts';
import { exchangeHttp } from './http-exchange.ts';
import {
  authorityOf,
  createHttpsConnect,
  failed,
  type HttpsConnectOptions,
  type HttpsFailure,
  orDeadline,
} from './https-connect.ts';

export interface HttpsGetRequest {
  readonly host: DomainName;
  readonly port: number;
  /** Begins with `/`. */
  readonly path: string;
  /** Largest body, after decompression; one octet more is a failure. */
  readonly maxBytes: number;
  /** The deadline of the whole exchange. */
  readonly signal: AbortSignal;
}

export type HttpsGetResult =
  | {
      readonly kind: 'response';
      readonly status: number;
      readonly contentType: string | undefined;
      /** Whole and decompressed; empty unless the status is 200. */
      readonly body: Buffer;
    }
  | HttpsFailure;

export type HttpsGet = (request: HttpsGetRequest) => Promise<HttpsGetResult>;

/** A getter that trusts the given roots. Reads the system's roots: make one and keep it. */
export function createHttpsGet(options: HttpsConnectOptions): HttpsGet {
  const connect = createHttpsConnect(options);

  async function get(request: HttpsGetRequest): Promise<HttpsGetResult> {
    const { path, maxBytes, signal } = request;
    const connected = await connect(request);
    if (connected.kind === 'failed') return connected;
    const { socket } = connected;
    const authority = authorityOf(request);
    try {
      const result = await exchangeHttp({ socket, authority, path, maxBytes, signal });
      if (result.kind === 'response') return result;
      if (result.kind === 'too-large') return failed('too-large', 'too-large', result.detail);
      return failed('http', 'bad-response', result.detail);
    } finally {
      socket.destroy();
    }
  }

  return async (request) => orDeadline(await get(request), request.signal);
}
