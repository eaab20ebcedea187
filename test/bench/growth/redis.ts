/**
 * `redis`: what a delivered message costs Redis: commands, counted by Redis itself, and its CPU.
 * Steady mail, for one destination and for many; and a backlog for 100 destinations that are away.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { inject } from '../measure/injector.ts';
import { injection } from '../run.ts';
import { type Running, withRunning } from '../running.ts';
import { COMMON, type Scenario } from '../scenarios.ts';
import { addBacklog, backlogScenario } from './backlog.ts';
import type { GrowthSite, GrowthTable } from './growth.ts';
import { arrived } from './rates.ts';

/** Of the destinations that are many. */
export const MANY_DOMAINS = 500;
const MESSAGES = 20_000;
const BACKLOG = 50_000;
const BACKLOG_MS = 60_000;
/** Jobs and turns come to their end. */
const SETTLE_MS = 2000;
const NAMED = 5;

interface RedisCost {
  readonly name: string;
  /** A message, or a minute. */
  readonly per: string;
  readonly commands: number;
  readonly cpuMs: number;
  /** The most frequent commands, with how many each. */
  readonly most: readonly (readonly [string, number])[];
}

/** From one moment to another. */
interface Count {
  readonly commands: ReadonlyMap<string, number>;
  readonly cpuMs: number;
}

export async function measureRedis(site: GrowthSite): Promise<GrowthTable> {
  const messages = site.settings.messages ?? MESSAGES;
  const steady: Scenario = { ...COMMON, name: 'redis', summary: '' };
  const costs = [
    await mailCost(site, {
      scenario: steady,
      name: 'one destination, as fast as it goes',
      messages,
    }),
    await mailCost(site, {
      ...{ scenario: { ...steady, domains: MANY_DOMAINS, reuse: false } },
      ...{ name: `${MANY_DOMAINS} destinations, as fast as it goes`, messages },
    }),
    await mailCost(site, {
      ...{ scenario: steady, name: 'one destination, 20 a second', messages: 1000, rate: 20 },
    }),
    await backlogCost(site),
  ];
  const rows = costs.map(({ name, per, commands, cpuMs, most }) => [
    name,
    `${commands.toFixed(commands < 100 ? 2 : 0)} a ${per}`,
    `${cpuMs.toFixed(cpuMs < 100 ? 3 : 0)} ms a ${per}`,
    most.map(([command, count]) => `${command} ${count.toFixed(2)}`).join(', '),
  ]);
  return {
    name: 'redis',
    summary: 'what Redis does for a delivered message, and for mail that waits',
    rows: [['mail', 'commands', 'CPU of Redis', 'of these'], ...rows],
    notes: [
      'Commands as Redis counts them: those that BullMQ’s scripts call are among them, each script is one more.',
    ],
    figures: costs,
  };
}

async function mailCost(
  { bench, peer, print }: GrowthSite,
  plan: { scenario: Scenario; name: string; messages: number; rate?: number },
): Promise<RedisCost> {
  const { scenario, name, messages, rate } = plan;
  return withRunning({ bench, peer, scenario }, async (running) => {
    const load = { ...injection({ bench, scenario }, running.port), ...(rate ? { rate } : {}) };
    const warmUp = Math.max(1000, scenario.domains * 2);
    const first = await inject({ ...load, messages: rate ? rate : warmUp });
    await arrived(running.sink, first.accepted);
    const cost = await counted(running, async () => {
      const { accepted } = await inject({ ...load, messages });
      await arrived(running.sink, first.accepted + accepted);
    });
    return told({ name, per: 'message', units: messages }, cost, print);
  });
}

async function backlogCost({ bench, peer, print }: GrowthSite): Promise<RedisCost> {
  const scenario = backlogScenario('redis');
  return withRunning({ bench, peer, scenario }, async (running) => {
    await addBacklog(running, bench, { count: BACKLOG });
    const cost = await counted(running, () => sleep(BACKLOG_MS));
    const name = `${BACKLOG.toLocaleString('en')} waiting for 100 destinations that are away`;
    return told({ name, per: 'minute', units: 1 }, cost, print);
  });
}

/** What Redis did during `work`. */
async function counted({ dir }: Running, work: () => Promise<unknown>): Promise<Count> {
  const redis = new Redis({ path: `${dir}/data/redis/redis.sock` });
  redis.on('error', () => {});
  try {
    await sleep(SETTLE_MS);
    const before = await readCount(redis);
    await work();
    await sleep(SETTLE_MS);
    const after = await readCount(redis);
    const more = [...after.commands].map(
      ([name, count]) => [name, count - (before.commands.get(name) ?? 0)] as const,
    );
    const commands = new Map(more.filter(([name, count]) => count > 0 && name !== 'info'));
    return { commands, cpuMs: after.cpuMs - before.cpuMs };
  } finally {
    redis.disconnect();
  }
}

async function readCount(redis: Redis): Promise<Count> {
  const stats = await redis.info('commandstats');
  const commands = [...stats.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)].map(
    ([, name = '', calls]) => [name, Number(calls)] as const,
  );
  const cpu = await redis.info('cpu');
  const seconds = (name: string) => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(cpu)?.[1]);
  const cpuMs = 1000 * (seconds('used_cpu_sys') + seconds('used_cpu_user'));
  return { commands: new Map(commands), cpuMs };
}

function told(
  { name, per, units }: { name: string; per: string; units: number },
  { commands, cpuMs }: Count,
  print: (line: string) => void,
): RedisCost {
  const all = [...commands].map(([command, count]) => [command, count / units] as const);
  const most = all.sort(([, a], [, b]) => b - a).slice(0, NAMED);
  const sum = all.reduce((total, [, count]) => total + count, 0);
  print(`  redis, ${name}: ${sum.toFixed(2)} commands a ${per}`);
  return { name, per, commands: sum, cpuMs: cpuMs / units, most };
}
