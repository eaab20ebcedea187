/**
 * Composition of the relay's eyes and hands: DNS, routes, trusted roots, the HTTPS fetch of
 * policies, SMTP sessions. Made from the settings alone; outbound.ts builds deliveries on it, and
 * `stsrelay check` its examination, so that both see the world the same way.
 */
import { readFileSync } from 'node:fs';
import type { SecureContext } from 'node:tls';
import type { Settings } from './config/settings.ts';
import type { SessionSettings } from './delivery/sessions.ts';
import { parseNextHop } from './mail/next-hop.ts';
import { type AddressGuard, createAddressGuard } from './platform/address-guard.ts';
import type { Clock } from './platform/clock.ts';
import { chooseServers } from './platform/dns/servers.ts';
import { createResolver } from './platform/dns/stub-resolver.ts';
import type { IpFamily } from './platform/host-addresses.ts';
import { createHttpsGet } from './platform/https-get.ts';
import { createHttpsPost, type HttpsPost } from './platform/https-post.ts';
import type { Resolver } from './platform/resolver.ts';
import { trustedRoots } from './platform/trusted-roots.ts';
import { verifyingContext } from './platform/verified-tls.ts';
import { createDanePolicy, type DanePolicy } from './policy/dane-policy.ts';
import { type FetchResult, fetchPolicy } from './policy/sts-fetch.ts';
import type { TlsPolicySettings } from './policy/tls-policy.ts';
import type { DomainName } from './protocol/domain.ts';
import { postReport, type ReportPosted } from './reporting/report-post.ts';
import { createRouter, type Router } from './routing/route.ts';

export interface Outside {
  readonly resolver: Resolver;
  readonly router: Router;
  readonly families: readonly IpFamily[];
  /** Which addresses MX hosts may have. */
  readonly guard: AddressGuard;
  /** Fetch the policy of a domain from its policy host. */
  readonly fetch: (domain: DomainName, signal: AbortSignal) => Promise<FetchResult>;
  /** What `fetch` accepts of a policy host's TLS. */
  readonly policyHostContext: SecureContext;
  /** Hand a TLS report to a stranger's https URI. */
  readonly postReport: (uri: string, gzip: Buffer, signal: AbortSignal) => Promise<ReportPosted>;
  readonly tlsPolicySettings: TlsPolicySettings;
  /** Undefined: `security.dane: off`. */
  readonly dane: DanePolicy | undefined;
  readonly sessionSettings: SessionSettings;
}

/** Build them from the settings. Throws when a file of `trustedCaFiles` cannot be read. */
export function createOutside(settings: Settings, clock: Clock): Outside {
  const { outbound, security, routes } = settings;
  const ca = outbound.trustedCaFiles.map((file) => readFileSync(file, 'utf8'));
  const roots = { systemRoots: outbound.systemRoots, ca };
  const guard = createAddressGuard(outbound.allowPrivateAddresses);
  const families = outbound.ipFamilies;
  const servers = chooseServers(settings.dns.servers);
  const resolver = createResolver({ servers, trustAd: settings.dns.trustAd, clock });
  const get = createHttpsGet({
    resolver,
    guard: exceptFor(policyHostsOfRoutes(routes), guard),
    ipFamilies: families,
    clock,
    ...roots,
  });
  // Roots take time to read, and `stsrelay check` posts nothing.
  let post: HttpsPost | undefined;
  const poster = (): HttpsPost => {
    post ??= createHttpsPost({ resolver, guard, ipFamilies: families, clock, ...roots });
    return post;
  };
  const { httpsPort, fetchTimeout: fetchTimeoutMs } = security.mtaSts;
  return {
    resolver,
    router: createRouter({
      resolver,
      port: outbound.port,
      ownNames: [settings.hostname, outbound.heloName],
      routes,
      clock,
    }),
    families,
    guard,
    fetch: (domain, signal) =>
      fetchPolicy(domain, { get, httpsPort, fetchTimeoutMs, clock }, signal),
    postReport: (uri, gzip, signal) => postReport({ uri, gzip }, { post: poster(), clock }, signal),
    policyHostContext: verifyingContext(trustedRoots(roots)),
    tlsPolicySettings: {
      defaultLevel: security.default,
      minVersion: security.minTlsVersion,
      mtaStsEnabled: security.mtaSts.enabled,
      honorTlsRequiredNo: security.honorTlsRequiredNo,
      overrides: settings.overrides,
      routes,
    },
    dane: security.dane === 'off' ? undefined : createDanePolicy({ resolver }),
    sessionSettings: {
      heloName: outbound.heloName,
      sourceAddresses: outbound.sourceAddresses,
      timeouts: outbound.timeouts,
      secure: { ca: trustedRoots(roots), minVersion: security.minTlsVersion },
      reuse: settings.destinations,
    },
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
