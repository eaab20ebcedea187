/**
 * A small file system for the data directory, so that a full disk can be had: a tmpfs, which
 * takes root. It is gone when the process exits, however it ends.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const SIZE_MIB = 384;
const FILLER = 'filler';
/** More than the relay writes between two looks. */
const SLACK_BLOCKS = 256;

export class SmallDisk {
  readonly path: string;
  readonly #unmountAtExit = () => this.#unmount();

  private constructor(path: string) {
    this.path = path;
    // First of all: what lies below it is removed at exit, too.
    process.prependListener('exit', this.#unmountAtExit);
  }

  /** Mount one at `path`; the reason when it cannot be. */
  static mount(path: string): SmallDisk | string {
    if (process.getuid?.() !== 0) return 'mounting a small tmpfs takes root';
    mkdirSync(path, { recursive: true });
    try {
      const options = `size=${SIZE_MIB}m,mode=0700`;
      execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', path], { stdio: 'pipe' });
    } catch (error) {
      return `mounting a small tmpfs failed: ${(error as Error).message.trim()}`;
    }
    return new SmallDisk(path);
  }

  /**
   * Leave no room but about `octets`. A piece that does not fit takes, on a tmpfs, all there is for a moment
   * before it gives it back; so all but the last little is taken in one that fits.
   */
  async fill(octets = 0): Promise<void> {
    const file = join(this.path, FILLER);
    let [offset, part] = [0, 1];
    for (;;) {
      const { bavail, bsize } = await statfs(this.path);
      const free = Math.floor(bavail - octets / bsize);
      const isLast = free <= SLACK_BLOCKS;
      const blocks = isLast ? Math.floor(free * part) : free - SLACK_BLOCKS;
      if (blocks <= 0) return;
      const length = blocks * bsize;
      const range = ['--offset', String(offset), '--length', String(length)];
      const isIn = await run('fallocate', [...range, file]).then(
        () => true,
        () => false,
      );
      // What is free after that was let go of by the relay, for itself.
      if (isIn && isLast) return;
      // Somebody else may have taken a little of what was free.
      if (isIn) offset += length;
      else part *= 0.9;
      if (part < 0.01) return;
    }
  }

  empty(): void {
    rmSync(join(this.path, FILLER), { force: true });
  }

  close(): void {
    process.off('exit', this.#unmountAtExit);
    this.#unmount();
  }

  #unmount(): void {
    try {
      // Lazily: a process that is just ending may still have a file open.
      execFileSync('umount', ['-l', this.path], { stdio: 'pipe' });
    } catch {
      // Not mounted any more.
    }
  }
}
