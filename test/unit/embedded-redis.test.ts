/**
 * The private Redis: there when it is needed, back when it dies, gone when we are, however we
 * end, and never two on one directory.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { Redis } from 'ioredis';
import {
  type EmbeddedRedis,
  type EmbeddedRedisEvents,
  RedisNotInstalledError,
  startEmbeddedRedis,
} from '../../src/platform/embedded-redis.ts';
import { redisMissing } from '../support/redis.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { findCommand, processesIn, spawnTied } from '../support/tied-child.ts';
import { Chronicle, waitFor } from '../support/wait-for.ts';
import { recordEvents } from './sample-mail.ts';

class Bench {
  readonly dir: TempDir = tempDir();
  readonly recorded = recordEvents<EmbeddedRedisEvents>();
  redis: EmbeddedRedis | undefined;

  get directory(): string {
    return this.dir.file('redis');
  }

  async start(directory = this.directory): Promise<EmbeddedRedis> {
    this.redis = await startEmbeddedRedis(directory, this.recorded.events);
    return this.redis;
  }

  /** Processes of the server and its shell; `shell` is what started it. */
  processes(): number[] {
    return processesIn(this.directory);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.redis?.stop();
    for (const pid of this.processes()) process.kill(pid, 'SIGKILL');
    this.dir.remove();
  }
}

async function ask(socketPath: string, command: string, ...args: string[]): Promise<unknown> {
  const client = new Redis(socketPath, { lazyConnect: true, retryStrategy: () => null });
  client.on('error', () => {});
  try {
    await client.connect();
    return await client.call(command, ...args);
  } finally {
    client.disconnect();
  }
}

async function serverPid(socketPath: string): Promise<number> {
  const text = String(await ask(socketPath, 'INFO', 'server'));
  return Number(/process_id:(\d+)/.exec(text)?.[1]);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe('the embedded Redis', { skip: redisMissing }, () => {
  test('answers on a private socket, keeps what it is told, loses nothing to eviction', async () => {
    await using bench = new Bench();
    const { socketPath } = await bench.start();
    assert.equal(socketPath, `${bench.directory}/redis.sock`);
    assert.equal(await ask(socketPath, 'PING'), 'PONG');
    assert.equal(statSync(socketPath).mode & 0o777, 0o600);
    assert.equal(statSync(bench.directory).mode & 0o777, 0o700);
    const setting = async (name: string) =>
      ((await ask(socketPath, 'CONFIG', 'GET', name)) as string[])[1];
    assert.equal(await setting('maxmemory-policy'), 'noeviction');
    assert.equal(await setting('appendonly'), 'yes');
    assert.equal(await setting('port'), '0');
    await ask(socketPath, 'SET', 'kept', 'yes');
    await bench.redis?.stop();
    assert.deepEqual(bench.processes(), []);
    const again = await bench.start();
    assert.equal(await ask(again.socketPath, 'GET', 'kept'), 'yes');
    assert.equal(bench.recorded.of('started').length, 2);
    assert.deepEqual(bench.recorded.of('died'), []);
  });

  test('is started again when it is killed', async () => {
    await using bench = new Bench();
    const { socketPath } = await bench.start();
    const first = await serverPid(socketPath);
    process.kill(first, 'SIGKILL');
    await bench.recorded.calls.until('its death', (calls) =>
      calls.find(({ name }) => name === 'died'),
    );
    await waitFor('it to answer', async () => (await ask(socketPath, 'PING')) === 'PONG');
    assert.notEqual(await serverPid(socketPath), first);
  });

  test('is one, and reachable, when only its shell is killed', async () => {
    await using bench = new Bench();
    const { socketPath } = await bench.start();
    const first = await serverPid(socketPath);
    const shell = bench.processes().sort((a, b) => a - b)[0] ?? 0;
    assert.notEqual(shell, first);
    process.kill(first, 'SIGSTOP'); // it takes its time to go
    process.kill(shell, 'SIGKILL');
    await bench.recorded.calls.until('its death', (calls) =>
      calls.find(({ name }) => name === 'died'),
    );
    await new Promise((resolve) => setTimeout(resolve, 500));
    process.kill(first, 'SIGCONT');
    await waitFor('the old one to go', () => !isAlive(first));
    await waitFor('the new one to answer', async () => (await ask(socketPath, 'PING')) === 'PONG');
    await new Promise((resolve) => setTimeout(resolve, 300)); // nobody takes its socket away
    assert.equal(await ask(socketPath, 'PING'), 'PONG');
    assert.notEqual(await serverPid(socketPath), first);
  });

  test('stopped, it stays away; stopping twice does no harm', async () => {
    await using bench = new Bench();
    const redis = await bench.start();
    await redis.stop();
    await redis.stop();
    assert.deepEqual(bench.processes(), []);
    assert.deepEqual(bench.recorded.of('died'), []);
  });

  test('goes when the relay is killed', async () => {
    await using bench = new Bench();
    const parent = await startInChild(bench);
    const pid = await serverPid(`${bench.directory}/redis.sock`);
    parent.kill('SIGKILL');
    await waitFor('it to be gone', () => !isAlive(pid));
    await waitFor('its helpers to be gone', () => bench.processes().length === 0);
  });

  test('survives a Ctrl-C at the relay’s terminal, which the drain needs', async () => {
    await using bench = new Bench();
    const parent = await startInChild(bench);
    const pid = await serverPid(`${bench.directory}/redis.sock`);
    const group = parent.pid ?? 0;
    process.kill(-group, 'SIGINT');
    await waitFor('the signal to arrive', () => existsSync(bench.dir.file('interrupted')));
    assert.equal(isAlive(pid), true);
    parent.kill('SIGKILL');
    await waitFor('it to be gone', () => !isAlive(pid));
  });

  test('one that was left behind is ended at the next start, and its data taken over', async () => {
    await using bench = new Bench();
    mkdirSync(bench.directory);
    const socketPath = `${bench.directory}/redis.sock`;
    const settings = { port: '0', unixsocket: socketPath, appendonly: 'yes', save: '' };
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
    const program = findCommand('redis-server', 'valkey-server') ?? '';
    spawnTied(program, [...args, '--dir', bench.directory], { stdio: 'ignore' });
    await waitFor('it to answer', async () => (await ask(socketPath, 'PING')) === 'PONG');
    const pid = await serverPid(socketPath);
    await ask(socketPath, 'SET', 'kept', 'yes');
    const redis = await bench.start();
    await waitFor('the old one to go', () => !isAlive(pid));
    assert.notEqual(await serverPid(redis.socketPath), pid);
    assert.equal(await ask(redis.socketPath, 'GET', 'kept'), 'yes');
  });

  test('a socket file that nobody listens on is no obstacle', async () => {
    await using bench = new Bench();
    mkdirSync(bench.directory);
    const path = `${bench.directory}/redis.sock`;
    const script = `require('node:net').createServer().listen('${path}')`;
    const child = spawnTied(process.execPath, ['-e', script]);
    await waitFor('the socket', () => existsSync(path));
    child.kill('SIGKILL');
    await once(child, 'exit');
    assert.ok(existsSync(path));
    const { socketPath } = await bench.start();
    assert.equal(await ask(socketPath, 'PING'), 'PONG');
  });

  test('below a path too long for a socket it has one elsewhere, the same at each start', async () => {
    await using bench = new Bench();
    const deep = bench.dir.file(`redis/${'d'.repeat(100)}`);
    const { socketPath } = await bench.start(deep);
    assert.ok(Buffer.byteLength(socketPath) <= 103);
    assert.equal(await ask(socketPath, 'PING'), 'PONG');
    const directory = socketPath.slice(0, -'/redis.sock'.length);
    assert.equal(statSync(directory).mode & 0o777, 0o700);
    assert.ok(readdirSync(deep).includes('appendonlydir'));
    await bench.redis?.stop();
    const again = await bench.start(deep);
    assert.equal(again.socketPath, socketPath);
    await bench.redis?.stop();
    rmSync(directory, { recursive: true });
    mkdirSync(directory, { mode: 0o755 }); // as somebody else might have
    await assert.rejects(bench.start(deep), /not a private directory/);
    rmSync(directory, { recursive: true });
  });

  test('what it says is passed on, line by line', async () => {
    await using bench = new Bench();
    await bench.start();
    const said = () => bench.recorded.of('output').map(([line]) => String(line));
    const lines = await bench.recorded.calls.until('its words', () =>
      said().some((line) => /ready to accept connections/i.test(line)) ? said() : undefined,
    );
    assert.ok(lines.every((line) => !line.includes('\n')));
  });

  test('a server that does not come up is an error that quotes it', async () => {
    await using bench = new Bench();
    const program = bench.dir.file('redis-server');
    writeFileSync(program, '#!/bin/sh\necho "no, thank you"\nexit 1\n', { mode: 0o755 });
    const start = startEmbeddedRedis(bench.directory, bench.recorded.events, [bench.dir.path]);
    await assert.rejects(start, /does not start.*it said: no, thank you/s);
    await waitFor('its last process to end', () => bench.processes().length === 0);
  });

  test('data it cannot read is set aside: all in it can be made again', async () => {
    await using bench = new Bench();
    const first = await bench.start();
    await ask(first.socketPath, 'SET', 'kept', 'yes');
    await first.stop();
    const files = `${bench.directory}/appendonlydir`;
    for (const name of readdirSync(files)) {
      if (name.endsWith('.aof')) writeFileSync(`${files}/${name}`, '*3\r\nno such thing\r\n');
    }
    const second = await bench.start();
    const [aside] = await waitFor(
      'the data to be set aside',
      () => bench.recorded.of('setAside')[0],
    );
    assert.ok(readdirSync(String(aside)).length > 0);
    const keys = await waitFor('it to answer', () =>
      ask(second.socketPath, 'KEYS', '*').catch(() => undefined),
    );
    assert.deepEqual(keys, []);
  });
});

test('no Redis on the machine: the error says what to install', async () => {
  using dir = tempDir();
  const start = startEmbeddedRedis(dir.file('redis'), recordEvents<EmbeddedRedisEvents>().events, [
    '',
    dir.path,
  ]);
  await assert.rejects(start, (error: unknown) => {
    assert.ok(error instanceof RedisNotInstalledError);
    assert.match(error.message, /apt-get install redis-server/);
    return true;
  });
});

/** A relay's process, as far as this matters: it starts the server and waits. */
async function startInChild(bench: Bench) {
  const script = `
    import { writeFileSync } from 'node:fs';
    import { startEmbeddedRedis } from ${JSON.stringify(import.meta.resolve('../../src/platform/embedded-redis.ts'))};
    const nothing = () => {};
    process.on('SIGINT', () => writeFileSync(process.argv[2], ''));
    await startEmbeddedRedis(process.argv[1], { started: nothing, died: nothing, output: nothing });
    console.log('started');
    setInterval(nothing, 1000);`;
  const args = [
    '--input-type=module',
    '-e',
    script,
    bench.directory,
    bench.dir.file('interrupted'),
  ];
  const child = spawnTied(process.execPath, args, {
    group: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const output = new Chronicle<string>();
  child.stdout?.setEncoding('utf8').on('data', (text: string) => output.push(text));
  child.once('exit', () => output.end(new Error('it ended')));
  await output.untilCount('line', 1);
  return child;
}
