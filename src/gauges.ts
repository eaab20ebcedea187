/**
 * The gauges that are looked up when somebody asks for the metrics: queue, destinations, policies,
 * overrides, disk, process. What costs is to go through the destinations that have mail, and the
 * policies that are kept; never through the messages.
 */
import type { OverrideAdmin } from './admin/overrides.ts';
import type { PolicyCacheParts } from './admin/policy-cache.ts';
import type { Settings } from './config/settings.ts';
import type { Engine } from './engine.ts';
import { systemDisk } from './platform/disk.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';
import { processGauges } from './telemetry/process-gauges.ts';

export interface GaugeParts {
  readonly metrics: Metrics;
  readonly engine: Pick<Engine, 'summary' | 'breakers' | 'rates' | 'ledger' | 'gates'>;
  readonly overrides: Pick<OverrideAdmin, 'list'>;
  readonly policies: Pick<PolicyCacheParts, 'refresher'>;
  readonly log: Log;
  readonly settingsNow: () => Settings;
  /** Absolute. */
  readonly dataDir: string;
}

/** Watches the process from now on; call what it returns before the metrics are read. */
export function gaugeSetter(parts: GaugeParts): () => Promise<void> {
  const process = processGauges(parts.metrics, 'deliver');
  return async () => {
    setQueueGauges(parts);
    setDestinations(parts);
    setPolicyGauges(parts);
    setOverrideGauges(parts);
    process.set();
    parts.metrics.logLinesLost.set(parts.log.lostLines());
    await setDiskGauges(parts);
  };
}

function setQueueGauges({ metrics, engine }: GaugeParts): void {
  const { inFlight, due, parked, delayed, held, overdue, oldestDueSeconds } = engine.summary();
  const breakers = engine.breakers();
  metrics.breakerState.set({ state: 'open' }, breakers.open);
  metrics.breakerState.set({ state: 'half-open' }, breakers.halfOpen);
  const rates = engine.rates();
  metrics.rateClosed.set({ scope: 'domain' }, rates.domain);
  metrics.rateClosed.set({ scope: 'site' }, rates.site);
  metrics.queueMessages.set({ state: 'active' }, inFlight);
  metrics.queueMessages.set({ state: 'due' }, due);
  metrics.queueMessages.set({ state: 'parked' }, parked);
  metrics.queueMessages.set({ state: 'delayed' }, delayed);
  metrics.queueMessages.set({ state: 'held' }, held);
  metrics.queueOverdue.set(overdue);
  metrics.queueOldestDeliverable.set(oldestDueSeconds);
}

/** What is due and may not go, by what closes it; and the queue by destination. */
function setDestinations({ metrics, engine, overrides, settingsNow }: GaugeParts): void {
  const parked = { pause: 0, rate: 0, breaker: 0 };
  const sizes: [string, number][] = [];
  for (const lane of engine.ledger.lanes()) {
    const { dueCount, laterCount } = lane.waiting;
    sizes.push([lane.destination, dueCount + laterCount + lane.held.size + lane.inFlight]);
    if (dueCount === 0) continue;
    const [first] = engine.gates.barriersOfLane(lane);
    if (first && Object.hasOwn(parked, first.kind)) {
      parked[first.kind as keyof typeof parked] += dueCount;
    }
  }
  for (const [reason, count] of Object.entries(parked)) metrics.queueParked.set({ reason }, count);
  metrics.destinations.choose(configuredDestinations(settingsNow(), overrides.list()));
  metrics.destinations.setQueue(sizes);
}

/** Those somebody took the trouble to name. */
function configuredDestinations(
  { destinations, retry, routes }: Settings,
  overrides: readonly { readonly domain: string }[],
): ReadonlySet<string> {
  const all = [...destinations.domains, ...retry.domains, ...routes, ...overrides];
  return new Set(all.map(({ domain }) => domain));
}

function setPolicyGauges({ metrics, policies: { refresher } }: GaugeParts): void {
  for (const [mode, count] of Object.entries(refresher.counts())) {
    metrics.mtastsCacheEntries.set({ mode }, count);
  }
  const { counts, expiresAtMs } = refresher.failing();
  for (const [mode, count] of Object.entries(counts)) {
    metrics.mtastsRefreshFailing.set({ mode }, count);
  }
  metrics.mtastsRefreshFailingExpiry.set((expiresAtMs ?? 0) / 1000);
  metrics.mtastsRefreshOverdue.set(refresher.overdueSeconds());
}

function setOverrideGauges({ metrics, overrides }: GaugeParts): void {
  const active = overrides.list();
  metrics.overridesActive.set(active.length);
  const ends = active.map(({ expires }) => (expires ? Date.parse(expires) : Infinity));
  const next = ends.reduce((soonest, end) => Math.min(soonest, end), Infinity);
  metrics.overrideNextExpiry.set(Number.isFinite(next) ? next / 1000 : 0);
}

/** A disk that cannot be asked keeps its last number; the spool tells of its trouble. */
async function setDiskGauges({ metrics, dataDir, settingsNow }: GaugeParts): Promise<void> {
  metrics.diskRequired.set(settingsNow().limits.minFreeDisk);
  const free = await systemDisk.freeBytes(dataDir).catch(() => undefined);
  if (free !== undefined) metrics.diskFree.set(free);
}
