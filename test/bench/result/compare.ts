/**
 * From single runs to a comparison: medians for each relay, and how they stand to Postfix's
 * best configuration of the same bench. Pure.
 */
import { median } from './median.ts';
import type { RunResult } from './run-result.ts';

type Figure = { [K in keyof RunResult]: RunResult[K] extends number ? K : never }[keyof RunResult];
export type Medians = Readonly<Record<Figure, number>>;

export interface Standing {
  readonly peer: string;
  readonly runs: number;
  readonly medians: Medians;
  /** Drain rates of all runs, in order. */
  readonly drainRates: readonly number[];
  /** CPU milliseconds a message by process: medians. */
  readonly cpuByProcess: Readonly<Record<string, number>>;
  /** To Postfix's best, undefined without one: the higher the better for rates, the lower for CPU and time. */
  readonly ratios: Ratios | undefined;
}

export interface Ratios {
  readonly drain: number;
  readonly accept: number;
  readonly cpu: number;
  readonly ackP50: number;
}

/** The runs of one scenario. Postfix's best is the configuration that drained fastest. */
export function compare(results: readonly RunResult[]): readonly Standing[] {
  const peers = [...new Set(results.map(({ peer }) => peer))];
  const all = peers.map((peer) => standingOf(results.filter((result) => result.peer === peer)));
  const best = all
    .filter(({ peer }) => peer.startsWith('postfix'))
    .sort((a, b) => b.medians.drainRate - a.medians.drainRate)[0];
  if (best === undefined) return all;
  return all.map((one) => ({ ...one, ratios: ratiosTo(best.medians, one.medians) }));
}

function standingOf(runs: readonly RunResult[]): Standing {
  const [first] = runs;
  if (first === undefined) throw new Error('a relay without runs');
  const figures = Object.entries(first).filter(([, value]) => typeof value === 'number');
  const medians = Object.fromEntries(
    figures.map(([name]) => [name, median(runs.map((run) => Number(run[name as Figure])))]),
  ) as Medians;
  const processes = [...new Set(runs.flatMap((run) => Object.keys(run.cpuByProcess)))];
  const cpuByProcess = Object.fromEntries(
    processes.map((name) => [name, median(runs.map((run) => run.cpuByProcess[name] ?? 0))]),
  );
  const drainRates = runs.map((run) => run.drainRate);
  return {
    peer: first.peer,
    runs: runs.length,
    medians,
    drainRates,
    cpuByProcess,
    ratios: undefined,
  };
}

function ratiosTo(best: Medians, own: Medians): Ratios {
  return {
    drain: own.drainRate / best.drainRate,
    accept: own.acceptRate / best.acceptRate,
    cpu: own.cpuMs / best.cpuMs,
    ackP50: own.ackP50Ms / best.ackP50Ms,
  };
}

const HEAD = [
  'relay',
  'drain/s',
  'x',
  'accept/s',
  'x',
  'ack p50 ms',
  'p99',
  'CPU ms/msg',
  'x',
  'PSS MiB',
  'conn',
  'TLS',
  'resumed',
  'busy',
  'calib ms',
];

/** For the terminal: one line a relay; `x` is the ratio to Postfix's best. */
export function standingRows(standings: readonly Standing[]): readonly (readonly string[])[] {
  const whole = (value: number) => Math.round(value).toLocaleString('en');
  const ratio = (value: number | undefined) => (value === undefined ? '-' : value.toFixed(2));
  const rows = standings.map(({ peer, medians: m, ratios }) => [
    peer,
    whole(m.drainRate),
    ratio(ratios?.drain),
    whole(m.acceptRate),
    ratio(ratios?.accept),
    m.ackP50Ms.toFixed(1),
    m.ackP99Ms.toFixed(0),
    m.cpuMs.toFixed(2),
    ratio(ratios?.cpu),
    whole(m.pssMiB),
    whole(m.connections),
    whole(m.handshakes),
    whole(m.resumed),
    `${Math.round(m.busy * 100)} %`,
    whole(m.calibrationMs),
  ]);
  return [HEAD, ...rows];
}

/** The single runs and the CPU by process, a line each. */
export function standingNotes(standings: readonly Standing[]): readonly string[] {
  return standings.map(({ peer, drainRates, cpuByProcess }) => {
    const rates = drainRates.map((rate) => Math.round(rate)).join(' ');
    const parts = Object.entries(cpuByProcess)
      .sort(([, a], [, b]) => b - a)
      .map(([name, ms]) => `${name} ${ms.toFixed(2)}`);
    return `  ${peer}: drain [${rates}]; CPU ms/msg of processes still alive: ${parts.join(', ')}`;
  });
}
