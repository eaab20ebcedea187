/**
 * Where policies are kept, in three places: an lru-cache in this process, Redis for all nodes,
 * and a file a domain under the data directory. Disk is the truth: a policy survives a
 * restart, a Redis that is gone and a Redis that was emptied, so neither ever means "no
 * policy" (RFC 8461 §3.3, §10.2).
 *
 * Changes to one domain's entry are made one after the other, each on the entry as it is then:
 * no look-up, however old, writes back what it once read. A policy gives way only to one fetched
 * later, here and in Redis, or to an administrator's word. The troubles with a domain (failed
 * fetches, failing DNS, signs of a downgrade) are each node's own and stay on disk.
 */
import { LRUCache } from 'lru-cache';
import type { DowngradeSignal } from '../mail/downgrade-signal.ts';
import type { DomainName } from '../protocol/domain.ts';
import type {
  FailedFetch,
  FailedRefresh,
  KeptPolicy,
  StsEntry,
  Suspicion,
  Suspicions,
} from './sts-entry.ts';
import { StsFiles } from './sts-files.ts';
import { CLOCK_SKEW_MS, type SharedOptions, SharedPolicies } from './sts-shared.ts';

export { UnreadableEntryError } from './sts-files.ts';

const MOST_IN_MEMORY = 50_000;
/** For the texts of all of them, in octets: a policy may have 64 KiB, and anybody may publish one. */
const MOST_OCTETS_IN_MEMORY = 64 * 1024 * 1024;
const MOST_FAILURES = 10_000;
/** How long "nothing known" is believed without asking Redis and disk again. */
const NOTHING_KNOWN_TTL_MS = 60_000;
/** How exactly the last use is kept on disk. */
const USE_NOTE_MS = 86_400_000;
const USE_MEMORY_MS = 60_000;

export interface StsStoreOptions extends SharedOptions {
  /** `dataDir/state/policies`. */
  readonly directory: string;
}

/** An entry without its name and time of change. */
type Facts = Omit<StsEntry, 'domain' | 'changedAtMs'>;

export class StsStore {
  readonly #options: StsStoreOptions;
  readonly #files: StsFiles;
  readonly #shared: SharedPolicies;
  readonly #memory = new LRUCache<DomainName, StsEntry>({
    max: MOST_IN_MEMORY,
    maxSize: MOST_OCTETS_IN_MEMORY,
    sizeCalculation: ({ kept }) => 500 + 10 * (kept?.policy.text.length ?? 0),
  });
  /** By id and domain: records may name two ids in turn. */
  readonly #failedFetches = new LRUCache<string, FailedFetch>({ max: MOST_FAILURES });
  /** The change under way, by domain. */
  readonly #changing = new Map<DomainName, Promise<unknown>>();
  readonly #watchers: ((domain: DomainName, entry: StsEntry | undefined) => void)[] = [];

  private constructor(options: StsStoreOptions, files: StsFiles) {
    this.#options = options;
    this.#files = files;
    this.#shared = new SharedPolicies(options);
  }

  static async open(options: StsStoreOptions): Promise<StsStore> {
    return new StsStore(options, await StsFiles.open(options.directory));
  }

  /**
   * What is known about `domain`: what disk holds, with the policy of Redis where that is newer.
   * Rejects with UnreadableEntryError (or the system's error) when disk cannot say.
   */
  async get(domain: DomainName): Promise<StsEntry | undefined> {
    const remembered = this.#memory.get(domain);
    if (remembered) return isEmpty(remembered) ? undefined : remembered;
    return this.#inTurn(domain, () => this.#load(domain));
  }

  /** What this process remembers about `domain`, without asking anybody. */
  remembered(domain: DomainName): StsEntry | undefined {
    return this.#memory.get(domain);
  }

  /** Every entry on disk that can be read, in no order; the others are reported. */
  all(): AsyncIterable<StsEntry> {
    return this.#files.all((error) => this.#options.events.cacheError('disk', error));
  }

  /** Told about every entry as it is after a change; undefined: it is forgotten. */
  watch(watcher: (domain: DomainName, entry: StsEntry | undefined) => void): void {
    this.#watchers.push(watcher);
  }

  /** A policy was fetched: it takes the place of an older one, and ends the troubles. */
  keepPolicy(domain: DomainName, kept: KeptPolicy): Promise<StsEntry> {
    return this.#inTurn(domain, async () => {
      // A file that cannot be read is written anew: what it said is superseded.
      const before = await this.#load(domain).catch(() => undefined);
      const current = before?.kept;
      // One from the future was fetched while the clock was wrong: what is published now counts.
      const isLater =
        current !== undefined &&
        current.fetchedAtMs > kept.fetchedAtMs &&
        current.fetchedAtMs <= this.#options.clock.now();
      const facts = { ...lasting(before), kept: isLater ? current : kept };
      const entry = await this.#write(domain, facts);
      if (!isLater) await this.#shared.write(domain, kept);
      return entry;
    });
  }

  /** Take over what another node fetched later. */
  takeShared(domain: DomainName): Promise<StsEntry | undefined> {
    return this.#inTurn(domain, async () => {
      const [current, shared] = [await this.#load(domain), await this.#shared.read(domain)];
      const kept = this.#newer(shared, current?.kept);
      const isNews = kept !== undefined && kept.fetchedAtMs !== current?.kept?.fetchedAtMs;
      return isNews ? this.#write(domain, { ...lasting(current), kept }) : current;
    });
  }

  /** The last fetch for this id that failed, as far as this process remembers. */
  failedFetch(domain: DomainName, id: string): FailedFetch | undefined {
    return this.#failedFetches.get(`${id} ${domain}`);
  }

  /** A fetch failed. What another node may have fetched meanwhile is taken over. */
  noteFailedFetch(domain: DomainName, failedFetch: FailedFetch): Promise<StsEntry> {
    this.#failedFetches.set(`${failedFetch.id} ${domain}`, failedFetch);
    return this.#inTurn(domain, async () => {
      const [current, shared] = [await this.#load(domain), await this.#shared.read(domain)];
      const kept = this.#newer(shared, current?.kept);
      return this.#write(domain, { ...current, ...(kept ? { kept } : {}), failedFetch });
    });
  }

  /** A refresh failed; counted until one succeeds. */
  noteFailedRefresh(
    domain: DomainName,
    { atMs, ...why }: Pick<FailedRefresh, 'reason' | 'resultType'> & { readonly atMs: number },
  ): Promise<StsEntry> {
    return this.#inTurn(domain, async () => {
      const current = await this.#load(domain);
      const { sinceMs = atMs, failures = 0 } = current?.failedRefresh ?? {};
      const failedRefresh = { sinceMs, lastMs: atMs, failures: failures + 1, ...why };
      return this.#write(domain, { ...current, failedRefresh });
    });
  }

  /** The TXT lookup failed with no policy in force; `dnsFailing` is the spell so far. */
  noteDnsFailing(
    domain: DomainName,
    dnsFailing: NonNullable<StsEntry['dnsFailing']>,
  ): Promise<StsEntry> {
    return this.#inTurn(domain, async () =>
      this.#write(domain, { ...(await this.#load(domain)), dnsFailing }),
    );
  }

  /** DNS answered again. */
  noteDnsAnswered(domain: DomainName): Promise<void> {
    return this.#inTurn(domain, async () => {
      const { dnsFailing, ...rest } = (await this.#load(domain)) ?? {};
      if (!dnsFailing) return;
      // Of a domain that publishes nothing nothing stays.
      const isNothingElse = Object.keys(rest).every((key) => /^(domain|changedAtMs)$/.test(key));
      if (isNothingElse) await this.#removeHere(domain);
      else await this.#write(domain, rest);
    });
  }

  /** Mail asked for the policy. In memory by the minute, on disk by the day. */
  async noteUsed(domain: DomainName): Promise<void> {
    const now = this.#options.clock.now();
    const usedAgo = ({ lastUsedMs = 0 }: StsEntry) => Math.abs(now - lastUsedMs);
    const remembered = this.#memory.peek(domain);
    if (remembered && usedAgo(remembered) < USE_MEMORY_MS) return;
    await this.#inTurn(domain, async () => {
      const current = await this.#load(domain);
      if (!current) return;
      const used = { ...current, lastUsedMs: now };
      const isNoted = current.lastUsedMs !== undefined && now - current.changedAtMs < USE_NOTE_MS;
      if (isNoted) this.#remember(used);
      else await this.#write(domain, used);
    });
  }

  /**
   * A sign of a downgrade was seen. Kept where there is a policy: there are as many other domains as
   * anybody likes. On disk when `durable`; what is not is written with the next that is.
   */
  noteSuspicion(
    domain: DomainName,
    signal: DowngradeSignal,
    {
      atMs,
      detail,
      durable,
    }: { readonly atMs: number; readonly detail: string; readonly durable: boolean },
  ): Promise<void> {
    return this.#inTurn(domain, async () => {
      const current = await this.#load(domain);
      if (!current?.kept) return;
      const before: Suspicion | undefined = current.suspicions?.[signal];
      const firstMs = before?.firstMs ?? atMs;
      const suspicion = { firstMs, lastMs: atMs, count: (before?.count ?? 0) + 1, detail };
      const suspicions: Suspicions = { ...current.suspicions, [signal]: suspicion };
      if (durable) await this.#write(domain, { ...current, suspicions });
      else this.#remember({ ...current, suspicions });
    });
  }

  /**
   * Forget everything about `domain`; with `shared`, in Redis, too; with `when`, only if that holds
   * for what is known when its turn comes. Whether there was anything. Rejects with the system's
   * error.
   */
  forget(
    domain: DomainName,
    { shared, when }: { readonly shared: boolean; readonly when?: (entry: StsEntry) => boolean },
  ): Promise<boolean> {
    return this.#inTurn(domain, async () => {
      const entry = when && (await this.#load(domain));
      if (entry && !when(entry)) return false;
      // Redis first: what is left there would come back.
      const wasShared = shared && (await this.#shared.remove(domain));
      const wasHere = await this.#removeHere(domain);
      return wasShared || wasHere;
    });
  }

  async #removeHere(domain: DomainName): Promise<boolean> {
    const wasHere = await this.#files.remove(domain);
    this.#memory.delete(domain);
    for (const watcher of this.#watchers) watcher(domain, undefined);
    return wasHere;
  }

  /** Run `change` when the changes to this domain before it are over. */
  #inTurn<T>(domain: DomainName, change: () => Promise<T>): Promise<T> {
    const before = this.#changing.get(domain) ?? Promise.resolve();
    const mine = before.catch(() => {}).then(change);
    this.#changing.set(domain, mine);
    const done = () => {
      if (this.#changing.get(domain) === mine) this.#changing.delete(domain);
    };
    mine.then(done, done);
    return mine;
  }

  /** The entry as it is now; only called in turn. */
  async #load(domain: DomainName): Promise<StsEntry | undefined> {
    const remembered = this.#memory.get(domain);
    if (remembered) return isEmpty(remembered) ? undefined : remembered;
    const [shared, own] = await Promise.all([this.#shared.read(domain), this.#fromDisk(domain)]);
    const kept = this.#newer(shared, own?.kept);
    if (kept && kept.fetchedAtMs !== own?.kept?.fetchedAtMs) {
      return this.#write(domain, { ...own, kept });
    }
    if (own) this.#memory.set(domain, own);
    else this.#memory.set(domain, { domain, changedAtMs: 0 }, { ttl: NOTHING_KNOWN_TTL_MS });
    return own;
  }

  async #fromDisk(domain: DomainName): Promise<StsEntry | undefined> {
    try {
      return await this.#files.read(domain);
    } catch (error) {
      this.#options.events.cacheError('disk', error as Error);
      throw error;
    }
  }

  /** In memory and on disk; a disk that does not take it is reported, memory has it. */
  async #write(domain: DomainName, facts: Facts): Promise<StsEntry> {
    const changedAtMs = Math.max(1, this.#options.clock.now());
    // The age of a policy that no mail ever asked for counts from the day it came.
    const { lastUsedMs = facts.kept ? changedAtMs : undefined, ...rest } = facts;
    const used = lastUsedMs === undefined ? {} : { lastUsedMs };
    const entry: StsEntry = { ...rest, ...used, domain, changedAtMs };
    this.#remember(entry);
    try {
      await this.#files.write(entry);
    } catch (error) {
      this.#options.events.cacheError('disk', error as Error);
    }
    return entry;
  }

  #remember(entry: StsEntry): void {
    this.#memory.set(entry.domain, entry);
    for (const watcher of this.#watchers) watcher(entry.domain, entry);
  }

  /** `candidate` when it was fetched later than `current`; one from the far future never wins. */
  #newer(
    candidate: KeptPolicy | undefined,
    current: KeptPolicy | undefined,
  ): KeptPolicy | undefined {
    const latest = this.#options.clock.now() + CLOCK_SKEW_MS;
    if (!candidate || candidate.fetchedAtMs > latest) return current;
    if (!current || current.fetchedAtMs > latest) return candidate;
    return candidate.fetchedAtMs > current.fetchedAtMs ? candidate : current;
  }
}

/** What a new policy does not end. */
function lasting(entry: StsEntry | undefined): Pick<Facts, 'lastUsedMs' | 'suspicions'> {
  const { lastUsedMs, suspicions } = entry ?? {};
  return {
    ...(lastUsedMs === undefined ? {} : { lastUsedMs }),
    ...(suspicions ? { suspicions } : {}),
  };
}

function isEmpty(entry: StsEntry): boolean {
  return entry.changedAtMs === 0;
}
