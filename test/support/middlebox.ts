/**
 * A box on the way to an MX host that passes everything on, until it sees a ClientHello it does
 * not like: then it resets the connection. What firewalls do to handshakes they do not
 * understand, and what an attacker does to have the mail sent in clear.
 */
import { createServer, connect as netConnect, type Server, type Socket } from 'node:net';

export interface MiddleboxOptions {
  /** Where it listens in place of the host; the port is the host's. */
  readonly address: string;
  readonly host: { readonly address: string; readonly port: number };
  /** Whether it resets the connection at a ClientHello of so many octets. */
  readonly dislikes: (helloOctets: number) => boolean;
}

export class Middlebox implements AsyncDisposable {
  /** Octets of every ClientHello seen. */
  readonly hellos: number[] = [];
  readonly #listener: Server;
  readonly #sockets = new Set<Socket>();

  constructor(listener: Server) {
    this.#listener = listener;
  }

  pass(client: Socket, { host, dislikes }: MiddleboxOptions): void {
    const behind = netConnect({ host: host.address, port: host.port });
    for (const socket of [client, behind]) {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#sockets.delete(socket);
        client.destroy();
        behind.destroy();
      });
    }
    client.on('data', (octets: Buffer) => {
      const length = helloLength(octets);
      if (length !== undefined) this.hellos.push(length);
      if (length !== undefined && dislikes(length)) client.resetAndDestroy();
      else behind.write(octets);
    });
    behind.on('data', (octets: Buffer) => client.write(octets));
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#listener.close(() => resolve()));
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Start one. */
export async function startMiddlebox(options: MiddleboxOptions): Promise<Middlebox> {
  const listener = createServer((client) => box.pass(client, options));
  const box = new Middlebox(listener);
  await new Promise<void>((resolve, reject) => {
    listener.once('error', reject);
    listener.listen(options.host.port, options.address, resolve);
  });
  return box;
}

/** Octets of the handshake message that begins here, when it is a ClientHello (RFC 8446 §4). */
function helloLength(octets: Buffer): number | undefined {
  const isHandshake = octets[0] === 0x16 && octets[1] === 0x03 && octets[5] === 0x01;
  return isHandshake && octets.length > 8 ? octets.readUIntBE(6, 3) : undefined;
}
