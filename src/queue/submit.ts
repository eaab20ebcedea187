/**
 * The one door in: commits a message to the spool, enters its deliveries in the ledger and
 * queues them. The caller may acknowledge when `commit` returns; Redis is not waited for.
 */
import type { Envelope } from '../mail/envelope.ts';
import { type MessageId, newMessageId } from '../mail/message-id.ts';
import type { Clock } from '../platform/clock.ts';
import { type DestinationOf, foldRecords, type MessageState } from '../spool/message-state.ts';
import type { Draft, Spool } from '../spool/store.ts';
import { QueueFullError, type Submit } from './submit-port.ts';

export interface SubmitParts {
  readonly spool: Spool;
  readonly clock: Clock;
  readonly destinationOf: DestinationOf;
  /** Told of each message that was committed. */
  readonly enter: (state: MessageState) => void;
  readonly queuedMessages: () => number;
  /** `limits.queuedMessages`. */
  readonly mostMessages: () => number;
}

export function createSubmit(parts: SubmitParts): Submit & {
  /** A draft under an id fixed beforehand, past the limit of queued messages: for DSNs. */
  beginOwn(id: MessageId): Promise<Draft>;
  /**
   * Queue a message of our own, past the limit of queued messages. `recorded` is awaited when it is durable and
   * before it can be delivered; what comes of it changes nothing. Throws SpoolError.
   */
  queueOwn(envelope: Envelope, body: Buffer, recorded: () => Promise<void>): Promise<void>;
} {
  return {
    async begin(id = newMessageId(parts.clock.now())) {
      const limit = parts.mostMessages();
      if (parts.queuedMessages() >= limit) throw new QueueFullError(limit);
      return parts.spool.begin(id);
    },
    beginOwn: (id) => parts.spool.begin(id),
    async queueOwn(envelope, body, recorded) {
      const draft = await parts.spool.begin(envelope.id);
      try {
        await draft.write(body);
        const stored = await draft.commit(envelope);
        await recorded().catch(() => {}); // whoever records it tells
        parts.enter(foldRecords(stored.envelope, stored.records, parts.destinationOf));
      } catch (error) {
        await draft.discard();
        throw error;
      }
    },
    async commit(draft: Draft, envelope: Envelope) {
      const stored = await draft.commit(envelope);
      parts.enter(foldRecords(stored.envelope, stored.records, parts.destinationOf));
    },
  };
}
