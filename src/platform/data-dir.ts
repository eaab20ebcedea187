/**
 * The data directory: made private, and locked for the life of the process, so that one process
 * owns the spool. The lock is a file with the owner's process id and start time; one left
 * behind by a process that is gone (or whose id now names another) is taken over.
 *
 * Why two never own it: the file is made by link(2), of which one succeeds. It is removed by its
 * owner, or by one who found the owner gone and then looked once more while nobody else could remove
 * it: for each lock that was left behind there is a name that the system gives to one process at a
 * time (held-name.ts). So what is removed is what was looked at, never the lock of one who was faster.
 *
 * An owner that was started by a supervisor ends when that one does: where the supervisor is
 * gone already, its end is waited for.
 */
import { createHash, randomBytes } from 'node:crypto';
import { chmod, link, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeDirectory, replaceFile } from './durable-file.ts';
import { holdName } from './held-name.ts';

/** Another process uses the directory. */
export class DataDirLockedError extends Error {
  /** Of the process to be stopped; undefined when it has not told its name yet. */
  readonly pid: number | undefined;
  constructor(directory: string, pid: number | undefined) {
    const owner = pid === undefined ? 'another process' : `process ${pid}`;
    super(`${directory} is in use by ${owner}: stop it, or give this relay a dataDir of its own`);
    this.name = 'DataDirLockedError';
    this.pid = pid;
  }
}

export interface DataDir {
  /** Absolute. */
  readonly path: string;
  unlock(): Promise<void>;
}

/** How long an owner without its supervisor may take to end, and another one to take over. */
const WAIT_MS = 10_000;
const LOOK_AGAIN_MS = 20;

interface Process {
  readonly pid: number;
  /** Tells it from another one with the same id. */
  readonly startedAt: string | undefined;
}

/** What the lock file holds. */
interface Owner extends Process {
  /** The process that signals go to, where it is another one. */
  readonly supervisor?: Process;
  /** Tells this lock from every other, and only to those who may read it. */
  readonly nonce: string;
}

/**
 * Make and lock the data directory. `supervisor`: process id of the one we end with; 0 without
 * one. Throws DataDirLockedError.
 */
export async function openDataDir(directory: string, supervisor = 0): Promise<DataDir> {
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
  await lock(path, lockFile, {
    ...(await processFacts(process.pid)),
    ...(supervisor === 0 ? {} : { supervisor: await processFacts(supervisor) }),
    nonce: randomBytes(16).toString('hex'),
  });
  return { path, unlock: () => rm(lockFile, { force: true }) };
}

async function lock(path: string, lockFile: string, owner: Owner): Promise<void> {
  const mine = `${lockFile}.${owner.nonce}`;
  await writeFile(mine, JSON.stringify(owner), { mode: 0o600 });
  const deadline = performance.now() + WAIT_MS;
  try {
    while (!(await linked(mine, lockFile))) {
      const found = await readLock(lockFile);
      if (found === undefined) continue;
      const other = await liveOwner(found);
      if (other === undefined && (await removeStale(lockFile, found))) continue;
      const isWaitedFor = other === undefined || other.isOrphan;
      if (!isWaitedFor || performance.now() > deadline) {
        throw new DataDirLockedError(path, other?.pid);
      }
      await sleep(LOOK_AGAIN_MS);
    }
  } finally {
    await rm(mine, { force: true });
  }
}

/** Remove the lock of an owner that is gone; false while another process is at it. */
async function removeStale(lockFile: string, content: string): Promise<boolean> {
  // By whatever path it is reached.
  const { dev, ino } = await stat(dirname(lockFile), { bigint: true });
  const name = createHash('sha256').update(`${dev} ${ino} ${content}`).digest('hex');
  const held = await holdName(`stsrelay-${name}`);
  if (!held) return false;
  try {
    // Its owner cannot remove it any more, and others have to hold the name first.
    if ((await readLock(lockFile)) === content) await rm(lockFile, { force: true });
    return true;
  } finally {
    await held.letGo();
  }
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

/** What the lock holds; undefined when there is none. */
async function readLock(lockFile: string): Promise<string | undefined> {
  try {
    return await readFile(lockFile, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Who has the lock, if it is alive: the process to signal, and whether its supervisor is gone. */
async function liveOwner(
  content: string,
): Promise<{ readonly pid: number; readonly isOrphan: boolean } | undefined> {
  try {
    const { supervisor, ...owner } = JSON.parse(content) as Owner;
    if (!(await isAlive(owner))) return undefined;
    if (supervisor === undefined) return { pid: owner.pid, isOrphan: false };
    const isOrphan = !(await isAlive(supervisor));
    return { pid: isOrphan ? owner.pid : supervisor.pid, isOrphan };
  } catch {
    return undefined;
  }
}

async function processFacts(pid: number): Promise<Process> {
  return { pid, startedAt: await startTime(pid) };
}

async function isAlive({ pid, startedAt }: Process): Promise<boolean> {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  const now = await startTime(pid);
  return now !== undefined && now === startedAt;
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
