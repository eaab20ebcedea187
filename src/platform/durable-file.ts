/**
 * Small files that must survive a power cut: written beside the target, synced, renamed over
 * it, and the directory synced so that the new name itself is durable.
 */
import { type FileHandle, mkdir, open, rename, rm, stat } from 'node:fs/promises';
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

/**
 * Create `directory` and its parents (mode 0700), each new name durable. Rejects with the system's error.
 *
 * Node.js' own `recursive` asks again for ever where a file system says that nothing is there (ENOENT) below a parent
 * that is: /proc does, and so may what is mounted over a network.
 */
export async function makeDirectory(directory: string): Promise<void> {
  const parent = dirname(directory);
  try {
    if (!(await madeOne(directory))) return;
  } catch (error) {
    const isParentMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    if (!isParentMissing || parent === directory) throw error;
    // Where it is there by now somebody else has made it meanwhile.
    if (!(await isDirectory(parent))) await makeDirectory(parent);
    if (!(await madeOne(directory))) return;
  }
  await syncDirectory(parent);
}

/** False where it is there already. */
async function madeOne(directory: string): Promise<boolean> {
  try {
    await mkdir(directory, { mode: 0o700 });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    if (!(await isDirectory(directory))) throw error;
    return false;
  }
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
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
