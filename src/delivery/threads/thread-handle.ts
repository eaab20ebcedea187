/**
 * One session thread as the main thread sees it: started when it is needed, told the settings,
 * given orders, asked for nothing else. What it wants of a body is read for it here.
 */
import { Worker } from 'node:worker_threads';
import type { RecipientReply, SessionResult } from '../../mail/session-result.ts';
import type { Consignment, SessionPlan } from '../session.ts';
import type { SessionSettings } from '../sessions.ts';
import { BodySource } from './body-source.ts';
import { type FromThread, Outgoing, ownCopy, type ThinResult, type ToThread } from './messages.ts';

export interface ThreadEvents {
  connection(change: 1 | -1): void;
  /** A bug. `runs` deliveries were under way in it. */
  threadEnded(facts: { error: string; stack: string | undefined; runs: number }): void;
  nodeWarning(warning: string): void;
}

export interface Run {
  readonly generation: number;
  readonly plan: SessionPlan;
  readonly consignment: Consignment;
  readonly signal: AbortSignal;
  /** Kept alive with the run. */
  readonly holds: object;
}

interface Running extends Run {
  readonly resolve: (result: SessionResult) => void;
  readonly reject: (error: Error) => void;
  readonly body: BodySource;
}

/** Larger bodies are not sent along before they are wanted. */
const BODY_AT_HAND = 256 * 1024;

export class SessionThread {
  readonly #program: URL;
  readonly #events: ThreadEvents;
  #worker: Worker | undefined;
  #outgoing: Outgoing<ToThread> | undefined;
  /** By generation, to be told to a new thread, too. */
  readonly #settings = new Map<number, SessionSettings>();
  readonly #runs = new Map<number, Running>();
  readonly #closing = new Map<number, () => void>();
  #named = 0;
  #connections = 0;
  #hasEnded = false;

  constructor(program: URL, events: ThreadEvents) {
    this.#program = program;
    this.#events = events;
  }

  open(generation: number, settings: SessionSettings): void {
    this.#settings.set(generation, settings);
    if (this.#worker) this.#say({ kind: 'open', generation, settings });
    else this.#start();
  }

  /** Until its idle sessions have ended. */
  async close(generation: number): Promise<void> {
    if (!this.#worker) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#closing.set(generation, resolve);
    this.#say({ kind: 'close', generation });
    await promise;
  }

  forget(generation: number): void {
    this.#settings.delete(generation);
    if (this.#worker) this.#say({ kind: 'forget', generation });
  }

  /** Rejects when the thread, or the run in it, came to an unexpected end. */
  async run(run: Run): Promise<SessionResult> {
    const { generation, plan, consignment, signal } = run;
    const id = this.#named++;
    const { promise, resolve, reject } = Promise.withResolvers<SessionResult>();
    const body = new BodySource(consignment, {
      say: (answer) =>
        this.#say({ kind: 'body', id, answer }, 'whole' in answer ? answer.whole : undefined),
      sayPiece: (answer) =>
        this.#say({ kind: 'piece', id, answer }, 'piece' in answer ? answer.piece : undefined),
    });
    this.#runs.set(id, { ...run, resolve, reject, body });
    if (!this.#worker) this.#start();
    const octets = atHand(consignment);
    const order = {
      plan,
      envelope: ownEnvelope(consignment),
      sizeBytes: consignment.sizeBytes,
      body: octets,
      isRecorded: consignment.recorded !== undefined,
    };
    this.#say({ kind: 'run', id, generation, order }, octets);
    const recorded = () => this.#say({ kind: 'recorded', id });
    consignment.recorded?.then(recorded, recorded);
    const abort = () => this.#say({ kind: 'abort', id });
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
    try {
      return await promise;
    } finally {
      signal.removeEventListener('abort', abort);
      this.#runs.delete(id);
      body.end();
    }
  }

  async end(): Promise<void> {
    this.#hasEnded = true;
    await this.#worker?.terminate();
  }

  #start(): void {
    if (this.#hasEnded) throw new Error('the session threads have ended');
    const worker = new Worker(this.#program, { name: 'sessions' });
    this.#worker = worker;
    this.#outgoing = new Outgoing(worker);
    worker.on('message', (messages: readonly FromThread[]) => {
      for (const message of messages) this.#hear(message);
    });
    let cause: Error | undefined;
    worker.on('error', (error) => {
      cause = error instanceof Error ? error : new Error(String(error));
    });
    worker.once('exit', (code) => {
      if (this.#worker === worker) this.#lost(cause ?? new Error(`exit code ${code}`));
    });
    for (const [generation, settings] of this.#settings) {
      this.#say({ kind: 'open', generation, settings });
    }
  }

  #lost({ message, stack }: Error): void {
    this.#worker = undefined;
    this.#outgoing = undefined;
    for (; this.#connections > 0; this.#connections--) this.#events.connection(-1);
    for (const closed of this.#closing.values()) closed();
    this.#closing.clear();
    const runs = [...this.#runs.values()];
    if (!this.#hasEnded) {
      this.#events.threadEnded({ error: message, stack, runs: runs.length });
    }
    for (const { reject } of runs) reject(new Error(`the session thread ended: ${message}`));
  }

  #say(message: ToThread, octets?: Uint8Array): void {
    this.#outgoing?.say(message, octets);
  }

  #hear(message: FromThread): void {
    if (message.kind === 'connection') {
      this.#connections += message.change;
      this.#events.connection(message.change);
    } else if (message.kind === 'closed') {
      this.#closing.get(message.generation)?.();
      this.#closing.delete(message.generation);
    } else if (message.kind === 'warning') {
      this.#events.nodeWarning(message.warning);
    } else {
      const run = this.#runs.get(message.id);
      if (run) hearAbout(run, message);
    }
  }
}

function hearAbout(run: Running, message: Extract<FromThread, { readonly id: number }>): void {
  if (message.kind === 'result') run.resolve(whole(message.result, run));
  else if (message.kind === 'threw') run.reject(asThrown(message));
  else if (message.kind === 'want-body') void run.body.open();
  else if (message.kind === 'want-piece') void run.body.next();
  else run.body.end();
}

function asThrown({ message, stack }: { message: string; stack: string | undefined }): Error {
  const error = new Error(message);
  if (stack !== undefined) error.stack = stack;
  return error;
}

/** A copy of the body, where it need not be read. */
function atHand({ bodyInMemory }: Consignment): Uint8Array | undefined {
  const body = bodyInMemory?.();
  return body && body.length <= BODY_AT_HAND ? ownCopy(body) : undefined;
}

/** With the recipients of this delivery alone: there may be hundreds for other destinations. */
function ownEnvelope({ envelope, recipients }: Consignment): Consignment['envelope'] {
  const own = recipients.flatMap((index) => envelope.recipients[index] ?? []);
  return { ...envelope, recipients: own };
}

/** The result as it would be had the session run here. */
function whole({ facts, ...result }: ThinResult, { plan, consignment }: Run): SessionResult {
  const { candidate, requirement } = plan;
  const all = { ...facts, candidate, requirement };
  if (result.kind === 'ended-early') return { ...result, facts: all };
  const recipients = new Map<number, RecipientReply>();
  for (const [place, reply] of result.recipients) {
    const index = consignment.recipients[place];
    if (index !== undefined) recipients.set(index, reply);
  }
  return { kind: 'transacted', facts: all, recipients };
}
