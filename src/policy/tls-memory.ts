/**
 * Which TLS was seen at which MX host: that it was there, and that its certificate was valid.
 * What it takes to notice when either is gone; it decides nothing about deliveries.
 *
 * Kept in a file of its own, written now and then: what a crash loses is at most NOTE_MS of
 * first sights. A file that cannot be read is begun anew.
 */
import { readFile } from 'node:fs/promises';
import { LRUCache } from 'lru-cache';
import type { Clock } from '../platform/clock.ts';
import { replaceFile } from '../platform/durable-file.ts';
import { parseDomain } from '../protocol/domain.ts';

export interface SeenTls {
  /** Milliseconds since the epoch: the last handshake that succeeded. */
  readonly tlsAtMs: number;
  /** The last time its certificate was valid. */
  readonly verifiedAtMs?: number;
}

export interface TlsMemoryOptions {
  /** `dataDir/state/tls-seen.json`. */
  readonly file: string;
  readonly clock: Clock;
  readonly onError: (error: Error) => void;
}

const MOST_HOSTS = 50_000;
const NOTE_MS = 60_000;
/** What was seen longer ago says nothing about today. */
const FORGET_MS = 90 * 86_400_000;

export class TlsMemory {
  readonly #options: TlsMemoryOptions;
  readonly #hosts = new LRUCache<string, SeenTls>({ max: MOST_HOSTS });
  #cancel: (() => void) | undefined;

  private constructor(options: TlsMemoryOptions) {
    this.#options = options;
  }

  static async open(options: TlsMemoryOptions): Promise<TlsMemory> {
    const memory = new TlsMemory(options);
    try {
      memory.#read(JSON.parse(await readFile(options.file, 'utf8')));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') options.onError(error as Error);
    }
    return memory;
  }

  /** What was seen at `host` not too long ago. */
  get(host: string): SeenTls | undefined {
    const seen = this.#hosts.get(host);
    return seen && this.#isRecent(seen.tlsAtMs) ? seen : undefined;
  }

  /** A handshake with `host` succeeded. */
  note(host: string, { verified }: { readonly verified: boolean }): void {
    const now = this.#options.clock.now();
    const verifiedAtMs = verified ? now : this.#hosts.get(host)?.verifiedAtMs;
    this.#hosts.set(host, {
      tlsAtMs: now,
      ...(verifiedAtMs === undefined ? {} : { verifiedAtMs }),
    });
    this.#cancel ??= this.#options.clock.after(NOTE_MS, () => void this.save());
  }

  /** Write what is not written yet. */
  async save(): Promise<void> {
    if (!this.#cancel) return;
    this.#cancel();
    this.#cancel = undefined;
    try {
      await replaceFile(this.#options.file, JSON.stringify([...this.#hosts.entries()].reverse()));
    } catch (error) {
      this.#options.onError(error as Error);
    }
  }

  /** As written: the most recently used last. */
  #read(raw: unknown): void {
    if (!Array.isArray(raw)) throw new Error('not a list of hosts');
    for (const entry of raw.slice(-MOST_HOSTS)) {
      const [host, seen] = Array.isArray(entry) ? entry : [];
      const { tlsAtMs, verifiedAtMs } = (seen ?? {}) as Partial<SeenTls>;
      if (typeof tlsAtMs !== 'number' || parseDomain(String(host)) !== host) continue;
      const verified = typeof verifiedAtMs === 'number' ? { verifiedAtMs } : {};
      this.#hosts.set(String(host), { tlsAtMs, ...verified });
    }
  }

  #isRecent(atMs: number): boolean {
    return this.#options.clock.now() - atMs < FORGET_MS;
  }
}
