/** A policy cache that is a map, in the place of the engine's. */

import type { CheckAdmin } from '../../src/admin/checks.ts';
import type { DomainAdmin } from '../../src/admin/domains.ts';
import type { OverrideAdmin } from '../../src/admin/overrides.ts';
import type { OverviewAdmin } from '../../src/admin/overview-routes.ts';
import type { PolicyAdmin, PolicyView, RefreshAnswer } from '../../src/admin/policies.ts';
import { viewOf } from '../../src/admin/policies.ts';
import type { QueueAdmin } from '../../src/admin/queue.ts';
import type { RelayAdmin } from '../../src/admin/relay-routes.ts';
import type { TlsReportAdmin } from '../../src/admin/tlsrpt.ts';
import { settingsFrom } from '../../src/config/load.ts';
import type { StsEntry } from '../../src/policy/sts-entry.ts';
import type { DomainName } from '../../src/protocol/domain.ts';
import type { StsMode } from '../../src/protocol/mta-sts/policy.ts';
import { domain, policy } from './policy-parts.ts';

/** For servers that are asked about nothing else. */
const overrides: OverrideAdmin = {
  list: () => [],
  add: () => Promise.reject(new Error('not here')),
  remove: () => Promise.reject(new Error('not here')),
};
const domains: DomainAdmin = {
  list: () => [],
  pause: () => Promise.reject(new Error('not here')),
  resume: () => Promise.reject(new Error('not here')),
};
const relay: RelayAdmin = {
  status: () => Promise.reject(new Error('nobody asks')),
  reload: () => Promise.reject(new Error('nobody asks')),
};
const overview: OverviewAdmin = {
  overview: () => Promise.reject(new Error('nobody asks')),
  flow: { samples: () => [] },
};
/** A queue without mail. */
const queue: QueueAdmin = {
  list: async () => ({ entries: [], total: 0 }),
  summary: async () => {
    const counts = { active: 0, due: 0, parked: 0, delayed: 0, held: 0 };
    return { messages: 0, deliveries: 0, counts, destinationCount: 0, destinations: [] };
  },
  show: async () => undefined,
  holds: () => [],
  act: async ({ action, dryRun }) => ({
    ...{ ok: true, action, dryRun, matched: 0, touched: 0, underWay: 0 },
  }),
  retryNow: () => settingsFrom({}).retry,
  previewRetry: async () => {
    const total = { waiting: 0, unchanged: 0, sooner: 0, later: 0, atOnce: 0, lastAttempt: 0 };
    return { total, destinations: [] };
  },
};

const tlsReports: TlsReportAdmin = {
  days: async () => [],
  ofDay: async (day) => {
    async function* none() {}
    return { day, reports: none(), other: { successful: 0, failed: 0 } };
  },
  suspensions: () => [],
  send: async () => ({ ok: true, answers: [], isUnfinished: false }),
};

const checks: CheckAdmin = {
  start: async () => ({ ok: false, status: 503, error: 'not now' }),
  show: () => undefined,
  list: () => [],
};

export const NOTHING_ELSE = {
  ...{ relay, overview, overrides, domains, checks, queue, tlsReports },
  audit: { last: async () => [] },
};

/** 2026-01-10T12:00:00Z; the policies were fetched three hours before. */
export const NOW_MS = Date.UTC(2026, 0, 10, 12);
export const HOUR_MS = 3_600_000;

export class FakePolicies implements PolicyAdmin {
  readonly views = new Map<DomainName, PolicyView>();
  refreshing: (name: DomainName, signal: AbortSignal) => Promise<RefreshAnswer> = async () => ({
    ok: true,
    changed: false,
    text: 'unchanged',
  });
  /** How many views were taken from the list. */
  listed = 0;

  add(...views: readonly PolicyView[]): this {
    for (const view of views) this.views.set(view.domain, view);
    return this;
  }

  async *list(
    after: DomainName | undefined,
    isMeant: (domain: DomainName) => boolean = () => true,
  ): AsyncGenerator<PolicyView> {
    for (const name of [...this.views.keys()].sort()) {
      const view = this.views.get(name);
      if (view === undefined || (after !== undefined && name <= after)) continue;
      if (!isMeant(name)) continue;
      this.listed += 1;
      yield view;
    }
  }
  async show(name: DomainName): Promise<PolicyView | undefined> {
    return this.views.get(name);
  }
  refresh(name: DomainName, _actor: string, signal: AbortSignal): Promise<RefreshAnswer> {
    return this.refreshing(name, signal);
  }
  async forget(name: DomainName): Promise<boolean> {
    return this.views.delete(name);
  }
}

/** An entry with a policy of three hours ago. */
export function entryOf(name: string, more: Partial<StsEntry> & { mode?: StsMode } = {}): StsEntry {
  const { mode = 'enforce', ...rest } = more;
  const fetchedAtMs = NOW_MS - 3 * HOUR_MS;
  return {
    domain: domain(name),
    kept: { id: 'id1', policy: policy(mode), fetchedAtMs, source: 'fetch' },
    changedAtMs: fetchedAtMs,
    ...rest,
  };
}

export function viewAt(
  name: string,
  more: Partial<StsEntry> & { mode?: StsMode } = {},
): PolicyView {
  return viewOf(entryOf(name, more), NOW_MS);
}
