/**
 * Reads many small stretches of segments with few reads: blocks of them are kept, the last used ones.
 * For going through a whole spool, whose records stand anywhere behind their messages, one message
 * after the other: what was given is overwritten later, so it is to be used before the next is asked for.
 */
import type { Segment } from './segment.ts';

const BLOCK_OCTETS = 256 * 1024;
const MOST_BLOCKS = 256;

export class BlockReader {
  readonly #blockOctets: number;
  /** At least two: what lies across a border is in both. */
  readonly #mostBlocks: number;
  /** By segment and number; the one used last is the last one here. */
  readonly #blocks = new Map<string, Buffer>();

  constructor({ blockOctets = BLOCK_OCTETS, mostBlocks = MOST_BLOCKS } = {}) {
    this.#blockOctets = blockOctets;
    this.#mostBlocks = mostBlocks;
  }

  /** The octets, if they lie in a block that is here: nothing has to be waited for. */
  peek(segment: Segment, at: number, length: number): Buffer | undefined {
    const number = Math.floor(at / this.#blockOctets);
    const offset = at - number * this.#blockOctets;
    if (offset + length > this.#blockOctets) return undefined;
    const block = this.#blocks.get(keyOf(segment, number));
    return block && block.length >= offset + length
      ? block.subarray(offset, offset + length)
      : undefined;
  }

  /** `length` octets of `segment` from `at` on; fewer only at its end. */
  async read(segment: Segment, at: number, length: number): Promise<Buffer> {
    const first = Math.floor(at / this.#blockOctets);
    const last = Math.floor((at + length - 1) / this.#blockOctets);
    // What lies beyond may be being written: a block of it must not be kept as it is now.
    if (last - first > 1 || (last + 1) * this.#blockOctets > segment.size) {
      return segment.read(at, length);
    }
    const start = await this.#block(segment, first);
    const octets =
      first === last ? start : Buffer.concat([start, await this.#block(segment, last)]);
    const offset = at - first * this.#blockOctets;
    return octets.subarray(offset, offset + length);
  }

  async #block(segment: Segment, number: number): Promise<Buffer> {
    const key = keyOf(segment, number);
    const known = this.#blocks.get(key);
    if (known) this.#blocks.delete(key);
    const block =
      known ??
      (await segment.read(number * this.#blockOctets, this.#blockOctets, this.#freeBlock()));
    this.#blocks.set(key, block);
    return block;
  }

  /** Room for a block: that of the one not used for longest, once there are enough. */
  #freeBlock(): Buffer {
    if (this.#blocks.size >= this.#mostBlocks) {
      for (const [key, oldest] of this.#blocks) {
        this.#blocks.delete(key);
        return oldest;
      }
    }
    return Buffer.allocUnsafeSlow(this.#blockOctets);
  }
}

/** Among segments that were set aside there may be two of one number: it begins anew with an empty spool. */
function keyOf(segment: Segment, number: number): string {
  return `${segment.path} ${number}`;
}
