/**
 * Administrators' routes (`routes` in the configuration): which of them is for a destination.
 * Pure.
 */
import { type NextHop, parseNextHop } from '../mail/next-hop.ts';
import type { SmartHost } from '../mail/route.ts';
import { parseDomain } from '../protocol/domain.ts';

/** One entry of `routes`, as far as routing reads it. */
export interface ConfiguredRoute {
  /** A domain, or `*` for every destination that has no route of its own. */
  readonly domain: string;
  readonly nextHop: string;
  readonly wrapper?: 'starttls' | 'implicit';
  /** Empty, or absent: no AUTH. */
  readonly user?: string;
  readonly passwordFile?: string;
}

export interface ConfiguredHop {
  readonly nextHop: NextHop;
  /** Absent where the route says nothing but where. */
  readonly smartHost?: SmartHost;
}

/** The next hop configured for a destination (a canonical domain or an address literal). */
export type RouteTable = (destination: string) => ConfiguredHop | undefined;

/**
 * A table of `routes`: a domain's own entry before `*`, the first of several. Throws on an
 * entry that cannot be read: the configuration is checked before anything is built.
 */
export function createRouteTable(routes: readonly ConfiguredRoute[]): RouteTable {
  const byDomain = new Map<string, ConfiguredHop>();
  for (const route of routes) {
    const domain = route.domain === '*' ? '*' : parseDomain(route.domain);
    const nextHop = parseNextHop(route.nextHop);
    if (domain === undefined) throw new Error(`route for no domain: ${route.domain}`);
    if (nextHop === undefined) throw new Error(`route to no host: ${route.nextHop}`);
    const smartHost = smartHostOf(route);
    if (!byDomain.has(domain)) byDomain.set(domain, { nextHop, ...(smartHost && { smartHost }) });
  }
  return (destination) => byDomain.get(destination) ?? byDomain.get('*');
}

function smartHostOf({ wrapper, user, passwordFile = '' }: ConfiguredRoute): SmartHost | undefined {
  const implicitTls = wrapper === 'implicit';
  if (user) return { implicitTls, login: { user, passwordFile } };
  return implicitTls ? { implicitTls } : undefined;
}
