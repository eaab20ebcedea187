/**
 * A disk in memory that forgets like a real one: it keeps apart what is durable and what a power
 * cut may take, and writes down everything that is done to it. It fails when it is told to, and
 * it has a size.
 *
 * The rules are the strictest that a file system may have. Octets are durable after a sync of the
 * file that began after they were written; a name, or its absence, after a sync of its directory. A
 * file that is renamed has one of its names, durable with either directory: every file system with
 * a journal does that much.
 * What a failed sync did not write is not written by the next one either.
 */
import { basename, dirname, join } from 'node:path';
import type { Disk, DiskFile } from '../../src/platform/disk.ts';

/** The octets of a file, whatever its name. */
export interface Inode {
  readonly number: number;
  octets: Buffer;
  size: number;
}

export type DiskStep =
  | { readonly op: 'create'; readonly path: string; readonly inode: number }
  | { readonly op: 'unlink'; readonly path: string }
  | { readonly op: 'rename'; readonly from: string; readonly path: string; readonly inode: number }
  | {
      readonly op: 'write';
      readonly inode: number;
      readonly at: number;
      readonly octets: Buffer;
    }
  | { readonly op: 'truncate'; readonly inode: number; readonly size: number }
  /** Covers what was done to the file before step `since`. */
  | {
      readonly op: 'sync';
      readonly inode: number;
      readonly since: number;
      readonly failed: boolean;
    }
  | { readonly op: 'syncDirectory'; readonly path: string; readonly since: number }
  /** Something the test saw happen. */
  | { readonly op: 'mark'; readonly mark: unknown };

export type DiskCall =
  | 'create'
  | 'open'
  | 'write'
  | 'sync'
  | 'truncate'
  | 'remove'
  | 'rename'
  | 'syncDirectory';

export interface MemoryDiskOptions {
  /** What is there already, durable. */
  readonly files?: ReadonlyMap<string, Buffer>;
  /** Called before each call does anything: the code of the error it shall fail with, if any. */
  readonly failure?: (call: DiskCall, path: string) => string | undefined;
  /** Waited for before each call; another order of events for each. */
  readonly pause?: () => Promise<void>;
  /** Octets of all files together. */
  readonly capacity?: number;
}

export class MemoryDisk implements Disk {
  readonly steps: DiskStep[] = [];
  /** The files there were at the beginning. */
  readonly origin: ReadonlyMap<string, Buffer>;
  capacity: number;
  failure: NonNullable<MemoryDiskOptions['failure']>;
  readonly calls = new Map<DiskCall, number>();
  readonly #names = new Map<string, Inode>();
  readonly #pause: () => Promise<void>;
  #inodes = 0;

  constructor({ files = new Map(), failure, pause, capacity }: MemoryDiskOptions = {}) {
    this.origin = files;
    this.failure = failure ?? (() => undefined);
    this.#pause = pause ?? (async () => {});
    this.capacity = capacity ?? Number.MAX_SAFE_INTEGER;
    for (const [path, octets] of files) {
      this.#names.set(path, this.#inode(Buffer.from(octets)));
    }
  }

  /** Write down that something happened. */
  mark(mark: unknown): void {
    this.steps.push({ op: 'mark', mark });
  }

  /** Names of all files below `directory`, relative to it. */
  namesBelow(directory: string): string[] {
    const start = `${directory}/`;
    const paths = [...this.#names.keys()].filter((path) => path.startsWith(start));
    return paths.map((path) => path.slice(start.length)).sort();
  }

  contentOf(path: string): Buffer {
    const inode = this.#names.get(path);
    if (!inode) throw systemError('ENOENT', path);
    return Buffer.from(inode.octets.subarray(0, inode.size));
  }

  /** Change octets behind everybody's back, as a disk that decays does. */
  decay(path: string, change: (octets: Buffer) => void): void {
    const inode = this.#names.get(path);
    if (!inode) throw systemError('ENOENT', path);
    change(inode.octets.subarray(0, inode.size));
  }

  get usedOctets(): number {
    return [...this.#names.values()].reduce((sum, { size }) => sum + size, 0);
  }

  async create(path: string): Promise<DiskFile> {
    await this.#begin('create', path);
    if (this.#names.has(path)) throw systemError('EEXIST', path);
    if (this.usedOctets >= this.capacity) throw systemError('ENOSPC', path);
    const inode = this.#inode(Buffer.alloc(0));
    this.#names.set(path, inode);
    this.steps.push({ op: 'create', path, inode: inode.number });
    return this.#file(path, inode);
  }

  async open(path: string): Promise<DiskFile> {
    await this.#begin('open', path);
    const inode = this.#names.get(path);
    if (!inode) throw systemError('ENOENT', path);
    return this.#file(path, inode);
  }

  async remove(path: string): Promise<void> {
    await this.#begin('remove', path);
    if (this.#names.delete(path)) this.steps.push({ op: 'unlink', path });
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#begin('rename', from);
    const inode = this.#names.get(from);
    if (!inode) throw systemError('ENOENT', from);
    this.#names.delete(from);
    this.#names.set(to, inode);
    this.steps.push({ op: 'rename', from, path: to, inode: inode.number });
  }

  async list(directory: string): Promise<string[]> {
    return this.namesBelow(directory).filter((name) => !name.includes('/'));
  }

  async makeDirectory(): Promise<void> {}

  async syncDirectory(path: string): Promise<void> {
    const since = this.steps.length;
    await this.#begin('syncDirectory', path);
    this.steps.push({ op: 'syncDirectory', path, since });
  }

  async freeBytes(): Promise<number> {
    return this.capacity - this.usedOctets;
  }

  #inode(octets: Buffer): Inode {
    this.#inodes += 1;
    return { number: this.#inodes, octets, size: octets.length };
  }

  async #begin(call: DiskCall, path: string): Promise<void> {
    this.calls.set(call, (this.calls.get(call) ?? 0) + 1);
    await this.#pause();
    const code = this.failure(call, path);
    if (code !== undefined) throw systemError(code, path);
  }

  #file(path: string, inode: Inode): DiskFile {
    const { number } = inode;
    return {
      write: async (parts, position) => {
        const octets = Buffer.concat(parts);
        const code = await this.#begin('write', path).then(
          () => undefined,
          (error: NodeJS.ErrnoException) => error,
        );
        const growth = Math.max(0, position + octets.length - inode.size);
        const room = Math.max(0, this.capacity - this.usedOctets);
        // A write that fails has written a part.
        const length =
          code === undefined
            ? octets.length - Math.max(0, growth - room)
            : Math.floor(octets.length / 2);
        const written = octets.subarray(0, length);
        put(inode, position, written);
        this.steps.push({ op: 'write', inode: number, at: position, octets: written });
        if (code !== undefined) throw code;
        if (length < octets.length) throw systemError('ENOSPC', path);
      },
      sync: async () => {
        const since = this.steps.length;
        try {
          await this.#begin('sync', path);
        } catch (error) {
          this.steps.push({ op: 'sync', inode: number, since, failed: true });
          throw error;
        }
        this.steps.push({ op: 'sync', inode: number, since, failed: false });
      },
      read: async (position, length) => {
        await this.#pause();
        const end = Math.min(position + length, inode.size);
        return Buffer.from(inode.octets.subarray(Math.min(position, end), end));
      },
      size: async () => inode.size,
      truncate: async (size) => {
        await this.#begin('truncate', path);
        cut(inode, size);
        this.steps.push({ op: 'truncate', inode: number, size });
      },
      close: async () => {},
    };
  }
}

/** Write into a file; what lies between its end and `at` is zero. */
export function put(inode: Inode, at: number, octets: Buffer): void {
  const end = at + octets.length;
  if (end > inode.octets.length) {
    const grown = Buffer.alloc(Math.max(end, 2 * inode.octets.length));
    inode.octets.copy(grown, 0, 0, inode.size);
    inode.octets = grown;
  }
  octets.copy(inode.octets, at);
  inode.size = Math.max(inode.size, end);
}

export function cut(inode: Inode, size: number): void {
  if (size < inode.size) inode.octets.fill(0, size, inode.size);
  inode.size = size;
}

export function systemError(code: string, path: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${join(basename(dirname(path)), basename(path))}`), {
    code,
  });
}
