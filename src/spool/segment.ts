/**
 * One segment of the spool: a file of frames that is only ever written at its end, with the
 * count of what in it is still needed.
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Disk, DiskFile } from '../platform/disk.ts';
import { FORMAT_VERSION, MARK_OCTETS } from './frame.ts';

/** Where a frame stands. */
export interface Location {
  readonly segment: Segment;
  readonly at: number;
  readonly headLength: number;
  readonly bodyLength: number;
}

export interface SegmentName {
  /** Segments are written, and let go of, in the order of their numbers. */
  readonly number: number;
  readonly mark: Buffer;
}

const NAME = /^(\d{10})-([0-9a-f]{16})\.segment(\d+)$/;

export function newSegmentName(number: number): SegmentName {
  return { number, mark: randomBytes(MARK_OCTETS) };
}

export function formatSegmentName({ number, mark }: SegmentName): string {
  return `${String(number).padStart(10, '0')}-${mark.toString('hex')}.segment${FORMAT_VERSION}`;
}

/** `other`: no name of a segment. `foreign`: one in a format that this version does not know. */
export function parseSegmentName(name: string): SegmentName | 'other' | 'foreign' {
  const match = NAME.exec(name);
  if (!match) return 'other';
  const [, number = '', mark = '', version] = match;
  if (version !== String(FORMAT_VERSION)) return 'foreign';
  return { number: Number(number), mark: Buffer.from(mark, 'hex') };
}

export class Segment {
  readonly name: SegmentName;
  readonly path: string;
  /** Octets that are durable. */
  size: number;
  /** Octets of frames that are still needed. */
  liveOctets = 0;
  /** Messages whose own frame stands here. */
  messages = 0;
  /** Something in it is not what was written: it is kept for a rescue when nobody needs it. */
  isDamaged = false;
  readonly #disk: Disk;
  #file: Promise<DiskFile> | undefined;
  #readers = 0;
  #dropped = false;

  private constructor(
    disk: Disk,
    { path, name, size }: { path: string; name: SegmentName; size: number },
  ) {
    this.#disk = disk;
    this.path = path;
    this.name = name;
    this.size = size;
  }

  /** Make a new one, its name durable. */
  static async create(disk: Disk, directory: string, number: number): Promise<Segment> {
    const name = newSegmentName(number);
    const path = join(directory, formatSegmentName(name));
    const segment = new Segment(disk, { path, name, size: 0 });
    segment.#file = Promise.resolve(await disk.create(path));
    try {
      await disk.syncDirectory(directory);
    } catch (error) {
      // A disk that goes on failing must not fill with empty files.
      await segment.drop().catch(() => segment.close());
      throw error;
    }
    return segment;
  }

  /** One that is there already: nothing is written to it any more. */
  static found(disk: Disk, directory: string, name: SegmentName, size: number): Segment {
    return new Segment(disk, { path: join(directory, formatSegmentName(name)), name, size });
  }

  /** Write `parts` behind what is durable, and make them durable. */
  async append(parts: readonly Buffer[], octets: number): Promise<void> {
    const file = await this.#open();
    await file.write(parts, this.size);
    await file.sync();
    this.size += octets;
  }

  async read(position: number, length: number, into?: Buffer): Promise<Buffer> {
    this.#readers++;
    try {
      return await (await this.#open()).read(position, length, into);
    } finally {
      this.#readers--;
      if (this.#dropped && this.#readers === 0) await this.#close();
    }
  }

  /** Cut off what a failed write may have left; it does no harm if that fails, too. */
  async cutTail(): Promise<void> {
    await (await this.#open()).truncate(this.size).catch(() => {});
  }

  /** Remove the file; whoever reads from it now comes to the end. */
  async drop(): Promise<void> {
    await this.#disk.remove(this.path);
    this.#dropped = true;
    if (this.#readers === 0) await this.#close();
  }

  close(): Promise<void> {
    return this.#close();
  }

  #open(): Promise<DiskFile> {
    if (this.#file !== undefined) return this.#file;
    const opening = this.#disk.open(this.path);
    this.#file = opening;
    // The next one tries again.
    opening.catch(() => {
      if (this.#file === opening) this.#file = undefined;
    });
    return opening;
  }

  async #close(): Promise<void> {
    const file = await this.#file?.catch(() => undefined);
    this.#file = undefined;
    await file?.close().catch(() => {});
  }
}
