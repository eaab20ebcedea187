/**
 * Routing: from a destination to a Route (RFC 5321 §5.1), the first step of an attempt.
 *
 * An administrator's route comes first, then address literals, then MX records. The policy
 * domain is the recipient domain, never a CNAME's target; under an administrator's route it
 * is the next hop (RFC 8461 §3.4).
 *
 * Never throws; a failure names its cause and outcome/ decides what it means. What is wrong
 * with a route's next hop is `dns-failed` whatever it is: a slip in the configuration must
 * not bounce everybody's mail.
 */
import { type LocalCause, type LocalFailure, localFailure } from '../mail/failure.ts';
import type { Destination, MxCandidate, Route } from '../mail/route.ts';
import { type Clock, systemClock } from '../platform/clock.ts';
import type { Resolver } from '../platform/resolver.ts';
import { type DomainName, parseDomain } from '../protocol/domain.ts';
import { quoted } from '../protocol/quote.ts';
import { isAddressLiteral, parseAddressLiteral } from './address-literal.ts';
import { decideMx, dropOwn, type MxDecision } from './mx.ts';
import { createOwnHosts } from './own-hosts.ts';
import { type ConfiguredHop, type ConfiguredRoute, createRouteTable } from './route-table.ts';

/** RFC 8314 §3.3, §7.3: `submissions`, TLS from the first octet. */
const SUBMISSIONS_PORT = 465;

export interface RouterOptions {
  readonly resolver: Resolver;
  /** Where MX hosts listen: 25 but in tests. */
  readonly port: number;
  /** Names under which this relay may stand in MX records. */
  readonly ownNames: readonly string[];
  /** Addresses at which this relay takes mail on `port` from anywhere. Empty saves lookups. */
  readonly ownAddresses?: readonly string[];
  readonly routes?: readonly ConfiguredRoute[];
  /** 0 ≤ x < 1. */
  readonly random?: () => number;
  readonly clock?: Clock;
}

export type RouteResult =
  | { readonly kind: 'route'; readonly route: Route }
  | { readonly kind: 'failed'; readonly failure: LocalFailure };

export interface Router {
  /** Where mail for `destination` may go; ends with `signal`. */
  findRoute(destination: Destination, signal: AbortSignal): Promise<RouteResult>;
}

/** A router over `resolver`. Throws when a configured route cannot be read. */
export function createRouter(options: RouterOptions): Router {
  const { resolver, port, random = Math.random, clock = systemClock } = options;
  const nextHopFor = createRouteTable(options.routes ?? []);
  const own = createOwnHosts({ ...options, clock });

  async function lookupMx(domain: DomainName, signal: AbortSignal, at = port): Promise<MxDecision> {
    const answer = await resolver.lookupMx(domain, signal);
    return decideMx({ domain, answer, isOwn: own.hasName, port: at, random });
  }

  async function routeByMx(domain: DomainName, signal: AbortSignal): Promise<RouteResult> {
    const decision = await lookupMx(domain, signal);
    if (decision.kind === 'failed') return decision;
    const ownByAddress = await own.amongByAddress(decision.candidates, signal);
    const candidates = dropOwn(decision.candidates, (host) => ownByAddress.has(host));
    if (candidates.length === 0) {
      return failed('mail-loops-back', `the best MX of ${domain} has an address of this relay`);
    }
    const kind = decision.implicit ? 'implicit-mx' : 'mx';
    const { securedNames } = decision;
    // RFC 8461 §1.1, §3.4: the recipient domain itself, no host and no parent of it.
    const at = { destination: domain, policyDomain: domain, kind, candidates } as const;
    return routed({ ...at, ...(securedNames && { securedNames }) });
  }

  async function routeByNextHop(
    destination: Destination,
    { nextHop, smartHost }: ConfiguredHop,
    signal: AbortSignal,
  ): Promise<RouteResult> {
    const to = { destination, ...(smartHost && { smartHost }) };
    const normalPort = smartHost?.implicitTls ? SUBMISSIONS_PORT : port;
    if (nextHop.kind === 'mx') {
      const decision = await lookupMx(nextHop.domain, signal, normalPort);
      if (decision.kind === 'failed') {
        return failed('dns-failed', `configured route: ${decision.failure.detail}`);
      }
      const candidates = decision.candidates.map((found) => ({ ...found, trusted: true as const }));
      const { securedNames } = decision;
      return configured(
        { ...to, ...(securedNames && { securedNames }) },
        nextHop.domain,
        candidates,
      );
    }
    const at = { preference: 0, port: nextHop.port ?? normalPort, trusted: true } as const;
    if (nextHop.kind === 'address') {
      return configured(to, undefined, [{ ...at, host: undefined, address: nextHop.address }]);
    }
    // RFC 7672 §2.2.3: nothing but the configuration led to the host.
    const securedNames = [nextHop.host];
    return configured({ ...to, securedNames }, nextHop.host, [{ ...at, host: nextHop.host }]);
  }

  function routeToLiteral(destination: Destination): RouteResult {
    const address = parseAddressLiteral(destination);
    if (address === undefined) {
      return failed('malformed-address', `${quoted(destination)} is no address literal`);
    }
    if (own.hasAddress(address)) {
      return failed('mail-loops-back', `${address} is an address of this relay`);
    }
    // RFC 8461 §3.4: no policy can be attached to an address.
    const candidates = [{ host: undefined, preference: 0, address, port }];
    return routed({ destination, policyDomain: undefined, kind: 'literal', candidates });
  }

  return {
    async findRoute(destination, signal) {
      const isLiteral = isAddressLiteral(destination);
      const domain = isLiteral ? undefined : parseDomain(destination);
      if (!isLiteral && domain === undefined) {
        return failed('malformed-address', `${quoted(destination)} is no domain`);
      }
      const nextHop = nextHopFor(domain ?? destination);
      if (nextHop !== undefined) return routeByNextHop(domain ?? destination, nextHop, signal);
      return domain === undefined ? routeToLiteral(destination) : routeByMx(domain, signal);
    },
  };
}

/** RFC 8461 §3.4: the next hop is the policy domain; an address has none. */
function configured(
  to: Pick<Route, 'destination' | 'smartHost' | 'securedNames'>,
  policyDomain: DomainName | undefined,
  candidates: readonly MxCandidate[],
): RouteResult {
  return routed({ ...to, policyDomain, kind: 'configured', candidates });
}

function routed(route: Route): RouteResult {
  return { kind: 'route', route };
}

function failed(cause: LocalCause, detail: string): RouteResult {
  return { kind: 'failed', failure: localFailure(cause, detail) };
}
