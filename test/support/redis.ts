/**
 * A private redis-server (or valkey-server) for a test file, on a unix socket in a temp dir and
 * on a random TCP port of 127.0.0.1. It can be stopped, killed, paused, flushed and started
 * again on the same socket and port, with the data its append-only file kept.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { Redis } from 'ioredis';
import { freePort } from './free-port.ts';
import { type TempDir, tempDir } from './temp-dir.ts';
import { findCommand, spawnTied } from './tied-child.ts';
import { Chronicle } from './wait-for.ts';

const BINARY = findCommand('redis-server', 'valkey-server');

/** For `{ skip: redisMissing }`: false when there is a Redis to test with. */
export const redisMissing: string | false =
  BINARY === undefined && 'neither redis-server nor valkey-server is installed';

export interface TestRedisOptions {
  /** Append-only file, synced at each write; default false: a restart starts empty. */
  readonly aof?: boolean;
  /** Default `noeviction`. */
  readonly maxmemoryPolicy?: string;
  /** More settings as on its command line, e.g. `['--requirepass', 'x']`. */
  readonly args?: readonly string[];
}

export class TestRedis implements AsyncDisposable {
  readonly socketPath: string;
  readonly port: number;
  readonly #dir: TempDir;
  readonly #options: TestRedisOptions;
  #child: ChildProcess | undefined;
  readonly #clients = new Set<Redis>();

  /** @NOTE call startRedis instead. */
  constructor(dir: TempDir, port: number, options: TestRedisOptions) {
    this.#dir = dir;
    this.port = port;
    this.#options = options;
    this.socketPath = dir.file('redis.sock');
  }

  /** `redis://127.0.0.1:port`, as in the relay's `redis.url`. */
  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Start it (again); returns when it answers. Throws with its output when it does not start. */
  async start(): Promise<void> {
    if (BINARY === undefined) throw new Error(String(redisMissing));
    if (this.#child !== undefined) return;
    const child = spawnTied(BINARY, this.#args(), {
      cwd: this.#dir.path,
      dir: this.#dir.path,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    const lines = new Chronicle<string>();
    child.stdout?.setEncoding('utf8').on('data', (text: string) => lines.push(text));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => lines.push(text));
    child.once('error', (error) => lines.end(error));
    child.once('exit', (code) => {
      lines.end(new Error(`it ended with ${code}: ${lines.entries.join('')}`));
      if (this.#child === child) this.#child = undefined;
    });
    await lines.until('Redis to be ready', (all) =>
      /ready to accept connections/i.test(all.join('')) ? true : undefined,
    );
  }

  /** End it in order (SIGTERM). */
  stop(): Promise<void> {
    return this.#end('SIGTERM');
  }
  /** End it the hard way (SIGKILL). */
  kill(): Promise<void> {
    return this.#end('SIGKILL');
  }
  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }
  /** Stop it from answering while its sockets stay open. */
  pause(): void {
    this.#child?.kill('SIGSTOP');
  }
  resume(): void {
    this.#child?.kill('SIGCONT');
  }
  async flushAll(): Promise<void> {
    await this.command('FLUSHALL');
  }

  /** One command on a connection of its own. */
  command(name: string, ...args: readonly (string | number)[]): Promise<unknown> {
    return this.commandAs({}, name, ...args);
  }
  /** The same, as another user. */
  async commandAs(
    user: { readonly username?: string; readonly password?: string },
    name: string,
    ...args: readonly (string | number)[]
  ): Promise<unknown> {
    // Nothing but the command: a Redis in trouble may answer that and no more.
    const bare = { enableReadyCheck: false, disableClientInfo: true };
    const client = new Redis(this.socketPath, {
      ...{ lazyConnect: true, retryStrategy: () => null, ...bare },
      ...user,
    });
    client.on('error', () => {});
    try {
      await client.connect();
      return await client.call(name, ...args);
    } finally {
      client.disconnect();
    }
  }

  /** A client that is disconnected with the rest at `close`. */
  client(): Redis {
    const client = new Redis(this.socketPath, { maxRetriesPerRequest: null });
    client.on('error', () => {});
    this.#clients.add(client);
    return client;
  }

  async close(): Promise<void> {
    for (const client of this.#clients) client.disconnect();
    await this.kill();
    this.#dir.remove();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #args(): string[] {
    const settings: Readonly<Record<string, string>> = {
      bind: '127.0.0.1',
      port: String(this.port),
      unixsocket: this.socketPath,
      dir: this.#dir.path,
      save: '',
      appendonly: this.#options.aof === true ? 'yes' : 'no',
      appendfsync: 'always',
      'maxmemory-policy': this.#options.maxmemoryPolicy ?? 'noeviction',
      daemonize: 'no',
      loglevel: 'notice',
    };
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
    return [...args, ...(this.#options.args ?? [])];
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGCONT'); // a paused one would never see SIGTERM
    child.kill(signal);
    await ended;
  }
}

/** Start one; `skip` tests that need it with `redisMissing`. */
export async function startRedis(options: TestRedisOptions = {}): Promise<TestRedis> {
  const redis = new TestRedis(tempDir(), await freePort(), options);
  await redis.start();
  return redis;
}
