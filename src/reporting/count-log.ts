/**
 * The counts of TLS reports on disk: a file a UTC day, to which what was counted since the last time is
 * added, a line for each domain. Lines add up, so neither their order nor how often they were
 * written together matters; a file that has grown is replaced by one with a line a domain.
 *
 *   DAY.log:  CRC-32 of the rest in hex, a blank, a Counted as JSON, LF
 *
 * What `append` returned for is durable. What it rejected for is not there, whatever became of it on the
 * way: it is overwritten, and may be appended again. A line that a crash cut short is not there either;
 * one that cannot be read for another reason is passed over, and told. Calls are made one after
 * the other.
 */
import { constants } from 'node:fs';
import { type FileHandle, open, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { z } from 'zod';
import { makeDirectory, replaceFile, syncDirectory } from '../platform/durable-file.ts';
import { RESULT_TYPES } from '../protocol/tlsrpt/result-type.ts';
import type { Counted } from './counted.ts';
import { DayTally } from './day-tally.ts';

export interface CountLogEvents {
  /** Lines of a file could not be read: what they counted is lost. */
  damaged(file: string, lines: number): void;
  /** A file could not be made smaller; it is complete. */
  notCompacted(file: string, error: Error): void;
}

/** The file that is written to. */
interface OpenDay {
  readonly day: string;
  readonly handle: FileHandle;
  /** Up to where it is known to be good. */
  octets: number;
  /** Its size when it was opened, or compacted. */
  readonly atFirst: number;
  /** Something may stand behind that. */
  isUncertain: boolean;
}

/** Smaller files are left as they are. */
const COMPACT_OCTETS = 1024 * 1024;
/** Lines that are read before others get their turn. */
const LINES_A_TURN = 500;
const LF = 0x0a;

export class CountLog {
  readonly #directory: string;
  readonly #events: CountLogEvents;
  readonly #compactOctets: number;
  #open: OpenDay | undefined;

  private constructor(directory: string, events: CountLogEvents, compactOctets: number) {
    this.#directory = directory;
    this.#events = events;
    this.#compactOctets = compactOctets;
  }

  /** Makes the directory. Rejects with the system's error. */
  static async open(
    directory: string,
    events: CountLogEvents,
    { compactOctets = COMPACT_OCTETS } = {},
  ): Promise<CountLog> {
    await makeDirectory(directory);
    return new CountLog(directory, events, compactOctets);
  }

  /** Durable when it returns; rejects with the system's error. */
  async append(day: string, tally: DayTally): Promise<void> {
    const file = await this.#dayFile(day);
    if (file.isUncertain) await file.handle.truncate(file.octets);
    const lines = Buffer.from(linesOf(tally));
    file.isUncertain = true;
    await writeAt(file.handle, lines, file.octets);
    file.octets += lines.length;
    file.isUncertain = false;
    if (file.octets < Math.max(this.#compactOctets, 2 * file.atFirst)) return;
    // What was appended is there, whatever comes of this.
    await this.#compact(day).catch((error: Error) =>
      this.#events.notCompacted(this.#fileOf(day), error),
    );
  }

  /** What was counted on `day`; nothing for a day without a file. */
  async read(day: string): Promise<DayTally> {
    const tally = new DayTally();
    let text: string;
    try {
      text = await readFile(this.#fileOf(day), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return tally;
      throw error;
    }
    const lines = text.split('\n');
    lines.pop(); // cut short by a crash, or empty
    let damaged = 0;
    for (const [index, line] of lines.entries()) {
      const found = parseLine(line);
      if (!found) damaged += 1;
      else if (found.domain === undefined) tally.addOther(found);
      else tally.add(found);
      if (index % LINES_A_TURN === LINES_A_TURN - 1) await turn();
    }
    if (damaged > 0) this.#events.damaged(this.#fileOf(day), damaged);
    return tally;
  }

  /** The days that there are files of, the latest first. */
  async days(): Promise<readonly string[]> {
    const names = await readdir(this.#directory);
    const days = names.flatMap((name) => /^(\d{4}-\d\d-\d\d)\.log$/.exec(name)?.[1] ?? []);
    return days.sort().reverse();
  }

  async remove(day: string): Promise<void> {
    if (this.#open?.day === day) await this.close();
    await rm(this.#fileOf(day), { force: true });
  }

  async close(): Promise<void> {
    const file = this.#open;
    this.#open = undefined;
    await file?.handle.close();
  }

  #fileOf(day: string): string {
    return join(this.#directory, `${day}.log`);
  }

  async #dayFile(day: string): Promise<OpenDay> {
    if (this.#open?.day === day) return this.#open;
    await this.close();
    const handle = await open(this.#fileOf(day), constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      const octets = await endOfLines(handle);
      // A line that was cut short is overwritten, and nothing of it may stand behind the new one.
      await handle.truncate(octets);
      await syncDirectory(this.#directory);
      this.#open = { day, handle, octets, atFirst: octets, isUncertain: false };
      return this.#open;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async #compact(day: string): Promise<void> {
    const tally = await this.read(day);
    await this.close();
    await replaceFile(this.#fileOf(day), linesOf(tally));
  }
}

async function writeAt(handle: FileHandle, data: Buffer, position: number): Promise<void> {
  for (let written = 0; written < data.length; ) {
    const left = data.length - written;
    const { bytesWritten } = await handle.write(data, written, left, position + written);
    written += bytesWritten;
  }
  await handle.datasync();
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

function linesOf(tally: DayTally): string {
  const { successful, failed } = tally.other;
  const lines = [...tally.counted()].map(lineOf);
  if (successful + failed > 0) lines.push(lineOf({ successful, failed }));
  return lines.join('');
}

/** A line without a domain counts those that there was no room for. */
function lineOf(counted: Counted | Other): string {
  const json = JSON.stringify(counted);
  return `${crc32(json).toString(16).padStart(8, '0')} ${json}\n`;
}

type Other = Readonly<Record<'successful' | 'failed', number>> & { readonly domain?: undefined };

const number = z.number().int().min(0);
const text = z.string();
const schema = z.union([
  z.object({
    domain: text,
    policy: z.object({
      type: z.enum(['sts', 'tlsa', 'no-policy-found']),
      domain: text,
      lines: z.array(text),
      mx: z.array(text),
    }),
    successful: number,
    failed: number,
    details: z.array(
      z.object({
        detail: z.object({
          resultType: z.enum(RESULT_TYPES),
          sendingIp: text.optional(),
          mxHost: text.optional(),
          mxHelo: text.optional(),
          receivingIp: text.optional(),
          additionalUri: text.optional(),
          reasonCode: text.optional(),
        }),
        sessions: number,
      }),
    ),
  }),
  z.object({ domain: z.undefined().optional(), successful: number, failed: number }),
]);

function parseLine(line: string): Counted | Other | undefined {
  const json = line.slice(9);
  if (line.slice(0, 9) !== `${crc32(json).toString(16).padStart(8, '0')} `) return undefined;
  try {
    return schema.parse(JSON.parse(json));
  } catch {
    return undefined;
  }
}
