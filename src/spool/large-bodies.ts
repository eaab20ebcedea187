/**
 * Bodies that are too large for a segment: a file each, `large/ID.eml`, written before the
 * message's frame and removed after the message.
 */
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import type { MessageId } from '../mail/message-id.ts';
import type { Disk, DiskFile } from '../platform/disk.ts';

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

  constructor(disk: Disk, spoolDirectory: string) {
    this.#disk = disk;
    this.directory = join(spoolDirectory, 'large');
  }

  async create(id: MessageId): Promise<LargeBody> {
    const path = this.#path(id);
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
    const octets = readIntact(() => this.#disk.open(this.#path(id)), expected);
    return Readable.from(octets, { objectMode: false, highWaterMark: READ_OCTETS });
  }

  remove(id: MessageId): Promise<void> {
    return this.#disk.remove(this.#path(id));
  }

  #path(id: MessageId): string {
    return join(this.directory, `${id}.eml`);
  }
}

/** The octets of a file; throws at their end when they are others than they were. */
async function* readIntact(
  open: () => Promise<DiskFile>,
  { crc, octets }: ExpectedBody,
): AsyncGenerator<Buffer> {
  const file = await open();
  try {
    let seenCrc = 0;
    let seen = 0;
    for (;;) {
      const chunk = await file.read(seen, READ_OCTETS);
      if (chunk.length === 0) break;
      seenCrc = crc32(chunk, seenCrc);
      seen += chunk.length;
      yield chunk;
    }
    if (seenCrc !== crc || seen !== octets) throw new Error('the body is not what was written');
  } finally {
    await file.close();
  }
}
