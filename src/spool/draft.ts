/**
 * A message being received. Small ones wait in memory for their commit, which writes them with
 * whatever else waits; one that grows too large, or for which there is no memory, goes to a
 * file of its own as it comes. Nothing of a draft can be seen before its commit.
 */
import type { Envelope } from '../mail/envelope.ts';
import type { MessageId } from '../mail/message-id.ts';
import { MAX_BODY_OCTETS } from './frame.ts';
import type { LargeBodies, LargeBody } from './large-bodies.ts';
import { asSpoolError, type Draft, SpoolError, type StoredMessage } from './store.ts';

/** A body as it is committed: in memory, or in a file that is durable. */
export type CommittedBody =
  | { readonly kind: 'small'; readonly octets: Buffer }
  | { readonly kind: 'large'; readonly sizeBytes: number; readonly crc: number };

export interface DraftParts {
  readonly bodies: LargeBodies;
  /** Memory of all drafts together. */
  readonly memory: Memory;
  readonly commit: (envelope: Envelope, body: CommittedBody) => Promise<StoredMessage>;
  /** Told why a draft could not be written. */
  readonly failed: (error: SpoolError) => void;
}

/** Octets that all drafts together may hold in memory. */
export class Memory {
  readonly #most: number;
  #used = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** False when there is not so much. */
  take(octets: number): boolean {
    if (this.#used + octets > this.#most) return false;
    this.#used += octets;
    return true;
  }

  giveBack(octets: number): void {
    this.#used -= octets;
  }
}

/** What a piece costs beside its octets: a client may send them one by one. */
const CHUNK_OVERHEAD = 256;

export class SegmentDraft implements Draft {
  readonly id: MessageId;
  readonly #parts: DraftParts;
  #chunks: Buffer[] = [];
  #held = 0;
  #sizeBytes = 0;
  #large: LargeBody | undefined;
  /** It goes to a file of its own from now on. */
  #isLarge = false;
  /** What is done with the disk goes one after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  #discarding: Promise<void> | undefined;
  #state: 'open' | 'broken' | 'committing' | 'committed' | 'discarded' = 'open';

  constructor(id: MessageId, parts: DraftParts) {
    this.id = id;
    this.#parts = parts;
  }

  async write(chunk: Buffer): Promise<void> {
    if (this.#state !== 'open') throw new SpoolError('failed', `the draft is ${this.#state}`);
    this.#sizeBytes += chunk.length;
    const fits = !this.#isLarge && this.#sizeBytes <= MAX_BODY_OCTETS;
    const cost = chunk.length + CHUNK_OVERHEAD;
    if (fits && this.#parts.memory.take(cost)) {
      this.#held += cost;
      this.#chunks.push(chunk);
      return;
    }
    this.#isLarge = true;
    await this.#orBreak(async () => {
      const large = await this.#toFile();
      await large.write(chunk);
    });
  }

  async commit(envelope: Envelope): Promise<StoredMessage> {
    if (this.#state !== 'open') throw new SpoolError('failed', `the draft is ${this.#state}`);
    if (envelope.id !== this.id) throw new SpoolError('failed', `${envelope.id} is not ${this.id}`);
    this.#state = 'committing';
    const stored = await this.#orBreak(async () => {
      const committed = await this.#parts.commit(envelope, await this.#finished());
      this.#state = 'committed';
      return committed;
    });
    this.#letGo();
    return stored;
  }

  discard(): Promise<void> {
    this.#discarding ??= this.#discard();
    return this.#discarding;
  }

  async #discard(): Promise<void> {
    if (this.#state === 'open') this.#state = 'discarded';
    // What is under way comes to its end first: a message that is being committed may be one yet.
    await this.#turn;
    if (this.#state === 'committed') return;
    this.#state = 'discarded';
    this.#letGo();
    await this.#large?.discard().catch((error) => this.#parts.failed(asSpoolError(error)));
  }

  async #finished(): Promise<CommittedBody> {
    const [only, ...others] = this.#chunks;
    if (!this.#large) {
      const isAlone = only !== undefined && others.length === 0 && !isSliver(only);
      const octets = isAlone ? only : Buffer.concat(this.#chunks);
      return { kind: 'small', octets };
    }
    return { kind: 'large', sizeBytes: this.#sizeBytes, crc: await this.#large.finish() };
  }

  /** From here on the body goes to a file; what was held goes first. */
  async #toFile(): Promise<LargeBody> {
    if (this.#large) return this.#large;
    this.#large = await this.#parts.bodies.create(this.id);
    await this.#large.write(Buffer.concat(this.#chunks));
    this.#letGo();
    return this.#large;
  }

  #letGo(): void {
    this.#parts.memory.giveBack(this.#held);
    this.#held = 0;
    this.#chunks = [];
  }

  /** Runs when what was begun before is done; a failure ends the draft. */
  async #orBreak<T>(run: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(run);
    this.#turn = mine.catch(() => {});
    try {
      return await mine;
    } catch (error) {
      if (this.#state === 'open' || this.#state === 'committing') this.#state = 'broken';
      const wrapped = asSpoolError(error);
      this.#parts.failed(wrapped);
      throw wrapped;
    }
  }
}

/** Kept in memory, it would keep the memory of everything it came with. */
function isSliver(octets: Buffer): boolean {
  return octets.buffer.byteLength > 2 * octets.length;
}
