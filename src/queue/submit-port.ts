/**
 * The one door into the queue, as the stages before it see it: intake hands over what clients
 * sent, outcome/ hands over the bounces it made.
 */
import type { Envelope } from '../mail/envelope.ts';
import type { MessageId } from '../mail/message-id.ts';
import type { Draft } from '../spool/store.ts';

export interface Submit {
  /**
   * A draft to write the body to, under a new id, or the one the message already has. Throws
   * SpoolError, QueueFullError, QueueAwayError.
   */
  begin(id?: MessageId): Promise<Draft>;
  /**
   * Commit the draft and queue one delivery per destination. When it returns the message is
   * safe and may be acknowledged, whether Redis is there or not. Throws SpoolError,
   * QueueAwayError.
   */
  commit(draft: Draft, envelope: Envelope): Promise<void>;
}

/** `limits.queuedMessages` is reached. */
export class QueueFullError extends Error {
  readonly limit: number;
  constructor(limit: number) {
    super(`the queue holds ${limit} messages, its limit`);
    this.name = 'QueueFullError';
    this.limit = limit;
  }
}

/** The queue is in another process, which is not there, or does not answer. */
export class QueueAwayError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'QueueAwayError';
  }
}
