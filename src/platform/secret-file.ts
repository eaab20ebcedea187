/**
 * A secret in a file of its own: a password, a token, a key, read when it is needed and again when the file has
 * changed. Found or failed; a file that is not there is a failure like any other, for somebody named it.
 */
import { constants, open } from 'node:fs/promises';

export type SecretRead<T = string> =
  | { readonly kind: 'found'; readonly secret: T }
  /** In a sentence that names the file and never what is in it. */
  | { readonly kind: 'failed'; readonly reason: string };

/** What the text of a file says; `why` continues a sentence about the file. */
export type SecretParsed<T = string> =
  | { readonly ok: true; readonly secret: T }
  | { readonly ok: false; readonly why: string };

/** More than any password or token takes: a slip must not read a whole disk. */
const MOST_OCTETS = 4096;

/** A function that reads passwords by path, and remembers those it has read. */
export function createSecretFiles(): (file: string) => Promise<SecretRead>;
/** The same for what `parse` makes of a file of `mostOctets` or fewer. */
export function createSecretFiles<T>(
  parse: (text: string) => SecretParsed<T>,
  mostOctets?: number,
): (file: string) => Promise<SecretRead<T>>;
export function createSecretFiles(
  parse: (text: string) => SecretParsed<unknown> = parsePassword,
  mostOctets = MOST_OCTETS,
): (file: string) => Promise<SecretRead<unknown>> {
  const known = new Map<string, { readonly seen: string; readonly read: SecretRead<unknown> }>();
  return async (file) => {
    try {
      // Opening a FIFO without O_NONBLOCK would wait for somebody to write to it.
      const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
      try {
        const facts = await handle.stat({ bigint: true });
        const { dev, ino, size, mtimeNs, ctimeNs } = facts;
        const seen = [dev, ino, size, mtimeNs, ctimeNs].join(':');
        const before = known.get(file);
        if (before?.seen === seen) return before.read;
        if (!facts.isFile()) return failed(`${file} is no regular file`);
        if (size > mostOctets) return failed(`${file} is larger than ${mostOctets} octets`);
        const read = readOf(file, parse(await handle.readFile('utf8')));
        known.set(file, { seen, read });
        return read;
      } finally {
        await handle.close();
      }
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      return failed(`${file} cannot be read (${code ?? 'unknown'})`);
    }
  };
}

/** The line break that editors put at the end is not part of it; blanks are. */
function parsePassword(text: string): SecretParsed {
  const secret = text.replace(/\r?\n$/, '');
  if (secret === '') return { ok: false, why: 'is empty' };
  // RFC 4616 §2: no NUL in a password.
  if (/[\0\r\n]/.test(secret)) return { ok: false, why: 'holds more than one line' };
  return { ok: true, secret };
}

function readOf<T>(file: string, parsed: SecretParsed<T>): SecretRead<T> {
  return parsed.ok ? { kind: 'found', secret: parsed.secret } : failed(`${file} ${parsed.why}`);
}

function failed(reason: string): SecretRead<never> {
  return { kind: 'failed', reason };
}
