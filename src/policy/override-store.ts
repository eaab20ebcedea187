/**
 * Overrides that an administrator added while the relay runs, each with an owner, a reason and an end
 * (product contract §5): kept on disk, whatever becomes of Redis. Those of the configuration are
 * not in here, and go before these.
 *
 * An override weakens what a domain asks for, so a file that cannot be read means none: mail waits for the
 * TLS that is published rather than going without.
 */
import { readFile, rename } from 'node:fs/promises';
import { z } from 'zod';
import type { TlsLevel } from '../mail/tls-requirement.ts';
import type { Clock } from '../platform/clock.ts';
import { replaceFile } from '../platform/durable-file.ts';
import { type DomainName, parseDomain } from '../protocol/domain.ts';

export interface StoredOverride {
  readonly domain: DomainName;
  readonly tls: TlsLevel;
  readonly owner: string;
  readonly reason: string;
  /** Milliseconds since the epoch. */
  readonly expires: number;
  readonly addedAt: number;
}

export const MOST_OVERRIDES = 1000;
export const LONGEST_TEXT = 500;
/** They are told of so long before they end. */
const WARN_BEFORE_MS = [7 * 86_400_000, 86_400_000] as const;
const LOOK_MS = 60_000;

const stored = z.object({
  domain: z.string().transform((text, context) => {
    const domain = parseDomain(text);
    if (domain !== undefined) return domain;
    context.addIssue({ code: 'custom', message: 'no domain' });
    return z.NEVER;
  }),
  tls: z.enum(['none', 'opportunistic', 'encrypt', 'verify']),
  owner: z.string().max(LONGEST_TEXT),
  reason: z.string().max(LONGEST_TEXT),
  expires: z.number().int(),
  addedAt: z.number().int(),
});
const fileSchema = z.object({ version: z.literal(1), overrides: z.array(stored) });

export interface OverrideStoreParts {
  /** `dataDir/state/overrides.json`. */
  readonly file: string;
  readonly clock: Clock;
  /** Of the configuration in force; told of before they end, too. */
  readonly configured: () => readonly {
    readonly domain: string;
    readonly expires?: number | undefined;
  }[];
  readonly events: OverrideEvents;
}

export interface OverrideEvents {
  overrideExpiring(domain: string, expires: number): void;
  overrideExpired(domain: string): void;
  /** The file is moved away; none of its overrides holds. */
  overridesUnreadable(file: string, reason: string): void;
}

export class OverrideStore {
  readonly #parts: OverrideStoreParts;
  /** Never changed, but replaced. */
  #overrides: readonly StoredOverride[];
  /** The warnings given already, by domain and end. */
  readonly #warned = new Set<string>();
  #cancel: () => void = () => {};
  #changing: Promise<unknown> = Promise.resolve();

  private constructor(parts: OverrideStoreParts, overrides: readonly StoredOverride[]) {
    this.#parts = parts;
    this.#overrides = overrides;
  }

  /** Rejects with the system's error when the file is there and cannot be read. */
  static async open(parts: OverrideStoreParts): Promise<OverrideStore> {
    const now = parts.clock.now();
    const found = (await read(parts)).filter(({ expires }) => expires > now);
    const store = new OverrideStore(parts, found);
    store.#look();
    return store;
  }

  /** Those in force, by domain. */
  list(): readonly StoredOverride[] {
    const now = this.#parts.clock.now();
    return this.#overrides.filter(({ expires }) => expires > now);
  }

  /** All of them, also those that just ended: the same array until something changes. */
  get all(): readonly StoredOverride[] {
    return this.#overrides;
  }

  /** Durable when it returns; one for the same domain is replaced. `full`: there are too many. */
  add(override: StoredOverride): Promise<'added' | 'replaced' | 'full'> {
    return this.#inTurn(async () => {
      const before = this.list();
      const others = before.filter(({ domain }) => domain !== override.domain);
      if (others.length >= MOST_OVERRIDES) return 'full';
      const all = [...others, override];
      await this.#keep(all.sort((a, b) => (a.domain < b.domain ? -1 : 1)));
      return others.length < before.length ? 'replaced' : 'added';
    });
  }

  /** What was removed; durable when it returns. */
  remove(domain: DomainName): Promise<StoredOverride | undefined> {
    return this.#inTurn(async () => {
      const found = this.list().find((one) => one.domain === domain);
      if (found) await this.#keep(this.#overrides.filter((one) => one !== found));
      return found;
    });
  }

  /** One change after the other: each is made on what the one before left. */
  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const mine = this.#changing.catch(() => {}).then(change);
    this.#changing = mine;
    return mine;
  }

  close(): void {
    this.#cancel();
  }

  async #keep(overrides: readonly StoredOverride[]): Promise<void> {
    await replaceFile(this.#parts.file, JSON.stringify({ version: 1, overrides }, undefined, 2));
    this.#overrides = overrides;
  }

  /** Tell of those that end soon, forget those that have ended. */
  #look(): void {
    const { clock, configured, events } = this.#parts;
    this.#cancel = clock.after(LOOK_MS, () => this.#look());
    const now = clock.now();
    for (const { domain, expires } of [...this.#overrides, ...configured()]) {
      if (expires === undefined || expires <= now) continue;
      const due = WARN_BEFORE_MS.filter((beforeMs) => expires - now <= beforeMs);
      const key = `${domain} ${expires} ${due.length}`;
      if (due.length === 0 || this.#warned.has(key)) continue;
      this.#warned.add(key);
      events.overrideExpiring(domain, expires);
    }
    const left = this.list();
    if (left.length === this.#overrides.length) return;
    const ended = this.#overrides.filter(({ expires }) => expires <= now);
    for (const { domain } of ended) events.overrideExpired(domain);
    // It has ended, whether the disk takes that now or at the next change.
    this.#overrides = left;
    this.#inTurn(() => this.#keep(this.list())).catch(() => {});
  }
}

async function read({ file, events }: OverrideStoreParts): Promise<readonly StoredOverride[]> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  try {
    return fileSchema.parse(JSON.parse(text)).overrides;
  } catch (error) {
    const aside = `${file}.damaged`;
    await rename(file, aside);
    const [reason = ''] = (error as Error).message.split('\n');
    events.overridesUnreadable(
      aside,
      error instanceof z.ZodError ? 'not as it was written' : reason,
    );
    return [];
  }
}

/** The overrides of `dataDir/state` for somebody else than the relay: `stsrelay check`. Empty when they cannot be read. */
export async function readOverrides(
  file: string,
  nowMs: number,
): Promise<readonly StoredOverride[]> {
  try {
    const { overrides } = fileSchema.parse(JSON.parse(await readFile(file, 'utf8')));
    return overrides.filter(({ expires }) => expires > nowMs);
  } catch {
    return [];
  }
}
