/**
 * HTTPS to a host whose name and addresses strangers chose: a connection that may be spoken over, or why there
 * is none. For policy hosts (https-get.ts) and those that take TLS reports (https-post.ts).
 *
 * Promises: connects only to addresses the guard lets through, one after the other until one
 * gives a verified TLS session (verified-tls.ts); uses no proxy, keeps no connection; the caller's signal ends all
 * of it. Never throws: each failure says at which stage, so that RFC 8460 §4.3 can be reported.
 */
import type { TLSSocket } from 'node:tls';
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
import type { Resolver } from './resolver.ts';
import { trustedRoots } from './trusted-roots.ts';
import { connectVerified, verifyingContext } from './verified-tls.ts';

export interface HttpsHost {
  readonly host: DomainName;
  readonly port: number;
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

export interface HttpsConnectOptions {
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

export interface Connected {
  readonly kind: 'secure';
  /** The caller destroys it. */
  readonly socket: TLSSocket;
}

export type HttpsConnect = (to: HttpsHost) => Promise<Connected | HttpsFailure>;

/** A function that connects, trusting the given roots. Reads the system's roots: make one and keep it. */
export function createHttpsConnect(options: HttpsConnectOptions): HttpsConnect {
  const { resolver, guard, ipFamilies, clock = systemClock, stepTimeoutMs = 10_000 } = options;
  const context = verifyingContext(trustedRoots(options));

  async function findAddresses({ host, signal }: HttpsHost) {
    const lookup = { resolver, families: ipFamilies, signal, clock };
    const answers = await lookupHostAddresses(host, lookup);
    return judgeAddresses(answers, (address) => guard.check(address, host));
  }

  async function connectTo(
    address: string,
    { host, port, signal }: HttpsHost,
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
    request: HttpsHost,
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

  return async (to) => {
    const found = await findAddresses(to);
    if (found.addresses.length === 0) return noAddress(to.host, found);
    return connectToAny(found.addresses, to);
  };
}

/** Value of the Host field. */
export function authorityOf({ host, port }: HttpsHost): string {
  return port === 443 ? host : `${host}:${port}`;
}

/** Unknown weighs more than refused: a failed lookup may have hidden a good address. */
function noAddress(host: string, { refused, failures }: HostAddresses): HttpsFailure {
  if (failures.length > 0) return failed('dns', 'dns-failed', failures.join('; '));
  if (refused.length > 0) return failed('address', 'address-refused', refused.join('; '));
  return failed('dns', 'no-address', `${host} has no address`);
}

/** What a failed exchange came to: where its deadline is over, that. */
export function orDeadline<R extends { readonly kind: string }>(
  result: R | HttpsFailure,
  { aborted, reason }: AbortSignal,
): R | HttpsFailure {
  return result.kind === 'failed' && aborted ? deadlineOver(reason) : result;
}

function deadlineOver(reason: unknown): HttpsFailure {
  const detail = reason instanceof Error ? reason.message : String(reason);
  const isTimeout = reason instanceof Error && reason.name === 'TimeoutError';
  return failed('timeout', isTimeout ? 'timeout' : 'aborted', detail);
}

/** A failure as a value. */
export function failed(
  stage: HttpsFailure['stage'],
  cause: HttpsFailure['cause'],
  detail: string,
): HttpsFailure {
  return { kind: 'failed', stage, cause, detail };
}
