/**
 * The data directory: made private, and locked for the life of the process, so that one process
 * owns the spool. The lock is a file with the owner's process id and start time; one left
 * behind by a process that is gone (or whose id now names another) is taken over.
 */
import { randomBytes } from 'node:crypto';
import { chmod, link, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { makeDirectory, replaceFile } from './durable-file.ts';

/** Another process uses the directory. */
export class DataDirLockedError extends Error {
  readonly pid: number;
  constructor(directory: string, pid: number) {
    super(
      `${directory} is in use by process ${pid}: stop it, or give this relay a dataDir of its own`,
    );
    this.name = 'DataDirLockedError';
    this.pid = pid;
  }
}

export interface DataDir {
  /** Absolute. */
  readonly path: string;
  unlock(): Promise<void>;
}

/** Make and lock the data directory. Throws DataDirLockedError. */
export async function openDataDir(directory: string): Promise<DataDir> {
  const path = resolve(directory);
  try {
    await makeDirectory(path);
    await chmod(path, 0o700);
  } catch (error) {
    throw new Error(`dataDir ${path} cannot be used: ${(error as Error).message}`, {
      cause: error,
    });
  }
  const lockFile = join(path, 'lock');
  const mine = join(path, `lock.${process.pid}`);
  await writeFile(
    mine,
    JSON.stringify({ pid: process.pid, startedAt: await startTime(process.pid) }),
  );
  try {
    for (;;) {
      if (await linked(mine, lockFile)) break;
      const owner = await liveOwner(lockFile);
      if (owner !== undefined) throw new DataDirLockedError(path, owner);
      await rm(lockFile, { force: true });
    }
  } finally {
    await rm(mine, { force: true });
  }
  return { path, unlock: () => rm(lockFile, { force: true }) };
}

/** The id of this node among several on one Redis: made once, then always the same. */
export async function nodeId(dataDir: string): Promise<string> {
  const file = join(dataDir, 'node-id');
  const known = (await readFile(file, 'utf8').catch(() => '')).trim();
  if (/^[a-z0-9]{8,32}$/.test(known)) return known;
  const made = randomBytes(5).toString('hex');
  await replaceFile(file, `${made}\n`);
  return made;
}

/** link(2) is atomic: one of several who try at once succeeds. */
async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function liveOwner(lockFile: string): Promise<number | undefined> {
  try {
    const { pid, startedAt } = JSON.parse(await readFile(lockFile, 'utf8'));
    if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
    const now = await startTime(pid);
    return now !== undefined && now === startedAt ? pid : undefined;
  } catch {
    return undefined;
  }
}

/**
 * When a process started, in a form that only serves for comparing; undefined when it is gone.
 * From /proc where there is one, so that a reused process id is told apart.
 */
async function startTime(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    try {
      process.kill(pid, 0);
      return 'alive';
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'EPERM' ? 'alive' : undefined;
    }
  }
}
