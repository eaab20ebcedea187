/**
 * One end of the link: a socket that frames go in and out of. What is sent within one turn of
 * the event loop goes out in one write, so that the answers to a batch of messages cost one
 * system call. Whoever does not keep to the wire format is cut off.
 */
import type { Socket } from 'node:net';
import { deserialize, serialize } from 'node:v8';
import {
  encodeFrame,
  FRAME,
  type Frame,
  FrameError,
  FrameReader,
  type FrameType,
} from './frame.ts';

/** Octets from which on a piece is not copied to go out with others. */
const LARGE_PIECE = 16 * 1024;

export interface LinkTaker {
  /** A frame came in. What it throws ends the link. */
  frame(frame: Frame): void;
  /** The link is gone; called once. */
  ended(reason: string): void;
}

export class LinkConnection {
  readonly #socket: Socket;
  readonly #taker: LinkTaker;
  readonly #reader = new FrameReader();
  #outgoing: Buffer[] = [];
  #reason: string | undefined;
  #ended = false;

  constructor(socket: Socket, taker: LinkTaker) {
    this.#socket = socket;
    this.#taker = taker;
    socket.on('data', (octets) => this.#take(octets));
    socket.on('error', (error) => {
      this.#reason ??= error.message;
    });
    socket.once('close', () => {
      this.#ended = true;
      taker.ended(this.#reason ?? 'the other side closed it');
    });
  }

  get isOpen(): boolean {
    return !this.#ended && this.#reason === undefined;
  }

  /** Octets that were sent and that the other side has not taken in. */
  get unsentOctets(): number {
    return this.#socket.writableLength;
  }

  /** Send a frame; nothing when the link is gone. Throws FrameError when it is too large. */
  send(type: FrameType, id: number, ...payload: readonly Buffer[]): void {
    const frame = encodeFrame(type, id, ...payload);
    if (!this.isOpen) return;
    if (this.#outgoing.length === 0) setImmediate(() => this.#flush());
    this.#outgoing.push(...frame);
  }

  /** Send a frame with a value in it. */
  sendValue(type: FrameType, id: number, value: unknown): void {
    this.send(type, id, serialize(value));
  }

  /** End the link, saying why to the other side. */
  close(reason: string): void {
    if (!this.isOpen) return;
    this.send(FRAME.bye, 0, Buffer.from(reason));
    this.#flush();
    this.#reason = reason;
    this.#socket.end();
    setTimeout(() => this.#socket.destroy(), 1000).unref();
  }

  /** Cut the link. */
  cut(reason: string): void {
    this.#reason ??= reason;
    this.#socket.destroy();
  }

  #flush(): void {
    const frames = this.#outgoing;
    this.#outgoing = [];
    if (frames.length === 0 || !this.isOpen) return;
    this.#socket.cork();
    for (const octets of joinSmall(frames)) this.#socket.write(octets);
    this.#socket.uncork();
  }

  #take(octets: Buffer): void {
    if (!this.isOpen) return;
    try {
      for (const frame of this.#reader.push(octets)) {
        if (!this.isOpen) return;
        this.#taker.frame(frame);
      }
    } catch (error) {
      this.cut(`the other side sent ${(error as Error).message}`);
    }
  }
}

/** The same octets in fewer pieces: a small one costs more as a piece of its own than it does copied. */
function joinSmall(pieces: readonly Buffer[]): Buffer[] {
  const joined: Buffer[] = [];
  let small: Buffer[] = [];
  const join = () => {
    if (small.length > 0) joined.push(Buffer.concat(small));
    small = [];
  };
  for (const piece of pieces) {
    if (piece.length < LARGE_PIECE) small.push(piece);
    else {
      join();
      joined.push(piece);
    }
  }
  join();
  return joined;
}

/** The value in a frame. Throws FrameError. */
export function readValue({ type, payload }: Frame): unknown {
  try {
    return deserialize(payload);
  } catch {
    throw new FrameError(`a frame of type ${type} without a value`);
  }
}
