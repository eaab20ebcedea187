/**
 * `steady`: an hour (MINUTES) at half of the rate that the relay sustains, or at RATE; does its memory stay?
 * The slope is that of the straight line through the second half of the samples: the first
 * one is for caches that fill, and for V8, which lets its heap grow while there is room.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { inject } from '../measure/injector.ts';
import { residentByName } from '../measure/processes.ts';
import { injection } from '../run.ts';
import { type Running, withRunning } from '../running.ts';
import { COMMON, type Scenario } from '../scenarios.ts';
import type { GrowthSite, GrowthTable } from './growth.ts';
import { readHeaps, withHeapReporter } from './heaps.ts';
import { arrived, measureRates } from './rates.ts';

const FULL_LOAD_MESSAGES = 20_000;
const SAMPLE_MS = 60_000;

interface Sample {
  readonly minute: number;
  /** MiB by what it is: `node deliver`, `node deliver heap`, `redis-server`. */
  readonly mib: Readonly<Record<string, number>>;
}

export async function measureSteady(site: GrowthSite): Promise<GrowthTable> {
  const { bench, settings, print } = site;
  const scenario: Scenario = { ...COMMON, name: 'steady', summary: '' };
  const peer = withHeapReporter(site.peer);
  return withRunning({ bench, peer, scenario }, async (running) => {
    const load = injection({ bench, scenario }, running.port);
    const messages = settings.messages ?? FULL_LOAD_MESSAGES;
    const { drainRate } = await measureRates(running, { ...load, messages });
    const rate = settings.rate ?? Math.max(1, Math.round(drainRate / 2));
    print(
      `  steady: ${Math.round(drainRate)}/s sustained, ${rate}/s for ${settings.minutes} minutes`,
    );
    const before = running.sink.stats().messages;
    const sent = inject({ ...load, rate, messages: rate * 60 * settings.minutes });
    const samples = await sampleUntil(sent, running, print);
    const { accepted } = await sent;
    await arrived(running.sink, before + accepted);
    return table(samples, { rate, drainRate, accepted, minutes: settings.minutes });
  });
}

async function sampleUntil(
  end: Promise<unknown>,
  running: Running,
  print: (line: string) => void,
): Promise<readonly Sample[]> {
  const samples: Sample[] = [];
  const ended = end.then(() => true);
  for (let minute = 1; ; minute += 1) {
    if (await Promise.race([ended, sleep(SAMPLE_MS, false)])) return samples;
    const resident = Object.fromEntries(residentByName(running.account.pids()));
    const mib = { ...resident, ...readHeaps(running.dir) };
    samples.push({ minute, mib });
    print(
      `  ${minute} min: ${Object.entries(mib)
        .map(([name, n]) => `${name} ${Math.round(n)}`)
        .join(', ')}`,
    );
  }
}

interface Load {
  readonly rate: number;
  /** What is sustained. */
  readonly drainRate: number;
  readonly accepted: number;
  readonly minutes: number;
}

const MOST_ROWS = 13;

function table(samples: readonly Sample[], load: Load): GrowthTable {
  const names = Object.keys(samples.at(-1)?.mib ?? {});
  const every = Math.max(1, Math.ceil(samples.length / MOST_ROWS));
  const shown = samples.filter((_, n) => (samples.length - 1 - n) % every === 0);
  const cells = (of: (name: string) => number) =>
    names.map((name) => Math.round(of(name)).toString());
  const half = samples.slice(Math.floor(samples.length / 2));
  const slope = (name: string) =>
    60 * slopeOf(half.map(({ minute, mib }) => [minute, mib[name] ?? 0] as const));
  const share = Math.round((100 * load.rate) / load.drainRate);
  return {
    name: 'steady',
    summary: `${load.minutes} minutes of ${load.rate} messages a second, ${share} % of what it sustains`,
    rows: [
      ['minute, MiB', ...names],
      ...shown.map(({ minute, mib }) => [`${minute}`, ...cells((name) => mib[name] ?? 0)]),
      ['slope, MiB an hour', ...cells(slope)],
    ],
    notes: [
      `${load.accepted.toLocaleString('en')} messages were acknowledged, and all of them arrived.`,
    ],
    figures: { samples, load },
  };
}

/** Of the straight line that fits best (least squares); 0 for less than two points. */
export function slopeOf(points: readonly (readonly [number, number])[]): number {
  const mean = (of: 0 | 1) => points.reduce((sum, point) => sum + point[of], 0) / points.length;
  const [x, y] = [mean(0), mean(1)];
  const across = points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0);
  if (points.length < 2 || across === 0) return 0;
  return points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0) / across;
}
