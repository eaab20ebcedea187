/**
 * A secret in a file of its own: one line, read when it is needed and again when the file has changed.
 * Found or failed; a file that is not there is a failure like any other, for somebody named it.
 */
import { constants, open } from 'node:fs/promises';

export type SecretRead =
  | { readonly kind: 'found'; readonly secret: string }
  /** In a sentence that names the file and never what is in it. */
  | { readonly kind: 'failed'; readonly reason: string };

/** What the text of a file says; `why` continues a sentence about the file. */
export type SecretParsed =
  | { readonly ok: true; readonly secret: string }
  | { readonly ok: false; readonly why: string };

/** More than any mechanism takes: a slip must not read a whole disk. */
const MAX_BYTES = 4096;

/** A function that reads secrets by path, and remembers those it has read. */
export function createSecretFiles(
  parse: (text: string) => SecretParsed = parsePassword,
): (file: string) => Promise<SecretRead> {
  const known = new Map<string, { readonly seen: string; readonly read: SecretRead }>();
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
        if (size > MAX_BYTES) return failed(`${file} is larger than ${MAX_BYTES} octets`);
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

function readOf(file: string, parsed: SecretParsed): SecretRead {
  return parsed.ok ? { kind: 'found', secret: parsed.secret } : failed(`${file} ${parsed.why}`);
}

function failed(reason: string): SecretRead {
  return { kind: 'failed', reason };
}
