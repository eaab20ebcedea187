/**
 * Real redis-servers that belong together, on loopback: a master with a replica and three Sentinels over them,
 * and a Cluster of three masters, each with a replica. Members can be killed and started again.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { freePort } from './free-port.ts';
import { startRedis, type TestRedis } from './redis.ts';
import { type TempDir, tempDir } from './temp-dir.ts';
import { findCommand, spawnTied } from './tied-child.ts';
import { waitFor } from './wait-for.ts';

const SLOTS = 16_384;

export interface SentinelGroup extends AsyncDisposable {
  /** Those that were master and replica at first. */
  readonly servers: readonly [TestRedis, TestRedis];
  /** `host:port` of each, as in `redis.sentinels`. */
  readonly sentinels: readonly string[];
  close(): Promise<void>;
}

/**
 * A master called `mymaster`; a failover begins a second after it was killed. `args`: for both servers; `password`:
 * of the Sentinels.
 */
export async function startSentinelGroup(
  args: readonly string[] = [],
  password?: string,
): Promise<SentinelGroup> {
  const master = await startRedis({ args });
  const replica = await startRedis({ args: [...args, '--replicaof', `127.0.0.1 ${master.port}`] });
  const servers = [master, replica] as const;
  await waitFor('the replica to follow', async () =>
    /master_link_status:up/.test(String(await replica.command('INFO', 'replication'))),
  );
  const all: { readonly child: ChildProcess; readonly dir: TempDir; readonly port: number }[] = [];
  for (let i = 0; i < 3; i += 1) all.push(await startSentinel(master.port, password));
  const close = async () => {
    for (const { child, dir } of all) {
      const ended = child.exitCode === null && child.signalCode === null && once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
      dir.remove();
    }
    for (const server of servers) await server.close();
  };
  const sentinels = all.map(({ port }) => `127.0.0.1:${port}`);
  try {
    for (const { port } of all) {
      await waitFor('the Sentinels to know each other', async () => {
        const text = await ask({ port, password }, 'SENTINEL', 'master', 'mymaster');
        const facts = pairs(text as readonly string[]);
        return facts['num-other-sentinels'] === '2' && facts['num-slaves'] === '1';
      });
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { servers, sentinels, close, [Symbol.asyncDispose]: close };
}

async function startSentinel(masterPort: number, password?: string) {
  const [dir, port] = [tempDir(), await freePort()];
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${dir.path}`,
    'sentinel resolve-hostnames no',
    `sentinel monitor mymaster 127.0.0.1 ${masterPort} 2`,
    'sentinel down-after-milliseconds mymaster 1000',
    'sentinel failover-timeout mymaster 3000',
    'sentinel parallel-syncs mymaster 1',
    ...(password === undefined
      ? []
      : [`requirepass ${password}`, `sentinel sentinel-pass ${password}`]),
  ];
  writeFileSync(dir.file('sentinel.conf'), `${lines.join('\n')}\n`);
  const binary = findCommand('redis-server', 'valkey-server') ?? '';
  const child = spawnTied(binary, [dir.file('sentinel.conf'), '--sentinel'], {
    ...{ cwd: dir.path, dir: dir.path, stdio: 'ignore' },
  });
  child.on('error', () => {});
  return { child, dir, port };
}

export interface ClusterGroup extends AsyncDisposable {
  readonly masters: readonly TestRedis[];
  /** The replica of each master, in the same order; empty without replicas. */
  readonly replicas: readonly TestRedis[];
  /** `host:port` of each, as in `redis.cluster`. */
  readonly nodes: readonly string[];
  /** The master at first of the slot that `key` is in. */
  masterOf(key: string): Promise<TestRedis>;
  close(): Promise<void>;
}

/** Three masters that share the slots; a replica takes over some seconds after its master was killed. */
export async function startClusterGroup({
  replicas: hasReplicas = true,
} = {}): Promise<ClusterGroup> {
  const start = async () => {
    const busPort = await freePort();
    const args = ['--cluster-enabled', 'yes', '--cluster-node-timeout', '1500'];
    const server = await startRedis({
      args: [...args, '--cluster-port', String(busPort), '--cluster-replica-validity-factor', '0'],
    });
    return { server, busPort };
  };
  const members = [];
  for (let i = 0; i < (hasReplicas ? 6 : 3); i += 1) members.push(await start());
  const servers = members.map(({ server }) => server);
  const [masters, replicas] = [servers.slice(0, 3), servers.slice(3)];
  const close = async () => {
    for (const server of servers) await server.close();
  };
  try {
    const [first] = servers;
    for (const [i, master] of masters.entries()) {
      const [from, to] = [i, i + 1].map((n) => Math.floor((SLOTS * n) / 3));
      await master.command('CLUSTER', 'ADDSLOTSRANGE', from ?? 0, (to ?? 1) - 1);
      await master.command('CLUSTER', 'SET-CONFIG-EPOCH', i + 1);
    }
    for (const { server, busPort } of members.slice(1)) {
      await first?.command('CLUSTER', 'MEET', '127.0.0.1', server.port, busPort);
    }
    const known = `cluster_known_nodes:${members.length}`;
    for (const server of servers) {
      await waitFor('all to know each other', async () => (await info(server)).includes(known));
    }
    for (const [i, replica] of replicas.entries()) {
      const id = String(await masters[i]?.command('CLUSTER', 'MYID'));
      await waitFor('a replica to follow', async () => {
        return (await replica.command('CLUSTER', 'REPLICATE', id)) === 'OK';
      });
      await waitFor('the replica to be in step', async () =>
        /master_link_status:up/.test(String(await replica.command('INFO', 'replication'))),
      );
    }
    for (const server of servers) {
      await waitFor('the cluster to be whole', async () =>
        (await info(server)).includes('cluster_state:ok'),
      );
    }
  } catch (error) {
    await close();
    throw error;
  }
  const nodes = masters.map(({ port }) => `127.0.0.1:${port}`);
  const masterOf = async (key: string) => {
    const slot = Number(await masters[0]?.command('CLUSTER', 'KEYSLOT', key));
    const found = masters[Math.min(2, Math.floor((slot * 3) / SLOTS))];
    if (!found) throw new Error(`no master for slot ${slot}`);
    return found;
  };
  return { masters, replicas, nodes, masterOf, close, [Symbol.asyncDispose]: close };
}

async function info(server: TestRedis): Promise<string> {
  return String(await server.command('CLUSTER', 'INFO'));
}

async function ask(
  at: number | { readonly port: number; readonly password?: string | undefined },
  name: string,
  ...args: readonly string[]
): Promise<unknown> {
  const { port, password } = typeof at === 'number' ? { port: at, password: undefined } : at;
  const client = new Redis({
    port,
    ...(password === undefined ? {} : { password }),
    lazyConnect: true,
    enableReadyCheck: false,
    retryStrategy: () => null,
  });
  client.on('error', () => {});
  try {
    await client.connect();
    return await client.call(name, ...args);
  } finally {
    client.disconnect();
  }
}

function pairs(list: readonly string[]): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  for (let at = 0; at + 1 < list.length; at += 2) found[list[at] ?? ''] = list[at + 1] ?? '';
  return found;
}
