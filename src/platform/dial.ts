/**
 * Dialing: one TCP connection to exactly the address that was chosen. No name lookups, no
 * second address tried behind the caller's back, no proxy.
 *
 * The socket that comes back has an error listener for life: a second `error` event without
 * one would end the process. Never throws.
 */
import { connect, isIP, type Socket } from 'node:net';
import { type Clock, systemClock } from './clock.ts';

export interface DialRequest {
  /** IPv4 or IPv6 address. */
  readonly address: string;
  readonly port: number;
  /** Address to bind to; the kernel chooses when absent. */
  readonly localAddress?: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly clock?: Clock;
}

export interface DialFailure {
  readonly kind: 'failed';
  readonly cause: 'connect-refused' | 'connect-unreachable' | 'timeout' | 'aborted';
  /** For people. */
  readonly detail: string;
}

export type DialResult = { readonly kind: 'connected'; readonly socket: Socket } | DialFailure;

/** A dead peer on an idle connection is noticed after about this long, not in two hours. */
const KEEP_ALIVE_DELAY_MS = 60_000;

/** Connect to `address`:`port`. The caller destroys the socket. */
export function dial(request: DialRequest): Promise<DialResult> {
  const { address, port, localAddress, timeoutMs, signal, clock = systemClock } = request;
  const family = isIP(address);
  if (family === 0) {
    return Promise.resolve(failed('connect-unreachable', `${address} is no address`));
  }
  if (signal.aborted) return Promise.resolve(failed('aborted', messageOf(signal.reason)));
  return new Promise((resolve) => {
    const socket = connect({
      host: address,
      port,
      family,
      autoSelectFamily: false,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_DELAY_MS,
      ...(localAddress === undefined ? {} : { localAddress }),
    });
    const settle = (result: DialResult) => {
      cancelTimer();
      signal.removeEventListener('abort', onAbort);
      if (result.kind === 'failed') socket.destroy();
      resolve(result);
    };
    const onAbort = () => settle(failed('aborted', messageOf(signal.reason)));
    const cancelTimer = clock.after(timeoutMs, () =>
      settle(failed('timeout', `no connection to ${address}:${port} in ${timeoutMs / 1000} s`)),
    );
    signal.addEventListener('abort', onAbort, { once: true });
    socket.on('error', (error) => settle(failed(causeOf(error), error.message)));
    socket.once('connect', () => settle({ kind: 'connected', socket }));
  });
}

function causeOf(error: NodeJS.ErrnoException): DialFailure['cause'] {
  switch (error.code) {
    case 'ECONNREFUSED':
    case 'ECONNRESET':
      return 'connect-refused';
    case 'ETIMEDOUT':
      return 'timeout';
    default:
      return 'connect-unreachable';
  }
}

function failed(cause: DialFailure['cause'], detail: string): DialFailure {
  return { kind: 'failed', cause, detail };
}

function messageOf(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason);
}
