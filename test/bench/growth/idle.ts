/** `idle`: what the relay costs while nothing comes in and nothing is due. */
import { setTimeout as sleep } from 'node:timers/promises';
import { cpuByName, memoryOf } from '../measure/processes.ts';
import { type Running, withRunning } from '../running.ts';
import { addBacklog, backlogScenario } from './backlog.ts';
import type { GrowthSite, GrowthTable } from './growth.ts';

const QUEUED = 100_000;
/** Timers of the start, connections that are kept for a while. */
const SETTLE_MS = 30_000;
const MEASURE_MS = 30_000;

interface IdleFigures {
  readonly queued: number;
  /** CPU milliseconds a second, of all processes. */
  readonly cpuMs: number;
  readonly byProcess: Readonly<Record<string, number>>;
  readonly rssMiB: number;
}

export async function measureIdle({
  bench,
  peer,
  settings,
  print,
}: GrowthSite): Promise<GrowthTable> {
  const queued = settings.messages ?? QUEUED;
  const scenario = backlogScenario('idle');
  const figures = await withRunning({ bench, peer, scenario }, async (running) => {
    const empty = await watch(running, 0);
    await addBacklog(running, bench, { count: queued });
    return [empty, await watch(running, queued)];
  });
  const rows = figures.map(({ queued: depth, cpuMs, byProcess, rssMiB }) => [
    depth.toLocaleString('en'),
    `${cpuMs.toFixed(1)} ms (${(cpuMs / 10).toFixed(2)} %)`,
    Object.entries(byProcess)
      .map(([name, ms]) => `${name} ${ms.toFixed(1)}`)
      .join(', '),
    `${Math.round(rssMiB)} MiB`,
  ]);
  print(`  idle: ${figures.map(({ cpuMs }) => `${cpuMs.toFixed(1)} ms`).join(', ')} CPU a second`);
  return {
    name: 'idle',
    summary: 'nothing comes in and nothing is due, for 30 seconds',
    rows: [['queued', 'CPU a second', 'by process, ms', 'memory'], ...rows],
    notes: ['The share is that of one core.'],
    figures,
  };
}

async function watch({ account }: Running, queued: number): Promise<IdleFigures> {
  await sleep(SETTLE_MS);
  const [before, namesBefore] = [account.read(), cpuByName(account.pids())];
  const began = performance.now();
  await sleep(MEASURE_MS);
  const [after, namesAfter] = [account.read(), cpuByName(account.pids())];
  const seconds = (performance.now() - began) / 1000;
  const byProcess = [...namesAfter].map(
    ([name, ms]) => [name, (ms - (namesBefore.get(name) ?? 0)) / seconds] as const,
  );
  return {
    queued,
    cpuMs: (after.userMs + after.systemMs - before.userMs - before.systemMs) / seconds,
    byProcess: Object.fromEntries(byProcess),
    rssMiB: memoryOf(account.pids()).rss,
  };
}
