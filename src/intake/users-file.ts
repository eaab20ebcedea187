/**
 * The users file (`access.usersFile`): who may log in and as which senders.
 *
 *     alice:
 *       hash: $scrypt$ln=15,r=8,p=1$c2FsdA$aGFzaA
 *       allowedSenders: ["alice@example.com", "*@lists.example.com"]
 *
 * Sender patterns are those of intake/access.ts: `*` (any), `alice@example.com`,
 * `*@example.com` or `example.com` (that domain), `*.example.com` (the domains below it). Every
 * user names at least one, so that nobody may use every sender by leaving something out.
 *
 * Reading is here; edits are in users-edit.ts, checking passwords in users.ts.
 */
import { z } from 'zod';
import { formatProblem, type Problem } from '../config/problems.ts';
import { type ConfigText, readYaml } from '../config/yaml-file.ts';
import { parseDomain } from '../protocol/domain.ts';
import { parseMailbox } from '../protocol/mailbox.ts';
import { type PasswordHash, parsePasswordHash } from './password.ts';

export interface StoredUser {
  readonly name: string;
  readonly hash: PasswordHash;
  readonly allowedSenders: readonly string[];
}

/** The file cannot be read as a users file, or not be written; the message names file and line. */
export class UsersFileError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UsersFileError';
  }
}

const MAX_SHOWN_PROBLEMS = 10;

const entrySchema = z.strictObject({
  hash: z.string(),
  allowedSenders: z.array(z.string()).min(1).max(1000),
});

/** Whether `name` may be a user's: what people type and a log line can show. */
export function isUserName(name: string): boolean {
  return Buffer.byteLength(name) <= 255 && /^[^\s\p{Cc}]([^\p{Cc}]*[^\s\p{Cc}])?$/u.test(name);
}

/** Whether `pattern` can match a sender. */
export function isSenderPattern(pattern: string): boolean {
  if (pattern === '*') return true;
  const at = pattern.lastIndexOf('@');
  const domain = pattern.slice(at + 1).replace(/^\*\./, '');
  if (parseDomain(domain) === undefined) return false;
  const localPart = pattern.slice(0, Math.max(at, 0));
  return (
    localPart === '' || localPart === '*' || parseMailbox(`${localPart}@${domain}`) !== undefined
  );
}

/** Read the text of a users file called `source`. Throws UsersFileError with every problem in it. */
export function parseUsers(source: string, text: string): ReadonlyMap<string, StoredUser> {
  const read = readYaml(source, text);
  const problems = [...read.problems];
  const users = new Map<string, StoredUser>();
  const { values } = read;
  if (typeof values !== 'object' || values === null || Array.isArray(values)) {
    problems.push({ source, key: '', found: 'no users', expected: 'one key per user' });
  } else {
    for (const [name, entry] of Object.entries(values)) {
      const user = readEntry(name, entry);
      if ('hash' in user) users.set(name, user);
      else
        problems.push({
          ...placeOf(source, read, user.path),
          found: user.found,
          expected: user.expected,
        });
    }
  }
  if (problems.length > 0) {
    throw new UsersFileError(problems.slice(0, MAX_SHOWN_PROBLEMS).map(formatProblem).join('\n'));
  }
  return users;
}

function placeOf(
  source: string,
  read: ConfigText,
  path: readonly string[],
): Omit<Problem, 'found' | 'expected'> {
  const line = read.lineOf(path);
  return { source, key: path.join('.'), ...(line === undefined ? {} : { line }) };
}

interface EntryProblem {
  readonly path: readonly string[];
  readonly found: string;
  readonly expected: string;
}

function readEntry(name: string, entry: unknown): StoredUser | EntryProblem {
  const wrong = (key: string, found: string, expected: string) => ({
    path: [name, key],
    found,
    expected,
  });
  if (!isUserName(name)) {
    return { path: [name], found: 'no user name', expected: 'a name without control characters' };
  }
  const { data, error } = entrySchema.safeParse(entry);
  if (data === undefined) {
    const key = String(error?.issues[0]?.path[0] ?? '');
    return wrong(key, 'no such entry', 'a hash and at least one of allowedSenders, nothing else');
  }
  const hash = parsePasswordHash(data.hash);
  if (hash === undefined) {
    return wrong(
      'hash',
      'no hash that can be used',
      '$scrypt$ln=…,r=…,p=…$salt$key; see `stsrelay user add`',
    );
  }
  const bad = data.allowedSenders.find((pattern) => !isSenderPattern(pattern));
  if (bad !== undefined) {
    return wrong(
      'allowedSenders',
      JSON.stringify(bad.slice(0, 80)),
      'user@domain, *@domain, *.domain or *',
    );
  }
  return { name, hash, allowedSenders: data.allowedSenders };
}
