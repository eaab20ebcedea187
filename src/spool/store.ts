/**
 * The spool: the truth about every message the relay answers for. What stands here outlives
 * SIGKILL, a power cut and the loss of Redis. This file is the interface; the store is
 * spool/segment-store.ts.
 *
 * A message is committed (body and envelope, synced) before it is acknowledged. After that its
 * envelope and body never change; what happens to it is appended as records, each durable
 * before the call returns. Its state is the fold of its records (spool/message-state.ts).
 */
import type { Readable } from 'node:stream';
import type { Envelope } from '../mail/envelope.ts';
import type { MessageId } from '../mail/message-id.ts';
import type { SpoolRecord } from './message-state.ts';

/** A message being received: nobody can see it until it is committed. */
export interface Draft {
  readonly id: MessageId;
  /** Takes the next octets of the message, trace header first; resolves when more may come. Throws SpoolError. */
  write(chunk: Buffer): Promise<void>;
  /** Body and envelope durable on disk; afterwards the message exists. Throws SpoolError. */
  commit(envelope: Envelope): Promise<StoredMessage>;
  /** Forget it and free its space; safe to call at any time, also after a failed commit. */
  discard(): Promise<void>;
}

/** A message as the spool keeps it. */
export interface StoredMessage {
  readonly envelope: Envelope;
  /** Octets of the body. */
  readonly sizeBytes: number;
  readonly records: readonly SpoolRecord[];
}

export interface Spool {
  /** Room for a new message; throws SpoolError('full') when the disk is below its reserve. */
  begin(id: MessageId): Promise<Draft>;
  /** Append records about one message; durable when it returns. */
  append(id: MessageId, records: readonly SpoolRecord[]): Promise<void>;
  read(id: MessageId): Promise<StoredMessage | undefined>;
  /** The body, whole when it is small, else from its first octet. Throws SpoolError. */
  openBody(id: MessageId): Promise<Buffer | Readable>;
  /** The body, if it is still in memory. */
  bodyInMemory(id: MessageId): Buffer | undefined;
  /** How many there are. */
  readonly messageCount: number;
  /** Everything committed; what cannot be read is reported and never hides the rest. */
  list(): AsyncIterable<StoredMessage>;
  /** Every recipient has its answer: the message may go. */
  remove(id: MessageId): Promise<void>;
  /** Whether a new message may be taken, for /readyz. */
  health(): { readonly ok: boolean; readonly reason: string };
  /** Let go of the files. */
  close(): Promise<void>;
}

/** What the store tells its surroundings; log lines and metrics are made of it. */
export interface SpoolEvents {
  /** A durable operation took `seconds`. */
  took(operation: 'commit' | 'append' | 'remove', seconds: number): void;
  failed(operation: 'begin' | 'commit' | 'append' | 'read' | 'remove', error: Error): void;
  /** Something that was acknowledged cannot be read; the rest is not affected. */
  damaged(file: string, reason: string, id?: MessageId): void;
  /** What a crash left of something nobody was told about. */
  leftover(file: string, reason: string): void;
}

/** `gone`: there is no such message, and nothing can be recorded about it. */
export type SpoolErrorKind = 'full' | 'failed' | 'gone';

export class SpoolError extends Error {
  readonly kind: SpoolErrorKind;
  constructor(kind: SpoolErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'SpoolError';
    this.kind = kind;
  }
}

/** The system's error as one of the spool; `where` is added to a message that names no path. */
export function asSpoolError(error: unknown, where?: string): SpoolError {
  if (error instanceof SpoolError) return error;
  const cause = error as NodeJS.ErrnoException;
  const kind = cause.code === 'ENOSPC' || cause.code === 'EDQUOT' ? 'full' : 'failed';
  const names = where === undefined || cause.path !== undefined;
  return new SpoolError(kind, names ? cause.message : `${cause.message} (in ${where})`, { cause });
}

/** Nothing can be recorded about it any more. */
export function gone(id: MessageId): SpoolError {
  return new SpoolError('gone', `there is no message ${id}`);
}
