/**
 * The stages of a delivery for the flow vectors, put together as src/outbound.ts and
 * src/engine.ts do, from parts that stay on this machine.
 */
import { Readable } from 'node:stream';
import type { Envelope } from '../../../src/mail/envelope.ts';
import type { SessionResult } from '../../../src/mail/session-result.ts';
import { destinationOf } from '../../../src/outbound.ts';
import { policyToCheck, settle } from '../../../src/outcome/settle.ts';
import type { Stages } from '../../../src/pipeline.ts';
import { createAddressGuard } from '../../../src/platform/address-guard.ts';
import type { Clock } from '../../../src/platform/clock.ts';
import type { HttpsGet } from '../../../src/platform/https-get.ts';
import type { RedisClient } from '../../../src/platform/redis.ts';
import type { Resolver } from '../../../src/platform/resolver.ts';
import { createDanePolicy } from '../../../src/policy/dane-policy.ts';
import { checkPolicy } from '../../../src/policy/last-check.ts';
import { fetchPolicy } from '../../../src/policy/sts-fetch.ts';
import { createStsLookup } from '../../../src/policy/sts-lookup.ts';
import { refreshPolicy } from '../../../src/policy/sts-refresh.ts';
import { StsStore } from '../../../src/policy/sts-store.ts';
import { createTlsPolicy } from '../../../src/policy/tls-policy.ts';
import type { DomainName } from '../../../src/protocol/domain.ts';
import { resolveCandidate } from '../../../src/routing/addresses.ts';
import { createRouter, type RouterOptions } from '../../../src/routing/route.ts';
import type { AttemptRecord } from '../../../src/spool/message-state.ts';
import type { Spool } from '../../../src/spool/store.ts';
import type { OutcomeEvents } from '../../../src/telemetry/outcome-events.ts';
import type { PolicyEvents } from '../../../src/telemetry/policy-events.ts';
import { recordEvents } from '../../unit/sample-mail.ts';

/** An empty Redis that takes everything. */
const NO_REDIS = { get: async () => null, eval: async () => 1 } as unknown as RedisClient;
const BODY = Buffer.from('Subject: hi\r\n\r\nbody\r\n');

export interface FlowParts {
  /** Empty; for the policy store. */
  readonly directory: string;
  readonly clock: Clock;
  readonly resolver: Resolver;
  readonly get: HttpsGet;
  readonly runSession: Stages['runSession'];
  /** The relay's own names, and its routes. */
  readonly routing: Required<Pick<RouterOptions, 'ownNames' | 'ownAddresses' | 'routes'>>;
  readonly envelope: Envelope;
  readonly lifetimeMs: number;
}

/** The stages, and what they leave behind. */
export interface FlowStages {
  readonly stages: Stages;
  readonly store: StsStore;
  readonly records: readonly AttemptRecord[];
  readonly sessions: readonly SessionResult[];
  readonly policyEvents: ReturnType<typeof recordEvents<PolicyEvents>>;
}

export async function flowStages(parts: FlowParts): Promise<FlowStages> {
  const { clock, resolver, get, envelope, lifetimeMs, routing } = parts;
  const policyEvents = recordEvents<PolicyEvents>();
  const { events } = policyEvents;
  const base = { redis: NO_REDIS, keyPrefix: 'vectors', clock, events };
  const store = await StsStore.open({ ...base, directory: parts.directory });
  const policyParts = {
    resolver,
    store,
    fetch: (domain: DomainName, _id: string, signal: AbortSignal) =>
      fetchPolicy(domain, { get, httpsPort: 443, fetchTimeoutMs: 60_000, clock }, signal),
    clock,
    events,
    detector: { suspect: () => {} },
  };
  const dns = { dnsFailureGraceMs: () => 3_600_000, spellGapMs: () => 5 * 3_600_000 };
  const lookupSts = createStsLookup({ ...policyParts, ...dns });
  const retry = () => ({
    schedule: [60_000],
    lifetime: lifetimeMs,
    bounceLifetime: lifetimeMs,
    classes: {},
    domains: [],
  });
  const records: AttemptRecord[] = [];
  const sessions: SessionResult[] = [];
  const spool = {
    read: async () => ({ envelope, sizeBytes: BODY.length, records: [] }),
    openBody: async () => Readable.from([BODY]),
    append: async () => {},
  } as unknown as Spool;
  const settleParts = { spool, clock, retry, events: recordEvents<OutcomeEvents>().events };
  const guard = createAddressGuard(true);
  const stages: Stages = {
    spool,
    destinationOf,
    findRoute: createRouter({ resolver, port: 25, clock, ...routing }).findRoute,
    tlsPolicy: createTlsPolicy({
      settings: () => ({
        defaultLevel: 'opportunistic',
        minVersion: 'TLSv1.2',
        mtaStsEnabled: true,
        honorTlsRequiredNo: true,
        overrides: [],
        routes: routing.routes.map(({ domain }) => ({ domain, tls: 'opportunistic' as const })),
      }),
      lookupSts,
      dane: createDanePolicy({ resolver }),
      now: () => clock.now(),
    }),
    addressesOf: (candidate, destination, signal) =>
      resolveCandidate(candidate, {
        resolver,
        families: ['ipv4', 'ipv6'],
        guard,
        destination,
        signal,
        clock,
      }),
    credentialsFor: async () => ({ kind: 'none' }),
    runSession: parts.runSession,
    policyToCheck: (attempt) => policyToCheck(attempt, { clock, retry }),
    recheckPolicy: (used, signal) =>
      checkPolicy(
        used,
        {
          refresh: (name, ending) =>
            refreshPolicy(name, { ...policyParts, cause: 'last-attempt' }, ending),
          events,
        },
        signal,
      ),
    settle: async (attempt) => {
      const record = await settle(attempt, settleParts);
      records.push(record);
      return record;
    },
    finish: async () => {},
    isExpired: () => false,
    hasRoomFor: () => true,
    onSessions: () => {},
    onFirstAttempt: () => {},
    onSession: (_id, _destination, result) => void sessions.push(result),
  };
  return { stages, store, records, sessions, policyEvents };
}
