/**
 * The counts of TLS reports on disk: a file a UTC day, to which what was counted since the last time is
 * added, a line for each domain. Lines add up, so neither their order nor how often they were
 * written together matters; a file that has grown is replaced by one with a line a domain.
 *
 *   DAY.log:  a Counted a line (platform/line-file.ts)
 *
 * What `write` returned for outlives the process, and the machine after a `sync`. What it rejected for is
 * not there, and may be written again. A line that cannot be read is passed over, and told. Calls are made
 * one after the other, but for `sync`: others may be made while it runs.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { makeDirectory, replaceFile } from '../platform/durable-file.ts';
import { jsonOf, LineFile, linesOf, readLines } from '../platform/line-file.ts';
import type { Counted } from './counted.ts';
import { countedForm, otherForm } from './counted-form.ts';
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
  readonly file: LineFile;
  /** Its size when it was opened, or compacted. */
  readonly atFirst: number;
}

/** Smaller files are left as they are. */
const COMPACT_OCTETS = 1024 * 1024;
/** Lines that are read before others get their turn. */
const LINES_A_TURN = 500;

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

  /** Rejects with the system's error. */
  async write(day: string, tally: DayTally): Promise<void> {
    const { file, atFirst } = await this.#dayFile(day);
    await file.write(valuesOf(tally));
    if (file.octets < Math.max(this.#compactOctets, 2 * atFirst)) return;
    // What was written is there, whatever comes of this.
    await this.#compact(day).catch((error: Error) =>
      this.#events.notCompacted(this.#fileOf(day), error),
    );
  }

  /** Rejects with the system's error: nobody knows then what a crash of the machine would take. */
  async sync(): Promise<void> {
    await this.#open?.file.sync();
  }

  /** What was counted on `day`; nothing for a day without a file. */
  async read(day: string): Promise<DayTally> {
    const tally = new DayTally();
    const lines = await readLines(this.#fileOf(day));
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
    const open = this.#open;
    this.#open = undefined;
    try {
      await open?.file.sync();
    } finally {
      await open?.file.close();
    }
  }

  #fileOf(day: string): string {
    return join(this.#directory, `${day}.log`);
  }

  async #dayFile(day: string): Promise<OpenDay> {
    if (this.#open?.day === day) return this.#open;
    await this.close();
    const file = await LineFile.open(this.#fileOf(day));
    this.#open = { day, file, atFirst: file.octets };
    return this.#open;
  }

  async #compact(day: string): Promise<void> {
    const tally = await this.read(day);
    await this.close();
    await replaceFile(this.#fileOf(day), linesOf(valuesOf(tally)));
  }
}

/** A line without a domain counts those that there was no room for. */
function valuesOf(tally: DayTally): readonly unknown[] {
  const { successful, failed } = tally.other;
  const values: unknown[] = [...tally.counted()];
  if (successful + failed > 0) values.push({ successful, failed });
  return values;
}

type Other = Readonly<Record<'successful' | 'failed', number>> & { readonly domain?: undefined };

function parseLine(line: string): Counted | Other | undefined {
  const value = jsonOf(line);
  return countedForm.safeParse(value).data ?? otherForm.safeParse(value).data;
}
