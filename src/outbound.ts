/**
 * Composition of the way out: everything an attempt needs that depends on the settings (DNS,
 * routes, trusted roots, TLS policy, sessions). Built by relay.ts, and built anew when the
 * configuration is reloaded; attempts under way keep the parts they began with.
 */
import type { Settings } from './config/settings.ts';
import { createLoginReader, type LoginEvents, pauseLogins } from './delivery/logins.ts';
import type { SessionHome } from './delivery/sessions.ts';
import type { Destination } from './mail/route.ts';
import { createOutside, type Outside } from './outside.ts';
import type { Stages } from './pipeline.ts';
import type { Clock } from './platform/clock.ts';
import type { Resolver } from './platform/resolver.ts';
import { createSingleFlight } from './platform/single-flight.ts';
import type { DowngradeDetector } from './policy/downgrade-detector.ts';
import type { FetchResult, PolicyFailure } from './policy/sts-fetch.ts';
import { createStsLookup } from './policy/sts-lookup.ts';
import { type RefreshResult, refreshPolicy } from './policy/sts-refresh.ts';
import type { StsStore } from './policy/sts-store.ts';
import { createTlsPolicy, type TlsPolicySettings } from './policy/tls-policy.ts';
import type { DomainName } from './protocol/domain.ts';
import { parseMailbox } from './protocol/mailbox.ts';
import { longestWaitMs } from './queue/retry-schedule.ts';
import { resolveCandidate } from './routing/addresses.ts';
import type { PolicyEvents, RefreshCause } from './telemetry/policy-events.ts';

export interface OutboundParts {
  readonly settings: Settings;
  readonly clock: Clock;
  readonly policies: StsStore;
  readonly detector: DowngradeDetector;
  readonly policyEvents: PolicyEvents;
  /** For the TLS reports. */
  readonly onPolicyFailure?: (failure: PolicyFailure) => void;
  /** Exceptions besides those of the settings; the same array until one changes. */
  readonly addedOverrides: () => TlsPolicySettings['overrides'];
  /** Where sessions run. */
  readonly sessions: SessionHome;
  readonly loginEvents: LoginEvents;
}

/** The stages that look outwards. */
type OutwardStages = Pick<
  Stages,
  'findRoute' | 'tlsPolicy' | 'addressesOf' | 'credentialsFor' | 'runSession'
>;

export interface Outbound extends OutwardStages {
  readonly lookupTxt: Resolver['lookupTxt'];
  readonly postReport: Outside['postReport'];
  /** Fetch a policy without a delivery that needs it (policy/sts-refresh.ts). */
  readonly refreshPolicy: (
    domain: DomainName,
    cause: RefreshCause,
    signal: AbortSignal,
  ) => Promise<RefreshResult>;
  /**
   * End the idle sessions, and from now on every session once its message has gone. Resolves
   * when the idle ones have ended, soon in any case.
   */
  readonly close: () => Promise<void>;
}

/** Build them from the settings. Throws when a file of `trustedCaFiles` cannot be read. */
export function createOutbound(parts: OutboundParts): Outbound {
  const { settings, clock } = parts;
  const outside = createOutside(settings, clock);
  const { resolver, router, guard, families, tlsPolicySettings } = outside;
  const { mtaSts } = settings.security;
  // A delivery and a refresh that need the same policy at the same time fetch it once.
  const fetches = createSingleFlight<FetchResult>();
  const policyParts = {
    resolver,
    store: parts.policies,
    fetch: (domain: DomainName, id: string, signal: AbortSignal) =>
      fetches.run(`${id} ${domain}`, signal, (shared) => outside.fetch(domain, shared)),
    clock,
    events: parts.policyEvents,
    detector: parts.detector,
    onPolicyFailure: parts.onPolicyFailure,
  };
  const lookupSts = createStsLookup({
    ...policyParts,
    dnsFailureGraceMs: () => mtaSts.dnsFailureGrace,
    spellGapMs: () => Math.max(LEAST_SPELL_GAP_MS, 1.25 * longestWaitMs(settings.retry)),
  });
  const tlsPolicy = createTlsPolicy({
    settings: withAdded(tlsPolicySettings, parts.addedOverrides),
    lookupSts,
    dane: outside.dane,
    now: () => clock.now(),
  });
  const sessions = parts.sessions.open(outside.sessionSettings);
  return {
    lookupTxt: (name, signal, options) => resolver.lookupTxt(name, signal, options),
    postReport: outside.postReport,
    findRoute: router.findRoute,
    tlsPolicy,
    addressesOf: (candidate, destination, signal) =>
      resolveCandidate(candidate, { resolver, families, guard, destination, signal, clock }),
    credentialsFor: createLoginReader({ clock, events: parts.loginEvents }),
    runSession: pauseLogins({ clock, events: parts.loginEvents }, (plan, consignment, signal) =>
      sessions.run(plan, consignment, signal),
    ),
    refreshPolicy: (domain, cause, signal) =>
      refreshPolicy(domain, { ...policyParts, cause }, signal),
    close: () => sessions.close(),
  };
}

/** The settings with the overrides that were added; those of the settings go before them. */
function withAdded(
  settings: TlsPolicySettings,
  addedOverrides: OutboundParts['addedOverrides'],
): () => TlsPolicySettings {
  let seen: TlsPolicySettings['overrides'] = [];
  let all = settings;
  return () => {
    const added = addedOverrides();
    if (added === seen) return all;
    seen = added;
    all = { ...settings, overrides: [...settings.overrides, ...added] };
    return all;
  };
}

const LEAST_SPELL_GAP_MS = 3_600_000;

/** Where mail for `address` is to go: its domain, or its address literal (RFC 5321 §4.1.3). */
export function destinationOf(address: string): Destination | undefined {
  const domain = parseMailbox(address)?.domain;
  if (!domain) return undefined;
  if (domain.kind === 'domain') return domain.name;
  return domain.family === 6 ? `[IPv6:${domain.address}]` : `[${domain.address}]`;
}
