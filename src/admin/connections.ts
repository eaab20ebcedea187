/**
 * Who has how many connections to an HTTP server, so that nobody keeps others out by opening many and
 * saying little: MOST in all, MOST_OF_ONE from one client (clientKey: an address, of IPv6 its /64). Where there are
 * more, one goes for the one that comes: of the client that has most (or has MOST_OF_ONE), that which was used longest
 * ago and for which nothing is being made: it is silent, kept open, in the middle of sending a request, or
 * does not read its answer. Where each one waits for an answer of ours, the new one goes.
 *
 * Over TLS connections count from their first packet, before the handshake.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { clientKey } from '../intake/client-key.ts';

export const MOST = 200;
export const MOST_OF_ONE = 100;
/** Those that were closed are counted by the system's side for a moment; one wave of new ones is shorter. */
const MOST_MEANWHILE = 2000;

interface Connection {
  readonly socket: Socket;
  readonly client: string;
  readonly exchanges: Set<readonly [IncomingMessage, ServerResponse]>;
}

/** Of a unix socket: the socket; else its two ends, which the TLS connection on it has, too. */
type Place = Socket | string;

/** Hold the connections of `server` to the limits; to be called before it listens. */
export function limitConnections(server: Server): void {
  const crowd = new Crowd();
  server.maxConnections = MOST_MEANWHILE;
  server.on('connection', (socket: Socket) => crowd.enter(socket));
  server.on('request', (request: IncomingMessage, response: ServerResponse) =>
    crowd.asked(request, response),
  );
}

class Crowd {
  /** That which was used longest ago first. */
  readonly #all = new Map<Place, Connection>();
  readonly #counts = new Map<string, number>();

  enter(socket: Socket): void {
    const client = clientKey(socket.remoteAddress ?? '');
    if (!this.#makeRoom(client)) {
      socket.destroy();
      return;
    }
    const place = placeOf(socket);
    // The system gives a place again when the one before is gone, of which we may not have heard yet.
    const before = this.#all.get(place);
    if (before) this.#leave(place, before);
    const connection = { socket, client, exchanges: new Set<never>() };
    this.#all.set(place, connection);
    this.#counts.set(client, this.#of(client) + 1);
    socket.once('close', () => this.#leave(place, connection));
  }

  asked(request: IncomingMessage, response: ServerResponse): void {
    const place = placeOf(request.socket);
    const connection = this.#all.get(place);
    if (!connection) return;
    const exchange = [request, response] as const;
    connection.exchanges.add(exchange);
    this.#used(place, connection);
    response.once('close', () => {
      connection.exchanges.delete(exchange);
      this.#used(place, connection);
    });
  }

  #makeRoom(client: string): boolean {
    if (this.#of(client) >= MOST_OF_ONE) return this.#closeOneOf(client);
    if (this.#all.size < MOST) return true;
    const clients = [...this.#counts].sort(([, a], [, b]) => b - a);
    return clients.some(([one]) => this.#closeOneOf(one));
  }

  #closeOneOf(client: string): boolean {
    for (const [place, connection] of this.#all) {
      if (connection.client !== client || isAwaitingUs(connection)) continue;
      this.#leave(place, connection);
      connection.socket.destroy();
      return true;
    }
    return false;
  }

  #of(client: string): number {
    return this.#counts.get(client) ?? 0;
  }

  #used(place: Place, connection: Connection): void {
    if (this.#all.get(place) !== connection) return;
    this.#all.delete(place);
    this.#all.set(place, connection);
  }

  #leave(place: Place, connection: Connection): void {
    if (this.#all.get(place) !== connection) return;
    this.#all.delete(place);
    const left = this.#of(connection.client) - 1;
    if (left > 0) this.#counts.set(connection.client, left);
    else this.#counts.delete(connection.client);
  }
}

/** Whether the whole request is here and its answer is still being made. */
function isAwaitingUs({ exchanges }: Connection): boolean {
  return [...exchanges].some(
    ([{ complete }, { writableEnded, destroyed }]) => complete && !writableEnded && !destroyed,
  );
}

function placeOf(socket: Socket): Place {
  const { remoteAddress, remotePort, localAddress, localPort } = socket;
  if (remoteAddress === undefined) return socket;
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}
