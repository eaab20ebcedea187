/**
 * Whether a text of the configuration is a host with port, a network, a mailbox, a next hop.
 * Pure. The parts that use these texts take them apart themselves; what passes here they can
 * read.
 */
import { isIP } from 'node:net';
import { parseNextHop } from '../mail/next-hop.ts';
import { parseDomain } from '../protocol/domain.ts';
import { parseMailbox } from '../protocol/mailbox.ts';

const HOST_AND_PORT = /^(?:\[([^[\]]{2,60})\]|([^[\]:]{1,255}))(?::(\d{1,5}))?$/;

function takeApart(text: string): { host: string; port: string | undefined } | undefined {
  const match = HOST_AND_PORT.exec(text);
  if (match === null) return undefined;
  const [, literal, name = '', port] = match;
  // Brackets are for IPv6 addresses only.
  if (literal !== undefined && isIP(literal) !== 6) return undefined;
  if (port !== undefined && (Number(port) < 1 || Number(port) > 65535)) return undefined;
  return { host: literal ?? name, port };
}

/** `host`, `host:port`, `192.0.2.1:53`, `[2001:db8::1]`, `[2001:db8::1]:53`. */
export function isHostPort(text: string): boolean {
  const parts = takeApart(text);
  return parts !== undefined && (isIP(parts.host) !== 0 || parseDomain(parts.host) !== undefined);
}

/** An address, its port left out or not: `127.0.0.1`, `127.0.0.1:5353`, `::1`, `[::1]:5353`. */
export function isAddressPort(text: string): boolean {
  return isIP(text) !== 0 || isIP(takeApart(text)?.host ?? '') !== 0;
}

/** `host:port` is that host, `mx:domain` that domain's MX hosts; the port may be left out. */
export function isNextHop(text: string): boolean {
  return parseNextHop(text) !== undefined;
}

/** An address (`192.0.2.1`) or a network in CIDR form (`10.0.0.0/8`, `::1/128`). */
export function isNetwork(text: string): boolean {
  const [address = '', prefix, ...rest] = text.split('/');
  const family = address.includes('%') ? 0 : isIP(address);
  if (family === 0 || rest.length > 0) return false;
  if (prefix === undefined) return true;
  return /^\d{1,3}$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128);
}

/** A mailbox in a domain; address literals are not taken here. */
export function isMailbox(text: string): boolean {
  return parseMailbox(text)?.domain.kind === 'domain';
}
