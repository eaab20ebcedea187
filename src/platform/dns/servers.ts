/**
 * Which recursive servers are asked: those of the configuration (`dns.servers`), else those of
 * /etc/resolv.conf, else the one on this machine (resolv.conf(5)); and whose AD bit is believed.
 * Read once at start.
 */
import { readFileSync } from 'node:fs';
import { isIP, isIPv6 } from 'node:net';

export interface ServerAddress {
  /** IPv4 or IPv6 address, no brackets; a link-local one may carry its zone. */
  readonly address: string;
  readonly port: number;
}

export type TrustAd = 'auto' | 'always' | 'never';

const DNS_PORT = 53;
/** More servers than this only make a dead network look slow. */
const MAX_SERVERS = 8;

/** `127.0.0.1`, `127.0.0.1:5353`, `::1` or `[::1]:5353`; undefined for anything else. */
export function parseServerAddress(text: string): ServerAddress | undefined {
  if (isIP(text) !== 0) return { address: text, port: DNS_PORT };
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(text);
  const address = match?.[1] ?? match?.[2] ?? '';
  const port = match?.[3] === undefined ? DNS_PORT : Number(match[3]);
  if (isIP(address) === 0 || port < 1 || port > 65535) return undefined;
  if ((match?.[1] !== undefined) !== isIPv6(address)) return undefined;
  return { address, port };
}

/** `127.0.0.1:53` or `[::1]:53`. */
export function formatServer({ address, port }: ServerAddress): string {
  return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
}

/**
 * The servers to ask, in order. Throws on a configured text that is no server address: the
 * configuration is checked before anything is built.
 */
export function chooseServers(
  configured: readonly string[],
  resolvConfPath = '/etc/resolv.conf',
): readonly ServerAddress[] {
  if (configured.length > 0) {
    return configured.map((text) => {
      const server = parseServerAddress(text);
      if (server === undefined) throw new Error(`not the address of a DNS server: ${text}`);
      return server;
    });
  }
  const listed = parseResolvConf(readText(resolvConfPath));
  return listed.length > 0 ? listed : [{ address: '127.0.0.1', port: DNS_PORT }];
}

/** The `nameserver` lines of resolv.conf; everything else in it is about search lists, which we never use: no name is completed (RFC 5321 §5.1). */
export function parseResolvConf(text: string): readonly ServerAddress[] {
  const servers: ServerAddress[] = [];
  for (const line of text.split('\n')) {
    const address = /^nameserver\s+(\S+)/.exec(line.trim())?.[1];
    if (address !== undefined && isIP(address) !== 0) servers.push({ address, port: DNS_PORT });
  }
  return servers.slice(0, MAX_SERVERS);
}

/**
 * Whether the AD bit of `server` is believed. It takes a path nobody else can write to
 * (RFC 4035 §4.9.3, RFC 7672 §2.1.3): `auto` takes loopback for one, except 127.0.0.11, where a container's forwarder listens
 * that hands on whatever the network said.
 */
export function believesAd(server: ServerAddress, trustAd: TrustAd): boolean {
  if (trustAd !== 'auto') return trustAd === 'always';
  if (server.address === '127.0.0.11') return false;
  return server.address === '::1' || /^127\.\d+\.\d+\.\d+$/.test(server.address);
}

/**
 * Those of `servers` that are asked, in their order. Beside one whose AD bit is believed the others are not:
 * whoever makes a lookup of the validating one fail would else have their word for it, by which nothing is signed
 * (RFC 7672 §2.1.2).
 */
export function serversToAsk(
  servers: readonly ServerAddress[],
  trustAd: TrustAd,
): readonly ServerAddress[] {
  const believed = servers.filter((server) => believesAd(server, trustAd));
  return believed.length > 0 ? believed : servers;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
