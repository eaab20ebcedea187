/**
 * The users in memory: passwords are checked against the users file as it is now.
 *
 * The file is looked at whenever somebody logs in, which is cheap beside scrypt, and read again
 * when it changed. A file that cannot be read or understood keeps the users of the last one that
 * could, and is reported once; a file that was there and is gone is such a file. Where there
 * never was one there are no users. Where the first one cannot be read, verify rejects: nobody
 * is told that a password is wrong which nobody has looked at.
 *
 * A name nobody has costs as much time as a wrong password. Few passwords are checked at once:
 * scrypt works on the threads that file access and name lookups need too.
 */
import { constants, open } from 'node:fs/promises';
import type { User, Users } from './access.ts';
import { matchesPassword, NOBODYS_HASH } from './password.ts';
import { parseUsers, type StoredUser, UsersFileError } from './users-file.ts';

export interface UsersOptions {
  /** Path of the users file. */
  readonly file: string;
  /** Told once, in a sentence, when the file cannot be used. */
  readonly problem: (text: string) => void;
}

/** Of the four threads Node has for scrypt, files and getaddrinfo. */
const CHECKS_AT_ONCE = 2;
const MAX_WAITING = 1000;
const MAX_FILE_BYTES = 1024 * 1024;

/** The users of `file`; nothing is read before the first look. */
export function createUsers({ file, problem }: UsersOptions): Users & {
  /** Look at the file now, and report what is wrong with it. */
  refresh(): Promise<void>;
} {
  const watched = new WatchedUsers(file, problem);
  const slots = new Slots(CHECKS_AT_ONCE);
  let looking: Promise<void> | undefined;

  const refresh = (): Promise<void> => {
    looking ??= watched.look().finally(() => {
      looking = undefined;
    });
    return looking;
  };

  return {
    refresh,
    async verify(name, password): Promise<User | undefined> {
      await refresh();
      const { users } = watched;
      if (users === undefined) throw new UsersFileError(`${file} cannot be used`);
      const user = users.get(name);
      const isRight = await slots.run(() => matchesPassword(password, user?.hash ?? NOBODYS_HASH));
      return user !== undefined && isRight
        ? { name: user.name, allowedSenders: user.allowedSenders }
        : undefined;
    },
  };
}

/** The file, read again when it changed. */
class WatchedUsers {
  /** Undefined until the file was readable, or absent, once. */
  users: ReadonlyMap<string, StoredUser> | undefined;
  readonly #file: string;
  readonly #problem: (text: string) => void;
  #seen = '';
  #reported = '';

  constructor(file: string, problem: (text: string) => void) {
    this.#file = file;
    this.#problem = problem;
  }

  async look(): Promise<void> {
    try {
      const text = await this.#readChanged();
      if (text === undefined) return;
      this.users = parseUsers(this.#file, text);
      this.#reported = '';
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' && (this.users === undefined || this.users.size === 0)) {
        this.users = new Map();
        return;
      }
      if (code !== undefined) this.#seen = '';
      this.#report(code === undefined ? message : `${this.#file} cannot be read (${code})`);
    }
  }

  /** The text, or undefined when it is the one seen last. */
  async #readChanged(): Promise<string | undefined> {
    // Opening a FIFO without O_NONBLOCK would wait for somebody to write to it.
    const handle = await open(this.#file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const facts = await handle.stat({ bigint: true });
      if (!facts.isFile()) throw new UsersFileError(`${this.#file} is no regular file`);
      const { dev, ino, size, mtimeNs, ctimeNs } = facts;
      const seen = [dev, ino, size, mtimeNs, ctimeNs].join(':');
      if (seen === this.#seen) return undefined;
      this.#seen = seen;
      if (size > MAX_FILE_BYTES) throw new UsersFileError(`${this.#file} is larger than 1 MiB`);
      return await handle.readFile('utf8');
    } finally {
      await handle.close();
    }
  }

  #report(text: string): void {
    if (text === this.#reported) return;
    this.#reported = text;
    const kept = this.users === undefined ? 'nobody can log in' : 'the users read before stay';
    this.#problem(`${text}; ${kept}`);
  }
}

/** So many tasks at once, the others wait their turn. */
class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else {
      if (this.#waiting.length >= MAX_WAITING) {
        throw new Error('too many passwords are waiting to be checked');
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}
