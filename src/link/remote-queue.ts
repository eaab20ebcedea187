/**
 * The door into the queue for a process that does not own the spool: the `Submit` port over
 * the link. A message of up to SMALL_BODY octets is kept until it is complete and goes over in
 * one frame; a larger one goes in chunks, as fast as the owner writes them.
 *
 * Promises: `commit` returns only after the owner has said that the message is durable. When
 * the link is not there, breaks, or nothing is heard for REPLY_MS, it throws
 * QueueAwayError, and the client is told to come again: whether the message was
 * committed before the break nobody knows, and twice is better than never. Memory is bounded
 * by HELD_LIMIT, here and on the way each; beyond, there is no room.
 */
import type { Envelope } from '../mail/envelope.ts';
import { type MessageId, newMessageId } from '../mail/message-id.ts';
import type { Clock } from '../platform/clock.ts';
import { QueueAwayError, type Submit } from '../queue/submit-port.ts';
import { type Draft, SpoolError } from '../spool/store.ts';
import type { LinkConnection } from './connection.ts';
import { decodeRefusal } from './errors.ts';
import { Exchange } from './exchange.ts';
import { FRAME, type Frame, FrameError, MAX_ID } from './frame.ts';
import { type DraftOwner, RemoteDraft } from './remote-draft.ts';

/** Octets of messages kept here, until the owner has them. */
const HELD_LIMIT = 64 * 1024 * 1024;
/** The owner's longest silence about a message. */
const REPLY_MS = 120_000;
const LOOK_EVERY_MS = 5_000;

export class RemoteQueue implements Submit, DraftOwner {
  readonly #clock: Clock;
  readonly #exchanges = new Map<number, Exchange>();
  #link: LinkConnection | undefined;
  #why = 'it was never there';
  #roomy = true;
  #lastId = 0;
  #held = 0;
  #looking = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** There is an owner. */
  attach(link: LinkConnection): void {
    this.#link = link;
    this.#roomy = true;
  }

  /** The owner is gone. */
  detach(reason: string): void {
    this.#link = undefined;
    this.#why = reason;
    for (const exchange of this.#exchanges.values()) exchange.fail(this.#noOwner());
    this.#exchanges.clear();
  }

  /** A frame of the owner; false when it is about something else. */
  take(frame: Frame): boolean {
    if (frame.type === FRAME.room) {
      this.#roomy = frame.id === 1;
      return true;
    }
    const exchange = this.#exchanges.get(frame.id);
    switch (frame.type) {
      case FRAME.begun:
        if (exchange) exchange.begun = true;
        break;
      case FRAME.committed:
        if (exchange) exchange.committed = true;
        this.#exchanges.delete(frame.id);
        break;
      case FRAME.credit:
        if (exchange) exchange.window += creditOf(frame);
        break;
      case FRAME.refused:
        exchange?.fail(decodeRefusal(frame));
        this.#exchanges.delete(frame.id);
        break;
      default:
        return false;
    }
    exchange?.heard();
    return true;
  }

  async begin(id: MessageId = newMessageId(this.#clock.now())): Promise<Draft> {
    // What was given up is on its way all the same.
    if (this.#needLink().unsentOctets > HELD_LIMIT) {
      throw new QueueAwayError('the delivering role takes nothing in');
    }
    const draft = new RemoteDraft(id, this);
    // While there was room at the last look, the owner is not asked before the message is complete.
    if (!this.#roomy) await draft.stream();
    return draft;
  }

  async commit(draft: Draft, envelope: Envelope): Promise<void> {
    if (!(draft instanceof RemoteDraft)) throw new Error('the draft of another queue');
    await draft.finish(Buffer.from(JSON.stringify(envelope)));
  }

  open(): { link: LinkConnection; exchange: Exchange } {
    const link = this.#needLink();
    do this.#lastId = this.#lastId === MAX_ID ? 1 : this.#lastId + 1;
    while (this.#exchanges.has(this.#lastId));
    const exchange = new Exchange(this.#lastId);
    this.#exchanges.set(exchange.id, exchange);
    this.#lookLater();
    return { link, exchange };
  }

  close({ id }: Exchange): void {
    this.#exchanges.delete(id);
  }

  hold(octets: number): void {
    if (this.#held + octets > HELD_LIMIT) {
      throw new SpoolError('full', 'too much mail is being received at once');
    }
    this.#held += octets;
  }

  letGo(octets: number): void {
    this.#held -= octets;
  }

  #needLink(): LinkConnection {
    if (!this.#link) throw this.#noOwner();
    return this.#link;
  }

  #noOwner(): QueueAwayError {
    return new QueueAwayError(`the delivering role is not there: ${this.#why}`);
  }

  /** Fail what has waited too long, as long as anything waits. */
  #lookLater(): void {
    if (this.#looking) return;
    this.#looking = true;
    this.#clock.after(LOOK_EVERY_MS, () => {
      this.#looking = false;
      for (const exchange of this.#exchanges.values()) {
        if (exchange.look() * LOOK_EVERY_MS < REPLY_MS) continue;
        this.#exchanges.delete(exchange.id);
        this.#link?.send(FRAME.discard, exchange.id);
        exchange.fail(new QueueAwayError('the delivering role does not answer'));
      }
      if (this.#exchanges.size > 0) this.#lookLater();
    });
  }
}

/** Throws FrameError. */
function creditOf({ payload }: Frame): number {
  if (payload.length !== 4) throw new FrameError('a credit that is none');
  return payload.readUInt32BE(0);
}
