/**
 * The two ends of a connection that is none: for what reads from a socket, without the network.
 */
import { type Duplex, duplexPair } from 'node:stream';

/** What the parsers ask of a socket besides being a stream. */
const SOCKET_MEMBERS = {
  setTimeout: () => undefined,
  setKeepAlive: () => undefined,
  setNoDelay: () => undefined,
  ref: () => undefined,
  unref: () => undefined,
  remoteAddress: '192.0.2.1',
};

/** Our end, which looks like a socket, and the end of the peer. */
export function pipe(): { readonly ours: Duplex; readonly peer: Duplex } {
  const [ours, peer] = duplexPair();
  peer.on('error', () => {});
  return { ours: Object.assign(ours, SOCKET_MEMBERS), peer };
}

/** Say `turns` one after the other, with time to answer in between; then end. */
export async function speak(peer: Duplex, turns: readonly Buffer[]): Promise<void> {
  for (const turn of turns) {
    if (peer.destroyed || !peer.writable) return;
    peer.write(turn);
    for (let tick = 0; tick < TICKS_BETWEEN; tick++) await new Promise(setImmediate);
  }
  if (peer.writable) peer.end();
}

const TICKS_BETWEEN = 4;
