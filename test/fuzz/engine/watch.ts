/**
 * A campaign in a thread of its own, watched: an input that does not come back in time, ends
 * the thread or eats its memory is a finding like any other. The thread is then started anew,
 * with another seed, for the time that is left.
 */
import { Worker } from 'node:worker_threads';
import { SLOW_MS } from './campaign.ts';
import { Cell, type Glance } from './cell.ts';
import type { Finding } from './finding.ts';
import type { WorkerOrder, WorkerReport } from './worker.ts';

export interface WatchOptions {
  readonly module: string;
  readonly target: string;
  readonly seed: number;
  readonly durationMs: number;
  readonly maxRuns?: number;
  readonly corpus?: readonly Buffer[];
  /** An input that takes longer is a finding. */
  readonly slowMs?: number;
  /** Run the corpus alone. */
  readonly replay?: boolean;
  readonly progress?: (glance: Glance & { readonly findings: number }) => void;
}

export interface WatchResult {
  readonly runs: number;
  readonly kinds: ReadonlyMap<string, number>;
  readonly findings: readonly Finding[];
}

/** How a thread ended. */
type Ending =
  | { readonly kind: 'report'; readonly report: WorkerReport }
  | { readonly kind: 'broken'; readonly finding: Finding };

const LOOK_MS = 50;
const MOST_RESTARTS = 5;
/** An input for which the process grows by more is a finding. */
const MOST_GROWTH_BYTES = 400 * 1024 * 1024;
/** So much that the watcher sees the growth before it ends the whole process. */
const HEAP_MIB = 2048;

/** Run a campaign to its end. */
export async function watchCampaign(options: WatchOptions): Promise<WatchResult> {
  const endAt = performance.now() + options.durationMs;
  const kinds = new Map<string, number>();
  const findings = new Map<string, Finding>();
  let runs = 0;
  for (let start = 0; start <= MOST_RESTARTS; start++) {
    const durationMs = endAt - performance.now();
    if (start > 0 && (durationMs <= 0 || options.replay)) break;
    const before = { runs, findings: findings.size };
    const { ending, glance } = await watchThread({
      ...options,
      seed: options.seed + start,
      durationMs,
      progress: (now) => options.progress?.({ ...now, ...before, runs: before.runs + now.runs }),
    });
    runs += glance.runs;
    if (ending.kind === 'report') {
      for (const [kind, count] of ending.report.kinds) kinds.set(kind, count);
      for (const finding of ending.report.findings)
        findings.set(finding.signature, revived(finding));
      break;
    }
    const { finding } = ending;
    if (options.replay || (await repeats(finding, options)))
      findings.set(finding.signature, finding);
  }
  return { runs, kinds, findings: [...findings.values()] };
}

/** A machine under load can look like a hang: it has to hang again. */
async function repeats(finding: Finding, options: WatchOptions): Promise<boolean> {
  if (finding.kind !== 'hang') return true;
  const { progress: _, ...rest } = options;
  const again = await watchCampaign({ ...rest, corpus: [finding.input], replay: true });
  return again.findings.length > 0;
}

async function watchThread(
  options: WatchOptions & { readonly progress: (glance: Glance) => void },
): Promise<{ ending: Ending; glance: Glance }> {
  const { slowMs = SLOW_MS, target, progress } = options;
  const cell = new Cell();
  const worker = new Worker(new URL('./worker.ts', import.meta.url), {
    workerData: orderFor(options, cell),
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB },
  });
  const { promise, resolve } = Promise.withResolvers<Ending>();
  const broken = (kind: 'hang' | 'crash', signature: string, text: string) =>
    resolve({ kind: 'broken', finding: { target, kind, signature, text, input: cell.input() } });
  worker.once('message', (report: WorkerReport) => resolve({ kind: 'report', report }));
  worker.on('error', (error: Error) =>
    broken('crash', `crash: ${error.name}`, error.stack ?? error.message),
  );
  worker.once('exit', (code) => broken('crash', 'exit', `the thread ended, exit code ${code}`));
  const stopwatch = new Stopwatch();
  const timer = setInterval(() => {
    const glance = cell.glance();
    progress(glance);
    const { ms, grownBytes } = stopwatch.look(glance.sequence);
    if (glance.sequence % 2 === 0) return;
    const what = `an input of ${cell.input().length} octets`;
    if (ms > slowMs + LOOK_MS) broken('hang', 'hang', `${what} took more than ${slowMs} ms`);
    if (grownBytes > MOST_GROWTH_BYTES)
      broken('crash', 'memory', `${what} took ${grownBytes} octets`);
  }, LOOK_MS);
  const ending = await promise;
  clearInterval(timer);
  await worker.terminate();
  return { ending, glance: cell.glance() };
}

/** How long one input has been under test, and what memory the process took meanwhile. */
class Stopwatch {
  #sequence = -1;
  #sinceMs = 0;
  #rssBefore = 0;

  look(sequence: number): { readonly ms: number; readonly grownBytes: number } {
    const [now, rss] = [performance.now(), process.memoryUsage.rss()];
    if (sequence !== this.#sequence) {
      this.#sequence = sequence;
      this.#sinceMs = now;
      this.#rssBefore = rss;
    }
    return { ms: now - this.#sinceMs, grownBytes: rss - this.#rssBefore };
  }
}

function orderFor(options: WatchOptions, cell: Cell): WorkerOrder {
  const {
    module,
    target,
    seed,
    durationMs,
    maxRuns,
    slowMs,
    corpus = [],
    replay = false,
  } = options;
  return {
    module,
    target,
    memory: cell.memory,
    campaign: {
      seed,
      durationMs,
      ...(maxRuns === undefined ? {} : { maxRuns }),
      ...(slowMs === undefined ? {} : { slowMs }),
    },
    corpus,
    replay,
  };
}

/** What comes from another thread has lost its Buffers. */
function revived(finding: Finding): Finding {
  return { ...finding, input: Buffer.from(finding.input) };
}
