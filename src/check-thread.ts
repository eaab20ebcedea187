/**
 * The program of the thread in which a running relay examines one domain (check-threads.ts): says which step
 * it is at, then the examination, as JSON, and ends. What it throws ends it, too: its parent says so.
 */
import { parentPort, workerData } from 'node:worker_threads';
import type { Settings } from './config/settings.ts';
import { createExaminer } from './examiner.ts';
import { systemClock } from './platform/clock.ts';
import type { DomainName } from './protocol/domain.ts';

/** What the thread is given. */
export interface CheckOrder {
  readonly settings: Settings;
  readonly domain: DomainName;
  readonly connect: boolean;
  readonly timeoutMs: number;
}

/** What it says: a step it begins, or the examination. */
export type FromCheck = { readonly step: string } | { readonly json: string };

const { settings, domain, connect, timeoutMs } = workerData as CheckOrder;
const say = (message: FromCheck) => parentPort?.postMessage(message);
const examine = createExaminer(settings, { clock: systemClock, connect });
const made = await examine(domain, { timeoutMs, onStep: (step) => say({ step }) });
say({ json: JSON.stringify(made) });
