/**
 * `deep`: does new mail for a destination that takes it suffer from a backlog for others? The same
 * work, with 1,000, 100,000 and 500,000 messages in the queue (DEPTHS); the memory they take; and
 * how long the relay takes to come back with the deepest one, after a stop and after SIGKILL.
 *
 * Beside it runs another relay that has the first of the depths all the time. Their rounds alternate,
 * single messages one by one, and each ratio is one of the same minutes: a host that gets slower or
 * faster meanwhile does it to both.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { inject } from '../measure/injector.ts';
import { residentByName } from '../measure/processes.ts';
import { median } from '../result/median.ts';
import { injection } from '../run.ts';
import { type RestartTimes, type Running, withRunning } from '../running.ts';
import type { Scenario } from '../scenarios.ts';
import { addBacklog, allWaiting, backlogScenario } from './backlog.ts';
import type { GrowthSite, GrowthTable } from './growth.ts';
import { alternate, measureRates, type Rates, share, timeThrough } from './rates.ts';

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

/** What was measured at one depth, and at the first depth at the same time. */
interface Measured {
  readonly deep: DepthFigures;
  readonly beside: DepthFigures;
}

export async function measureDeep(site: GrowthSite): Promise<GrowthTable> {
  const { bench, peer, settings } = site;
  const scenario = backlogScenario('deep');
  const [least = 0] = settings.depths;
  return withRunning({ bench, peer, scenario, folder: 'beside' }, async (beside) => {
    await addBacklog(beside, bench, { count: least });
    return withRunning({ bench, peer, scenario }, async (deep) => {
      for (let round = 0; round < WARM_UP; round += 1) {
        for (const running of [beside, deep]) await rates(site, running, scenario);
      }
      const measured = await measureDepths(site, { deep, beside, scenario });
      const restarts = await measureRestarts(deep, settings.depths.at(-1) ?? 0);
      return table(measured, restarts);
    });
  });
}

interface Pair {
  readonly deep: Running;
  readonly beside: Running;
  readonly scenario: Scenario;
}

async function measureDepths(site: GrowthSite, pair: Pair): Promise<readonly Measured[]> {
  const { bench, settings, print } = site;
  const [least = 0] = settings.depths;
  const measured: Measured[] = [];
  let held = 0;
  for (const depth of settings.depths) {
    await addBacklog(pair.deep, bench, { count: depth - held });
    held = depth;
    await sleep(SETTLE_MS);
    const rounds: { deep: Round; beside: Round }[] = [];
    for (let n = 0; n < settings.rounds; n += 1) {
      rounds.push(await measureRound(site, pair));
    }
    const one = {
      deep: figuresOf(
        rounds.map(({ deep }) => deep),
        { depth, running: pair.deep },
      ),
      beside: figuresOf(
        rounds.map(({ beside }) => beside),
        { depth: least, running: pair.beside },
      ),
    };
    measured.push(one);
    const { acceptRate, drainRate } = one.deep;
    print(`  deep ${depth}: accept ${whole(acceptRate)}/s, drain ${whole(drainRate)}/s`);
  }
  return measured;
}

function rates({ bench, settings }: GrowthSite, running: Running, scenario: Scenario) {
  const messages = settings.messages ?? MESSAGES;
  return measureRates(running, { ...injection({ bench, scenario }, running.port), messages });
}

interface Round {
  readonly rates: Rates;
  /** Ascending. */
  readonly through: readonly number[];
}

async function measureRound(
  site: GrowthSite,
  { deep, beside, scenario }: Pair,
): Promise<{ readonly deep: Round; readonly beside: Round }> {
  const besideRates = await rates(site, beside, scenario);
  const deepRates = await rates(site, deep, scenario);
  const single = { ...injection({ bench: site.bench, scenario }, 0), messages: 1, sessions: 1 };
  const sendTo =
    ({ sink, port }: Running) =>
    () =>
      timeThrough(sink, () => inject({ ...single, port }));
  const [besideTimes, deepTimes] = await alternate(SINGLE_MESSAGES, sendTo(beside), sendTo(deep));
  return {
    beside: { rates: besideRates, through: besideTimes },
    deep: { rates: deepRates, through: deepTimes },
  };
}

function figuresOf(
  rounds: readonly Round[],
  { depth, running }: { readonly depth: number; readonly running: Running },
): DepthFigures {
  const of = (figure: keyof Rates) => median(rounds.map((round) => round.rates[figure]));
  return {
    depth,
    acceptRate: of('acceptRate'),
    drainRate: of('drainRate'),
    ackP50Ms: of('ackP50Ms'),
    ackP99Ms: of('ackP99Ms'),
    cpuMs: of('cpuMs'),
    throughP50Ms: median(rounds.map(({ through }) => share(through, 0.5))),
    throughP99Ms: median(rounds.map(({ through }) => share(through, 0.99))),
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
  await allWaiting(running, held);
  const began = performance.now();
  const afterKill = await running.restart('SIGKILL');
  await allWaiting(running, held);
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

function table(measured: readonly Measured[], restarts: Restarts): GrowthTable {
  const figures = measured.map(({ deep }) => deep);
  const [first] = figures;
  const last = figures.at(-1);
  const names = Object.keys(first?.memory ?? {});
  const rows = measured.map(({ deep, beside }) => {
    const ratio = (figure: RatedFigure) => `(${(deep[figure] / beside[figure]).toFixed(2)})`;
    return [
      whole(deep.depth),
      `${whole(deep.acceptRate)}/s ${ratio('acceptRate')}`,
      `${whole(deep.drainRate)}/s ${ratio('drainRate')}`,
      `${deep.cpuMs.toFixed(2)} ms ${ratio('cpuMs')}`,
      `${deep.ackP50Ms.toFixed(1)} ms ${ratio('ackP50Ms')}`,
      `${deep.ackP99Ms.toFixed(1)} ms ${ratio('ackP99Ms')}`,
      `${deep.throughP50Ms.toFixed(1)} ms ${ratio('throughP50Ms')}`,
      `${deep.throughP99Ms.toFixed(1)} ms ${ratio('throughP99Ms')}`,
      ...names.map((name) => `${whole(deep.memory[name] ?? 0)} MiB`),
    ];
  });
  return {
    name: 'deep',
    summary: 'new mail for a destination that takes it, with a backlog for 100 that do not',
    rows: [[...HEAD, ...names], ...rows],
    notes: [
      `In brackets the ratio to a relay beside it that holds ${whole(first?.depth ?? 0)} all the time, in the same minutes; medians of the rounds.`,
      ...memoryNotes(first, last),
      ...restartNotes(last?.depth ?? 0, restarts),
    ],
    figures: { measured, restarts },
  };
}

type RatedFigure = Exclude<keyof DepthFigures, 'depth' | 'memory'>;

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
