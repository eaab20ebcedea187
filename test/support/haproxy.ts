/** A real HAProxy in front of a listener, on a random port of loopback; no root is needed. */
import type { ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { freePort } from './free-port.ts';
import { type TempDir, tempDir } from './temp-dir.ts';
import { findCommand, spawnTied } from './tied-child.ts';
import { waitFor } from './wait-for.ts';

/** Why there can be none here; false when there can. */
export const haproxyMissing: string | false =
  findCommand('haproxy') === undefined && 'haproxy is not installed';

export class Haproxy implements AsyncDisposable {
  readonly port: number;
  readonly #dir: TempDir;
  readonly #child: ChildProcess;
  readonly #said: () => string;

  /** @NOTE call startHaproxy instead. */
  constructor(parts: { port: number; dir: TempDir; child: ChildProcess; said: () => string }) {
    this.port = parts.port;
    this.#dir = parts.dir;
    this.#child = parts.child;
    this.#said = parts.said;
  }

  /** What it has written so far. */
  get said(): string {
    return this.#said();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = new Promise((resolve) => this.#child.once('exit', resolve));
      this.#child.kill('SIGKILL');
      await ended;
    }
    this.#dir.remove();
  }
}

/** Start it with a configuration, in which `@PORT@` is the port it is to listen on. */
export async function startHaproxy(configuration: string): Promise<Haproxy> {
  const dir = tempDir('haproxy-');
  const port = await freePort();
  const file = dir.file('haproxy.cfg');
  writeFileSync(file, configuration.replaceAll('@PORT@', String(port)));
  const child = spawnTied(findCommand('haproxy') ?? '', ['-db', '-f', file], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk) => {
      said += chunk;
    });
  }
  const proxy = new Haproxy({ port, dir, child, said: () => said });
  try {
    await waitFor('HAProxy', async () => {
      if (child.exitCode !== null) throw new Error(`HAProxy ended: ${said}`);
      return accepts(port);
    });
  } catch (error) {
    await proxy[Symbol.asyncDispose]();
    throw error;
  }
  return proxy;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.once('connect', () => socket.destroy() && resolve(true));
    socket.once('error', () => resolve(false));
  });
}
