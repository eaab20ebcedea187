/**
 * Client addresses as keys of what is counted per client: connections, failed logins,
 * messages. An IPv4-mapped IPv6 address is the IPv4 address it holds. An IPv6 address counts
 * as its /64, the smallest network anybody is given: counted one by one, a client would have
 * 2^64 of them.
 */
import ipaddr from 'ipaddr.js';
import { LRUCache } from 'lru-cache';

/** The same few clients come again and again. */
const keys = new LRUCache<string, string>({ max: 10_000 });

/** The key under which `address` is counted; text that is no address is its own key. */
export function clientKey(address: string): string {
  const known = keys.get(address);
  if (known !== undefined) return known;
  const key = makeKey(address);
  keys.set(address, key);
  return key;
}

function makeKey(address: string): string {
  const parsed = parseAddress(address);
  if (parsed === undefined) return address;
  if (parsed.kind() === 'ipv4') return parsed.toString();
  const [a, b, c, d] = (parsed as ipaddr.IPv6).parts;
  return `${new ipaddr.IPv6([a ?? 0, b ?? 0, c ?? 0, d ?? 0, 0, 0, 0, 0]).toString()}/64`;
}

/** An address as a value, IPv4-mapped ones unwrapped; undefined when it is none. */
export function parseAddress(text: string): ipaddr.IPv4 | ipaddr.IPv6 | undefined {
  return ipaddr.isValid(text) ? ipaddr.process(text) : undefined;
}
