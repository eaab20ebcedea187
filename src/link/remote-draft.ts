/**
 * A message that a process without the spool is receiving: kept while it is small, sent to the
 * owner in chunks from then on. Made and committed by the RemoteQueue.
 */
import type { MessageId } from '../mail/message-id.ts';
import { type Draft, SpoolError, type StoredMessage } from '../spool/store.ts';
import type { LinkConnection } from './connection.ts';
import type { Exchange } from './exchange.ts';
import { CHUNK_LIMIT, encodeMessage, FRAME, SMALL_BODY } from './frame.ts';

/** A client may send its octets one by one, and a piece of one costs a thousand. */
const MOST_PIECES = 64;

/** What a draft needs of its queue. */
export interface DraftOwner {
  /** Begin to speak of one more message. Throws QueueAwayError where there is nobody to speak to. */
  open(): { readonly link: LinkConnection; readonly exchange: Exchange };
  close(exchange: Exchange): void;
  /** Keep so many octets. Throws SpoolError when that would be too many. */
  hold(octets: number): void;
  letGo(octets: number): void;
}

export class RemoteDraft implements Draft {
  readonly id: MessageId;
  readonly #queue: DraftOwner;
  /** What has come, while the message is small. */
  #pieces: Buffer[] = [];
  #octets = 0;
  /** How it goes over, once it is not. */
  #way: { link: LinkConnection; exchange: Exchange } | undefined;

  constructor(id: MessageId, queue: DraftOwner) {
    this.id = id;
    this.#queue = queue;
  }

  async write(chunk: Buffer): Promise<void> {
    if (!this.#way && this.#octets + chunk.length <= SMALL_BODY) {
      this.#queue.hold(chunk.length);
      this.#pieces.push(chunk);
      if (this.#pieces.length > MOST_PIECES) this.#pieces = [Buffer.concat(this.#pieces)];
      this.#octets += chunk.length;
      return;
    }
    if (!this.#way) await this.stream();
    await this.#send(chunk);
  }

  /** From now on in chunks: returns when the owner has made room. Throws SpoolError, QueueFullError, QueueAwayError. */
  async stream(): Promise<void> {
    const { link, exchange } = this.#open();
    link.send(FRAME.begin, exchange.id, Buffer.from(this.id));
    await this.#heard(() => exchange.begun);
    const pieces = this.#pieces;
    this.#forget();
    for (const piece of pieces) await this.#send(piece);
  }

  async finish(envelope: Buffer): Promise<void> {
    const isSmall = this.#way === undefined;
    const { link, exchange } = this.#way ?? this.#open();
    try {
      if (isSmall) {
        link.send(FRAME.message, exchange.id, ...encodeMessage(envelope, this.#pieces));
      } else link.send(FRAME.commit, exchange.id, envelope);
      await this.#heard(() => exchange.committed);
    } finally {
      this.#queue.close(exchange);
      this.#forget();
    }
  }

  commit(): Promise<StoredMessage> {
    return Promise.reject(new Error('a draft of the link is committed by its queue'));
  }

  async discard(): Promise<void> {
    this.#forget();
    if (!this.#way) return;
    const { link, exchange } = this.#way;
    this.#queue.close(exchange);
    if (!exchange.committed && !exchange.failure) link.send(FRAME.discard, exchange.id);
    exchange.fail(new SpoolError('failed', 'the message was given up'));
  }

  #open(): { link: LinkConnection; exchange: Exchange } {
    this.#way = this.#queue.open();
    return this.#way;
  }

  async #send(octets: Buffer): Promise<void> {
    const { link, exchange } = this.#way ?? this.#open();
    for (let at = 0; at < octets.length; at += CHUNK_LIMIT) {
      await this.#heard(() => exchange.window > 0);
      const chunk = octets.subarray(at, at + CHUNK_LIMIT);
      exchange.window -= chunk.length;
      link.send(FRAME.chunk, exchange.id, chunk);
    }
  }

  async #heard(isSo: () => boolean): Promise<void> {
    const exchange = this.#way?.exchange;
    if (exchange) await exchange.until(isSo);
  }

  #forget(): void {
    this.#queue.letGo(this.#octets);
    this.#pieces = [];
    this.#octets = 0;
  }
}
