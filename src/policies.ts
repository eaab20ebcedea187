/**
 * Composition of what is known about other domains: the policy store, its upkeep in the background,
 * and the downgrade detector with its memory. Built by relay.ts.
 */
import { join } from 'node:path';
import type { Settings } from './config/settings.ts';
import type { Clock } from './platform/clock.ts';
import type { RedisClient } from './platform/redis.ts';
import { DowngradeDetector } from './policy/downgrade-detector.ts';
import { type OverrideStore, openOverrides, watchOverrides } from './policy/override-store.ts';
import type { RefreshResult } from './policy/sts-refresh.ts';
import { StsRefresher } from './policy/sts-refresher.ts';
import { StsStore } from './policy/sts-store.ts';
import { TlsMemory } from './policy/tls-memory.ts';
import type { DomainName } from './protocol/domain.ts';
import type { PolicyEvents } from './telemetry/policy-events.ts';

export interface PolicyParts {
  /** `dataDir/state`. */
  readonly directory: string;
  readonly redis: RedisClient;
  /** As they are now: a reload changes them. */
  readonly settings: () => Settings;
  readonly clock: Clock;
  readonly events: PolicyEvents;
  /** The background refresh of one policy. */
  readonly refresh: (domain: DomainName, signal: AbortSignal) => Promise<RefreshResult>;
}

export interface Policies {
  readonly store: StsStore;
  readonly refresher: StsRefresher;
  readonly detector: DowngradeDetector;
  /** Exceptions that were added while the relay ran. */
  readonly overrides: OverrideStore;
  close(): Promise<void>;
}

/** Open them; `refresher.start()` begins the upkeep. Rejects with the system's error. */
export async function openPolicies(parts: PolicyParts): Promise<Policies> {
  const { directory, redis, settings, clock, events, refresh } = parts;
  const { keyPrefix } = settings().redis;
  const store = await StsStore.open({
    directory: join(directory, 'policies'),
    redis,
    keyPrefix,
    clock,
    events,
  });
  const memory = await TlsMemory.open({
    file: join(directory, 'tls-seen.json'),
    clock,
    onError: (error) => events.cacheError('disk', error),
  });
  const file = join(directory, 'overrides.json');
  const overrides = await openOverrides({ file, clock, events });
  const endWatch = watchOverrides({
    overrides: () => [...settings().overrides, ...overrides.list()],
    clock,
    events,
  });
  const refresher = new StsRefresher({
    store,
    refresh,
    settings: () => {
      const { mtaSts } = settings().security;
      return {
        enabled: mtaSts.enabled,
        refreshEveryMs: mtaSts.refreshEvery,
        forgetUnusedAfterMs: mtaSts.forgetUnusedAfter,
        fetchTimeoutMs: mtaSts.fetchTimeout,
      };
    },
    clock,
    events,
  });
  return {
    store,
    refresher,
    overrides,
    detector: new DowngradeDetector({ store, memory, clock, events }),
    async close() {
      endWatch();
      await overrides.close();
      await refresher.stop();
      await memory.save();
    },
  };
}
