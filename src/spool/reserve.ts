/**
 * Room on the disk that is kept for what must be written even when the disk is full: what became
 * of messages. A file that means nothing; letting go of it makes room. It is made again when there is
 * room again, and until then no new message is taken.
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Disk } from '../platform/disk.ts';

/** Not zeros: a file system that compresses would keep no room for them. */
const CHUNK = randomBytes(1024 * 1024);

export class Reserve {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #octets: number;
  #held = false;
  #holding: Promise<void> | undefined;

  constructor(disk: Disk, directory: string, octets: number) {
    this.#disk = disk;
    this.#directory = directory;
    this.#octets = octets;
  }

  get octets(): number {
    return this.#octets;
  }

  /** Whether the room is kept. */
  get isHeld(): boolean {
    return this.#held;
  }

  /** Keep the room. Rejects with the system's error when there is none. */
  async hold(): Promise<void> {
    if (this.#held) return;
    this.#holding ??= this.#hold().finally(() => {
      this.#holding = undefined;
    });
    await this.#holding;
  }

  async #hold(): Promise<void> {
    const path = join(this.#directory, 'reserve');
    if ((await sizeOf(this.#disk, path)) === this.#octets) {
      this.#held = true;
      return;
    }
    await this.#disk.remove(path);
    const file = await this.#disk.create(path);
    try {
      // Written, not declared: a hole keeps nothing.
      for (let at = 0; at < this.#octets; at += CHUNK.length) {
        await file.write([CHUNK.subarray(0, this.#octets - at)], at);
      }
      await file.sync();
    } catch (error) {
      await file.close();
      await this.#disk.remove(path);
      throw error;
    }
    await file.close();
    this.#held = true;
  }

  /** Let go of it. False when there was nothing to let go of. */
  async release(): Promise<boolean> {
    if (!this.#held) return false;
    this.#held = false;
    try {
      await this.#disk.remove(join(this.#directory, 'reserve'));
      return true;
    } catch {
      return false;
    }
  }
}

/** The size of a file; undefined when it is not there. */
async function sizeOf(disk: Disk, path: string): Promise<number | undefined> {
  try {
    const file = await disk.open(path);
    const size = await file.size();
    await file.close();
    return size;
  } catch {
    return undefined;
  }
}
