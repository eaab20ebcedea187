/**
 * A directory of its own for a test, gone when the test is done with it, and at the latest
 * when the test process exits.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TempDir extends Disposable {
  readonly path: string;
  /** Path of something inside. */
  file(name: string): string;
  remove(): void;
}

const live = new Set<string>();
process.on('exit', () => {
  for (const path of live) removeQuietly(path);
});

function removeQuietly(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true, maxRetries: 3 });
  } catch {
    // A process that is just ending may still write there; a leftover in /tmp harms no test.
  }
}

/** Make one; mode 0700. The path is short enough for unix sockets inside it. */
export function tempDir(prefix = 'stsrelay-'): TempDir {
  const path = mkdtempSync(join(tmpdir(), prefix));
  live.add(path);
  const remove = () => {
    live.delete(path);
    removeQuietly(path);
  };
  return {
    path,
    file: (name) => join(path, name),
    remove,
    [Symbol.dispose]: remove,
  };
}
