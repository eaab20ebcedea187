/**
 * Examinations of domains (`stsrelay check`) inside a running relay, each in a thread of its own that is
 * there for one domain: what strangers' DNS, policies and certificates cost to look at, in time or memory, is
 * no cost of the thread that delivers. A thread that does not end by itself is ended.
 */
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Examination } from './check/types.ts';
import type { CheckOrder, FromCheck } from './check-thread.ts';
import type { Clock } from './platform/clock.ts';

/** Beyond its own deadline, to start and to say what was found. */
const GRACE_MS = 10_000;
const MEMORY = { maxOldGenerationSizeMb: 192, maxYoungGenerationSizeMb: 32, stackSizeMb: 4 };
/** No domain that is meant to get mail has so much to say. */
const MOST_CHARACTERS = 2 * 1024 * 1024;
const PROGRAM = new URL(`./check-thread${extname(import.meta.url)}`, import.meta.url);

export interface ThreadOptions {
  readonly clock: Clock;
  /** Ends it at once. */
  readonly signal: AbortSignal;
  readonly onStep: (step: string) => void;
  /** The thread's program; another one in tests. */
  readonly program?: URL;
}

/** Examine a domain. Rejects, in words, when the thread ends without an answer or is ended. */
export async function examineInThread(
  order: CheckOrder,
  { clock, signal, onStep, program = PROGRAM }: ThreadOptions,
): Promise<Examination> {
  const { promise, resolve, reject } = Promise.withResolvers<Examination>();
  const worker = new Worker(program, {
    ...{ name: 'check', workerData: order, resourceLimits: MEMORY },
    // What Node.js has to say there is no line of the relay's log.
    ...{ stdout: true, stderr: true },
  });
  worker.on('message', (message: FromCheck) => {
    if ('step' in message) onStep(message.step);
    else if (message.json.length > MOST_CHARACTERS) reject(new Error(TOO_MUCH));
    else resolve(JSON.parse(message.json) as Examination);
  });
  worker.on('error', (error: unknown) =>
    reject(error instanceof Error ? error : new Error(`${error}`)),
  );
  worker.on('messageerror', reject);
  worker.once('exit', () => reject(new Error('the check ended without an answer')));
  const late = () => reject(new Error(`the check did not end in ${order.timeoutMs / 1000} s`));
  const cancel = clock.after(order.timeoutMs + GRACE_MS, late);
  const abort = () => reject(new Error('the relay stops'));
  if (signal.aborted) abort();
  else signal.addEventListener('abort', abort, { once: true });
  try {
    return await promise;
  } finally {
    cancel();
    signal.removeEventListener('abort', abort);
    await worker.terminate();
  }
}

const TOO_MUCH = 'what was found is too much to be kept here: use `stsrelay check`';
