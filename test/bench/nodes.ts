/**
 * What Redis carries for one node and for two: commands and octets a message, and while nothing happens; connections,
 * keys and memory. Counts, no timings: they hold on a busy machine, too. The figures of docs/operations.md come from here.
 *
 *   node test/bench/nodes.ts      about two minutes; N=1000 messages into each node
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { injectMany } from '../support/inject.ts';
import {
  type PretendDomain,
  type PretendInternet,
  startPretendInternet,
} from '../support/pretend-internet.ts';
import { redisMissing, startRedis, type TestRedis } from '../support/redis.ts';
import { type RelayProcess, startRelay } from '../support/relay-process.ts';
import { waitFor } from '../support/wait-for.ts';

const N = Number(process.env['N'] ?? 1000);
const IDLE_MS = 10_000;
const FEW = 10;
/** MX hosts of those that have a domain each. */
const HOSTS = 50;

interface Reading {
  readonly atMs: number;
  readonly calls: ReadonlyMap<string, number>;
  readonly octetsIn: number;
  readonly octetsOut: number;
}

async function read(redis: TestRedis): Promise<Reading> {
  const [stats, all] = [
    String(await redis.command('INFO', 'stats')),
    String(await redis.command('INFO', 'commandstats')),
  ];
  const calls = new Map<string, number>();
  for (const [, name = '', count] of all.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)) {
    calls.set(name, Number(count));
  }
  const number = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(stats)?.[1]);
  return {
    atMs: performance.now(),
    calls,
    octetsIn: number('total_net_input_bytes'),
    octetsOut: number('total_net_output_bytes'),
  };
}

interface Spent {
  readonly seconds: number;
  /** Commands that ran, those inside scripts included. */
  readonly executed: number;
  /** Scripts and blocking calls, of these. */
  readonly scripts: number;
  readonly octetsIn: number;
  readonly octetsOut: number;
}

function spent(from: Reading, to: Reading): Spent {
  const since = (name: string) => (to.calls.get(name) ?? 0) - (from.calls.get(name) ?? 0);
  const names = [...to.calls.keys()].filter((name) => name !== 'info');
  return {
    seconds: (to.atMs - from.atMs) / 1000,
    executed: names.reduce((sum, name) => sum + since(name), 0),
    scripts: since('evalsha') + since('eval'),
    octetsIn: to.octetsIn - from.octetsIn,
    octetsOut: to.octetsOut - from.octetsOut,
  };
}

async function load(
  nodes: readonly RelayProcess[],
  domains: readonly PretendDomain[],
  count: number,
): Promise<void> {
  const arrived = () => new Set(domains.flatMap(({ messages }) => messages)).size;
  const before = arrived();
  const done = await Promise.all(
    nodes.map((relay) =>
      injectMany({
        ...{ port: relay.smtpPort, count, concurrency: 5 },
        makeMessage: (index) => ({
          from: 'ann@home.test',
          to: `r@${domains[index % domains.length]?.name}`,
          data: `Subject: ${index}\r\n\r\nhello\r\n`,
        }),
      }),
    ),
  );
  const wanted = done.reduce((sum, { acknowledged }) => sum + acknowledged.length, 0);
  await waitFor('all to arrive', () => arrived() - before >= wanted);
}

async function measure(nodeCount: number, net: PretendInternet): Promise<void> {
  await using redis = await startRedis();
  const few: PretendDomain[] = [];
  for (let i = 0; i < FEW; i += 1)
    few.push(await net.domain(`few${i}-${nodeCount}.test`, { sts: {} }));
  const [many, crowded]: [PretendDomain[], PretendDomain[]] = [[], []];
  for (let i = 0; i < N; i += 1) {
    const [own, shared] = [{ host: `mx${i % HOSTS}.many.test` }, { host: 'mx.crowded.test' }];
    many.push(await net.domain(`many${i}-${nodeCount}.test`, { mx: [own] }));
    crowded.push(await net.domain(`crowded${i}-${nodeCount}.test`, { mx: [shared] }));
  }
  const nodes: RelayProcess[] = [];
  try {
    for (let i = 0; i < nodeCount; i += 1) {
      const settings = [
        net.relaySettings(),
        { node: `n${i}`, redis: { url: redis.url }, log: { level: 'info' } },
      ];
      nodes.push(await startRelay({ settings }));
    }
    await load(nodes, few, 5 * FEW);
    await sleep(6000); // turns that rest come to their end
    const idleFrom = await read(redis);
    await sleep(IDLE_MS);
    const idle = spent(idleFrom, await read(redis));
    line(`${nodeCount}: at rest, a node and second`, idle, idle.seconds * nodeCount);
    for (const [what, domains] of [
      [`${FEW} domains`, few],
      ['a domain each', many],
      ['a domain each, all at the same hosts', crowded],
      [`${FEW} domains with a rate`, few],
    ] as const) {
      if (what.endsWith('rate')) await limit(nodes);
      const from = await read(redis);
      await load(nodes, domains, N);
      const busy = spent(from, await read(redis));
      line(`${nodeCount}: ${what}, a message`, less(busy, idle), N * nodeCount);
      await sleep(6000);
    }
    const clients =
      String(await redis.command('CLIENT', 'LIST'))
        .split('\n')
        .filter(Boolean).length - 1;
    const keys = Number(await redis.command('DBSIZE'));
    const memory = String(await redis.command('INFO', 'memory'));
    const used = Number(/^used_memory_dataset:(\d+)/m.exec(memory)?.[1]);
    say(
      `${nodeCount} nodes: ${clients / nodeCount} connections a node; ${keys} keys, ${Math.round(used / 1024)} KiB of data, ${FEW} policies among them`,
    );
  } finally {
    for (const relay of nodes) await relay.close();
  }
}

/** A rate that is never used up, for everything. */
async function limit(nodes: readonly RelayProcess[]): Promise<void> {
  for (const relay of nodes) {
    relay.changeSettings({ destinations: { default: { rate: '1000000/1h' } } });
    relay.reload();
    await relay.waitForEvent('config.reloaded');
  }
}

function less(busy: Spent, idle: Spent): Spent {
  const share = busy.seconds / idle.seconds;
  return {
    seconds: busy.seconds,
    executed: busy.executed - idle.executed * share,
    scripts: busy.scripts - idle.scripts * share,
    octetsIn: busy.octetsIn - idle.octetsIn * share,
    octetsOut: busy.octetsOut - idle.octetsOut * share,
  };
}

function line(what: string, { executed, scripts, octetsIn, octetsOut }: Spent, by: number): void {
  const per = (value: number, digits = 2) => (value / by).toFixed(digits);
  say(
    `| ${what} | ${per(scripts)} | ${per(executed)} | ${per(octetsIn, 0)} | ${per(octetsOut, 0)} |`,
  );
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

if (redisMissing) throw new Error(redisMissing);
await using net = await startPretendInternet();
say('| nodes: what | scripts | commands executed | octets in | octets out |');
say('| --- | --- | --- | --- | --- |');
for (const nodeCount of [1, 2]) await measure(nodeCount, net);
