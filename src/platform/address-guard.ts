/**
 * The address guard: which addresses strangers' DNS may send the relay to. The owner of a
 * domain chooses where its MX, policy and report hosts are, and without a guard could point
 * us at the inside of the network we stand in.
 *
 * Only global unicast passes (the registries of RFC 6890); addresses that carry an IPv4
 * address to a translator or tunnel are judged by what they carry. Everything unknown or
 * written in an unusual way is refused. Pure; administrators' routes are never asked about.
 */
import ipaddr from 'ipaddr.js';
import { parseDomain } from '../protocol/domain.ts';
import { type Address, isWithin, parseAddress, parseNetwork } from './network.ts';

export type GuardVerdict =
  | { readonly ok: true }
  /** `reason` completes "address … is refused: …". */
  | { readonly ok: false; readonly reason: string };

export interface AddressGuard {
  /** Judge `address`, found by looking up `domain`. */
  check(address: string, domain?: string): GuardVerdict;
}

const GLOBAL_UNICAST_V6: [ipaddr.IPv6, number] = ipaddr.IPv6.parseCIDR('2000::/3');
const NAT64 = ipaddr.IPv6.parseCIDR('64:ff9b::/96');

const RANGE_NAMES: Readonly<Record<string, string>> = {
  unspecified: 'unspecified address',
  broadcast: 'broadcast address',
  linkLocal: 'link-local address',
  carrierGradeNat: 'carrier-grade NAT address',
  private: 'private address',
  uniqueLocal: 'unique local address',
  deprecatedSiteLocal: 'site-local address',
  ipv4Mapped: 'IPv4-mapped address',
  rfc6145: 'IPv4-translated address',
  rfc6052: 'local-use NAT64 address',
};

/**
 * A guard that makes exceptions as `outbound.allowPrivateAddresses` says: `true` for every
 * address that is written properly, or a list of networks (`10.1.0.0/16`, `::1`) and domains
 * (those and their subdomains). Throws on an entry that is neither.
 */
export function createAddressGuard(allowed: boolean | readonly string[]): AddressGuard {
  const entries = typeof allowed === 'boolean' ? [] : allowed;
  const networks = entries.map(parseNetwork).filter((network) => network !== undefined);
  const domains = entries.filter((entry) => parseNetwork(entry) === undefined).map(allowedDomain);

  function isExempt(address: Address, domain: string | undefined): boolean {
    if (allowed === true) return true;
    if (networks.some((network) => isWithin(address, network))) return true;
    const name = domain?.toLowerCase();
    return domains.some((entry) => name === entry || name?.endsWith(`.${entry}`));
  }

  return {
    check(text, domain) {
      const address = parseAddress(text);
      if (address === undefined) return { ok: false, reason: 'not an address in its usual form' };
      const reason = refusal(address);
      if (reason === undefined || isExempt(address, domain)) return { ok: true };
      return { ok: false, reason };
    },
  };
}

function refusal(address: Address): string | undefined {
  const range = address.range();
  if (address instanceof ipaddr.IPv4) return range === 'unicast' ? undefined : rangeName(range);
  const carried = carriedAddresses(address);
  if (carried.length > 0) {
    const inner = carried.map(refusal).find((reason) => reason !== undefined);
    return inner === undefined ? undefined : `${inner} inside an IPv6 address`;
  }
  if (range !== 'unicast') return rangeName(range);
  // IPv4-compatible (::/96) and everything nobody was given yet.
  return address.match(GLOBAL_UNICAST_V6) ? undefined : 'not a global address';
}

function rangeName(range: string): string {
  return RANGE_NAMES[range] ?? `${range} address`;
}

/** The IPv4 addresses that traffic to `address` ends at, or passes through. */
function carriedAddresses(address: ipaddr.IPv6): readonly ipaddr.IPv4[] {
  const octets = address.toByteArray();
  const ipv4At = (offset: number, mask = 0) =>
    new ipaddr.IPv4(octets.slice(offset, offset + 4).map((octet) => octet ^ mask));
  // RFC 6052 §2.1: the well-known prefix of NAT64.
  if (address.match(NAT64)) return [ipv4At(12)];
  // RFC 3056 §2
  if (address.range() === '6to4') return [ipv4At(2)];
  // RFC 4380 §4: the server, and the client with its bits flipped.
  if (address.range() === 'teredo') return [ipv4At(4), ipv4At(12, 0xff)];
  return [];
}

function allowedDomain(entry: string): string {
  const domain = parseDomain(entry);
  if (domain === undefined) throw new Error(`neither a network nor a domain: ${entry}`);
  return domain;
}
