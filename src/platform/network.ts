/** Addresses and networks (CIDR, RFC 4632 and RFC 4291 §2.3) in the forms that people usually write them. Pure. */
import { isIPv4, isIPv6 } from 'node:net';
import ipaddr from 'ipaddr.js';

export type Address = ipaddr.IPv4 | ipaddr.IPv6;
/** An address in it, and how many leading bits all of its addresses share. */
export type Network = readonly [Address, bits: number];

/** Before the IPv4 address in an IPv4-mapped one. */
const MAPPED_BITS = 96;

/** No octal, hexadecimal or shortened IPv4, no zone: some other part might read those differently. */
export function parseAddress(text: string): Address | undefined {
  if (isIPv4(text)) return ipaddr.IPv4.parse(text);
  if (isIPv6(text) && !text.includes('%')) return ipaddr.IPv6.parse(text);
  return undefined;
}

/** `10.1.0.0/16`, or an address, which is a network of its own. */
export function parseNetwork(text: string): Network | undefined {
  const single = parseAddress(text);
  if (single !== undefined) return [single, single instanceof ipaddr.IPv4 ? 32 : 128];
  const [base = '', length = ''] = text.split('/');
  if (parseAddress(base) === undefined || !/^\d{1,3}$/.test(length)) return undefined;
  return ipaddr.isValidCIDR(text) ? ipaddr.parseCIDR(text) : undefined;
}

/** An IPv4-mapped IPv6 network is what it holds (RFC 4291 §2.5.5.2). */
export function unmapped([base, bits]: Network): Network {
  if (base instanceof ipaddr.IPv4 || bits < MAPPED_BITS || !base.isIPv4MappedAddress()) {
    return [base, bits];
  }
  return [base.toIPv4Address(), bits - MAPPED_BITS];
}

export function isWithin(address: Address, [base, bits]: Network): boolean {
  return address.kind() === base.kind() && address.match(base, bits);
}
