/**
 * Destinations that are no domain but an address in brackets, `[192.0.2.1]` or
 * `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3). Pure.
 */
import { isIPv4, isIPv6 } from 'node:net';

/** Whether `destination` is meant as an address literal, well-formed or not. */
export function isAddressLiteral(destination: string): boolean {
  return destination.startsWith('[');
}

/** The address in a literal; undefined when it is none, has a zone, or a tag other than IPv6. */
export function parseAddressLiteral(destination: string): string | undefined {
  const inside = /^\[([^[\]%]{1,60})\]$/.exec(destination)?.[1];
  if (inside === undefined) return undefined;
  if (isIPv4(inside)) return inside;
  const tagged = /^IPv6:(.+)$/i.exec(inside)?.[1];
  return tagged !== undefined && isIPv6(tagged) ? tagged : undefined;
}
