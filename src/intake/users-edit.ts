/**
 * Edits of the users file, for `stsrelay user`: through the YAML document, so that comments and
 * the order of the others stay, and in one step, so that the relay never reads half a file. A
 * lock file keeps two edits at the same time from losing one of them.
 *
 * A file that is not understood is not edited.
 */

import { chmod, chown, open, readFile, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type Document, isMap, parseDocument } from 'yaml';
import { replaceFile } from '../platform/durable-file.ts';
import { parseUsers, type StoredUser, UsersFileError } from './users-file.ts';

const LOCK_WAIT_MS = 10_000;
const LOCK_LOOK_MS = 20;

export interface NewUser {
  readonly name: string;
  /** In PHC notation, from hashPassword. */
  readonly hash: string;
  readonly allowedSenders: readonly string[];
}

/** Add a user; one of that name stays untouched unless `replace`. Throws UsersFileError. */
export async function addUser(
  file: string,
  user: NewUser,
  replace = false,
): Promise<'added' | 'replaced' | 'exists'> {
  return edit(file, (document) => {
    const isThere = document.has(user.name);
    if (isThere && !replace) return 'exists';
    if (isThere) {
      document.setIn([user.name, 'hash'], user.hash);
      document.setIn([user.name, 'allowedSenders'], document.createNode([...user.allowedSenders]));
    } else {
      const { hash, allowedSenders } = user;
      document.set(user.name, document.createNode({ hash, allowedSenders: [...allowedSenders] }));
    }
    return isThere ? 'replaced' : 'added';
  });
}

/** Remove a user; false when there is none of that name. Throws UsersFileError. */
export async function removeUser(file: string, name: string): Promise<boolean> {
  return edit(file, (document) => document.delete(name));
}

/** Everybody in the file, in its order; nobody when there is no file. Throws UsersFileError. */
export async function readUsers(file: string): Promise<readonly StoredUser[]> {
  const text = await readText(file);
  return text === undefined ? [] : [...parseUsers(file, text).values()];
}

async function edit<T>(file: string, change: (document: Document) => T): Promise<T> {
  return withLock(file, async () => {
    const before = await readText(file);
    if (before !== undefined) parseUsers(file, before);
    const document: Document = parseDocument(before ?? '', { stringKeys: true, uniqueKeys: false });
    if (!isMap(document.contents)) document.contents = document.createNode({});
    // `{}` is what is left when the last user goes; the next one is to stand in lines again.
    if (isMap(document.contents) && document.contents.items.length === 0)
      document.contents.flow = false;
    const result = change(document);
    const after = document.toString({ lineWidth: 0 });
    if (after !== (before ?? '')) await write(file, after);
    return result;
  });
}

async function readText(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw new UsersFileError(`${file} cannot be read (${code})`);
  }
}

/** A new file is for its owner alone; an old one keeps owner, group and the group's right to read. */
async function write(file: string, text: string): Promise<void> {
  const before = await stat(file).catch(() => undefined);
  try {
    await replaceFile(file, text);
    if (before === undefined) return;
    if (before.uid !== process.getuid?.() || before.gid !== process.getgid?.()) {
      await chown(file, before.uid, before.gid);
    }
    await chmod(file, (before.mode & 0o640) | 0o600);
  } catch (error) {
    throw new UsersFileError(
      `${file} cannot be written (${(error as NodeJS.ErrnoException).code})`,
    );
  }
}

/** One edit at a time, over all processes. */
async function withLock<T>(file: string, task: () => Promise<T>): Promise<T> {
  const lock = `${file}.lock`;
  const deadline = Date.now() + LOCK_WAIT_MS;
  for (;;) {
    try {
      await (await open(lock, 'wx', 0o600)).close();
      break;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') {
        throw new UsersFileError(`there is no directory ${dirname(file)} for ${file}: create it`);
      }
      if (code !== 'EEXIST')
        throw new UsersFileError(`${file} cannot be edited (${code} on ${lock})`);
      if (Date.now() > deadline) {
        throw new UsersFileError(`${lock} is there: remove it if nobody else edits ${file}`);
      }
      await pause(LOCK_LOOK_MS);
    }
  }
  try {
    return await task();
  } finally {
    await rm(lock, { force: true });
  }
}
