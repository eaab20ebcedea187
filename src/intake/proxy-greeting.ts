/**
 * Reads the PROXY header at the beginning of a connection, within a time limit. Takes no octet
 * that is not the header's: what follows, a ClientHello for example, is read by whoever reads next.
 *
 * Leaves the socket as it is when there is no header; closing it is up to the caller.
 */
import type { Socket } from 'node:net';
import type { Clock } from '../platform/clock.ts';
import { type ProxyHeader, readProxyHeader } from '../protocol/proxy-header.ts';

/** What the proxy said. */
export type ProxyGreeting = Extract<ProxyHeader, { readonly length: number }>;

/** Told once: what came, or why nothing of use did. */
export type GreetingEnd =
  | ProxyGreeting
  /** `reason` is undefined when the other side left, or we did, without an octet having come. */
  | { readonly kind: 'failed'; readonly reason: string | undefined };

const HEADER_TIMEOUT_MS = 10_000;

export function readProxyGreeting(
  socket: Socket,
  clock: Clock,
  done: (end: GreetingEnd) => void,
): void {
  let octets: Buffer = Buffer.alloc(0);
  const finish = (end: GreetingEnd) => {
    cancel();
    socket.off('readable', read).off('end', ended).off('close', ended);
    done(end);
  };
  const ended = () => {
    const reason = octets.length > 0 ? 'the connection ended within the PROXY header' : undefined;
    finish({ kind: 'failed', reason });
  };
  const read = () => {
    const chunk: Buffer | null = socket.read();
    if (chunk === null) return;
    octets = Buffer.concat([octets, chunk]);
    const header = readProxyHeader(octets);
    if (header.kind === 'incomplete') return;
    if (header.kind === 'malformed') {
      finish({ kind: 'failed', reason: `no valid PROXY header: ${header.reason}` });
      return;
    }
    const rest = octets.subarray(header.length);
    if (rest.length > 0) socket.unshift(rest);
    finish(header);
  };
  const cancel = clock.after(HEADER_TIMEOUT_MS, () => {
    finish({
      kind: 'failed',
      reason: `no PROXY header within ${HEADER_TIMEOUT_MS / 1000} s`,
    });
  });
  socket.on('readable', read).on('end', ended).on('close', ended);
}
