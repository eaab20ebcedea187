/**
 * The audit log: who changed what, when, one JSON line an action in `dataDir/state/audit.log`, synced
 * before the action counts as done. What an administrator does is in the relay's log, too; this one
 * is kept with the data and read by `stsrelay audit`. Full, it is put aside as `audit.log.1`.
 */
import { type FileHandle, open, readFile, rename } from 'node:fs/promises';
import type { Clock } from '../platform/clock.ts';
import { appendDurably } from '../platform/durable-file.ts';

export interface AuditEntry {
  /** RFC 3339, UTC. */
  readonly at: string;
  /** Who: a user of this machine, as the command line says, or what let them in. */
  readonly actor: string;
  /** e.g. `override.add` */
  readonly action: string;
  /** What it was done to, e.g. a domain. */
  readonly target: string;
  readonly facts?: Readonly<Record<string, unknown>>;
}

const LF = 0x0a;
const MOST_OCTETS = 16 * 1024 * 1024;

export class AuditLog {
  readonly #file: string;
  readonly #clock: Clock;
  #handle: FileHandle;
  #octets: number;
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
    const handle = await open(file, 'a+', 0o600);
    const { size } = await handle.stat();
    const last = Buffer.alloc(1);
    if (size > 0) await handle.read(last, 0, 1, size - 1);
    // A line that a crash cut short ends here.
    const isCut = size > 0 && last[0] !== LF;
    if (isCut) await appendDurably(handle, Buffer.from('\n'));
    return new AuditLog({ file, clock, handle, octets: size + Number(isCut) });
  }

  /** Durable when it returns; rejects with the system's error. */
  note(entry: Omit<AuditEntry, 'at'>): Promise<void> {
    const line = `${JSON.stringify({ at: new Date(this.#clock.now()).toISOString(), ...entry })}\n`;
    const mine = this.#writing.catch(() => {}).then(() => this.#append(Buffer.from(line)));
    this.#writing = mine;
    return mine;
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

  /** The last `count` entries, the newest first; lines that cannot be read are left out. */
  async last(count: number): Promise<readonly AuditEntry[]> {
    const entries: AuditEntry[] = [];
    for (const file of [this.#file, `${this.#file}.1`]) {
      const text = await readFile(file, 'utf8').catch(() => '');
      for (const line of text.trimEnd().split('\n').reverse()) {
        if (entries.length >= count) return entries;
        const entry = parse(line);
        if (entry) entries.push(entry);
      }
    }
    return entries;
  }

  async close(): Promise<void> {
    await this.#writing.catch(() => {});
    await this.#handle.close();
  }
}

function parse(line: string): AuditEntry | undefined {
  try {
    return JSON.parse(line) as AuditEntry;
  } catch {
    return undefined; // cut short by a crash
  }
}
