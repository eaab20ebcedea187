/**
 * The audit log: who changed what, when, one JSON line an action in `dataDir/state/audit.log`, synced
 * before the action is made; where it is refused then, or fails, a second line says so, and how much queued mail
 * it was. What an administrator
 * does is in the relay's log, too; this one is kept with the data and read by `stsrelay audit`. Full, it is put
 * aside as `audit.log.1`.
 */
import { type FileHandle, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock } from '../platform/clock.ts';
import { appendDurably, makeDirectory } from '../platform/durable-file.ts';
import { linesBackwards } from '../platform/lines-backwards.ts';
import { addressMatcher } from '../queue/mail-pattern.ts';

export interface AuditEntry {
  /** Rises from entry to entry. */
  readonly id: number;
  /** RFC 3339, UTC. */
  readonly at: string;
  /** Who: a user of this machine, as the command line says, or what let them in. */
  readonly actor: string;
  /** e.g. `override.add` */
  readonly action: string;
  /** What it was done to, e.g. a domain. */
  readonly target: string;
  readonly facts?: Readonly<Record<string, unknown>>;
  /**
   * Of a second entry about an action that was noted before it was made. `failed`: it came to nothing, or not to all
   * of it, and `facts.error` says why. `done`: its facts say how much it was.
   */
  readonly result?: 'failed' | 'done';
}

type Noted = Omit<AuditEntry, 'at' | 'id' | 'result'>;

/** What became of an action. `failed`: a part of it that the disk did not take. */
type Made =
  | { readonly ok: true; readonly failed?: number }
  | { readonly ok: boolean; readonly error: string; readonly failed?: never };

/** Milliseconds since the epoch, or so many ago. */
type When = { readonly atMs: number } | { readonly agoMs: number };

/** All that is said has to be true of an entry; in the first three `*` stands for any characters. */
export interface AuditFilter {
  readonly actor?: string | undefined;
  readonly action?: string | undefined;
  readonly target?: string | undefined;
  /** Not older. */
  readonly since?: When | undefined;
  /** Older. */
  readonly until?: When | undefined;
  /** Those noted before the entry with this id. */
  readonly before?: number | undefined;
}

const LF = 0x0a;
const MOST_OCTETS = 16 * 1024 * 1024;

export class AuditLog {
  readonly #file: string;
  readonly #clock: Clock;
  #handle: FileHandle;
  #octets: number;
  #lastId = 0;
  /** One line at a time. */
  #writing: Promise<unknown> = Promise.resolve();

  private constructor(parts: { file: string; clock: Clock; handle: FileHandle; octets: number }) {
    this.#file = parts.file;
    this.#clock = parts.clock;
    this.#handle = parts.handle;
    this.#octets = parts.octets;
  }

  /** Rejects with the system's error. */
  static async open(file: string, clock: Clock): Promise<AuditLog> {
    await makeDirectory(dirname(file));
    const handle = await open(file, 'a+', 0o600);
    const { size } = await handle.stat();
    const last = Buffer.alloc(1);
    if (size > 0) await handle.read(last, 0, 1, size - 1);
    // A line that a crash cut short ends here.
    const isCut = size > 0 && last[0] !== LF;
    if (isCut) await appendDurably(handle, Buffer.from('\n'));
    const log = new AuditLog({ file, clock, handle, octets: size + Number(isCut) });
    log.#lastId = (await log.last(1))[0]?.id ?? 0;
    return log;
  }

  /** Durable when it returns; rejects with the system's error. */
  note(entry: Noted & Pick<AuditEntry, 'result'>): Promise<void> {
    this.#lastId += 1;
    const whole = { id: this.#lastId, at: new Date(this.#clock.now()).toISOString(), ...entry };
    const line = Buffer.from(`${JSON.stringify(whole)}\n`);
    const mine = this.#writing.catch(() => {}).then(() => this.#append(line));
    this.#writing = mine;
    return mine;
  }

  /**
   * Note an action, then make it. Where that is refused or rejects, this is noted as well, if the disk
   * takes it, and so is what it came to where there are facts of that; an action that cannot be noted is not made.
   */
  async during<R extends Made>(
    entry: Noted,
    make: () => Promise<R>,
    factsOf: (made: R) => AuditEntry['facts'] = () => undefined,
  ): Promise<R> {
    await this.note(entry);
    const tell = (result: 'failed' | 'done', more: AuditEntry['facts']) =>
      this.note({ ...entry, facts: { ...entry.facts, ...more }, result }).catch(() => {});
    try {
      const made = await make();
      const facts = factsOf(made);
      if (!made.ok) await tell('failed', { error: made.error });
      else if (made.failed) {
        const error = `the disk did not take it for ${made.failed} of them`;
        await tell('failed', { ...facts, error });
      } else if (facts) await tell('done', facts);
      return made;
    } catch (error) {
      await tell('failed', { error: (error as Error).message });
      throw error;
    }
  }

  async #append(line: Buffer): Promise<void> {
    if (this.#octets + line.length > MOST_OCTETS) {
      await this.#handle.close();
      await rename(this.#file, `${this.#file}.1`);
      this.#handle = await open(this.#file, 'a', 0o600);
      this.#octets = 0;
    }
    await appendDurably(this.#handle, line);
    this.#octets += line.length;
  }

  /** The last `count` entries that fit, the newest first; lines that cannot be read are left out. */
  async last(count: number, filter: AuditFilter = {}): Promise<readonly AuditEntry[]> {
    const fits = matcherOf(filter, this.#clock.now());
    const entries: AuditEntry[] = [];
    let before = filter.before ?? Infinity;
    for (const file of [this.#file, `${this.#file}.1`]) {
      for await (const line of linesBackwards(file)) {
        const entry = parse(line);
        // A file that was put aside meanwhile is read twice.
        if (!entry || entry.id >= before) continue;
        if (entry.id > 0) before = entry.id;
        if (fits(entry)) entries.push(entry);
        if (entries.length >= count) return entries;
      }
    }
    return entries;
  }

  async close(): Promise<void> {
    await this.#writing.catch(() => {});
    await this.#handle.close();
  }
}

function matcherOf({ actor, action, target, since, until }: AuditFilter, nowMs: number) {
  const fits = (pattern: string | undefined) =>
    pattern === undefined ? () => true : addressMatcher(pattern);
  const [isActor, isAction, isTarget] = [fits(actor), fits(action), fits(target)];
  const msOf = (when: When) => ('atMs' in when ? when.atMs : nowMs - when.agoMs);
  const sinceMs = since ? msOf(since) : 0;
  const untilMs = until ? msOf(until) : 0;
  // An entry without a time fits where nobody asks for one.
  const isThen = (ms: number) =>
    (since === undefined || ms >= sinceMs) && (until === undefined || ms < untilMs);
  return (entry: AuditEntry) =>
    isActor(entry.actor) &&
    isAction(entry.action) &&
    isTarget(entry.target) &&
    isThen(Date.parse(entry.at));
}

function parse(line: string): AuditEntry | undefined {
  try {
    const entry = JSON.parse(line) as AuditEntry;
    return { ...entry, id: entry.id ?? 0 };
  } catch {
    return undefined; // cut short by a crash
  }
}
