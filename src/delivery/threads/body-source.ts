/**
 * The body of one order, read for a session thread: whole where it is small, else piece by piece as
 * the thread asks, so that a slow peer makes the reading wait and not the memory grow.
 */
import type { Readable } from 'node:stream';
import type { Consignment } from '../session.ts';
import { type BodyAnswer, ownCopy, type PieceAnswer } from './messages.ts';

export interface BodyListener {
  say(answer: BodyAnswer): void;
  sayPiece(answer: PieceAnswer): void;
}

export class BodySource {
  readonly #consignment: Consignment;
  readonly #listener: BodyListener;
  #stream: Readable | undefined;
  #pieces: AsyncIterator<Buffer> | undefined;
  #isOver = false;

  constructor(consignment: Consignment, listener: BodyListener) {
    this.#consignment = consignment;
    this.#listener = listener;
  }

  async open(): Promise<void> {
    try {
      const body = await this.#consignment.openBody();
      if (Buffer.isBuffer(body)) {
        this.#listener.say({ whole: ownCopy(body) });
        return;
      }
      this.#stream = body;
      body.on('error', () => {}); // told by the iterator, which may not be asked any more
      if (this.#isOver) body.destroy();
      this.#pieces = body[Symbol.asyncIterator]();
      this.#listener.say({ pieces: true });
    } catch (error) {
      const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
      this.#listener.say({ error: (error as Error).message, code });
    }
  }

  async next(): Promise<void> {
    try {
      const { value, done } = (await this.#pieces?.next()) ?? { done: true };
      this.#listener.sayPiece({ piece: done ? undefined : ownCopy(value) });
    } catch (error) {
      this.#listener.sayPiece({ error: (error as Error).message });
    }
  }

  /** Nobody will ask any more. */
  end(): void {
    this.#isOver = true;
    this.#stream?.destroy();
  }
}
