/**
 * Where policies are kept, in three places: an lru-cache in this process, Redis for all nodes,
 * and a file a domain under the data directory. Disk is the truth: a policy survives a
 * restart, a Redis that is gone and a Redis that was emptied, so neither ever means "no
 * policy" (RFC 8461 §3.3, §10.2).
 *
 * Changes to one domain's entry are made one after the other, each on the entry as it is then:
 * no look-up, however old, writes back what it once read. A policy gives way only to one fetched
 * later, here and in Redis. The troubles with a domain (failed fetches, failing DNS) are each
 * node's own and stay on disk.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
import type { Clock } from '../platform/clock.ts';
import { makeDirectory, replaceFile } from '../platform/durable-file.ts';
import type { RedisClient } from '../platform/redis.ts';
import type { DomainName } from '../protocol/domain.ts';
import type { PolicyEvents } from '../telemetry/policy-events.ts';
import { formatEntry, type KeptPolicy, parseEntry, type StsEntry } from './sts-entry.ts';

const MOST_IN_MEMORY = 50_000;
/** For the texts of all of them, in octets: a policy may have 64 KiB, and anybody may publish one. */
const MOST_OCTETS_IN_MEMORY = 64 * 1024 * 1024;
/** How long "nothing known" is believed without asking Redis and disk again. */
const NOTHING_KNOWN_TTL_MS = 60_000;
/** Redis forgets after this; disk does not. */
const REDIS_TTL_SECONDS = 180 * 86_400;
/** A policy from further in the future than clocks differ does not stand in the way of others. */
const CLOCK_SKEW_MS = 86_400_000;

/** SET unless what is there was fetched later (and not in the far future). */
const SET_IF_NEWER = `
local current = redis.call('GET', KEYS[1])
if current then
  local ok, entry = pcall(cjson.decode, current)
  if ok and type(entry) == 'table' and type(entry.policy) == 'table' then
    local at = tonumber(entry.policy.fetchedAtMs)
    if at and at > tonumber(ARGV[2]) and at <= tonumber(ARGV[3]) then return 0 end
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[4])
return 1`;

export interface StsStoreOptions {
  /** `dataDir/state/policies`. */
  readonly directory: string;
  readonly redis: RedisClient;
  /** In front of the Redis keys. */
  readonly keyPrefix: string;
  readonly clock: Clock;
  readonly events: PolicyEvents;
}

/** What is kept about a domain is there and cannot be read: not known, which is not nothing. */
export class UnreadableEntryError extends Error {
  constructor(file: string, reason: string) {
    super(`${file} cannot be read (${reason}); remove it to forget what it says`);
    this.name = 'UnreadableEntryError';
  }
}

/** An entry without its name and time of change. */
type Facts = Omit<StsEntry, 'domain' | 'changedAtMs'>;

export class StsStore {
  readonly #options: StsStoreOptions;
  readonly #memory = new LRUCache<DomainName, StsEntry>({
    max: MOST_IN_MEMORY,
    maxSize: MOST_OCTETS_IN_MEMORY,
    sizeCalculation: ({ kept }) => 500 + 4 * (kept?.policy.text.length ?? 0),
  });
  /** The change under way, by domain. */
  readonly #changing = new Map<DomainName, Promise<unknown>>();

  private constructor(options: StsStoreOptions) {
    this.#options = options;
  }

  static async open(options: StsStoreOptions): Promise<StsStore> {
    await makeDirectory(options.directory);
    return new StsStore(options);
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

  /** A policy was fetched: it takes the place of an older one, and ends all troubles. */
  keepPolicy(domain: DomainName, kept: KeptPolicy): Promise<StsEntry> {
    return this.#inTurn(domain, async () => {
      // A file that cannot be read is written anew: what it said is superseded.
      const current = (await this.#load(domain).catch(() => undefined))?.kept;
      // One from the future was fetched while the clock was wrong: what is published now counts.
      const isLater =
        current !== undefined &&
        current.fetchedAtMs > kept.fetchedAtMs &&
        current.fetchedAtMs <= this.#options.clock.now();
      const entry = await this.#write(domain, { kept: isLater ? current : kept });
      if (!isLater) await this.#share(entry, kept);
      return entry;
    });
  }

  /** A fetch failed. What another node may have fetched meanwhile is taken over. */
  noteFailedFetch(
    domain: DomainName,
    failedFetch: NonNullable<StsEntry['failedFetch']>,
  ): Promise<StsEntry> {
    return this.#inTurn(domain, async () => {
      const [current, shared] = [await this.#load(domain), await this.#fromRedis(domain)];
      const kept = this.#newer(shared, current?.kept);
      return this.#write(domain, { ...current, ...(kept ? { kept } : {}), failedFetch });
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
      if (dnsFailing) await this.#write(domain, rest);
    });
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
    const [shared, own] = await Promise.all([this.#fromRedis(domain), this.#fromDisk(domain)]);
    const kept = this.#newer(shared, own?.kept);
    if (kept && kept !== own?.kept) return this.#write(domain, { ...own, kept });
    if (own) this.#memory.set(domain, own);
    else this.#memory.set(domain, { domain, changedAtMs: 0 }, { ttl: NOTHING_KNOWN_TTL_MS });
    return own;
  }

  /** In memory and on disk; a disk that does not take it is reported, memory has it. */
  async #write(domain: DomainName, facts: Facts): Promise<StsEntry> {
    const entry: StsEntry = {
      ...facts,
      domain,
      changedAtMs: Math.max(1, this.#options.clock.now()),
    };
    this.#memory.set(domain, entry);
    try {
      await replaceFile(this.#path(domain), formatEntry(entry));
    } catch (error) {
      this.#options.events.cacheError('disk', error as Error);
    }
    return entry;
  }

  /** `candidate` when it was fetched later than `current`; one from the far future never wins. */
  #newer(
    candidate: KeptPolicy | undefined,
    current: KeptPolicy | undefined,
  ): KeptPolicy | undefined {
    const latest = this.#options.clock.now() + CLOCK_SKEW_MS;
    if (!candidate || candidate.fetchedAtMs > latest) return current;
    if (!current || current.fetchedAtMs > latest) return candidate;
    return candidate.fetchedAtMs >= current.fetchedAtMs ? candidate : current;
  }

  /** For the other nodes. */
  async #share({ domain, changedAtMs }: StsEntry, kept: KeptPolicy): Promise<void> {
    const { redis, clock, events } = this.#options;
    const json = formatEntry({ domain, kept, changedAtMs });
    const latest = clock.now() + CLOCK_SKEW_MS;
    try {
      await redis.eval(
        SET_IF_NEWER,
        1,
        this.#key(domain),
        json,
        kept.fetchedAtMs,
        latest,
        REDIS_TTL_SECONDS,
      );
    } catch (error) {
      events.cacheError('redis', error as Error);
    }
  }

  async #fromRedis(domain: DomainName): Promise<KeptPolicy | undefined> {
    try {
      const json = await this.#options.redis.get(this.#key(domain));
      return json === null ? undefined : parseEntry(domain, json)?.kept;
    } catch (error) {
      this.#options.events.cacheError('redis', error as Error);
      return undefined;
    }
  }

  async #fromDisk(domain: DomainName): Promise<StsEntry | undefined> {
    const file = this.#path(domain);
    try {
      const entry = parseEntry(domain, await readFile(file, 'utf8'));
      if (!entry) throw new UnreadableEntryError(file, 'damaged, or of another version');
      return entry;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      this.#options.events.cacheError('disk', error as Error);
      throw error;
    }
  }

  #key(domain: DomainName): string {
    return `${this.#options.keyPrefix}:sts:${domain}`;
  }

  /** A domain may be longer than a file name may. */
  #path(domain: DomainName): string {
    const name = domain.length <= 200 ? domain : createHash('sha256').update(domain).digest('hex');
    return join(this.#options.directory, `${name}.json`);
  }
}

function isEmpty(entry: StsEntry): boolean {
  return entry.changedAtMs === 0;
}
