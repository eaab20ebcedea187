/**
 * One exchange with one DNS server: a query out, the answer to it back, over UDP
 * (RFC 1035 §4.2.1) or TCP (RFC 7766). What counts as the answer is decided by `accepts`.
 *
 * Each UDP query has a connected socket of its own, so that the kernel picks a random port and
 * drops what other addresses send (RFC 5452 §9.2); wrong answers are passed over, but after
 * MAX_STRAYS of them somebody is guessing ids and the question is better asked over TCP.
 * Never throws; every socket is closed and keeps an error listener until then.
 */
import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import { plainErrors } from '../../mail/system-errors.ts';
import { MAX_MESSAGE_BYTES } from './message.ts';
import type { ServerAddress } from './servers.ts';

export type ExchangeResult =
  | { readonly kind: 'message'; readonly bytes: Buffer }
  /** Too many answers that were not to this query. */
  | { readonly kind: 'strays' }
  | { readonly kind: 'failed'; readonly reason: string };

export interface Exchange {
  readonly server: ServerAddress;
  readonly query: Buffer;
  /** Whether a message answers the query; others are passed over. */
  readonly accepts: (bytes: Buffer) => boolean;
  /** Ends the exchange as failed; its reason's message says why. */
  readonly signal: AbortSignal;
}

const MAX_STRAYS = 32;

/** Ask over UDP. */
export function exchangeUdp({ server, query, accepts, signal }: Exchange): Promise<ExchangeResult> {
  return new Promise((resolve) => {
    const socket = createSocket(isIPv6(server.address) ? 'udp6' : 'udp4');
    let strays = 0;
    let open = true;
    const settle = (result: ExchangeResult) => {
      if (!open) return;
      open = false;
      signal.removeEventListener('abort', onAbort);
      socket.close();
      resolve(result);
    };
    const onAbort = () => settle(failure(signal.reason));
    // The listener stays for good: a closing socket may still report an ICMP error.
    socket.on('error', (error) => settle(failure(error)));
    socket.on('message', (bytes) => {
      if (accepts(bytes)) settle({ kind: 'message', bytes });
      else if (++strays >= MAX_STRAYS) settle({ kind: 'strays' });
    });
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    socket.connect(server.port, server.address, (error?: Error) => {
      if (error) return settle(failure(error));
      if (open) socket.send(query, (failed) => failed && settle(failure(failed)));
    });
  });
}

/** Ask over TCP: one query, one answer, each after two octets of length (RFC 7766 §8). */
export function exchangeTcp({ server, query, accepts, signal }: Exchange): Promise<ExchangeResult> {
  return new Promise((resolve) => {
    const socket = connect({ host: server.address, port: server.port, autoSelectFamily: false });
    let received = Buffer.alloc(0);
    const settle = (result: ExchangeResult) => {
      signal.removeEventListener('abort', onAbort);
      socket.destroy();
      resolve(result);
    };
    const onAbort = () => settle(failure(signal.reason));
    socket.on('error', (error) => settle(failure(error)));
    socket.on('close', () => settle(failure(new Error('connection closed before the answer'))));
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      const result = readFrame(received, accepts);
      if (result !== undefined) settle(result);
    });
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    const length = Buffer.alloc(2);
    length.writeUInt16BE(query.length);
    // In one write: some servers drop a query whose length comes in a segment of its own.
    socket.write(Buffer.concat([length, query]));
  });
}

/** The first message in `received`; undefined while it is not complete. */
function readFrame(received: Buffer, accepts: Exchange['accepts']): ExchangeResult | undefined {
  if (received.length < 2) return undefined;
  const length = received.readUInt16BE(0);
  if (length > MAX_MESSAGE_BYTES) return failure(new Error(`answer of ${length} octets`));
  if (received.length < 2 + length) return undefined;
  const bytes = received.subarray(2, 2 + length);
  return accepts(bytes)
    ? { kind: 'message', bytes }
    : failure(new Error('answer to another question'));
}

function failure(reason: unknown): ExchangeResult {
  if (!(reason instanceof Error)) return { kind: 'failed', reason: String(reason) };
  // Whoever tells it says which server it was.
  const { syscall, code } = reason as NodeJS.ErrnoException;
  const text = syscall && code ? `${syscall} ${code}` : reason.message;
  return { kind: 'failed', reason: plainErrors(text) };
}
