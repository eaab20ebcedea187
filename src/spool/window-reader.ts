/**
 * Reads frames one behind the other with few reads: a stretch of a segment at a time is kept.
 */
import type { Segment } from './segment.ts';

const WINDOW_OCTETS = 1024 * 1024;
const MOST_WINDOWS = 8;

interface Window {
  readonly from: number;
  readonly octets: Buffer;
}

export class WindowReader {
  /** The last one used is the last one here. */
  readonly #windows = new Map<Segment, Window>();

  /** `length` octets of `segment` from `at` on; fewer only at its end. */
  async read(segment: Segment, at: number, length: number): Promise<Buffer> {
    const known = this.#windows.get(segment);
    this.#windows.delete(segment);
    const window = known && covers(known, at, length) ? known : await open(segment, at, length);
    this.#windows.set(segment, window);
    if (this.#windows.size > MOST_WINDOWS) {
      for (const oldest of this.#windows.keys()) {
        this.#windows.delete(oldest);
        break;
      }
    }
    return window.octets.subarray(at - window.from, at - window.from + length);
  }
}

function covers({ from, octets }: Window, at: number, length: number): boolean {
  return at >= from && at + length <= from + octets.length;
}

async function open(segment: Segment, at: number, length: number): Promise<Window> {
  // What lies beyond may be being written: it must not be kept as it is now.
  const most = Math.max(length, Math.min(WINDOW_OCTETS, segment.size - at));
  return { from: at, octets: await segment.read(at, most) };
}
