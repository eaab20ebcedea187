/**
 * A body that a session thread asked for, read for it: whole where it is small, else piece by piece as
 * the thread asks, so that a slow peer makes the reading wait and not the memory grow. An order
 * whose session turns out to have ended asks for its body anew: what is left of the first reading is
 * not heard any more.
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
        this.#say({ whole: ownCopy(body) });
        return;
      }
      this.#stream = body;
      body.on('error', () => {}); // told by the iterator, which may not be asked any more
      if (this.#isOver) body.destroy();
      this.#pieces = body[Symbol.asyncIterator]();
      this.#say({ pieces: true });
    } catch (error) {
      const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
      this.#say({ error: (error as Error).message, code });
    }
  }

  async next(): Promise<void> {
    try {
      const { value, done } = (await this.#pieces?.next()) ?? { done: true };
      this.#sayPiece({ piece: done ? undefined : ownCopy(value) });
    } catch (error) {
      this.#sayPiece({ error: (error as Error).message });
    }
  }

  /** Nobody will ask any more, nor hear what is still under way. */
  end(): void {
    this.#isOver = true;
    this.#stream?.destroy();
  }

  #say(answer: BodyAnswer): void {
    if (!this.#isOver) this.#listener.say(answer);
  }

  #sayPiece(answer: PieceAnswer): void {
    if (!this.#isOver) this.#listener.sayPiece(answer);
  }
}
