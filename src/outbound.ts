/**
 * Composition of the way out: everything an attempt needs that depends on the settings (DNS,
 * routes, trusted roots, TLS policy, sessions). Built by relay.ts, and built anew when the
 * configuration is reloaded; attempts under way keep the parts they began with.
 */
import { readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { createSecureContext } from 'node:tls';
import type { Settings } from './config/settings.ts';
import { runSession, SMALL_HELLO } from './delivery/session.ts';
import { parseNextHop } from './mail/next-hop.ts';
import type { Destination } from './mail/route.ts';
import type { Stages } from './pipeline.ts';
import { type AddressGuard, createAddressGuard } from './platform/address-guard.ts';
import type { Clock } from './platform/clock.ts';
import { chooseServers } from './platform/dns/servers.ts';
import { createResolver } from './platform/dns/stub-resolver.ts';
import { createHttpsGet } from './platform/https-get.ts';
import { trustedRoots } from './platform/trusted-roots.ts';
import { fetchPolicy } from './policy/sts-fetch.ts';
import { createStsLookup } from './policy/sts-lookup.ts';
import type { StsStore } from './policy/sts-store.ts';
import { createTlsPolicy } from './policy/tls-policy.ts';
import { parseMailbox } from './protocol/mailbox.ts';
import { resolveCandidate } from './routing/addresses.ts';
import { createRouter } from './routing/route.ts';
import type { OutcomeEvents } from './telemetry/outcome-events.ts';
import type { PolicyEvents } from './telemetry/policy-events.ts';

export interface OutboundParts {
  readonly settings: Settings;
  readonly clock: Clock;
  readonly policies: StsStore;
  readonly policyEvents: PolicyEvents;
  readonly outcomeEvents: OutcomeEvents;
}

/** The stages that look outwards. */
export type Outbound = Pick<Stages, 'findRoute' | 'tlsPolicy' | 'addressesOf' | 'runSession'>;

/** Build them from the settings. Throws when a file of `trustedCaFiles` cannot be read. */
export function createOutbound(parts: OutboundParts): Outbound {
  const { settings, clock } = parts;
  const { outbound } = settings;
  const ca = outbound.trustedCaFiles.map((file) => readFileSync(file, 'utf8'));
  const roots = { systemRoots: outbound.systemRoots, ca };
  const guard = createAddressGuard(outbound.allowPrivateAddresses);
  const families = outbound.ipFamilies;
  const servers = chooseServers(settings.dns.servers);
  const resolver = createResolver({ servers, trustAd: settings.dns.trustAd, clock });
  const router = createRouter({
    resolver,
    port: outbound.port,
    ownNames: [settings.hostname, outbound.heloName],
    routes: settings.routes,
    clock,
  });
  const httpsGet = createHttpsGet({
    resolver,
    guard: exceptFor(policyHostsOfRoutes(settings.routes), guard),
    ipFamilies: families,
    clock,
    ...roots,
  });
  const { mtaSts } = settings.security;
  const lookupSts = createStsLookup({
    resolver,
    store: parts.policies,
    fetch: (domain, signal) =>
      fetchPolicy(
        domain,
        { get: httpsGet, httpsPort: mtaSts.httpsPort, fetchTimeoutMs: mtaSts.fetchTimeout, clock },
        signal,
      ),
    clock,
    events: parts.policyEvents,
    dnsFailureGraceMs: () => mtaSts.dnsFailureGrace,
  });
  const tlsPolicy = createTlsPolicy({
    settings: () => ({
      defaultLevel: settings.security.default,
      minVersion: settings.security.minTlsVersion,
      mtaStsEnabled: mtaSts.enabled,
      overrides: settings.overrides,
      routes: settings.routes,
    }),
    lookupSts,
    now: () => clock.now(),
  });
  const context = { ca: trustedRoots(roots), minVersion: settings.security.minTlsVersion };
  const secureContexts = {
    full: createSecureContext(context),
    'small-hello': createSecureContext({ ...context, ...SMALL_HELLO }),
  };
  const sessionParts = {
    heloName: outbound.heloName,
    localAddressFor: sourceAddresses(outbound.sourceAddresses),
    timeouts: outbound.timeouts,
    secureContexts,
    onConnection: parts.outcomeEvents.connection,
  };
  return {
    findRoute: router.findRoute,
    tlsPolicy,
    addressesOf: (candidate, destination, signal) =>
      resolveCandidate(candidate, { resolver, families, guard, destination, signal, clock }),
    runSession: (plan, consignment, signal) =>
      runSession(plan, consignment, { ...sessionParts, signal }),
  };
}

/** The guard is there against strangers' DNS, not against hosts an administrator named. */
function exceptFor(hosts: ReadonlySet<string>, guard: AddressGuard): AddressGuard {
  return {
    check: (address, host) =>
      host !== undefined && hosts.has(host) ? { ok: true } : guard.check(address, host),
  };
}

/** The policy hosts of the configured next hops (RFC 8461 §3.4). */
function policyHostsOfRoutes(routes: Settings['routes']): ReadonlySet<string> {
  const hosts = new Set<string>();
  for (const { nextHop } of routes) {
    const hop = parseNextHop(nextHop);
    if (hop?.kind === 'host') hosts.add(`mta-sts.${hop.host}`);
    if (hop?.kind === 'mx') hosts.add(`mta-sts.${hop.domain}`);
  }
  return hosts;
}

/** The local address for a connection to `remote`: one of the same family, chosen at random. */
function sourceAddresses(addresses: readonly string[]): (remote: string) => string | undefined {
  return (remote) => {
    const fitting = addresses.filter((address) => isIPv6(address) === isIPv6(remote));
    return fitting[Math.floor(Math.random() * fitting.length)];
  };
}

/** Where mail for `address` is to go: its domain, or its address literal (RFC 5321 §4.1.3). */
export function destinationOf(address: string): Destination | undefined {
  const domain = parseMailbox(address)?.domain;
  if (!domain) return undefined;
  if (domain.kind === 'domain') return domain.name;
  return domain.family === 6 ? `[IPv6:${domain.address}]` : `[${domain.address}]`;
}
