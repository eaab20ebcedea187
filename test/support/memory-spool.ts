/**
 * A spool in memory, for tests of what happens to messages rather than of the disk: the same
 * interface as the file store, nothing outlives it.
 */
import type { Envelope } from '../../src/mail/envelope.ts';
import type { MessageId } from '../../src/mail/message-id.ts';
import type { SpoolRecord } from '../../src/spool/message-state.ts';
import { type Draft, type Spool, SpoolError, type StoredMessage } from '../../src/spool/store.ts';

interface Kept {
  readonly envelope: Envelope;
  readonly body: Buffer;
  readonly records: SpoolRecord[];
}

export class MemorySpool implements Spool {
  readonly #messages = new Map<MessageId, Kept>();

  async begin(id: MessageId): Promise<Draft> {
    const chunks: Buffer[] = [];
    return {
      id,
      write: async (chunk) => void chunks.push(chunk),
      commit: async (envelope) => {
        this.#messages.set(id, { envelope, body: Buffer.concat(chunks), records: [] });
        return this.#stored(id);
      },
      discard: async () => {},
    };
  }

  async append(id: MessageId, records: readonly SpoolRecord[]): Promise<void> {
    this.#kept(id).records.push(...records);
  }

  async read(id: MessageId): Promise<StoredMessage | undefined> {
    return this.#messages.has(id) ? this.#stored(id) : undefined;
  }

  async openBody(id: MessageId): Promise<Buffer> {
    return this.#kept(id).body;
  }

  bodyInMemory(): undefined {
    return undefined;
  }

  get messageCount(): number {
    return this.#messages.size;
  }

  async *list(): AsyncIterable<StoredMessage> {
    for (const id of this.#messages.keys()) yield this.#stored(id);
  }

  async remove(id: MessageId): Promise<void> {
    this.#messages.delete(id);
  }

  health(): { readonly ok: boolean; readonly reason: string } {
    return { ok: true, reason: '' };
  }

  async close(): Promise<void> {}

  #kept(id: MessageId): Kept {
    const kept = this.#messages.get(id);
    if (!kept) throw new SpoolError('failed', `no message ${id}`);
    return kept;
  }

  #stored(id: MessageId): StoredMessage {
    const { envelope, body, records } = this.#kept(id);
    return { envelope, sizeBytes: body.length, records: [...records] };
  }
}
