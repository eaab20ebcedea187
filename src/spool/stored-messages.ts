/**
 * The messages as they stand on the disk, found by the index. Meanwhile they may be moved, written about
 * or removed: whoever reads looks at the index again afterwards, and reads once more when it
 * changed. So what is given was true when it was given.
 */
import { Readable } from 'node:stream';
import type { MessageId } from '../mail/message-id.ts';
import { BlockReader } from './block-reader.ts';
import type { LargeBodies } from './large-bodies.ts';
import type { IndexEntry, MessageIndex } from './message-index.ts';
import { asSpoolError, gone, SpoolError, type SpoolEvents, type StoredMessage } from './store.ts';
import { peekHead, type ReadOctets, readBody, readDirectly, readHead } from './stored-frames.ts';

export interface StoredMessagesParts {
  readonly index: MessageIndex;
  readonly bodies: LargeBodies;
  readonly events: Pick<SpoolEvents, 'damaged' | 'failed'>;
}

export class StoredMessages {
  readonly #index: MessageIndex;
  readonly #bodies: LargeBodies;
  readonly #events: StoredMessagesParts['events'];

  constructor({ index, bodies, events }: StoredMessagesParts) {
    this.#index = index;
    this.#bodies = bodies;
    this.#events = events;
  }

  /** A message as it stands on the disk; `found` is told at the very moment at which it does. */
  async find(
    id: MessageId,
    read: ReadOctets = readDirectly,
    found: (message: StoredMessage) => void = () => {},
  ): Promise<StoredMessage | SpoolError | undefined> {
    for (;;) {
      const entry = this.#index.get(id);
      if (!entry) return undefined;
      const known = entry.records?.length;
      const head = await readHead(id, entry, read).catch(asSpoolError);
      // Moved, or written about, meanwhile: what was read may be too old, or no longer there.
      if (this.#index.get(id) !== entry || entry.records?.length !== known) continue;
      if (head instanceof SpoolError) return head;
      const { envelope, sizeBytes, records, damage } = head;
      if (damage) this.#events.damaged(damage.segment.path, damage.error.message, id);
      const message = { envelope, sizeBytes, records };
      found(message);
      return message;
    }
  }

  /** The body, whole when it is small, else from its first octet. Throws SpoolError. */
  async openBody(id: MessageId): Promise<Buffer | Readable> {
    for (;;) {
      const entry = this.#index.get(id);
      if (!entry) throw gone(id);
      const body = await this.#openEntry(id, entry).catch(asSpoolError);
      if (this.#index.get(id) !== entry) {
        if (body instanceof Readable) body.destroy();
        continue;
      }
      if (body instanceof SpoolError) throw body;
      return body;
    }
  }

  async #openEntry(id: MessageId, entry: IndexEntry): Promise<Buffer | Readable> {
    const { sizeBytes, bodyCrc } = await readHead(id, entry);
    if (!entry.isLarge) {
      const body = await readBody(id, entry);
      if (body.length !== sizeBytes) throw new SpoolError('failed', `the body of ${id} is lost`);
      return body;
    }
    const stream = this.#bodies.open(id, { crc: bodyCrc ?? 0, octets: sizeBytes });
    stream.on('error', (error) => {
      if (error.name !== 'AbortError') this.#events.failed('read', error);
    });
    return stream;
  }

  /** All of them; one that cannot be read is told, and hides no other. */
  async *list(): AsyncIterable<StoredMessage> {
    const blocks = new BlockReader();
    const read: ReadOctets = (segment, at, length) => blocks.read(segment, at, length);
    for (const id of [...this.#index.ids()]) {
      const entry = this.#index.get(id);
      const atHand = entry && peekHead(id, entry, (...where) => blocks.peek(...where));
      if (atHand) {
        const { envelope, sizeBytes, records } = atHand;
        yield { envelope, sizeBytes, records };
        continue;
      }
      const found = await this.find(id, read);
      if (found instanceof SpoolError) {
        const path = this.#index.get(id)?.location.segment.path ?? '';
        this.#events.damaged(path, found.message, id);
      } else if (found) yield found;
    }
  }
}
