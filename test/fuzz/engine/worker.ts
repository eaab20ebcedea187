/**
 * The thread that fuzzes: one campaign, told to the watching thread. What ends this thread
 * instead (an uncaught error, memory) is what the watcher makes a finding of.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { type CampaignOptions, type CampaignResult, runCampaign } from './campaign.ts';
import { Cell } from './cell.ts';
import type { FuzzTarget } from './target.ts';

export interface WorkerOrder {
  /** URL of a module that exports `targets`. */
  readonly module: string;
  readonly target: string;
  readonly memory: SharedArrayBuffer;
  readonly campaign: Omit<CampaignOptions, 'observer' | 'corpus'>;
  readonly corpus: readonly Uint8Array[];
  /** The corpus alone, nothing mutated: to see what one input does. */
  readonly replay: boolean;
}

export type WorkerReport = Pick<CampaignResult, 'kinds' | 'findings'>;

const order = workerData as WorkerOrder;
const { targets } = (await import(order.module)) as { targets: readonly FuzzTarget[] };
const found = targets.find(({ name }) => name === order.target);
if (!found) throw new Error(`no target ${order.target} in ${order.module}`);
// Or the thread would end, and not wait, where an answer never comes.
const staying = setInterval(() => {}, 60_000);
const result = await runCampaign(order.replay ? { ...found, seeds: [] } : found, {
  ...order.campaign,
  corpus: order.corpus.map((octets) => Buffer.from(octets)),
  observer: new Cell(order.memory),
  ...(order.replay ? { maxRuns: 0 } : {}),
});
clearInterval(staying);
await found.close?.();
parentPort?.postMessage({ kinds: result.kinds, findings: result.findings } satisfies WorkerReport);
