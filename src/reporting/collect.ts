/**
 * Counts what the TLS reports are made of, by UTC day (RFC 8460 §4.1), and keeps it: in memory for a fifth
 * of a second at most, then on disk (count-log.ts). The sessions of an attempt are written before its record
 * in the spool and synced beside it (`besideCounts`): no record without its counts, whatever kills the
 * process. Whatever is on disk is counted once: what could not be written stays in memory and is written
 * later, within bounds (day-tally.ts).
 *
 * Everything is counted, for any domain: whether it asks for reports is looked up when there is one
 * to send. Counting takes no time to speak of and never fails.
 */
import type { Clock } from '../platform/clock.ts';
import { CountLog, type CountLogEvents } from './count-log.ts';
import type { Counted } from './counted.ts';
import { DayTally } from './day-tally.ts';

export interface CollectorEvents extends CountLogEvents {
  /** The disk does not take the counts: told once, until it does again. */
  delayed(error: Error): void;
  kept(): void;
  /** They could not be written for days, and there is no room for more. */
  lost(day: string): void;
}

export interface CollectorParts {
  /** Made where it is not there. */
  readonly directory: string;
  readonly clock: Clock;
  /** How long the counts of a day are kept after it; milliseconds. */
  readonly keepMs: () => number;
  readonly events: CollectorEvents;
}

const WRITE_MS = 200;
/** Days that wait for the disk. */
const MOST_WAITING = 4;
const DAY_MS = 86_400_000;

/** The UTC day of a time, e.g. `2026-03-14`. */
export function utcDay(atMs: number): string {
  return new Date(atMs).toISOString().slice(0, 10);
}

export class Collector {
  readonly #parts: CollectorParts;
  readonly #log: CountLog;
  /** Counted and not written, by day. */
  readonly #waiting = new Map<string, DayTally>();
  #lastDay = '';
  #isDelayed = false;
  #isWriting = false;
  /** The sync under way, and the one that those wait for who came since. */
  #sync: Promise<boolean> = Promise.resolve(true);
  #nextSync: Promise<boolean> | undefined;
  #cancel: (() => void) | undefined;
  /** One thing at a time on disk. */
  #working: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  private constructor(parts: CollectorParts, log: CountLog) {
    this.#parts = parts;
    this.#log = log;
  }

  /** Rejects with the system's error. */
  static async open(parts: CollectorParts): Promise<Collector> {
    return new Collector(parts, await CountLog.open(parts.directory, parts.events));
  }

  count(counted: Counted): void {
    const day = utcDay(this.#parts.clock.now());
    const tally = this.#waiting.get(day) ?? new DayTally();
    tally.add(counted);
    this.#waiting.set(day, tally);
    if (this.#waiting.size > MOST_WAITING) this.#forgetOldest();
    this.#writeSoon();
  }

  /** Everything counted so far is durable when it resolves to true. */
  async write(): Promise<boolean> {
    return (await this.#inTurn(() => this.#writeNow())) && this.synced();
  }

  /**
   * Resolves when what was counted so far outlives the process, or the disk does not take it now (then it is
   * written later). Never rejects.
   */
  async written(): Promise<void> {
    if (this.#waiting.size > 0 || this.#isWriting) await this.#inTurn(() => this.#writeNow());
  }

  /**
   * Resolves to true when what was written so far is durable, to false when the disk does not say so. One
   * sync is under way at a time: who comes meanwhile shares the next. Never rejects.
   */
  synced(): Promise<boolean> {
    this.#nextSync ??= this.#sync.then(() => {
      this.#nextSync = undefined;
      this.#sync = this.#syncNow();
      return this.#sync;
    });
    return this.#nextSync;
  }

  /** What was counted on a day so far. Rejects with the system's error. */
  tallyOf(day: string): Promise<DayTally> {
    return this.#inTurn(async () => {
      await this.#writeNow();
      const tally = await this.#log.read(day);
      const waiting = this.#waiting.get(day);
      if (waiting) tally.addAll(waiting);
      return tally;
    });
  }

  /** The days something was counted on, the latest first. Rejects with the system's error. */
  days(): Promise<readonly string[]> {
    return this.#inTurn(async () => {
      const days = new Set([...(await this.#log.days()), ...this.#waiting.keys()]);
      return [...days].sort().reverse();
    });
  }

  /** Write what there is, and end. Never rejects. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancel?.();
    await this.write();
    await this.#inTurn(() => this.#log.close()).catch(() => {});
  }

  #inTurn<R>(work: () => Promise<R>): Promise<R> {
    const mine = this.#working.catch(() => {}).then(work);
    this.#working = mine;
    return mine;
  }

  #writeSoon(): void {
    if (this.#cancel || this.#isClosed) return;
    this.#cancel = this.#parts.clock.after(WRITE_MS, () => {
      this.#cancel = undefined;
      void this.write();
    });
  }

  async #writeNow(): Promise<boolean> {
    this.#isWriting = true;
    try {
      return await this.#writeWaiting();
    } finally {
      this.#isWriting = false;
    }
  }

  async #writeWaiting(): Promise<boolean> {
    for (const [day, tally] of [...this.#waiting].sort()) {
      this.#waiting.delete(day);
      try {
        await this.#log.write(day, tally);
      } catch (error) {
        const since = this.#waiting.get(day);
        if (since) tally.addAll(since);
        this.#waiting.set(day, tally);
        this.#delayed(error as Error);
        this.#writeSoon();
        return false;
      }
      if (day !== this.#lastDay) await this.#removeOld().catch(() => {}); // again tomorrow
      this.#lastDay = day;
    }
    return true;
  }

  async #syncNow(): Promise<boolean> {
    try {
      await this.#log.sync();
    } catch (error) {
      this.#delayed(error as Error);
      return false;
    }
    // What waits was refused; its turn comes.
    if (this.#isDelayed && this.#waiting.size === 0) {
      this.#isDelayed = false;
      this.#parts.events.kept();
    }
    return true;
  }

  #delayed(error: Error): void {
    if (!this.#isDelayed) this.#parts.events.delayed(error);
    this.#isDelayed = true;
  }

  async #removeOld(): Promise<void> {
    const { clock, keepMs } = this.#parts;
    // From the end of the day on.
    const oldest = utcDay(clock.now() - keepMs() - DAY_MS);
    for (const day of await this.#log.days()) if (day < oldest) await this.#log.remove(day);
  }

  #forgetOldest(): void {
    const [oldest] = [...this.#waiting.keys()].sort();
    if (oldest === undefined) return;
    this.#waiting.delete(oldest);
    this.#parts.events.lost(oldest);
  }
}

/**
 * What `record` does begins when what was counted before the call outlives the process, and is over when that
 * is durable, too. The sync has no part in how long `record` takes.
 */
export async function besideCounts<R>(
  counts: Pick<Collector, 'written' | 'synced'>,
  record: () => Promise<R>,
): Promise<R> {
  await counts.written();
  const synced = counts.synced();
  const result = await record();
  await synced;
  return result;
}
