/**
 * Reads many small stretches of segments with few reads: blocks of them are kept, the last used ones.
 * For going through a whole spool, whose records stand anywhere behind their messages.
 */
import type { Segment } from './segment.ts';

const BLOCK_OCTETS = 64 * 1024;
const MOST_BLOCKS = 256;

export class BlockReader {
  /** By segment and number; the one used last is the last one here. */
  readonly #blocks = new Map<string, Buffer>();

  /** `length` octets of `segment` from `at` on; fewer only at its end. */
  async read(segment: Segment, at: number, length: number): Promise<Buffer> {
    const first = Math.floor(at / BLOCK_OCTETS);
    const last = Math.floor((at + length - 1) / BLOCK_OCTETS);
    // What lies beyond may be being written: a block of it must not be kept as it is now.
    if (last - first > 1 || (last + 1) * BLOCK_OCTETS > segment.size) {
      return segment.read(at, length);
    }
    const start = await this.#block(segment, first);
    const octets =
      first === last ? start : Buffer.concat([start, await this.#block(segment, last)]);
    const offset = at - first * BLOCK_OCTETS;
    return octets.subarray(offset, offset + length);
  }

  async #block(segment: Segment, number: number): Promise<Buffer> {
    const key = `${segment.name.number} ${number}`;
    const known = this.#blocks.get(key);
    if (known) this.#blocks.delete(key);
    const block = known ?? (await segment.read(number * BLOCK_OCTETS, BLOCK_OCTETS));
    this.#blocks.set(key, block);
    if (this.#blocks.size > MOST_BLOCKS) {
      for (const oldest of this.#blocks.keys()) {
        this.#blocks.delete(oldest);
        break;
      }
    }
    return block;
  }
}
