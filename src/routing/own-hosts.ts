/**
 * Which hosts are this relay, by name or by address (RFC 5321 §5.1 asks for any of them), so
 * that mail is not sent round in circles.
 */
import { BlockList, isIPv6 } from 'node:net';
import type { MxCandidate } from '../mail/route.ts';
import type { Clock } from '../platform/clock.ts';
import { judgeAddresses, lookupHostAddresses } from '../platform/host-addresses.ts';
import type { Resolver } from '../platform/resolver.ts';
import { type DomainName, mxHostName } from '../protocol/domain.ts';

export interface OwnHostsOptions {
  readonly resolver: Resolver;
  readonly ownNames: readonly string[];
  readonly ownAddresses?: readonly string[];
  readonly clock: Clock;
}

export interface OwnHosts {
  hasName(host: DomainName): boolean;
  hasAddress(address: string): boolean;
  /**
   * The hosts among `candidates` with an address of ours. Asks no DNS when we have none; a
   * lookup that fails or takes too long says nothing about its host.
   */
  amongByAddress(
    candidates: readonly MxCandidate[],
    signal: AbortSignal,
  ): Promise<ReadonlySet<DomainName>>;
}

/** A host with slow DNS must not hold the mail up just to be told apart from us. */
const LOOKUP_MS = 3000;

/** The relay's own names and addresses, in any spelling. */
export function createOwnHosts(options: OwnHostsOptions): OwnHosts {
  const { resolver, clock, ownAddresses = [] } = options;
  const names = new Set(options.ownNames.map(mxHostName));
  const addresses = new BlockList();
  for (const address of ownAddresses) addresses.addAddress(address, familyOf(address));
  const hasAddress = (address: string) => addresses.check(address, familyOf(address));

  async function isOwnByAddress(host: DomainName, signal: AbortSignal): Promise<boolean> {
    const lookup = { resolver, families: ['ipv6', 'ipv4'] as const, signal, clock };
    const answers = await lookupHostAddresses(host, lookup);
    return judgeAddresses(answers, () => ({ ok: true })).addresses.some(hasAddress);
  }

  return {
    hasName: (host) => names.has(host),
    hasAddress,
    async amongByAddress(candidates, signal) {
      const own = new Set<DomainName>();
      if (ownAddresses.length === 0) return own;
      const patience = new AbortController();
      const cancel = clock.after(LOOKUP_MS, () =>
        patience.abort(new Error('not found out in time')),
      );
      const either = AbortSignal.any([signal, patience.signal]);
      await Promise.all(
        candidates.map(async ({ host }) => {
          if (host !== undefined && (await isOwnByAddress(host, either))) own.add(host);
        }),
      );
      cancel();
      return own;
    },
  };
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIPv6(address) ? 'ipv6' : 'ipv4';
}
