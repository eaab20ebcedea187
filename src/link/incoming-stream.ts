/**
 * A large message as it comes over the link in chunks, and goes into its draft: at most a
 * window of it waits to be written. Ends once: committed, refused or given up.
 */
import type { Envelope } from '../mail/envelope.ts';
import type { Draft } from '../spool/store.ts';
import { CHUNK_LIMIT, FrameError, SMALL_BODY } from './frame.ts';

export interface IncomingStreamParts {
  /** Rejects when there is no room. */
  readonly draft: Promise<Draft>;
  readonly commit: (draft: Draft, envelope: Envelope) => Promise<void>;
  readonly begun: () => void;
  /** So many octets have been written. */
  readonly written: (octets: number) => void;
  /** It is durable, or will never be. */
  readonly ended: (error: unknown) => void;
}

export class IncomingStream {
  readonly #parts: IncomingStreamParts;
  /** Everything that came so far is written; rejects when something is not. */
  #work: Promise<void>;
  #draft: Draft | undefined;
  #waiting = 0;
  #state: 'open' | 'complete' | 'ended' = 'open';

  constructor(parts: IncomingStreamParts) {
    this.#parts = parts;
    this.#work = parts.draft.then((draft) => {
      this.#draft = draft;
      if (this.#state === 'open') parts.begun();
    });
    this.#watch();
  }

  /** The next octets. Throws FrameError when they are more than there was leave for. */
  take(chunk: Buffer): void {
    if (this.#state !== 'open') return;
    this.#waiting += chunk.length;
    if (this.#waiting > SMALL_BODY + CHUNK_LIMIT) throw new FrameError('more than its window');
    this.#work = this.#work.then(async () => {
      if (this.#state === 'ended') return;
      await this.#draft?.write(chunk);
      this.#waiting -= chunk.length;
      this.#parts.written(chunk.length);
    });
    this.#watch();
  }

  /** All octets have come. */
  complete(envelope: Envelope): void {
    if (this.#state !== 'open') return;
    this.#state = 'complete';
    this.#work = this.#work.then(async () => {
      if (!this.#draft || this.#state === 'ended') return;
      await this.#parts.commit(this.#draft, envelope);
      this.#end(undefined);
    });
    this.#watch();
  }

  /** No more of it will come. What is complete is committed all the same. */
  giveUp(): void {
    if (this.#state === 'open') this.#fail(new Error('it was given up'));
  }

  #watch(): void {
    this.#work.catch((error: unknown) => this.#fail(error));
  }

  #fail(error: unknown): void {
    if (this.#state === 'ended') return;
    this.#end(error);
    // Behind whatever is being written.
    this.#parts.draft.then(
      (draft) => this.#work.catch(() => {}).then(() => draft.discard()),
      () => {},
    );
  }

  #end(error: unknown): void {
    this.#state = 'ended';
    this.#parts.ended(error);
  }
}
