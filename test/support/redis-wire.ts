/**
 * The way from a relay to Redis, as TCP that a test can do things to: connections fall silent
 * without being closed, and new ones lead to another Redis, as behind an address that a failover
 * has moved.
 */
import { createServer, type Server, type Socket, connect as tcpConnect } from 'node:net';

export class RedisWire implements AsyncDisposable {
  /** Port of 127.0.0.1 that connections lead to from now on; those there are stay as they are. */
  target: number;
  /** So long what Redis says is on its way; from now on. */
  delayMs = 0;
  readonly #listener: Server;
  readonly #ends = new Set<Socket>();

  /** @NOTE call startRedisWire instead. */
  constructor(target: number) {
    this.target = target;
    this.#listener = createServer((client) => this.#join(client));
  }

  /** As in the relay's `redis.url`. */
  get url(): string {
    const address = this.#listener.address();
    if (address === null || typeof address === 'string') throw new Error('it does not listen');
    return `redis://127.0.0.1:${address.port}`;
  }

  async open(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#listener.once('error', reject);
      this.#listener.listen({ host: '127.0.0.1', port: 0 }, resolve);
    });
  }

  /** Nothing passes any more on the connections there are, and nobody is told. How many these are. */
  silence(): number {
    for (const end of this.#ends) end.pause();
    return this.#ends.size / 2;
  }

  #join(client: Socket): void {
    const behind = tcpConnect({ host: '127.0.0.1', port: this.target });
    for (const [end, other] of [
      [client, behind],
      [behind, client],
    ] as const) {
      this.#ends.add(end);
      end.on('error', () => {});
      end.on('data', (octets: Buffer) => {
        if (end === client || this.delayMs === 0) other.write(octets);
        else setTimeout(() => other.write(octets), this.delayMs);
      });
      end.on('close', () => {
        this.#ends.delete(end);
        other.destroy();
      });
    }
  }

  async close(): Promise<void> {
    for (const end of this.#ends) end.destroy();
    await new Promise<void>((resolve) => this.#listener.close(() => resolve()));
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Begin to pass on connections to a port of 127.0.0.1. */
export async function startRedisWire(target: number): Promise<RedisWire> {
  const wire = new RedisWire(target);
  await wire.open();
  return wire;
}
