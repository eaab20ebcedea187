/**
 * `deep`: does new mail for a destination that takes it suffer from a backlog for others? The same
 * work, with 1,000, 100,000 and 500,000 messages in the queue (DEPTHS); the memory they take; and
 * how long the relay takes to come back with the deepest one, after a stop and after SIGKILL.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { inject } from '../measure/injector.ts';
import { residentByName } from '../measure/processes.ts';
import { median } from '../result/median.ts';
import { injection } from '../run.ts';
import { type RestartTimes, type Running, withRunning } from '../running.ts';
import type { Scenario } from '../scenarios.ts';
import { addBacklog, allDelayed, backlogScenario } from './backlog.ts';
import type { GrowthSite, GrowthTable } from './growth.ts';
import { latencies, measureRates, type Rates, share } from './rates.ts';

const MESSAGES = 5000;
const SINGLE_MESSAGES = 200;
const SETTLE_MS = 5000;
const WARM_UP = 3;

interface DepthFigures extends Rates {
  readonly depth: number;
  /** From the client's connection to the sink, one message at a time, in milliseconds. */
  readonly throughP50Ms: number;
  readonly throughP99Ms: number;
  /** Resident MiB by process. */
  readonly memory: Readonly<Record<string, number>>;
}

export async function measureDeep(site: GrowthSite): Promise<GrowthTable> {
  const { bench, peer, settings, print } = site;
  const scenario = backlogScenario('deep');
  const depths = settings.depths;
  return withRunning({ bench, peer, scenario }, async (running) => {
    const figures: DepthFigures[] = [];
    for (let round = 0; round < WARM_UP; round += 1) await rates(site, running, scenario);
    let held = 0;
    for (const depth of depths) {
      await addBacklog(running, bench, { count: depth - held });
      held = depth;
      const found = await measureDepth(site, running, { depth, scenario });
      figures.push(found);
      print(
        `  deep ${depth}: accept ${whole(found.acceptRate)}/s, drain ${whole(found.drainRate)}/s`,
      );
    }
    const restarts = await measureRestarts(running, held);
    return table(figures, restarts);
  });
}

function rates({ bench, settings }: GrowthSite, running: Running, scenario: Scenario) {
  const messages = settings.messages ?? MESSAGES;
  return measureRates(running, { ...injection({ bench, scenario }, running.port), messages });
}

async function measureDepth(
  site: GrowthSite,
  running: Running,
  { depth, scenario }: { readonly depth: number; readonly scenario: Scenario },
): Promise<DepthFigures> {
  await sleep(SETTLE_MS);
  const runs: Rates[] = [];
  for (let n = 0; n < site.settings.rounds; n += 1) runs.push(await rates(site, running, scenario));
  const single = { ...injection({ bench: site.bench, scenario }, running.port), messages: 1 };
  const through = await latencies(running.sink, SINGLE_MESSAGES, () =>
    inject({ ...single, sessions: 1 }),
  );
  const of = (figure: keyof Rates) => median(runs.map((run) => run[figure]));
  return {
    depth,
    acceptRate: of('acceptRate'),
    drainRate: of('drainRate'),
    ackP50Ms: of('ackP50Ms'),
    ackP99Ms: of('ackP99Ms'),
    cpuMs: of('cpuMs'),
    throughP50Ms: share(through, 0.5),
    throughP99Ms: share(through, 0.99),
    memory: Object.fromEntries(residentByName(running.account.pids())),
  };
}

interface Restarts {
  readonly afterStop: RestartTimes;
  readonly afterKill: RestartTimes;
  /** After SIGKILL, from the start to the last delivery being known again. */
  readonly enteredMs: number;
}

async function measureRestarts(running: Running, held: number): Promise<Restarts> {
  const afterStop = await running.restart('SIGTERM');
  await allDelayed(running, held);
  const began = performance.now();
  const afterKill = await running.restart('SIGKILL');
  await allDelayed(running, held);
  return { afterStop, afterKill, enteredMs: performance.now() - began - afterKill.stopMs };
}

const HEAD = [
  'queued',
  'accept',
  'drain',
  'CPU a message',
  'ack p50',
  'ack p99',
  'through p50',
  'through p99',
];

function table(figures: readonly DepthFigures[], restarts: Restarts): GrowthTable {
  const [first] = figures;
  const last = figures.at(-1);
  const names = Object.keys(first?.memory ?? {});
  const ratio = (value: number, base = value) => `${(value / base).toFixed(2)}`;
  const rows = figures.map((one) => [
    whole(one.depth),
    `${whole(one.acceptRate)}/s (${ratio(one.acceptRate, first?.acceptRate)})`,
    `${whole(one.drainRate)}/s (${ratio(one.drainRate, first?.drainRate)})`,
    `${one.cpuMs.toFixed(2)} ms (${ratio(one.cpuMs, first?.cpuMs)})`,
    `${one.ackP50Ms.toFixed(1)} ms (${ratio(one.ackP50Ms, first?.ackP50Ms)})`,
    `${one.ackP99Ms.toFixed(1)} ms`,
    `${one.throughP50Ms.toFixed(1)} ms (${ratio(one.throughP50Ms, first?.throughP50Ms)})`,
    `${one.throughP99Ms.toFixed(1)} ms`,
    ...names.map((name) => `${whole(one.memory[name] ?? 0)} MiB`),
  ]);
  return {
    name: 'deep',
    summary: 'new mail for a destination that takes it, with a backlog for 100 that do not',
    rows: [[...HEAD, ...names], ...rows],
    notes: [...memoryNotes(first, last), ...restartNotes(last?.depth ?? 0, restarts)],
    figures: { figures, restarts },
  };
}

function memoryNotes(first?: DepthFigures, last?: DepthFigures): string[] {
  if (!first || !last || first === last) return [];
  const parts = Object.entries(last.memory).map(([name, mib]) => {
    const octets = ((mib - (first.memory[name] ?? 0)) * 2 ** 20) / (last.depth - first.depth);
    return `${name} ${whole(octets)}`;
  });
  return [
    `Octets of memory a queued message, from the first depth to the last: ${parts.join(', ')}.`,
  ];
}

function restartNotes(depth: number, { afterStop, afterKill, enteredMs }: Restarts): string[] {
  const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
  return [
    `With ${whole(depth)} queued, SIGTERM ends it in ${seconds(afterStop.stopMs)}; from the start to the greeting it takes ${seconds(afterStop.startMs)}.`,
    `After SIGKILL of all its processes, Redis too, it greets after ${seconds(afterKill.startMs)} and has its whole queue again after ${seconds(enteredMs)}.`,
  ];
}

function whole(value: number): string {
  return Math.round(value).toLocaleString('en');
}
