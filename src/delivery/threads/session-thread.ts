/**
 * The entry of a session thread: runs the sessions it is told to, and says what came of each. It has
 * no log, no metrics and no disk; all that goes by way of the main thread (session-threads.ts).
 */
import { Readable } from 'node:stream';
import { parentPort } from 'node:worker_threads';
import { systemClock } from '../../platform/clock.ts';
import type { Consignment } from '../session.ts';
import { type SessionSettings, type Sessions, sessionsHere } from '../sessions.ts';
import {
  type BodyAnswer,
  type FromThread,
  type Order,
  Outgoing,
  type PieceAnswer,
  type ToThread,
} from './messages.ts';
import { thinResult } from './order.ts';

/** An order that is being carried out, or was and is not on disk yet. */
class Job {
  readonly #id: number;
  readonly #order: Order;
  readonly #ending = new AbortController();
  readonly #recorded = Promise.withResolvers<void>();
  #body: PromiseWithResolvers<Buffer | Readable> | undefined;
  #stream: Readable | undefined;

  constructor(id: number, order: Order) {
    this.#id = id;
    this.#order = order;
    jobs.set(id, this);
  }

  async run(generation: number): Promise<void> {
    const id = this.#id;
    // What came with the order is heard first: a session may be free again, or the order withdrawn.
    await undefined;
    try {
      const { plan } = this.#order;
      const sessions = sessionsOf(generation);
      const result = await sessions.run(plan, this.#consignment(), this.#ending.signal);
      outgoing.say({ kind: 'result', id, result: thinResult(result) });
    } catch (error) {
      const { message, stack } = error instanceof Error ? error : new Error(String(error));
      outgoing.say({ kind: 'threw', id, message, stack });
    }
    if (this.#order.isRecorded) await this.#recorded.promise;
    jobs.delete(id);
  }

  abort(reason: string): void {
    this.#ending.abort(new Error(reason));
  }

  recorded(): void {
    this.#recorded.resolve();
  }

  #consignment(): Consignment {
    const { envelope, sizeBytes, isRecorded } = this.#order;
    return {
      envelope,
      sizeBytes,
      recipients: envelope.recipients.map((_, index) => index),
      openBody: () => this.#openBody(),
      ...(isRecorded ? { recorded: this.#recorded.promise } : {}),
    };
  }

  async #openBody(): Promise<Buffer | Readable> {
    const { body } = this.#order;
    if (body) return asBuffer(body);
    this.#body = Promise.withResolvers();
    outgoing.say({ kind: 'want-body', id: this.#id });
    return this.#body.promise;
  }

  bodyAnswer(answer: BodyAnswer): void {
    if ('whole' in answer) this.#body?.resolve(asBuffer(answer.whole));
    else if ('pieces' in answer) this.#body?.resolve(this.#openStream());
    else this.#body?.reject(new Error(answer.error, { cause: { code: answer.code } }));
  }

  #openStream(): Readable {
    const id = this.#id;
    this.#stream = new Readable({
      read: () => outgoing.say({ kind: 'want-piece', id }),
      destroy: (error, done) => {
        outgoing.say({ kind: 'enough', id });
        done(error);
      },
    });
    return this.#stream;
  }

  pieceAnswer(answer: PieceAnswer): void {
    if ('error' in answer) this.#stream?.destroy(new Error(answer.error));
    else this.#stream?.push(answer.piece ? asBuffer(answer.piece) : null);
  }
}

if (!parentPort) throw new Error('session-thread is not a program of its own');
/** A thread that cannot speak or hear is of no use: those who wait for it are told when it ends. */
const endWith = (error: Error) => {
  throw error;
};
const outgoing = new Outgoing<FromThread>(parentPort, endWith);
const jobs = new Map<number, Job>();
const generations = new Map<number, Sessions>();
const home = sessionsHere({
  clock: systemClock,
  onConnection: (change) => outgoing.say({ kind: 'connection', change }),
});

parentPort.on('message', (messages: readonly ToThread[]) => {
  for (const message of messages) hear(message);
});
parentPort.on('messageerror', endWith);
// Whatever ends the thread: what was delivered by then was delivered.
process.on('exit', () => outgoing.post());
process.removeAllListeners('warning'); // Node's own prints text to stderr
process.on('warning', ({ name, message }) => {
  outgoing.say({ kind: 'warning', warning: `${name}: ${message}` });
});

function hear(message: ToThread): void {
  switch (message.kind) {
    case 'open':
      generations.set(message.generation, opened(message.settings));
      break;
    case 'close':
      void close(message.generation);
      break;
    case 'forget':
      generations.delete(message.generation);
      break;
    case 'ask':
      outgoing.say({ kind: 'here' });
      break;
    case 'run':
      void new Job(message.id, message.order).run(message.generation);
      break;
    default: {
      const job = jobs.get(message.id);
      if (job) hearAbout(job, message);
    }
  }
}

type AboutJob = Exclude<Extract<ToThread, { readonly id: number }>, { readonly kind: 'run' }>;

function hearAbout(job: Job, message: AboutJob): void {
  if (message.kind === 'body') job.bodyAnswer(message.answer);
  else if (message.kind === 'piece') job.pieceAnswer(message.answer);
  else if (message.kind === 'recorded') job.recorded();
  else job.abort(message.reason);
}

/** Settings that no session can be opened with fail where they are used: others go on. */
function opened(settings: SessionSettings): Sessions {
  try {
    return home.open(settings);
  } catch (error) {
    return { run: () => Promise.reject(error), close: async () => {} };
  }
}

function sessionsOf(generation: number): Sessions {
  const sessions = generations.get(generation);
  if (!sessions) throw new Error(`settings ${generation} were not told`);
  return sessions;
}

/** Attempts that began with these settings go on with them: they are kept until `forget`. */
async function close(generation: number): Promise<void> {
  await generations.get(generation)?.close();
  outgoing.say({ kind: 'closed', generation });
}

function asBuffer({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
