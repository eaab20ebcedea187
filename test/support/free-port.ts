/**
 * Ports for listeners that have to be named before they are opened. They are picked at random
 * below the range the kernel takes the source ports of outgoing connections from, so that no
 * connection of a parallel test sits on one between the check and its use.
 */
import { randomInt } from 'node:crypto';
import { createServer, type Server } from 'node:net';

const LOWEST_PORT = 10_000;
const BELOW_PORT = 32_000;
const TRIES = 50;

/** Any port of the range, unchecked. */
export function randomPort(): number {
  return randomInt(LOWEST_PORT, BELOW_PORT);
}

/** Listen on `address`:`port`; undefined when somebody else does. */
export function tryListen(address: string, port: number): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else reject(error);
    });
    server.listen({ host: address, port, exclusive: true }, () => resolve(server));
  });
}

/** A port nobody listens on at `address` now. */
export async function freePort(address = '127.0.0.1'): Promise<number> {
  for (let i = 0; i < TRIES; i += 1) {
    const port = randomPort();
    const server = await tryListen(address, port);
    if (server === undefined) continue;
    await new Promise<void>((resolve) => server.close(() => resolve()));
    return port;
  }
  throw new Error(`no free port found on ${address} in ${TRIES} tries`);
}
