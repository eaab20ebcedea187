/**
 * A file of lines that only grows, each with a checksum: what `append` returned for is durable, what it
 * rejected for is not there, whatever became of it on the way. A line that a crash cut short is not
 * there, either: it is overwritten.
 *
 *   CRC-32 of the rest in hex, a blank, JSON, LF
 *
 * Who cannot wait for the disk calls `write`, which outlives the process but not the machine, and `sync`
 * beside other work. Calls on one file are made one after the other, but for `sync`: others may be made
 * while it runs.
 */
import { constants } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import { syncDirectory } from './durable-file.ts';

const LF = 0x0a;
const CHECKSUM_CHARACTERS = 9;

export class LineFile {
  readonly #handle: FileHandle;
  /** Up to where it is as it was written. */
  #octets: number;
  /** Up to where it is durable. */
  #synced: number;
  /** Something may stand behind `#octets`. */
  #isUncertain = false;

  private constructor(handle: FileHandle, octets: number) {
    this.#handle = handle;
    this.#octets = octets;
    this.#synced = octets;
  }

  /** Open it, or make it; its directory is there. Rejects with the system's error. */
  static async open(path: string): Promise<LineFile> {
    const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      const octets = await endOfLines(handle);
      // A line that was cut short is overwritten, and nothing of it may stand behind the new one.
      await handle.truncate(octets);
      await syncDirectory(dirname(path));
      return new LineFile(handle, octets);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  get octets(): number {
    return this.#octets;
  }

  /** Durable when it returns; rejects with the system's error. */
  async append(values: readonly unknown[]): Promise<void> {
    await this.write(values);
    try {
      await this.sync();
    } catch (error) {
      this.#octets = this.#synced;
      this.#isUncertain = true;
      throw error;
    }
  }

  /**
   * There for every process when it returns, and durable after a `sync`; rejects with the system's error, and
   * then is not there.
   */
  async write(values: readonly unknown[]): Promise<void> {
    if (this.#isUncertain) await this.#handle.truncate(this.#octets);
    const lines = Buffer.from(linesOf(values));
    this.#isUncertain = true;
    await writeAt(this.#handle, lines, this.#octets);
    this.#octets += lines.length;
    this.#isUncertain = false;
  }

  /**
   * What was written before the call is durable when it returns. Rejects with the system's error: whether
   * the machine's crash would take it, nobody knows then, and a later sync would prove nothing.
   */
  async sync(): Promise<void> {
    const octets = this.#octets;
    if (octets === this.#synced) return;
    await this.#handle.datasync();
    this.#synced = Math.max(octets, this.#synced);
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** As they stand in a file. */
export function linesOf(values: readonly unknown[]): string {
  return values
    .map((value) => {
      const json = JSON.stringify(value);
      return `${checksum(json)} ${json}\n`;
    })
    .join('');
}

/** The JSON of a line; undefined when it is not as it was written. */
export function jsonOf(line: string): unknown {
  const json = line.slice(CHECKSUM_CHARACTERS);
  if (line.slice(0, CHECKSUM_CHARACTERS) !== `${checksum(json)} `) return undefined;
  try {
    return JSON.parse(json) as unknown;
  } catch {
    return undefined;
  }
}

/** The whole lines of a file; none when it is not there. Rejects with the system's error. */
export async function readLines(path: string): Promise<readonly string[]> {
  try {
    const lines = (await readFile(path, 'utf8')).split('\n');
    lines.pop(); // cut short by a crash, or empty
    return lines;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function checksum(json: string): string {
  return crc32(json)
    .toString(16)
    .padStart(CHECKSUM_CHARACTERS - 1, '0');
}

async function writeAt(handle: FileHandle, data: Buffer, position: number): Promise<void> {
  for (let written = 0; written < data.length; ) {
    const left = data.length - written;
    const { bytesWritten } = await handle.write(data, written, left, position + written);
    written += bytesWritten;
  }
}

/** Where the last whole line ends. */
async function endOfLines(handle: FileHandle): Promise<number> {
  const chunk = Buffer.alloc(64 * 1024);
  let { size: end } = await handle.stat();
  while (end > 0) {
    const start = Math.max(0, end - chunk.length);
    const { bytesRead } = await handle.read(chunk, 0, end - start, start);
    const last = chunk.subarray(0, bytesRead).lastIndexOf(LF);
    if (last >= 0) return start + last + 1;
    end = start;
  }
  return 0;
}
