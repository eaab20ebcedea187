/**
 * The owner's end of the link, as far as messages go: what the receiving role sends becomes
 * drafts of the spool, and each gets its answer. A message is called committed when the
 * queue has said so, never before.
 *
 * Bounded: so many octets and messages under way, whatever the other side does; beyond, a
 * message is refused as with a full spool. One that sends more than its window is cut off. When
 * the link ends, what is not complete is discarded; what is complete is committed all the
 * same, and its client, told to come again, sends it twice at worst.
 */
import type { Envelope } from '../mail/envelope.ts';
import { isMessageId, type MessageId } from '../mail/message-id.ts';
import { QueueAwayError, type Submit } from '../queue/submit-port.ts';
import { type Draft, SpoolError } from '../spool/store.ts';
import type { LinkConnection } from './connection.ts';
import { encodeRefusal } from './errors.ts';
import { decodeMessage, FRAME, type Frame, FrameError, SMALL_BODY } from './frame.ts';
import { IncomingStream } from './incoming-stream.ts';

const MOST_OCTETS = 64 * 1024 * 1024;
const MOST_MESSAGES = 2000;

export class MessageIntake {
  readonly #submit: Submit;
  readonly #link: LinkConnection;
  readonly #streams = new Map<number, IncomingStream>();
  #octets = 0;
  #messages = 0;
  #roomy = true;
  #closing = false;
  #idle: () => void = () => {};

  constructor(submit: Submit, link: LinkConnection) {
    this.#submit = submit;
    this.#link = link;
  }

  /** A frame of the receiving role; false when it is about something else. Throws FrameError. */
  take(frame: Frame): boolean {
    switch (frame.type) {
      case FRAME.message: {
        const { envelope, body } = decodeMessage(frame.payload);
        void this.#takeWhole(frame.id, parseEnvelope(envelope), body);
        return true;
      }
      case FRAME.begin:
        this.#begin(frame.id, parseId(frame.payload));
        return true;
      case FRAME.chunk:
        this.#streams.get(frame.id)?.take(frame.payload);
        return true;
      case FRAME.commit:
        this.#streams.get(frame.id)?.complete(parseEnvelope(frame.payload));
        return true;
      case FRAME.discard:
        this.#streams.get(frame.id)?.giveUp();
        return true;
      default:
        return false;
    }
  }

  /** The link is gone. */
  ended(): void {
    for (const stream of this.#streams.values()) stream.giveUp();
  }

  /** Take nothing new; resolves when all that is under way has its answer. */
  async drain(): Promise<void> {
    this.#closing = true;
    if (this.#messages === 0) return;
    await new Promise<void>((idle) => {
      this.#idle = idle;
    });
  }

  async #takeWhole(id: number, envelope: Envelope, body: Buffer): Promise<void> {
    let draft: Draft | undefined;
    const octets = this.#count(body.length);
    try {
      draft = await this.#makeRoom(envelope.id);
      await draft.write(body);
      await this.#submit.commit(draft, envelope);
      this.#link.send(FRAME.committed, id);
    } catch (error) {
      await draft?.discard();
      this.#refuse(id, error);
    } finally {
      this.#uncount(octets);
    }
  }

  /** A message that comes in chunks: what it may have on its way is reserved for all its time. */
  #begin(id: number, messageId: MessageId): void {
    if (this.#streams.has(id)) throw new FrameError(`a second message ${id}`);
    const octets = this.#count(SMALL_BODY);
    const stream = new IncomingStream({
      draft: this.#makeRoom(messageId),
      commit: (draft, envelope) => this.#submit.commit(draft, envelope),
      begun: () => this.#link.send(FRAME.begun, id),
      written: (count) => {
        const credit = Buffer.allocUnsafe(4);
        credit.writeUInt32BE(count);
        this.#link.send(FRAME.credit, id, credit);
      },
      ended: (error) => {
        if (error === undefined) this.#link.send(FRAME.committed, id);
        else this.#refuse(id, error);
        this.#streams.delete(id);
        this.#uncount(octets);
      },
    });
    this.#streams.set(id, stream);
  }

  async #makeRoom(id: MessageId): Promise<Draft> {
    try {
      if (this.#closing) throw new QueueAwayError('the delivering role is about to end');
      if (this.#octets > MOST_OCTETS || this.#messages > MOST_MESSAGES) {
        throw new SpoolError('full', 'too many messages are under way at once');
      }
      const draft = await this.#submit.begin(id);
      this.#tellRoom(true);
      return draft;
    } catch (error) {
      this.#tellRoom(false);
      throw error;
    }
  }

  /** Without room the other side asks before it takes a message, and its client hears of it sooner. */
  #tellRoom(isRoomy: boolean): void {
    if (this.#roomy === isRoomy) return;
    this.#roomy = isRoomy;
    this.#link.send(FRAME.room, isRoomy ? 1 : 0);
  }

  #refuse(id: number, error: unknown): void {
    this.#link.send(FRAME.refused, id, encodeRefusal(error));
  }

  #count(octets: number): number {
    this.#octets += octets;
    this.#messages += 1;
    return octets;
  }

  #uncount(octets: number): void {
    this.#octets -= octets;
    this.#messages -= 1;
    if (this.#messages === 0) this.#idle();
  }
}

function parseId(payload: Buffer): MessageId {
  const id = payload.toString();
  if (!isMessageId(id)) throw new FrameError('a message without an id');
  return id;
}

/** Throws FrameError. The sender is this program: what is checked is what becomes a file name. */
function parseEnvelope(octets: Buffer): Envelope {
  let envelope: Partial<Envelope> | null;
  try {
    envelope = JSON.parse(octets.toString()) as Partial<Envelope> | null;
  } catch {
    throw new FrameError('an envelope that cannot be read');
  }
  if (!isMessageId(String(envelope?.id)) || !Array.isArray(envelope?.recipients)) {
    throw new FrameError('an envelope that is none');
  }
  return envelope as Envelope;
}
