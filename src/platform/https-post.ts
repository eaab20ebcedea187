/**
 * The HTTPS port for sending: one POST to a host whose name and addresses strangers chose, as those that take
 * TLS reports are (RFC 8460 §5.4).
 *
 * Promises what https-connect.ts does; follows no redirect; of the answer it reads the status and nothing
 * else. The caller's signal ends all of it. Never throws.
 */
import { exchangeHttp } from './http-exchange.ts';
import {
  authorityOf,
  createHttpsConnect,
  failed,
  type HttpsConnectOptions,
  type HttpsFailure,
  type HttpsHost,
  orDeadline,
} from './https-connect.ts';

export interface HttpsPostRequest extends HttpsHost {
  /** Begins with `/`. */
  readonly path: string;
  readonly contentType: string;
  readonly body: Buffer;
}

export type HttpsPostResult = { readonly kind: 'response'; readonly status: number } | HttpsFailure;

export type HttpsPost = (request: HttpsPostRequest) => Promise<HttpsPostResult>;

/** A poster that trusts the given roots. Reads the system's roots: make one and keep it. */
export function createHttpsPost(options: HttpsConnectOptions): HttpsPost {
  const connect = createHttpsConnect(options);

  async function post(request: HttpsPostRequest): Promise<HttpsPostResult> {
    const { path, contentType, body, signal } = request;
    const connected = await connect(request);
    if (connected.kind === 'failed') return connected;
    const { socket } = connected;
    const authority = authorityOf(request);
    try {
      const sent = { contentType, body };
      const result = await exchangeHttp({ socket, authority, path, maxBytes: 0, signal, sent });
      if (result.kind === 'response') return { kind: 'response', status: result.status };
      return failed('http', 'bad-response', result.detail);
    } finally {
      socket.destroy();
    }
  }

  return async (request) => orDeadline(await post(request), request.signal);
}
