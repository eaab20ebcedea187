/**
 * One session thread as the main thread sees it: started when it is needed, told the settings,
 * given orders, asked for nothing else. What it wants of a body is read for it here.
 */
import { Worker } from 'node:worker_threads';
import type { SessionResult } from '../../mail/session-result.ts';
import type { SessionSettings } from '../sessions.ts';
import { BodySource } from './body-source.ts';
import { type FromThread, Outgoing, type ToThread } from './messages.ts';
import { bodyAtHand, orderOf, type Parcel, wholeResult } from './order.ts';
import { Pulse } from './pulse.ts';

export interface ThreadEvents {
  connection(change: 1 | -1): void;
  /** A bug. `runs` deliveries were under way in it. */
  threadEnded(facts: { error: string; stack: string | undefined; runs: number }): void;
  nodeWarning(warning: string): void;
}

export interface Run extends Parcel {
  readonly generation: number;
  readonly signal: AbortSignal;
  /** Kept alive with the run. */
  readonly holds: object;
}

interface Running extends Run {
  readonly resolve: (result: SessionResult) => void;
  readonly reject: (error: Error) => void;
  /** The body that was asked for last. */
  body: BodySource | undefined;
}

/** What the thread was told of one generation. */
interface Generation {
  readonly settings: SessionSettings;
  isClosed: boolean;
}

/** More than the idle sessions take to end (session-pool.ts); a thread that hangs answers never. */
const CLOSE_MS = 5000;

export class SessionThread {
  readonly #program: URL;
  readonly #events: ThreadEvents;
  #worker: Worker | undefined;
  #outgoing: Outgoing<ToThread> | undefined;
  /** By generation, to be told to a new thread, too. */
  readonly #generations = new Map<number, Generation>();
  readonly #runs = new Map<number, Running>();
  readonly #closing = new Map<number, PromiseWithResolvers<void>>();
  #named = 0;
  #connections = 0;
  #hasEnded = false;

  constructor(program: URL, events: ThreadEvents) {
    this.#program = program;
    this.#events = events;
  }

  open(generation: number, settings: SessionSettings): void {
    this.#generations.set(generation, { settings, isClosed: false });
    if (this.#worker) this.#say({ kind: 'open', generation, settings });
    else this.#start();
  }

  /** Until its idle sessions have ended, or the thread does not answer. */
  async close(generation: number): Promise<void> {
    const known = this.#generations.get(generation);
    if (known) known.isClosed = true;
    if (!this.#worker) return;
    const closing = this.#closing.get(generation) ?? Promise.withResolvers<void>();
    this.#closing.set(generation, closing);
    this.#say({ kind: 'close', generation });
    const patience = setTimeout(closing.resolve, CLOSE_MS);
    await closing.promise;
    clearTimeout(patience);
  }

  forget(generation: number): void {
    this.#generations.delete(generation);
    if (this.#worker) this.#say({ kind: 'forget', generation });
  }

  /** Rejects when the thread, or the run in it, came to an unexpected end. */
  async run(run: Run): Promise<SessionResult> {
    const { generation, consignment, signal } = run;
    if (!this.#worker) this.#start();
    const id = this.#named++;
    const { promise, resolve, reject } = Promise.withResolvers<SessionResult>();
    const running: Running = { ...run, resolve, reject, body: undefined };
    this.#runs.set(id, running);
    const octets = bodyAtHand(consignment);
    this.#say({ kind: 'run', id, generation, order: orderOf(run, octets) }, octets);
    const recorded = () => this.#say({ kind: 'recorded', id });
    consignment.recorded?.then(recorded, recorded);
    const abort = () => this.#say({ kind: 'abort', id, reason: reasonOf(signal) });
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
    try {
      return await promise;
    } finally {
      signal.removeEventListener('abort', abort);
      this.#runs.delete(id);
      running.body?.end();
    }
  }

  async end(): Promise<void> {
    this.#hasEnded = true;
    await this.#worker?.terminate();
  }

  #start(): void {
    if (this.#hasEnded) throw new Error('the session threads have ended');
    const worker = new Worker(this.#program, { name: 'sessions' });
    let cause: Error | undefined;
    /** A thread that cannot be heard, or does not speak: those who wait for it would wait for ever. */
    const giveUp = (error: Error) => {
      cause ??= error;
      void worker.terminate();
    };
    this.#worker = worker;
    this.#outgoing = new Outgoing(worker, giveUp);
    const pulse = new Pulse({ ask: () => this.#say({ kind: 'ask' }), stuck: giveUp });
    worker.on('message', (messages: readonly FromThread[]) => {
      pulse.felt();
      for (const message of messages) this.#hear(message);
    });
    worker.on('messageerror', giveUp);
    worker.on('error', (error) => {
      cause ??= error instanceof Error ? error : new Error(String(error));
    });
    worker.once('exit', (code) => {
      pulse.end();
      this.#lost(cause ?? new Error(`exit code ${code}`));
    });
    for (const [generation, { settings, isClosed }] of this.#generations) {
      this.#say({ kind: 'open', generation, settings });
      if (isClosed) this.#say({ kind: 'close', generation });
    }
  }

  #lost({ message, stack }: Error): void {
    const error = message || (stack?.split('\n', 1)[0] ?? ''); // a DOMException comes without
    this.#worker = undefined;
    this.#outgoing = undefined;
    for (; this.#connections > 0; this.#connections--) this.#events.connection(-1);
    for (const { resolve } of this.#closing.values()) resolve();
    this.#closing.clear();
    const runs = [...this.#runs.values()];
    if (!this.#hasEnded) {
      this.#events.threadEnded({ error, stack, runs: runs.length });
    }
    for (const { reject } of runs) reject(new Error(`the session thread ended: ${error}`));
  }

  #say(message: ToThread, octets?: Uint8Array): void {
    this.#outgoing?.say(message, octets);
  }

  #hear(message: FromThread): void {
    if (message.kind === 'connection') {
      this.#connections += message.change;
      this.#events.connection(message.change);
    } else if (message.kind === 'closed') {
      this.#closing.get(message.generation)?.resolve();
      this.#closing.delete(message.generation);
    } else if (message.kind === 'warning') {
      this.#events.nodeWarning(message.warning);
    } else if (message.kind !== 'here') {
      const run = this.#runs.get(message.id);
      if (run) this.#hearAbout(run, message);
    }
  }

  #hearAbout(run: Running, message: Extract<FromThread, { readonly id: number }>): void {
    if (message.kind === 'result') run.resolve(wholeResult(message.result, run));
    else if (message.kind === 'threw') run.reject(asThrown(message));
    else if (message.kind === 'want-body') void this.#openBody(run, message.id);
    else if (message.kind === 'want-piece') void run.body?.next();
    else run.body?.end();
  }

  #openBody(run: Running, id: number): Promise<void> {
    run.body?.end();
    run.body = new BodySource(run.consignment, {
      say: (answer) =>
        this.#say({ kind: 'body', id, answer }, 'whole' in answer ? answer.whole : undefined),
      sayPiece: (answer) =>
        this.#say({ kind: 'piece', id, answer }, 'piece' in answer ? answer.piece : undefined),
    });
    return run.body.open();
  }
}

function reasonOf({ reason }: AbortSignal): string {
  return reason instanceof Error ? reason.message : String(reason);
}

function asThrown({ message, stack }: { message: string; stack: string | undefined }): Error {
  const error = new Error(message);
  if (stack !== undefined) error.stack = stack;
  return error;
}
