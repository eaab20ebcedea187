/**
 * The spool as two files a message, `ID.eml` (the body, octet for octet) and `ID.journal`
 * (header and records, see line-format.ts), in 32 directories by the id's last character.
 *
 * Order of writing: body, sync; journal under another name, sync; rename; sync of the
 * directory. A message exists when its journal does, so a crash at any point leaves either a
 * whole message or files that the next start removes. Removal goes the other way: journal
 * first. An append that fails is cut off again, and what a crash left torn at the end is cut
 * off before the next append, so the journal never grows a torn middle.
 */
import { createWriteStream } from 'node:fs';
import { type FileHandle, open, readdir, readFile, rename, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { type Readable, Transform } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import type { Envelope } from '../mail/envelope.ts';
import { isMessageId, type MessageId } from '../mail/message-id.ts';
import {
  appendDurably,
  makeDirectory,
  replaceFile,
  syncDirectory,
} from '../platform/durable-file.ts';
import { formatLine, JOURNAL_VERSION, parseJournal } from './line-format.ts';
import type { SpoolRecord } from './message-state.ts';
import { type Draft, type Spool, SpoolError, type StoredMessage } from './store.ts';

const LF = 0x0a;
const SHARDS = [...'0123456789ABCDEFGHJKMNPQRSTVWXYZ'];

/** What the store tells its surroundings; log lines and metrics are made of it. */
export interface SpoolEvents {
  /** A durable operation took `seconds`. */
  took(operation: 'commit' | 'append' | 'remove', seconds: number): void;
  failed(operation: 'begin' | 'commit' | 'append' | 'read' | 'remove', error: Error): void;
  /** A message that cannot be read, or was mended; the others are not affected. */
  damaged(file: string, reason: string): void;
  /** What a crash left of a message nobody was told about was removed. */
  leftover(file: string): void;
}

export interface FileStoreOptions {
  /** `dataDir/spool`. */
  readonly directory: string;
  /** Below this much free disk (octets) no new message is taken; settlement goes on. */
  readonly minFreeBytes: () => number;
  readonly events: SpoolEvents;
}

/** Open the spool: make its directories and remove what a crash left half-written. */
export async function openFileStore(options: FileStoreOptions): Promise<Spool> {
  for (const shard of SHARDS) await makeDirectory(join(options.directory, shard));
  for (const shard of SHARDS)
    await removeLeftovers(join(options.directory, shard), options.events.leftover);
  return new FileStore(options);
}

/** Bodies without a journal and journals never renamed: nobody was told about them. */
async function removeLeftovers(directory: string, leftover: (file: string) => void): Promise<void> {
  const names = new Set(await readdir(directory));
  for (const name of names) {
    const orphan = name.endsWith('.eml') && !names.has(name.replace(/\.eml$/, '.journal'));
    if (!orphan && !name.endsWith('.new')) continue;
    await rm(join(directory, name), { force: true });
    leftover(join(directory, name));
  }
}

class FileStore implements Spool {
  readonly #options: FileStoreOptions;
  /** Appends to one journal go one after the other. */
  readonly #appending = new Map<MessageId, Promise<void>>();
  /** Why the last new message could not be taken; empty when it could. */
  #trouble = '';
  #probing = false;

  constructor(options: FileStoreOptions) {
    this.#options = options;
  }

  async begin(id: MessageId): Promise<Draft> {
    return this.#guard('begin', async () => {
      await this.#requireRoom();
      return new FileDraft(id, this.#path(id), {
        ...this.#options.events,
        committed: (error) => {
          this.#trouble = error?.message ?? '';
        },
      });
    });
  }

  async append(id: MessageId, records: readonly SpoolRecord[]): Promise<void> {
    const before = this.#appending.get(id) ?? Promise.resolve();
    const mine = before.catch(() => {}).then(() => this.#append(id, records));
    this.#appending.set(id, mine);
    try {
      await this.#guard('append', () => mine);
    } finally {
      if (this.#appending.get(id) === mine) this.#appending.delete(id);
    }
  }

  async #append(id: MessageId, records: readonly SpoolRecord[]): Promise<void> {
    const started = performance.now();
    const handle = await open(`${this.#path(id)}.journal`, 'r+');
    try {
      const size = await this.#cutTornTail(handle, id);
      await writeOrUndo(handle, Buffer.concat(records.map(formatLine)), size);
    } finally {
      await handle.close();
    }
    this.#options.events.took('append', (performance.now() - started) / 1000);
  }

  /** The size of the journal, whole lines alone: nothing may be written behind a torn one. */
  async #cutTornTail(handle: FileHandle, id: MessageId): Promise<number> {
    const { size } = await handle.stat();
    const last = await handle.read(Buffer.alloc(1), 0, 1, Math.max(0, size - 1));
    if (last.bytesRead === 1 && last.buffer[0] === LF) return size;
    const journal = parseJournal(await readFile(`${this.#path(id)}.journal`));
    if (journal.kind === 'unreadable') {
      throw new SpoolError('failed', `the journal of ${id} cannot be read: ${journal.reason}`);
    }
    await handle.truncate(journal.goodBytes);
    return journal.goodBytes;
  }

  async read(id: MessageId): Promise<StoredMessage | undefined> {
    return this.#guard('read', async () => {
      const bytes = await readFile(`${this.#path(id)}.journal`).catch(absentFile);
      if (!bytes) return undefined;
      const journal = parseJournal(bytes);
      if (journal.kind === 'unreadable') {
        throw new SpoolError('failed', `the journal of ${id} cannot be read: ${journal.reason}`);
      }
      const { envelope, sizeBytes } = journal.header;
      return { envelope, sizeBytes, records: journal.records };
    });
  }

  async openBody(id: MessageId): Promise<Readable> {
    return this.#guard('read', async () => {
      const handle = await open(`${this.#path(id)}.eml`, 'r');
      const stream = handle.createReadStream({ highWaterMark: 64 * 1024 });
      stream.on('error', (error) => {
        if (error.name !== 'AbortError') this.#options.events.failed('read', error);
      });
      return stream;
    });
  }

  async *list(): AsyncIterable<StoredMessage> {
    for (const shard of SHARDS) {
      const directory = join(this.#options.directory, shard);
      for (const name of await this.#names(directory)) {
        const id = name.replace(/\.journal$/, '');
        if (!name.endsWith('.journal') || !isMessageId(id)) continue;
        const message = await this.#load(join(directory, name));
        if (message) yield message;
      }
    }
  }

  async #names(directory: string): Promise<string[]> {
    try {
      return (await readdir(directory)).sort();
    } catch (error) {
      this.#options.events.damaged(directory, (error as Error).message);
      return [];
    }
  }

  /** One message from its journal; undefined (and reported) when that is unreadable. */
  async #load(file: string): Promise<StoredMessage | undefined> {
    const { damaged } = this.#options.events;
    try {
      const bytes = await readFile(file);
      const journal = parseJournal(bytes);
      if (journal.kind === 'unreadable') {
        damaged(file, journal.reason);
        return undefined;
      }
      if (journal.damagedLines > 0)
        damaged(file, `${journal.damagedLines} damaged records skipped`);
      if (journal.goodBytes < bytes.length) damaged(file, 'a record torn by a crash is left out');
      const { envelope, sizeBytes } = journal.header;
      return { envelope, sizeBytes, records: journal.records };
    } catch (error) {
      damaged(file, error instanceof Error ? error.message : String(error));
      return undefined;
    }
  }

  async remove(id: MessageId): Promise<void> {
    const started = performance.now();
    await this.#guard('remove', async () => {
      await rm(`${this.#path(id)}.journal`, { force: true });
      await rm(`${this.#path(id)}.eml`, { force: true });
    });
    this.#options.events.took('remove', (performance.now() - started) / 1000);
  }

  health(): { ok: boolean; reason: string } {
    if (this.#trouble && !this.#probing) void this.#probe();
    return this.#trouble ? { ok: false, reason: this.#trouble } : { ok: true, reason: 'writable' };
  }

  #path(id: MessageId): string {
    return join(this.#options.directory, id.slice(-1), id);
  }

  /** After trouble: is it over? Nobody may offer a message before health says so. */
  async #probe(): Promise<void> {
    this.#probing = true;
    try {
      await this.#requireRoom();
      await replaceFile(join(this.#options.directory, 'probe'), 'writable\n');
      this.#trouble = '';
    } catch (error) {
      this.#trouble = asSpoolError(error).message;
    }
    this.#probing = false;
  }

  async #requireRoom(): Promise<void> {
    const { bavail, bsize } = await statfs(this.#options.directory);
    const free = bavail * bsize;
    const reserve = this.#options.minFreeBytes();
    if (free < reserve) {
      const reason = `${free} octets free below ${this.#options.directory}, ${reserve} are kept (limits.minFreeDisk)`;
      throw new SpoolError('full', reason);
    }
  }

  /** Runs one operation; remembers trouble for `health` and reports it as SpoolError. */
  async #guard<T>(
    operation: 'begin' | 'append' | 'read' | 'remove',
    run: () => Promise<T>,
  ): Promise<T> {
    try {
      return await run();
    } catch (error) {
      const wrapped = asSpoolError(error);
      if (operation === 'begin') this.#trouble = wrapped.message;
      this.#options.events.failed(operation, wrapped);
      throw wrapped;
    }
  }
}

/** What a draft tells the store. */
interface DraftEvents extends SpoolEvents {
  committed(error: SpoolError | undefined): void;
}

class FileDraft implements Draft {
  readonly id: MessageId;
  readonly body: Transform;
  readonly #path: string;
  readonly #events: DraftEvents;
  readonly #written: Promise<void>;
  #sizeBytes = 0;

  constructor(id: MessageId, path: string, events: DraftEvents) {
    this.id = id;
    this.#path = path;
    this.#events = events;
    this.body = new Transform({
      transform: (chunk: Buffer, _encoding, done) => {
        this.#sizeBytes += chunk.length;
        done(null, chunk);
      },
    });
    // `flush` syncs the body before the file is closed.
    const file = createWriteStream(`${path}.eml`, { flags: 'wx', mode: 0o600, flush: true });
    this.#written = pipeline(this.body, file);
    this.#written.catch(() => {}); // told at commit
  }

  async commit(envelope: Envelope): Promise<StoredMessage> {
    const started = performance.now();
    try {
      if (!this.body.writableEnded) this.body.end();
      await this.#written;
      const header = { version: JOURNAL_VERSION, sizeBytes: this.#sizeBytes, envelope };
      const handle = await open(`${this.#path}.new`, 'wx', 0o600);
      try {
        await appendDurably(handle, formatLine(header));
      } finally {
        await handle.close();
      }
      await rename(`${this.#path}.new`, `${this.#path}.journal`);
      await syncDirectory(join(this.#path, '..'));
    } catch (error) {
      const wrapped = asSpoolError(error);
      this.#events.failed('commit', wrapped);
      this.#events.committed(wrapped);
      throw wrapped;
    }
    this.#events.committed(undefined);
    this.#events.took('commit', (performance.now() - started) / 1000);
    return { envelope, sizeBytes: this.#sizeBytes, records: [] };
  }

  async discard(): Promise<void> {
    this.body.destroy();
    await finished(this.body).catch(() => {});
    await this.#written.catch(() => {});
    for (const ending of ['.journal', '.new', '.eml']) {
      await rm(this.#path + ending, { force: true }).catch((error: Error) =>
        this.#events.failed('remove', error),
      );
    }
    // Or a power cut could bring back a message that was refused.
    await syncDirectory(join(this.#path, '..')).catch(() => {});
  }
}

async function writeOrUndo(handle: FileHandle, data: Buffer, size: number): Promise<void> {
  try {
    for (let written = 0; written < data.length; ) {
      const { bytesWritten } = await handle.write(
        data,
        written,
        data.length - written,
        size + written,
      );
      written += bytesWritten;
    }
    await handle.datasync();
  } catch (error) {
    await handle.truncate(size).catch(() => {});
    throw error;
  }
}

function absentFile(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT') return undefined;
  throw error;
}

function asSpoolError(error: unknown): SpoolError {
  if (error instanceof SpoolError) return error;
  const cause = error as NodeJS.ErrnoException;
  const kind = cause.code === 'ENOSPC' || cause.code === 'EDQUOT' ? 'full' : 'failed';
  return new SpoolError(kind, cause.message, { cause });
}
