/**
 * Two that would listen on the same port: of two listeners, or a listener and `http`, the second could not be
 * opened at start. Pure.
 *
 * `0.0.0.0` and `::` take in every address of their family. Whether `::` takes in IPv4 too is the system's
 * choice, so that is left to it. An address is the same one in all its spellings, as IPv4-mapped, too (RFC 4291 §2.2, §2.5.5.2).
 */
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import type { Conflict, Sections } from './checks.ts';

interface Place {
  readonly path: readonly (string | number)[];
  readonly address: string;
  readonly port: number;
}

export function doublePorts({ listeners = [], http }: Sections): Conflict[] {
  const places: Place[] = listeners.map(({ address, port }, i) => ({
    ...{ path: ['listeners', i], address, port },
  }));
  if (http) places.push({ path: ['http', 'port'], address: http.address, port: http.port });
  const taken = new Map<number, Place[]>();
  return places.flatMap((place) => {
    const { address, path, port } = place;
    // Port 0: any free one.
    if (port === 0) return [];
    const others = taken.get(port) ?? [];
    taken.set(port, [...others, place]);
    const other = others.find((one) => areInTheWay(one.address, address));
    if (!other) return [];
    const found = `${address} port ${port} again`;
    if (canonical(other.address) === canonical(address)) {
      return [{ path, found, expected: 'each address and port once' }];
    }
    const [wide, narrow] = isWildcard(address)
      ? [address, other.address]
      : [other.address, address];
    const expected = `each address and port once: ${wide} has ${narrow} in it`;
    return [{ path, found, expected }];
  });
}

function areInTheWay(one: string, other: string): boolean {
  const [a, b] = [canonical(one), canonical(other)];
  return a === b || (isIP(a) === isIP(b) && (isWildcard(one) || isWildcard(other)));
}

function isWildcard(address: string): boolean {
  return ['0.0.0.0', '::'].includes(canonical(address));
}

function canonical(address: string): string {
  return ipaddr.process(address).toString();
}
