/**
 * Overrides that an administrator added while the relay runs, each with an owner, a reason and an end
 * (product contract §5): kept on disk, whatever becomes of Redis. Those of the configuration are
 * not in here, and go before these.
 *
 * An override weakens what a domain asks for, so a file that cannot be read means none: mail waits for the
 * TLS that is published rather than going without.
 */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { Clock } from '../platform/clock.ts';
import { KeptList, keptDomain, parseKept } from '../platform/kept-list.ts';
import type { SharedBoard } from '../platform/shared-board.ts';
import { shareList, type TakenOver } from '../platform/shared-list.ts';

export const MOST_OVERRIDES = 1000;
export const LONGEST_TEXT = 500;
/** They are told of so long before they end. */
const WARN_BEFORE_MS = [7 * 86_400_000, 86_400_000] as const;
const LOOK_MS = 60_000;

const stored = z.object({
  domain: keptDomain,
  tls: z.enum(['none', 'opportunistic', 'encrypt', 'verify']),
  owner: z.string().max(LONGEST_TEXT),
  reason: z.string().max(LONGEST_TEXT),
  /** Milliseconds since the epoch. */
  expires: z.number().int().max(8.64e15), // later is no date
  addedAt: z.number().int().max(8.64e15),
});
export type StoredOverride = Readonly<z.infer<typeof stored>>;

export type OverrideStore = KeptList<StoredOverride>;

export interface OverrideStoreParts {
  /** `dataDir/state/overrides.json`. */
  readonly file: string;
  readonly clock: Clock;
  readonly events: OverrideEvents;
}

export interface OverrideEvents {
  overrideExpiring(domain: string, expires: number): void;
  overrideExpired(domain: string): void;
  /** The file is moved away; none of its overrides holds. */
  overridesUnreadable(file: string, reason: string): void;
}

/** Rejects with the system's error when the file is there and cannot be read. */
export function openOverrides({ file, clock, events }: OverrideStoreParts): Promise<OverrideStore> {
  return KeptList.open({
    ...{ file, clock, schema: stored, most: MOST_OVERRIDES },
    keyOf: ({ domain }) => domain,
    onEnded: (ended) => {
      for (const { domain } of ended) events.overrideExpired(domain);
    },
    onUnreadable: events.overridesUnreadable,
  });
}

/** Have the same overrides as all nodes on one Redis; to be called before the board starts. */
export function shareOverrides(
  store: OverrideStore,
  board: SharedBoard,
  told: {
    readonly onTaken: (taken: TakenOver<StoredOverride>) => void;
    readonly onError: (error: Error) => void;
  },
): void {
  const keyOf = ({ domain }: StoredOverride) => domain;
  shareList(store, { board, topic: 'override', schema: stored, keyOf, ...told });
}

interface Ending {
  readonly domain: string;
  readonly expires?: number | undefined;
}

/** Tell of every override before it ends, each time once. Returns what ends that. */
export function watchOverrides(parts: {
  readonly overrides: () => readonly Ending[];
  readonly clock: Clock;
  readonly events: Pick<OverrideEvents, 'overrideExpiring'>;
}): () => void {
  const { overrides, clock, events } = parts;
  const told = new Set<string>();
  let cancel = () => {};
  const look = () => {
    cancel = clock.after(LOOK_MS, look);
    const now = clock.now();
    for (const { domain, expires } of overrides()) {
      if (expires === undefined || expires <= now) continue;
      const due = WARN_BEFORE_MS.filter((beforeMs) => expires - now <= beforeMs).length;
      const key = `${domain} ${expires} ${due}`;
      if (due === 0 || told.has(key)) continue;
      told.add(key);
      events.overrideExpiring(domain, expires);
    }
  };
  look();
  return () => cancel();
}

/** The overrides on disk for somebody else than the relay: `stsrelay check`. Empty when they cannot be read. */
export async function readOverrides(
  file: string,
  nowMs: number,
): Promise<readonly StoredOverride[]> {
  try {
    const all = parseKept(await readFile(file, 'utf8'), stored);
    return all.filter(({ expires }) => expires > nowMs);
  } catch {
    return [];
  }
}
