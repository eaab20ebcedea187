/**
 * What the main thread and a session thread tell each other: plain data, many at a time. A body goes
 * with the order where it is in memory anyway; else it is asked for when the peer is ready for it,
 * whole or piece by piece.
 */
import type { MessagePort, Transferable } from 'node:worker_threads';
import type { Envelope } from '../../mail/envelope.ts';
import type { SessionFacts, SessionResult } from '../../mail/session-result.ts';
import type { SessionPlan } from '../session.ts';
import type { SessionSettings } from '../sessions.ts';

/** One run of `Sessions.run`; the envelope has the recipients of this delivery alone. */
export interface Order {
  readonly plan: SessionPlan;
  readonly envelope: Envelope;
  readonly sizeBytes: number;
  readonly body: Uint8Array | undefined;
  /** `recorded` will follow. */
  readonly isRecorded: boolean;
}

/** The body that was asked for. */
export type BodyAnswer =
  | { readonly whole: Uint8Array }
  /** To be asked for piece by piece. */
  | { readonly pieces: true }
  /** It cannot be read; `code` of the system's error, if there is one. */
  | { readonly error: string; readonly code: string | undefined };

export type PieceAnswer =
  /** Undefined: that was all. */
  { readonly piece: Uint8Array | undefined } | { readonly error: string };

export type ToThread =
  | { readonly kind: 'open'; readonly generation: number; readonly settings: SessionSettings }
  | { readonly kind: 'close'; readonly generation: number }
  /** No order will name it again. */
  | { readonly kind: 'forget'; readonly generation: number }
  | {
      readonly kind: 'run';
      readonly id: number;
      readonly generation: number;
      readonly order: Order;
    }
  | { readonly kind: 'body'; readonly id: number; readonly answer: BodyAnswer }
  | { readonly kind: 'piece'; readonly id: number; readonly answer: PieceAnswer }
  /** The outcome of the order is on disk. */
  | { readonly kind: 'recorded'; readonly id: number }
  | { readonly kind: 'abort'; readonly id: number; readonly reason: string }
  /** Say something (pulse.ts). */
  | { readonly kind: 'ask' };

/** A result without what the plan says already; recipients by their place in the order. */
export type ThinResult = SessionResult & {
  readonly facts: Omit<SessionFacts, 'candidate' | 'requirement'>;
};

export type FromThread =
  | { readonly kind: 'result'; readonly id: number; readonly result: ThinResult }
  /** A bug. */
  | {
      readonly kind: 'threw';
      readonly id: number;
      readonly message: string;
      readonly stack: string | undefined;
    }
  | { readonly kind: 'want-body'; readonly id: number }
  | { readonly kind: 'want-piece'; readonly id: number }
  /** No piece is wanted any more. */
  | { readonly kind: 'enough'; readonly id: number }
  | { readonly kind: 'connection'; readonly change: 1 | -1 }
  | { readonly kind: 'closed'; readonly generation: number }
  | { readonly kind: 'warning'; readonly warning: string }
  | { readonly kind: 'here' };

/** Collects what is said within one turn of the event loop, and posts it at its end. */
export class Outgoing<T> {
  readonly #port: Pick<MessagePort, 'postMessage'>;
  readonly #failed: (error: Error) => void;
  #said: T[] = [];
  #transfer: Transferable[] = [];

  /** `failed` is told when something cannot be posted, which is a bug; what was said with it is lost. */
  constructor(port: Pick<MessagePort, 'postMessage'>, failed: (error: Error) => void) {
    this.#port = port;
    this.#failed = failed;
  }

  /** `octets` are handed over and no longer the caller's. */
  say(message: T, octets?: Uint8Array): void {
    if (this.#said.length === 0) setImmediate(() => this.post());
    this.#said.push(message);
    if (octets) this.#transfer.push(octets.buffer as ArrayBuffer);
  }

  /** Post what was said so far. */
  post(): void {
    const [said, transfer] = [this.#said, this.#transfer];
    if (said.length === 0) return;
    this.#said = [];
    this.#transfer = [];
    try {
      this.#port.postMessage(said, transfer);
    } catch (error) {
      this.#failed(error as Error);
    }
  }
}

/** A copy with memory of its own, to be handed over: a Buffer may lie in the same memory as others. */
export function ownCopy(octets: Uint8Array): Uint8Array {
  return new Uint8Array(octets);
}
