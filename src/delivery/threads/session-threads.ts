/**
 * Sessions in threads of their own (session-thread.ts): a handshake costs a millisecond or two of
 * computing, and an acknowledgement, which passes through the main thread, does not wait behind those
 * of hundreds of hosts. All sessions with one address run in the same thread, so that they can be
 * used again.
 *
 * A thread that ends by itself is a bug. Nobody knows how far its sessions had come: their runs
 * reject, as they do where a run throws, and a new thread takes the next ones.
 */
import { availableParallelism } from 'node:os';
import { extname } from 'node:path';
import type { SessionHome, SessionSettings, Sessions } from '../sessions.ts';
import { SessionThread, type ThreadEvents } from './thread-handle.ts';

export type { ThreadEvents } from './thread-handle.ts';

export interface SessionThreadsOptions {
  /** As many as there are cores to spare when absent. */
  readonly count?: number;
  /** The thread's program. */
  readonly program?: URL;
}

/** Beside the main thread, the receiving role and Redis; more would be idle. */
const MOST_THREADS = 4;

export class SessionThreads implements SessionHome {
  readonly #threads: readonly SessionThread[];
  #generations = 0;
  /** Tells the threads that nobody can name a generation any more. */
  readonly #forgotten = new FinalizationRegistry<number>((generation) => {
    for (const thread of this.#threads) thread.forget(generation);
  });

  constructor(
    events: ThreadEvents,
    { count = threadCount(), program = PROGRAM }: SessionThreadsOptions = {},
  ) {
    this.#threads = Array.from({ length: count }, () => new SessionThread(program, events));
  }

  open(settings: SessionSettings): Sessions {
    const generation = this.#generations++;
    for (const thread of this.#threads) thread.open(generation, settings);
    const sessions: Sessions = {
      run: (plan, consignment, signal) => {
        const thread = this.#threads[hash(plan.address) % this.#threads.length] as SessionThread;
        // The handle is held for as long as the run may name its generation.
        return thread.run({ generation, plan, consignment, signal, holds: sessions });
      },
      close: async () => {
        await Promise.all(this.#threads.map((thread) => thread.close(generation)));
      },
    };
    this.#forgotten.register(sessions, generation);
    return sessions;
  }

  /** End the threads, whatever they are doing. */
  async end(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.end()));
  }
}

const PROGRAM = new URL(`./session-thread${extname(import.meta.url)}`, import.meta.url);

function threadCount(): number {
  return Math.min(MOST_THREADS, Math.max(1, availableParallelism() - 2));
}

function hash(text: string): number {
  let value = 0;
  for (let i = 0; i < text.length; i++) value = (value * 31 + text.charCodeAt(i)) >>> 0;
  return value;
}
