/**
 * The next hop of an administrator's route (`routes[].nextHop`): a host, an address, or the MX
 * hosts of a domain. Pure.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { type DomainName, parseDomain } from '../protocol/domain.ts';

export type NextHop =
  /** `host:port` */
  | { readonly kind: 'host'; readonly host: DomainName; readonly port: number | undefined }
  /** `192.0.2.1:25`, `[2001:db8::1]:25` */
  | { readonly kind: 'address'; readonly address: string; readonly port: number | undefined }
  /** `mx:domain`: the hosts its MX records name. */
  | { readonly kind: 'mx'; readonly domain: DomainName };

/** Read a `nextHop`; the port may be left out. Undefined when it is none of the forms above. */
export function parseNextHop(text: string): NextHop | undefined {
  // "mx:25" is a host of that name.
  if (/^mx:(?!\d+$)/i.test(text)) {
    const domain = parseDomain(text.slice('mx:'.length));
    return domain === undefined ? undefined : { kind: 'mx', domain };
  }
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(text);
  const port = match?.[3] === undefined ? undefined : Number(match[3]);
  if (match === null || (port !== undefined && (port < 1 || port > 65535))) return undefined;
  const [, bracketed, bare = ''] = match;
  if (bracketed !== undefined) {
    const address = bracketed.replace(/^IPv6:/i, '');
    const isAddress = isIPv6(address) || isIPv4(address);
    return isAddress ? { kind: 'address', address, port } : undefined;
  }
  if (isIPv4(bare)) return { kind: 'address', address: bare, port };
  const host = parseDomain(bare);
  return host === undefined ? undefined : { kind: 'host', host, port };
}
