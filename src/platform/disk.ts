/**
 * The disk as the spool uses it: files that are written at chosen places and made durable by an
 * explicit sync. A port, so that a test can record every write and sync and show what a power
 * cut would have left.
 *
 * Nothing here is durable before `sync` (of the file, for its octets) and `syncDirectory` (for a
 * file that was created, or removed) returned. Errors are the system's.
 */
import { fdatasync, writev } from 'node:fs';
import { type FileHandle, open, readdir, rename, rm, statfs } from 'node:fs/promises';
import { promisify } from 'node:util';
import { makeDirectory, syncDirectory } from './durable-file.ts';

/** An open file. */
export interface DiskFile {
  /** Write all of `parts`, one behind the other, from `position` on. */
  write(parts: readonly Buffer[], position: number): Promise<void>;
  /** Make what was written durable. */
  sync(): Promise<void>;
  /**
   * Up to `length` octets from `position` on; fewer only at the end of the file. They may stand
   * in `into`, where that is long enough.
   */
  read(position: number, length: number, into?: Buffer): Promise<Buffer>;
  size(): Promise<number>;
  truncate(size: number): Promise<void>;
  close(): Promise<void>;
}

export interface Disk {
  /** Make a new file, for its owner alone; rejects with EEXIST when there is one. */
  create(path: string): Promise<DiskFile>;
  open(path: string): Promise<DiskFile>;
  remove(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** The names in a directory. */
  list(directory: string): Promise<string[]>;
  makeDirectory(directory: string): Promise<void>;
  syncDirectory(directory: string): Promise<void>;
  /** Octets that an unprivileged process may still use. */
  freeBytes(directory: string): Promise<number>;
}

/** The disk of the system. */
export const systemDisk: Disk = {
  create: async (path) => new SystemFile(await open(path, 'wx+', 0o600)),
  open: async (path) => new SystemFile(await open(path, 'r')),
  remove: (path) => rm(path, { force: true }),
  rename,
  list: (directory) => readdir(directory),
  makeDirectory,
  syncDirectory,
  async freeBytes(directory) {
    const { bavail, bsize } = await statfs(directory);
    return bavail * bsize;
  },
};

// Half the cost of a file handle's own, and called twice for every batch of messages.
const writeAt = promisify(writev);
const syncData = promisify(fdatasync);

class SystemFile implements DiskFile {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async write(parts: readonly Buffer[], position: number): Promise<void> {
    const total = parts.reduce((sum, { length }) => sum + length, 0);
    const { bytesWritten } = await writeAt(this.#handle.fd, parts, position);
    if (bytesWritten === total) return;
    // Cut short, by a signal or by a limit that the next write names.
    const whole = Buffer.concat(parts);
    for (let at = bytesWritten; at < total; ) {
      const more = await this.#handle.write(whole, at, total - at, position + at);
      at += more.bytesWritten;
    }
  }

  sync(): Promise<void> {
    return syncData(this.#handle.fd);
  }

  async read(position: number, length: number, into?: Buffer): Promise<Buffer> {
    const octets = into && into.length >= length ? into : Buffer.allocUnsafe(length);
    let seen = 0;
    while (seen < length) {
      const { bytesRead } = await this.#handle.read(octets, seen, length - seen, position + seen);
      if (bytesRead === 0) break;
      seen += bytesRead;
    }
    return octets.subarray(0, seen);
  }

  async size(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  truncate(size: number): Promise<void> {
    return this.#handle.truncate(size);
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}
