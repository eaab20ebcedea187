/**
 * Whether there is room for a new message, and why not: the disk keeps `limits.minFreeDisk` and
 * the reserve (reserve.ts), and the last write worked. Trouble ends when a try shows that it is
 * over, because nobody offers a message to a relay that says it is not ready.
 */
import type { Disk } from '../platform/disk.ts';
import type { Reserve } from './reserve.ts';
import { asSpoolError, SpoolError } from './store.ts';

/** How old the last look at the disk may be. */
const LOOK_AGAIN_MS = 500;

export interface RoomParts {
  readonly disk: Disk;
  readonly directory: string;
  readonly reserve: Reserve;
  /** Below this much free disk (octets) no new message is taken; settlement goes on. */
  readonly minFreeBytes: () => number;
  /** Write something, durably; rejects when that fails. */
  readonly tryDisk: () => Promise<unknown>;
}

export class Room {
  readonly #parts: RoomParts;
  #freeBytes = 0;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #looking: Promise<void> | undefined;
  /** Why the last new message could not be taken; empty when it could. */
  #trouble = '';
  #probing = false;

  constructor(parts: RoomParts) {
    this.#parts = parts;
  }

  /** Throws SpoolError('full') when there is no room for a new message. */
  async require(): Promise<void> {
    const { reserve, directory, minFreeBytes } = this.#parts;
    if (performance.now() - this.#lookedAt > LOOK_AGAIN_MS) {
      this.#looking ??= this.#look();
      await this.#looking;
    }
    const least = minFreeBytes();
    if (this.#freeBytes < least) {
      const reason = `${this.#freeBytes} octets free below ${directory}, ${least} are kept (limits.minFreeDisk)`;
      throw new SpoolError('full', reason);
    }
    if (reserve.isHeld) return;
    // Trying would take what is left from those who record outcomes.
    if (this.#freeBytes < least + 2 * reserve.octets) this.requireReserve();
    await reserve.hold();
    this.#lookedAt = Number.NEGATIVE_INFINITY;
  }

  /** Throws SpoolError('full') while the room for outcomes is in use. */
  requireReserve(): void {
    if (this.#parts.reserve.isHeld) return;
    const { directory } = this.#parts;
    throw new SpoolError('full', `the disk of ${directory} is full: only outcomes are recorded`);
  }

  /** So much was written since the last look. */
  spend(octets: number): void {
    this.#freeBytes -= octets;
  }

  /** The last message could be taken, or why it could not. */
  note(error: SpoolError | undefined): void {
    this.#trouble = error?.message ?? '';
    // What was seen of the disk a moment ago is not so.
    if (error) this.#lookedAt = Number.NEGATIVE_INFINITY;
  }

  health(): { ok: boolean; reason: string } {
    if (this.#trouble && !this.#probing) void this.#probe();
    return this.#trouble ? { ok: false, reason: this.#trouble } : { ok: true, reason: 'writable' };
  }

  async #look(): Promise<void> {
    try {
      this.#freeBytes = await this.#parts.disk.freeBytes(this.#parts.directory);
      this.#lookedAt = performance.now();
    } finally {
      this.#looking = undefined;
    }
  }

  async #probe(): Promise<void> {
    this.#probing = true;
    try {
      this.#lookedAt = Number.NEGATIVE_INFINITY;
      await this.require();
      await this.#parts.tryDisk();
      this.#trouble = '';
    } catch (error) {
      this.#trouble = asSpoolError(error).message;
    }
    this.#probing = false;
  }
}
