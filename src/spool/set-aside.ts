/**
 * What cannot be read is never deleted: it is set aside in `damaged/`, where it is in nobody's way. That
 * directory is like a spool of its own, so that it can be looked into like one (rescue.ts).
 */
import { dirname, join } from 'node:path';
import type { Disk } from '../platform/disk.ts';

/** The directory in which the relay sets aside what it cannot read. */
export function damagedDirectory(directory: string): string {
  return join(directory, 'damaged');
}

/** Move the file `name` of the spool in `directory` to the same place in `damaged/`, durably. */
export function setAside(disk: Disk, directory: string, name: string): Promise<void> {
  return move(disk, join(directory, name), join(damagedDirectory(directory), name));
}

/** Move it back to where it was. */
export function putBack(disk: Disk, directory: string, name: string): Promise<void> {
  return move(disk, join(damagedDirectory(directory), name), join(directory, name));
}

/** When it fails it can be called again. */
async function move(disk: Disk, from: string, to: string): Promise<void> {
  await disk.makeDirectory(dirname(to));
  await disk.rename(from, to).catch((error: NodeJS.ErrnoException) => {
    // It is there since the last try, whose sync failed.
    if (error.code !== 'ENOENT') throw error;
  });
  // In this order a power cut leaves it in one place at least.
  await disk.syncDirectory(dirname(to));
  await disk.syncDirectory(dirname(from));
}
