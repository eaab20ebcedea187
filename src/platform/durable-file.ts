/**
 * Small files that must survive a power cut: written beside the target, synced, renamed over
 * it, and the directory synced so that the new name itself is durable.
 */
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Make the entries of `directory` (creations, renames) durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Create `directory` and its parents (mode 0700), each new name durable. */
export async function makeDirectory(directory: string): Promise<void> {
  const first = await mkdir(directory, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let at = directory; at.startsWith(first); at = dirname(at)) await syncDirectory(dirname(at));
}

/** Write all of `data` at the end of `handle` and make it durable. */
export async function appendDurably(handle: FileHandle, data: Buffer): Promise<void> {
  for (let written = 0; written < data.length; ) {
    const { bytesWritten } = await handle.write(data, written);
    written += bytesWritten;
  }
  await handle.datasync();
}

/** Replacements under way, by path: two of the same file must not share the temporary one. */
const replacing = new Map<string, Promise<void>>();

/**
 * Replace `path` by `data`: afterwards either the old or the new content is there, never a part.
 * Replacements of one path go one after the other, so the last one called is the one that stays.
 */
export async function replaceFile(path: string, data: string | Buffer): Promise<void> {
  const before = replacing.get(path) ?? Promise.resolve();
  const mine = before.catch(() => {}).then(() => replaceNow(path, Buffer.from(data)));
  replacing.set(path, mine);
  try {
    await mine;
  } finally {
    if (replacing.get(path) === mine) replacing.delete(path);
  }
}

async function replaceNow(path: string, data: Buffer): Promise<void> {
  const temporary = `${path}.new`;
  const handle = await open(temporary, 'w', 0o600);
  try {
    await appendDurably(handle, data);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  } finally {
    await handle.close();
  }
  await rename(temporary, path);
  await syncDirectory(dirname(path));
}
