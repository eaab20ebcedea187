/**
 * Bodies that are too large for a segment: a file each, `large/ID.eml`, written before the
 * message's frame and removed after the message.
 */
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import { isMessageId, type MessageId } from '../mail/message-id.ts';
import type { Disk, DiskFile } from '../platform/disk.ts';
import { putBack, setAside } from './set-aside.ts';

/** One being written. */
export interface LargeBody {
  write(chunk: Buffer): Promise<void>;
  /** Make it durable, its name included; gives the CRC-32 of its octets. */
  finish(): Promise<number>;
  discard(): Promise<void>;
}

/** What the body was when it was written. */
export interface ExpectedBody {
  readonly crc: number;
  readonly octets: number;
}

const READ_OCTETS = 64 * 1024;

export class LargeBodies {
  readonly directory: string;
  readonly #disk: Disk;
  readonly #spoolDirectory: string;

  constructor(disk: Disk, spoolDirectory: string) {
    this.#disk = disk;
    this.#spoolDirectory = spoolDirectory;
    this.directory = join(spoolDirectory, 'large');
  }

  /** Messages and drafts that have a body here; none where there is no such directory. */
  async ids(): Promise<Set<MessageId>> {
    const names = await this.#disk.list(this.directory).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
      return [];
    });
    const ids = names.flatMap((name) => (name.endsWith('.eml') ? [name.slice(0, -4)] : []));
    return new Set(ids.filter(isMessageId));
  }

  async create(id: MessageId): Promise<LargeBody> {
    const path = this.pathOf(id);
    const file: DiskFile = await this.#disk.create(path);
    let at = 0;
    let crc = 0;
    let isOpen = true;
    const close = async () => {
      if (!isOpen) return;
      isOpen = false;
      await file.close();
    };
    return {
      write: async (chunk) => {
        await file.write([chunk], at);
        at += chunk.length;
        crc = crc32(chunk, crc);
      },
      finish: async () => {
        await file.sync();
        await close();
        await this.#disk.syncDirectory(this.directory);
        return crc;
      },
      discard: async () => {
        await close().catch(() => {});
        await this.#disk.remove(path);
      },
    };
  }

  /** The body from its first octet; it errors before its end when it is not what was written. */
  open(id: MessageId, expected: ExpectedBody): Readable {
    const octets = readIntact(() => this.#disk.open(this.pathOf(id)), expected);
    return Readable.from(octets, { objectMode: false, highWaterMark: READ_OCTETS });
  }

  /** Whatever it is now. */
  openAsItIs(id: MessageId): Readable {
    return Readable.from(readOctets(() => this.#disk.open(this.pathOf(id))));
  }

  remove(id: MessageId): Promise<void> {
    return this.#disk.remove(this.pathOf(id));
  }

  /** Keep the body for a rescue: nobody knows any more whose it is. */
  setAside(id: MessageId): Promise<void> {
    return setAside(this.#disk, this.#spoolDirectory, join('large', `${id}.eml`));
  }

  /** Take back what was set aside. */
  putBack(id: MessageId): Promise<void> {
    return putBack(this.#disk, this.#spoolDirectory, join('large', `${id}.eml`));
  }

  pathOf(id: MessageId): string {
    return join(this.directory, `${id}.eml`);
  }
}

/** The octets of a file; throws at their end when they are others than they were. */
async function* readIntact(
  open: () => Promise<DiskFile>,
  { crc, octets }: ExpectedBody,
): AsyncGenerator<Buffer> {
  let seenCrc = 0;
  let seen = 0;
  for await (const chunk of readOctets(open)) {
    seenCrc = crc32(chunk, seenCrc);
    seen += chunk.length;
    yield chunk;
  }
  if (seenCrc !== crc || seen !== octets) throw new Error('the body is not what was written');
}

async function* readOctets(open: () => Promise<DiskFile>): AsyncGenerator<Buffer> {
  const file = await open();
  try {
    for (let at = 0; ; ) {
      const chunk = await file.read(at, READ_OCTETS);
      if (chunk.length === 0) return;
      at += chunk.length;
      yield chunk;
    }
  } finally {
    await file.close();
  }
}
