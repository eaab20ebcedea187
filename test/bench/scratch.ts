/**
 * The bench's folder: private, and gone with this process, however that ends but by SIGKILL;
 * whatever still runs in it is killed first.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { killProcessesIn, processesIn } from '../support/tied-child.ts';
import { untilSync } from './until-sync.ts';

/** Make one below `parent`, else below the system's folder for such things. */
export function makeScratch(parent: string): string {
  const base = parent === '' ? tmpdir() : resolve(parent);
  mkdirSync(base, { recursive: true });
  const path = mkdtempSync(join(base, 'stsrelay-bench-'));
  chmodSync(path, 0o711); // Postfix's processes run as other users
  process.on('exit', () => {
    untilSync(() => {
      killProcessesIn(path);
      return processesIn(path).length === 0;
    });
    rmSync(path, { recursive: true, force: true, maxRetries: 3 });
  });
  return path;
}
