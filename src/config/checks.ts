/**
 * What no single setting can say about itself: settings that only make sense together, and
 * values that are allowed but rarely meant. Pure; looks only at sections that are well-formed.
 */
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { parseNextHop } from '../mail/next-hop.ts';
import { doublePorts } from './double-ports.ts';
import { missingForMail } from './report-mail.ts';
import type { Settings } from './settings.ts';
import type { KeyPath } from './structure.ts';

/** A contradiction. `found` is said where the value at `path` does not speak for itself. */
export interface Conflict {
  readonly path: KeyPath;
  readonly found?: string;
  readonly expected: string;
}

export interface Doubt {
  readonly path: KeyPath;
  readonly text: string;
}

export type Sections = Partial<Settings>;

/** Whether nothing outside this machine reaches an address somebody listens on. */
export function isLoopback(address: string): boolean {
  return isIP(address) === 4 ? address.startsWith('127.') : /^(0*:)*:?0*1$/.test(address);
}

export function findConflicts(sections: Sections): readonly Conflict[] {
  return [
    ...doublePorts(sections),
    ...halfCertificate(sections),
    ...wholeInternet(sections),
    ...redisConflicts(sections),
    ...doubleFamilies(sections),
    ...doubleDomains('overrides', sections.overrides),
    ...doubleDomains('routes', sections.routes),
    ...doubleDomains('retry.domains', sections.retry?.domains),
    ...doubleDomains('destinations.domains', sections.destinations?.domains),
    ...halfRouteLogin(sections),
    ...clearRoutes(sections),
    ...circularPostmaster(sections),
    ...doubleSelectors(sections),
  ];
}

function halfCertificate({ tls }: Sections): Conflict[] {
  if (tls === undefined || (tls.certFile === '') === (tls.keyFile === '')) return [];
  const [missing, given] = tls.certFile === '' ? ['certFile', 'keyFile'] : ['keyFile', 'certFile'];
  return [{ path: ['tls', missing], expected: `a path, because tls.${given} is set` }];
}

/**
 * The relay is never an open one: whoever wants everybody in has to list the networks. A proxy is believed whom it
 * connects for, so that everybody as proxy is everybody as a trusted client.
 */
function wholeInternet({ access, listeners = [] }: Sections): Conflict[] {
  const lists = [
    { path: ['access', 'trustedNetworks'], networks: access?.trustedNetworks },
    ...listeners.map(({ proxyProtocol }, i) => ({
      ...{ path: ['listeners', i, 'proxyProtocol'], networks: proxyProtocol },
    })),
  ];
  const expected = 'a network smaller than the whole Internet (this would be an open relay)';
  return lists.flatMap(({ path, networks = [] }) =>
    networks.flatMap((network, i) =>
      isWholeInternet(network) ? [{ path: [...path, i], expected }] : [],
    ),
  );
}

/** `/0`, or all of IPv4 written as IPv6 (RFC 4291 §2.5.5.2): it is read as the IPv4 network it holds. */
function isWholeInternet(network: string): boolean {
  if (!network.includes('/')) return false;
  const [address, bits] = ipaddr.parseCIDR(network);
  return bits === 0 || (bits === 96 && (address as ipaddr.IPv6).isIPv4MappedAddress());
}

function redisConflicts({ redis }: Sections): Conflict[] {
  if (redis === undefined) return [];
  const external = (['url', 'sentinels', 'cluster'] as const).filter(
    (key) => redis[key].length > 0,
  );
  const conflicts: Conflict[] = [];
  if (redis.mode === 'embedded' && external.length > 0) {
    const expected = `external, or no redis.${external.join(', no redis.')}`;
    conflicts.push({ path: ['redis', 'mode'], expected });
  }
  if (redis.mode === 'external' && external.length === 0) {
    conflicts.push({ path: ['redis', 'mode'], expected: 'embedded, or a redis.url' });
  }
  if (redis.sentinels.length > 0 && redis.cluster.length > 0) {
    const expected = 'nothing, because redis.sentinels is set: Redis is one or the other';
    conflicts.push({ path: ['redis', 'cluster'], expected });
  }
  for (const key of ['sentinelUser', 'sentinelPassword'] as const) {
    if (redis[key] === '' || redis.sentinels.length > 0) continue;
    const expected = 'nothing, because there are no redis.sentinels';
    conflicts.push({ path: ['redis', key], expected });
  }
  if (redis.sentinelUser !== '' && redis.sentinelPassword === '') {
    const expected = 'the password, because redis.sentinelUser is set';
    conflicts.push({ path: ['redis', 'sentinelPassword'], expected });
  }
  return conflicts;
}

function doubleFamilies({ outbound }: Sections): Conflict[] {
  const families = outbound?.ipFamilies ?? [];
  if (new Set(families).size === families.length) return [];
  return [
    { path: ['outbound', 'ipFamilies'], found: families.join(', '), expected: 'each family once' },
  ];
}

function doubleDomains(
  key: string,
  entries: readonly { readonly domain: string }[] | undefined,
): Conflict[] {
  const seen = new Set<string>();
  return (entries ?? []).flatMap(({ domain }, i) => {
    if (seen.has(domain)) {
      const path = [...key.split('.'), i, 'domain'];
      return [{ path, found: `"${domain}" again`, expected: 'each domain once' }];
    }
    seen.add(domain);
    return [];
  });
}

function halfRouteLogin({ routes = [] }: Sections): Conflict[] {
  return routes.flatMap(({ user, passwordFile }, i) => {
    if ((user === '') === (passwordFile === '')) return [];
    const [missing, given] = user === '' ? ['user', 'passwordFile'] : ['passwordFile', 'user'];
    return [{ path: ['routes', i, missing], expected: `text, because ${given} is set` }];
  });
}

/** A password is never sent in clear text, and TLS from the first octet is TLS. */
function clearRoutes({ routes = [] }: Sections): Conflict[] {
  return routes.flatMap(({ tls, user, wrapper }, i) => {
    if (tls !== 'none' || (user === '' && wrapper !== 'implicit')) return [];
    const because = user === '' ? 'wrapper is implicit' : 'AUTH is made over TLS alone';
    const expected = `opportunistic, encrypt or verify, because ${because}`;
    return [{ path: ['routes', i, 'tls'], expected }];
  });
}

/** Mail for our postmaster would come back to us for ever. */
function circularPostmaster({ postmaster, hostname }: Sections): Conflict[] {
  if (!hostname || postmaster?.toLowerCase() !== `postmaster@${hostname}`) return [];
  return [{ path: ['postmaster'], expected: 'a mailbox elsewhere, to which it goes on' }];
}

/** There is one public key at `selector._domainkey.domain` (RFC 6376 §3.6.2.1). */
function doubleSelectors({ dkim = [] }: Sections): Conflict[] {
  const seen = new Set<string>();
  return dkim.flatMap(({ domain, selector }, i) => {
    const name = `${selector}._domainkey.${domain}`;
    if (seen.has(name)) {
      const found = `"${selector}" of ${domain} again`;
      return [{ path: ['dkim', i, 'selector'], found, expected: 'each selector of a domain once' }];
    }
    seen.add(name);
    return [];
  });
}

/** Values that are allowed and rarely meant; `nowMs` (since the epoch) tells what has expired. */
export function findDoubts(sections: Sections, nowMs: number): readonly Doubt[] {
  return [
    ...listenerDoubts(sections),
    ...trustDoubts(sections),
    ...postmasterDoubts(sections),
    ...routeDoubts(sections),
    ...overrideDoubts(sections, nowMs),
    ...outboundDoubts(sections),
    ...httpDoubts(sections),
    ...reportDoubts(sections),
  ];
}

function listenerDoubts({ listeners = [] }: Sections): Doubt[] {
  return listeners.flatMap(({ address, tls, auth }, i) => {
    if (tls !== 'none') return [];
    const doubts: Doubt[] = [];
    if (auth === 'required') {
      const text = 'nobody can relay here: AUTH is required, and it is offered over TLS only';
      doubts.push({ path: ['listeners', i, 'auth'], text });
    }
    if (!isLoopback(address)) {
      const text = 'mail arrives here in clear text; starttls offers TLS to those who can';
      doubts.push({ path: ['listeners', i, 'tls'], text });
    }
    return doubts;
  });
}

/** Loopback alone is the default, which nobody wrote. */
function trustDoubts({ listeners = [], access }: Sections): Doubt[] {
  const isMeant = access?.trustedNetworks.some(
    (network) => !isLoopback(network.split('/')[0] ?? ''),
  );
  if (!isMeant || listeners.length === 0) return [];
  if (listeners.some(({ auth }) => auth !== 'required')) return [];
  const text = 'they make no difference: every listener has auth: required, of these clients, too';
  return [{ path: ['access', 'trustedNetworks'], text }];
}

function postmasterDoubts({ postmaster }: Sections): Doubt[] {
  if (postmaster !== '') return [];
  const text =
    'mail for <postmaster> is refused, which every mail system has to take (RFC 5321 §4.5.1); name a mailbox it goes to';
  return [{ path: ['postmaster'], text }];
}

function routeDoubts({ routes = [] }: Sections): Doubt[] {
  return routes.flatMap(({ nextHop, user, tls }, i) => {
    if (tls === 'verify' && parseNextHop(nextHop)?.kind === 'address') {
      // RFC 9525 §6.1: nothing in a certificate stands for an address.
      const text =
        'its mail waits for ever: nextHop is an address, and a certificate proves names alone';
      return [{ path: ['routes', i, 'tls'], text }];
    }
    if (user === '' || tls === 'verify' || tls === 'none') return [];
    const text =
      'the password goes to whoever answers there; tls: verify makes sure that it is this host';
    return [{ path: ['routes', i, 'tls'], text }];
  });
}

function overrideDoubts({ overrides = [] }: Sections, nowMs: number): Doubt[] {
  return overrides.flatMap(({ expires, owner, reason }, i) => {
    const doubts: Doubt[] = [];
    if (expires === undefined) {
      doubts.push({ path: ['overrides', i], text: 'this exception never ends: it has no expires' });
    } else if (expires <= nowMs) {
      doubts.push({ path: ['overrides', i, 'expires'], text: 'this exception is over' });
    }
    if (owner === '' || reason === '') {
      const text =
        'this exception says not who answers for it (owner) and why it is there (reason)';
      doubts.push({ path: ['overrides', i], text });
    }
    return doubts;
  });
}

function outboundDoubts({ outbound, security }: Sections): Doubt[] {
  const doubts: Doubt[] = [];
  if (outbound?.systemRoots === false && outbound.trustedCaFiles.length === 0) {
    const text = 'without trustedCaFiles no certificate validates: enforce domains get no mail';
    doubts.push({ path: ['outbound', 'systemRoots'], text });
  }
  if (security?.mtaSts.enabled === false) {
    const text = "recipient domains' MTA-STS policies are ignored";
    doubts.push({ path: ['security', 'mtaSts', 'enabled'], text });
  }
  return doubts;
}

function reportDoubts({ tlsRpt, dkim }: Sections): Doubt[] {
  if (!tlsRpt?.enabled || !dkim) return [];
  const missing = missingForMail({ tlsRpt, dkim });
  if (missing === undefined) return [];
  const text = `TLS reports are made and shown, and none leaves by mail, until there is ${missing}`;
  return [{ path: ['tlsRpt'], text }];
}

function httpDoubts({ http }: Sections): Doubt[] {
  if (http === undefined || http.tls || isLoopback(http.address)) return [];
  const text =
    'off loopback without TLS only /metrics, /healthz and /readyz are served; set http.tls';
  return [{ path: ['http', 'address'], text }];
}
