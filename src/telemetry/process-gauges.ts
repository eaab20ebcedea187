/**
 * What a process uses: memory, CPU, how busy its event loop is. Of each role one has its own
 * samples, by the label `role`.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Metrics } from './metrics.ts';
import type { RoleName } from './role-events.ts';

/** What the timer of the histogram waits by itself; it counts that, too. */
const RESOLUTION_MS = 20;
/** A maximum is shown for this long at least, so that two scrapers both see it. */
const MAXIMUM_MS = 60_000;

export interface ProcessGauges {
  /** A scrape begins. */
  set(): void;
}

/** Begin to watch the event loop of this thread. */
export function processGauges(metrics: Metrics, role: RoleName): ProcessGauges {
  const labels = { role };
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delays.enable();
  metrics.startTime.set(labels, Date.now() / 1000 - process.uptime());
  const told = { cpu: 0, busy: 0 };
  let since = { atMs: performance.now(), maxBefore: 0 };
  return {
    set() {
      metrics.residentMemory.set(labels, process.memoryUsage.rss());
      const { user, system } = process.cpuUsage();
      const cpu = (user + system) / 1e6;
      metrics.cpuSeconds.inc(labels, Math.max(0, cpu - told.cpu));
      const busy = performance.eventLoopUtilization().active / 1000;
      metrics.eventLoopBusy.inc(labels, Math.max(0, busy - told.busy));
      Object.assign(told, { cpu, busy });
      const max = Math.max(0, delays.max / 1e9 - RESOLUTION_MS / 1000);
      metrics.eventLoopDelay.set(labels, Math.max(max, since.maxBefore));
      if (performance.now() - since.atMs < MAXIMUM_MS) return;
      since = { atMs: performance.now(), maxBefore: max };
      delays.reset();
    },
  };
}
