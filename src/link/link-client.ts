/**
 * The receiving role's end of the link: connects to the owner of the spool and, whenever the
 * link breaks, again. Messages go through the RemoteQueue; requests of the owner get an answer.
 */
import { connect } from 'node:net';
import { LinkConnection, readValue } from './connection.ts';
import { FRAME, type Frame, FrameError } from './frame.ts';
import { type Hello, LINK_PROTOCOL } from './link-host.ts';
import type { RemoteQueue } from './remote-queue.ts';

export interface LinkClientParts {
  readonly path: string;
  readonly hello: Omit<Hello, 'protocol'>;
  readonly queue: RemoteQueue;
  /** Answer a request of the owner. */
  readonly answer: (request: unknown) => Promise<unknown>;
  readonly up: () => void;
  /** The link broke, or could not be made; told once until it is up again. */
  readonly down: (reason: string) => void;
  /** The owner has sent us away, for REFUSED_MS at least, and will go on doing so. */
  readonly sentAway: (reason: string) => void;
}

const FIRST_RETRY_MS = 50;
const LAST_RETRY_MS = 1000;
/** For the end of a receiving role that came before us to be noticed. */
const REFUSED_MS = 2000;

export class LinkClient {
  readonly #parts: LinkClientParts;
  #link: LinkConnection | undefined;
  #closed = false;
  #retryMs = FIRST_RETRY_MS;
  #isDownTold = false;
  #refusedSinceMs: number | undefined;
  #retry: NodeJS.Timeout | undefined;

  constructor(parts: LinkClientParts) {
    this.#parts = parts;
    this.#connect();
  }

  /** Tell the owner something; lost when the link is not there. */
  tell(news: unknown): void {
    this.#link?.sendValue(FRAME.tell, 0, news);
  }

  /** End the link for good. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#link?.close('the receiving role ends');
  }

  #connect(): void {
    if (this.#closed) return;
    const { path, hello, queue } = this.#parts;
    const socket = connect(path);
    let isUp = false;
    let bye: string | undefined;
    const link = new LinkConnection(socket, {
      frame: (frame) => {
        if (frame.type === FRAME.bye) {
          bye = frame.payload.toString();
          link.cut(bye);
          return;
        }
        // Whatever else comes first, the owner has not sent us away.
        if (!isUp) this.#isUp(link);
        isUp = true;
        this.#take(link, frame);
      },
      ended: (reason) => {
        if (isUp) queue.detach(bye ?? reason);
        this.#link = undefined;
        if (isUp || bye === undefined) this.#refusedSinceMs = undefined;
        else this.#isRefused(bye);
        this.#isDown(bye ?? (isUp ? reason : `no delivering role answers: ${reason}`));
      },
    });
    socket.once('connect', () =>
      link.sendValue(FRAME.hello, 0, { ...hello, protocol: LINK_PROTOCOL }),
    );
  }

  #isUp(link: LinkConnection): void {
    this.#link = link;
    this.#retryMs = FIRST_RETRY_MS;
    this.#isDownTold = false;
    this.#parts.queue.attach(link);
    this.#parts.up();
  }

  #isRefused(reason: string): void {
    const now = performance.now();
    this.#refusedSinceMs ??= now;
    if (now - this.#refusedSinceMs >= REFUSED_MS) this.#parts.sentAway(reason);
  }

  #isDown(reason: string): void {
    if (this.#closed) return;
    if (!this.#isDownTold) this.#parts.down(reason);
    this.#isDownTold = true;
    // Not of the clock: it keeps the process alive, which waits for nothing else.
    this.#retry = setTimeout(() => this.#connect(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
  }

  #take(link: LinkConnection, frame: Frame): void {
    if (frame.type === FRAME.request) {
      this.#parts
        .answer(readValue(frame))
        .then((answer) => link.sendValue(FRAME.answer, frame.id, answer))
        .catch((error: Error) => link.cut(`no answer could be given: ${error.message}`));
    } else if (!this.#parts.queue.take(frame)) {
      throw new FrameError(`an unexpected frame ${frame.type}`);
    }
  }
}
