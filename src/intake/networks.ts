/**
 * Networks of clients, in CIDR notation; a plain address is a network of one. An IPv4-mapped IPv6
 * address, and a network of such, is what it holds (RFC 4291 §2.5.5.2).
 */
import ipaddr from 'ipaddr.js';
import { LRUCache } from 'lru-cache';
import { parseAddress } from './client-key.ts';

export interface Networks {
  /** Whether this address is in one of them; text that is no address is in none. */
  has(address: string): boolean;
}

type Network = readonly [ipaddr.IPv4 | ipaddr.IPv6, number];

/** Octets before the IPv4 address in an IPv4-mapped one, in bits. */
const MAPPED_PREFIX_BITS = 96;

/** Throws on a network that is none; the configuration has been checked for that. */
export function compileNetworks(texts: readonly string[]): Networks {
  const networks = texts.map(parseNetwork);
  const judge = (text: string) => {
    const address = parseAddress(text);
    return address !== undefined && networks.some((network) => isInside(address, network));
  };
  /** Asked at every RCPT, for the same few clients. */
  const judged = new LRUCache<string, boolean>({ max: 10_000 });
  return {
    has(address) {
      const known = judged.get(address);
      if (known !== undefined) return known;
      const verdict = judge(address);
      judged.set(address, verdict);
      return verdict;
    },
  };
}

function parseNetwork(text: string): Network {
  if (!text.includes('/')) {
    const address = ipaddr.process(text);
    return [address, address.kind() === 'ipv4' ? 32 : 128];
  }
  const [address, bits] = ipaddr.parseCIDR(text);
  if (address.kind() === 'ipv6' && bits >= MAPPED_PREFIX_BITS) {
    const mapped = address as ipaddr.IPv6;
    if (mapped.isIPv4MappedAddress()) return [mapped.toIPv4Address(), bits - MAPPED_PREFIX_BITS];
  }
  return [address, bits];
}

function isInside(address: ipaddr.IPv4 | ipaddr.IPv6, [network, bits]: Network): boolean {
  return address.kind() === network.kind() && address.match([network, bits] as never);
}
