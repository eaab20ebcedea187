/**
 * Frees the space of what is no longer needed. Segments are let go of strictly in order, the
 * oldest first: what says that a message is gone always stands behind the message, and so
 * outlives it. When more than half of the log is no longer needed, what is still needed of the
 * oldest segment is written anew at the end: at most as much is copied as is freed.
 */
import type { MessageId } from '../mail/message-id.ts';
import { NOTHING } from './frame.ts';
import { formatHead } from './heads.ts';
import type { IndexEntry, MessageIndex } from './message-index.ts';
import type { Segment } from './segment.ts';
import type { SegmentLog } from './segment-log.ts';
import type { StoredMessage } from './store.ts';
import { isDamage, readBody, readHead } from './stored-frames.ts';

export interface ReclaimParts {
  readonly index: MessageIndex;
  readonly log: SegmentLog;
  /** Octets no longer needed that are left alone. */
  readonly slackOctets: number;
  /** What is in memory of a message, as it stands now; its body only if it is small. */
  readonly remembered: (
    id: MessageId,
  ) => { readonly message: StoredMessage; readonly body: Buffer | undefined } | undefined;
  /** Keep a body, in a file of its own, of a message that is given up. */
  readonly setBodyAside: (id: MessageId) => Promise<void>;
  /** A message, or a part of it, cannot be read; the segment will be set aside. */
  readonly damaged: (segment: Segment, error: Error, id: MessageId) => void;
  readonly failed: (error: Error) => void;
}

/** Messages moved at the same time: they share writes, and leave room for the others. */
const SIDE_BY_SIDE = 64;

export class Reclaimer {
  readonly #parts: ReclaimParts;
  /** Messages that are being moved: nobody may write about them meanwhile. */
  readonly #moving = new Map<MessageId, Promise<void>>();
  /** What is being written about a message. */
  readonly #writing = new Map<MessageId, number>();
  #running: Promise<void> | undefined;
  #isClosed = false;

  constructor(parts: ReclaimParts) {
    this.#parts = parts;
  }

  /** Something may be no longer needed. */
  kick(): void {
    if (this.#running || this.#isClosed || !this.#isWorth()) return;
    this.#running = this.#reclaim()
      .catch((error: Error) => this.#parts.failed(error))
      .finally(() => {
        this.#running = undefined;
      });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#running;
  }

  /** Run `write`, which writes about a message: never while the message is moved. */
  async whileAtRest<T>(id: MessageId, write: () => Promise<T>): Promise<T> {
    while (this.#moving.has(id)) await this.#moving.get(id);
    this.#writing.set(id, (this.#writing.get(id) ?? 0) + 1);
    try {
      return await write();
    } finally {
      const left = (this.#writing.get(id) ?? 1) - 1;
      if (left > 0) this.#writing.set(id, left);
      else this.#writing.delete(id);
    }
  }

  #isWorth(): boolean {
    const { oldest } = this.#parts.log;
    if (!oldest) return false;
    // Also on a full disk: what is moved takes less than what is freed by it.
    return oldest.liveOctets === 0 || this.#isWasteful();
  }

  #isWasteful(): boolean {
    const { log, index, slackOctets } = this.#parts;
    const total = log.segments.reduce((sum, { size }) => sum + size, 0);
    return total - index.liveOctets > Math.max(index.liveOctets, slackOctets);
  }

  async #reclaim(): Promise<void> {
    const { log } = this.#parts;
    while (this.#isWorth() && !this.#isClosed) {
      const { oldest } = log;
      if (!oldest) return;
      if (oldest.liveOctets > 0) await this.#empty(oldest);
      // Somebody writes about one of its messages, or the disk takes nothing: next time.
      if (oldest.liveOctets > 0) return;
      if (oldest.isDamaged) await log.setAsideOldest();
      else await log.dropOldest();
    }
  }

  /** Move every message away from `segment`. */
  async #empty(segment: Segment): Promise<void> {
    const ids: MessageId[] = [];
    for (const [id, { location }] of this.#parts.index.entries()) {
      if (ids.length === segment.messages) break;
      if (location.segment === segment) ids.push(id);
    }
    for (let at = 0; at < ids.length && !this.#isClosed; at += SIDE_BY_SIDE) {
      await Promise.all(ids.slice(at, at + SIDE_BY_SIDE).map((id) => this.#moveAtRest(id)));
    }
  }

  async #moveAtRest(id: MessageId): Promise<void> {
    // Busy ones are left for the next round: what is written about them comes to an end.
    const entry = this.#parts.index.get(id);
    if (!entry || this.#writing.has(id)) return;
    const moving = this.#move(id, entry).catch((error: Error) => this.#parts.failed(error));
    this.#moving.set(id, moving);
    await moving;
    this.#moving.delete(id);
  }

  async #move(id: MessageId, entry: IndexEntry): Promise<void> {
    const { index, log } = this.#parts;
    // What is in memory cannot be damaged. Of a large one it lacks the checksum of the body.
    const known = entry.isLarge ? undefined : this.#parts.remembered(id);
    const found = known
      ? { ...known.message, damage: undefined }
      : await this.#unlessDamaged(id, entry, () => readHead(id, entry));
    if (!found) {
      // Nobody can say whose it is: it is left to a rescue, and hides nothing else.
      if (entry.isLarge) await this.#parts.setBodyAside(id);
      index.remove(id);
      return;
    }
    const { damage, ...head } = found;
    if (damage) this.#parts.damaged(damage.segment, damage.error, id);
    // Without its body it goes on to wait, and in the end its sender hears of it.
    const body = entry.isLarge
      ? NOTHING
      : (known?.body ?? (await this.#unlessDamaged(id, entry, () => readBody(id, entry))));
    const kind = entry.isLarge ? 'large-message' : 'message';
    const frame = { kind, id, head: formatHead(head), body: body ?? NOTHING } as const;
    index.put(id, await log.append(frame, 'move'), entry.isLarge);
  }

  /** Undefined when it is damaged; a disk that cannot be read right now says nothing about that. */
  async #unlessDamaged<T>(
    id: MessageId,
    { location: { segment } }: IndexEntry,
    read: () => Promise<T>,
  ): Promise<T | undefined> {
    try {
      return await read();
    } catch (error) {
      if (!isDamage(error)) throw error;
      segment.isDamaged = true;
      this.#parts.damaged(segment, error as Error, id);
      return undefined;
    }
  }
}
