/**
 * The HTTPS port: one GET from a host whose name and addresses strangers chose, as the fetch
 * of an MTA-STS policy is (RFC 8461 §3.3).
 *
 * Promises: connects only to addresses the guard lets through, one after the other until one
 * gives a verified TLS session; follows no redirect, uses no proxy, keeps no connection; the
 * caller's signal ends all of it, a body that drips in slowly included. Never throws: each
 * failure says at which stage, so that RFC 8460 §4.3 can be reported.
 */
import type { DomainName } from '../protocol/domain.ts';
import type { AddressGuard } from './address-guard.ts';
import { type Clock, systemClock } from './clock.ts';
import { dial } from './dial.ts';
import {
  type HostAddresses,
  type IpFamily,
  judgeAddresses,
  lookupHostAddresses,
} from './host-addresses.ts';
import { exchangeHttp } from './http-exchange.ts';
import type { Resolver } from './resolver.ts';
import { trustedRoots } from './trusted-roots.ts';
import { connectVerified, type VerifiedTlsResult, verifyingContext } from './verified-tls.ts';

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

export interface HttpsFailure {
  readonly kind: 'failed';
  readonly stage: 'dns' | 'address' | 'connect' | 'tls' | 'http' | 'timeout' | 'too-large';
  readonly cause:
    | 'dns-failed'
    | 'no-address'
    | 'address-refused'
    | 'connect-refused'
    | 'connect-unreachable'
    /** The peer's certificate: chain, dates or name (sts-webpki-invalid). */
    | 'certificate'
    | 'handshake'
    | 'bad-response'
    | 'timeout'
    | 'aborted'
    | 'too-large';
  /** For people; one line. */
  readonly detail: string;
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

export interface HttpsGetOptions {
  readonly resolver: Resolver;
  readonly guard: AddressGuard;
  /** In the order they are tried. */
  readonly ipFamilies: readonly IpFamily[];
  readonly systemRoots: boolean;
  /** Further roots in PEM. */
  readonly ca?: readonly string[];
  readonly clock?: Clock;
  /** Patience with the connect, and again with the handshake, of one address. */
  readonly stepTimeoutMs?: number;
}

type Connected = Extract<VerifiedTlsResult, { kind: 'secure' }>;

/** A getter that trusts the given roots. Reads the system's roots: make one and keep it. */
export function createHttpsGet(options: HttpsGetOptions): HttpsGet {
  const { resolver, guard, ipFamilies, clock = systemClock, stepTimeoutMs = 10_000 } = options;
  const context = verifyingContext(trustedRoots(options));

  async function findAddresses({ host, signal }: HttpsGetRequest) {
    const lookup = { resolver, families: ipFamilies, signal, clock };
    const answers = await lookupHostAddresses(host, lookup);
    return judgeAddresses(answers, (address) => guard.check(address, host));
  }

  async function connectTo(
    address: string,
    { host, port, signal }: HttpsGetRequest,
  ): Promise<Connected | HttpsFailure> {
    const limits = { timeoutMs: stepTimeoutMs, signal, clock };
    const dialed = await dial({ address, port, ...limits });
    if (dialed.kind === 'failed') return failed('connect', dialed.cause, dialed.detail);
    // RFC 8461 §8.2: the name stays that of the policy host, wherever a CNAME led.
    const secured = await connectVerified({ socket: dialed.socket, host, context, ...limits });
    if (secured.kind === 'secure') return secured;
    return failed('tls', secured.cause, `${address}: ${secured.detail}`);
  }

  /** The first address that gives a verified session; what TLS said counts more than a refused connect. */
  async function connectToAny(
    addresses: readonly string[],
    request: HttpsGetRequest,
  ): Promise<Connected | HttpsFailure> {
    let worst = failed('dns', 'no-address', `${request.host} has no address`);
    for (const address of addresses) {
      const connected = await connectTo(address, request);
      if (connected.kind === 'secure') return connected;
      if (connected.stage === 'tls' || worst.stage !== 'tls') worst = connected;
      if (request.signal.aborted) break;
    }
    return worst;
  }

  async function get(request: HttpsGetRequest): Promise<HttpsGetResult> {
    const { host, port, path, maxBytes, signal } = request;
    const found = await findAddresses(request);
    if (found.addresses.length === 0) return noAddress(host, found);
    const connected = await connectToAny(found.addresses, request);
    if (connected.kind === 'failed') return connected;
    const { socket } = connected;
    const authority = port === 443 ? host : `${host}:${port}`;
    try {
      const result = await exchangeHttp({ socket, authority, path, maxBytes, signal });
      if (result.kind === 'response') return result;
      if (result.kind === 'too-large') return failed('too-large', 'too-large', result.detail);
      return failed('http', 'bad-response', result.detail);
    } finally {
      socket.destroy();
    }
  }

  return async (request) => {
    const result = await get(request);
    return result.kind === 'failed' && request.signal.aborted
      ? deadlineOver(request.signal.reason)
      : result;
  };
}

/** Unknown weighs more than refused: a failed lookup may have hidden a good address. */
function noAddress(host: string, { refused, failures }: HostAddresses): HttpsFailure {
  if (failures.length > 0) return failed('dns', 'dns-failed', failures.join('; '));
  if (refused.length > 0) return failed('address', 'address-refused', refused.join('; '));
  return failed('dns', 'no-address', `${host} has no address`);
}

function deadlineOver(reason: unknown): HttpsFailure {
  const detail = reason instanceof Error ? reason.message : String(reason);
  const isTimeout = reason instanceof Error && reason.name === 'TimeoutError';
  return failed('timeout', isTimeout ? 'timeout' : 'aborted', detail);
}

function failed(
  stage: HttpsFailure['stage'],
  cause: HttpsFailure['cause'],
  detail: string,
): HttpsFailure {
  return { kind: 'failed', stage, cause, detail };
}
