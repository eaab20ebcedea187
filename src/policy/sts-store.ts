/**
 * Where policies are kept, in three places: an lru-cache in this process, Redis for all nodes,
 * and a file a domain under the data directory. Disk is the truth: a policy survives a
 * restart, a Redis that is gone and a Redis that was emptied, so neither ever means "no
 * policy" (RFC 8461 §3.3, §10.2). Redis only ever adds a policy that was fetched later; the
 * troubles with a domain (failed fetches, failing DNS) are each node's own and stay on disk.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
import { makeDirectory, replaceFile } from '../platform/durable-file.ts';
import type { RedisClient } from '../platform/redis.ts';
import { type DomainName, parseDomain } from '../protocol/domain.ts';
import type { PolicyEvents } from '../telemetry/policy-events.ts';
import { formatEntry, parseEntry, type StsEntry } from './sts-entry.ts';

const MOST_IN_MEMORY = 50_000;
/** For the texts of all of them, in octets: a policy may have 64 KiB, and anybody may publish one. */
const MOST_OCTETS_IN_MEMORY = 64 * 1024 * 1024;
/** How long "nothing known" is believed without asking Redis and disk again. */
const NOTHING_KNOWN_TTL_MS = 60_000;
/** Redis forgets after this; disk does not. */
const REDIS_TTL_SECONDS = 180 * 86_400;
/** A policy in Redis from further in the future than clocks differ is not believed. */
const CLOCK_SKEW_MS = 86_400_000;

export interface StsStoreOptions {
  /** `dataDir/state/policies`. */
  readonly directory: string;
  readonly redis: RedisClient;
  /** In front of the Redis keys. */
  readonly keyPrefix: string;
  readonly events: PolicyEvents;
}

type DiskAnswer =
  | { readonly kind: 'read'; readonly entry?: StsEntry | undefined }
  | { readonly kind: 'failed'; readonly error: Error };

export class StsStore {
  readonly #options: StsStoreOptions;
  readonly #memory = new LRUCache<DomainName, StsEntry>({
    max: MOST_IN_MEMORY,
    maxSize: MOST_OCTETS_IN_MEMORY,
    sizeCalculation: ({ kept }) => 500 + 4 * (kept?.policy.text.length ?? 0),
  });

  private constructor(options: StsStoreOptions) {
    this.#options = options;
  }

  static async open(options: StsStoreOptions): Promise<StsStore> {
    await makeDirectory(options.directory);
    return new StsStore(options);
  }

  /**
   * What is known about `domain`: what disk holds, with the policy of Redis where that is newer.
   * Rejects when disk cannot be read and Redis has nothing: what is known is then not "nothing".
   */
  async get(domain: DomainName): Promise<StsEntry | undefined> {
    const remembered = this.#memory.get(domain);
    if (remembered) return isEmpty(remembered) ? undefined : remembered;
    const [shared, disk] = await Promise.all([this.#fromRedis(domain), this.#fromDisk(domain)]);
    const meanwhile = this.#memory.get(domain);
    if (meanwhile && !isEmpty(meanwhile)) return meanwhile;
    if (disk.kind === 'failed' && !shared?.kept) throw disk.error;
    const own = disk.kind === 'read' ? disk.entry : undefined;
    const known = withShared(own, shared);
    if (known) this.#memory.set(domain, known);
    else this.#memory.set(domain, { domain, changedAtMs: 0 }, { ttl: NOTHING_KNOWN_TTL_MS });
    if (known && known !== own) await this.#toDisk(known);
    return known;
  }

  /** Keep `entry`: on disk before it returns (a failure to is reported, memory has it), a policy in Redis when it is there. */
  async put(entry: StsEntry): Promise<void> {
    this.#memory.set(entry.domain, entry);
    await this.#toDisk(entry);
    if (!entry.kept) return;
    const { redis, events } = this.#options;
    try {
      await redis.set(this.#key(entry.domain), formatEntry(entry), 'EX', REDIS_TTL_SECONDS);
    } catch (error) {
      events.cacheError('redis', error as Error);
    }
  }

  /** Entries on disk, for the gauges; what cannot be read is left out. */
  async *list(): AsyncIterable<StsEntry> {
    for (const name of await readdir(this.#options.directory)) {
      if (!name.endsWith('.json')) continue;
      const text = await readFile(join(this.#options.directory, name), 'utf8').catch(() => '');
      const domain = parseDomain(/"domain":"([^"]+)"/.exec(text)?.[1] ?? '');
      const entry = domain && parseEntry(domain, text);
      if (entry) yield entry;
    }
  }

  async #fromRedis(domain: DomainName): Promise<StsEntry | undefined> {
    try {
      const json = await this.#options.redis.get(this.#key(domain));
      const entry = json === null ? undefined : parseEntry(domain, json);
      const fetchedAtMs = entry?.kept?.fetchedAtMs ?? 0;
      return fetchedAtMs > Date.now() + CLOCK_SKEW_MS ? undefined : entry;
    } catch (error) {
      this.#options.events.cacheError('redis', error as Error);
      return undefined;
    }
  }

  async #fromDisk(domain: DomainName): Promise<DiskAnswer> {
    const { events } = this.#options;
    try {
      const entry = parseEntry(domain, await readFile(this.#path(domain), 'utf8'));
      if (!entry) events.cacheError('disk', new Error(`what is kept about ${domain} is damaged`));
      return { kind: 'read', entry };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { kind: 'read' };
      events.cacheError('disk', error as Error);
      return { kind: 'failed', error: error as Error };
    }
  }

  async #toDisk(entry: StsEntry): Promise<void> {
    try {
      await replaceFile(this.#path(entry.domain), formatEntry(entry));
    } catch (error) {
      this.#options.events.cacheError('disk', error as Error);
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

/** `own` itself where Redis has nothing better. */
function withShared(own: StsEntry | undefined, shared: StsEntry | undefined): StsEntry | undefined {
  const { kept } = shared ?? {};
  if (!shared || !kept || (own?.kept && own.kept.fetchedAtMs >= kept.fetchedAtMs)) return own;
  return { ...own, domain: shared.domain, kept, changedAtMs: shared.changedAtMs };
}

function isEmpty(entry: StsEntry): boolean {
  return entry.changedAtMs === 0;
}
