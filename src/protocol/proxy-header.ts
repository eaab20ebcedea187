/**
 * The header that a proxy puts in front of a connection to say for whom it connects: HAProxy's
 * PROXY protocol, versions 1 and 2 (proxy-protocol.txt of HAProxy, 2020/03/05). Pure; asked again with
 * more octets until it has an answer.
 *
 * Strict where the document leaves a choice, for whoever is believed here may be let relay: no
 * leading zeros, no other line ends, no family but TCP over IPv4 and IPv6. An IPv4-mapped
 * address is the IPv4 address it holds (RFC 4291 §2.5.5.2). Octets after the header are the client's, and not looked at.
 *
 * Whether the sender may say such things is decided elsewhere.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { crc32c } from './crc32c.ts';

export interface ProxiedSource {
  /** Canonical text, without a zone. */
  readonly address: string;
  readonly port: number;
}

export type ProxyHeader =
  /** Fits so far. */
  | { readonly kind: 'incomplete' }
  /** Never will be a header; `reason` is for the log, and holds nothing the sender chose. */
  | { readonly kind: 'malformed'; readonly reason: string }
  /** A client at `source`. `length`: octets of the header, here and below. */
  | { readonly kind: 'proxied'; readonly length: number; readonly source: ProxiedSource }
  /** The proxy itself, for example a health check. */
  | { readonly kind: 'local'; readonly length: number }
  /** For somebody the header does not name. */
  | { readonly kind: 'unknown'; readonly length: number };

/** Octets of the longest header that is taken: PP2's fixed part and `MAX_V2_BLOCK`. */
export const MAX_PROXY_HEADER = 16 + 4096;

/** Version 1: the line with its CRLF (§2.1). */
const MAX_V1_LINE = 107;
const V1_START = Buffer.from('PROXY ');
const V1_PORT = /^(?:0|[1-9]\d{0,4})$/;
const MAX_PORT = 65_535;
const CR = 0x0d;
const LF = 0x0a;

/** Version 2 (§2.2). */
const V2_SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
const V2_FIXED = 16;
/** After the fixed part; the length field could say 65,535. */
const MAX_V2_BLOCK = 4096;
const LOCAL = 0x20;
const PROXY = 0x21;
/** Octets of the addresses, by family and transport. */
const V2_ADDRESSES = new Map([
  [0x11, 12],
  [0x21, 36],
  [0x31, 216],
]);
const UNSPEC = 0x00;
const UNIX_STREAM = 0x31;
const DATAGRAM = new Set([0x12, 0x22, 0x32]);
const TLV_CRC32C = 0x03;

const INCOMPLETE: ProxyHeader = { kind: 'incomplete' };
const malformed = (reason: string): ProxyHeader => ({ kind: 'malformed', reason });

/** What the first octets of a connection say. Bounded: an answer comes with MAX_PROXY_HEADER octets at the latest. */
export function readProxyHeader(octets: Buffer): ProxyHeader {
  if (startsAlike(octets, V2_SIGNATURE)) {
    return octets.length < V2_FIXED ? readShortV2(octets) : readV2(octets);
  }
  if (startsAlike(octets, V1_START)) return readV1(octets);
  return malformed('it does not begin with one');
}

/** Whether one is the beginning of the other. */
function startsAlike(octets: Buffer, start: Buffer): boolean {
  const length = Math.min(octets.length, start.length);
  return octets.subarray(0, length).equals(start.subarray(0, length));
}

function readV1(octets: Buffer): ProxyHeader {
  const end = octets
    .subarray(0, MAX_V1_LINE - 1)
    .findIndex((octet) => octet === CR || octet === LF);
  if (end < 0) {
    return octets.length < MAX_V1_LINE
      ? INCOMPLETE
      : malformed('its line has more than 107 octets');
  }
  if (octets[end] === CR && end === octets.length - 1) return INCOMPLETE;
  if (octets[end] === LF || octets[end + 1] !== LF) {
    return malformed('its line does not end with CRLF');
  }
  const line = octets.toString('latin1', V1_START.length, end);
  return readV1Fields(line.split(' '), end + 2);
}

function readV1Fields(fields: readonly string[], length: number): ProxyHeader {
  const [family, source = '', destination = '', sourcePort = '', destinationPort = ''] = fields;
  // What follows is to be ignored.
  if (family === 'UNKNOWN') return { kind: 'unknown', length };
  if (family !== 'TCP4' && family !== 'TCP6') return malformed('its family is not known');
  if (fields.length !== 5) return malformed('it has not two addresses and two ports');
  const isAddress = family === 'TCP4' ? isIPv4 : isPlainIpv6;
  if (!isAddress(source) || !isAddress(destination)) {
    return malformed('an address is none of its family');
  }
  if (!isPort(sourcePort) || !isPort(destinationPort)) return malformed('a port is none');
  const address = family === 'TCP4' ? source : canonicalIpv6(source);
  return { kind: 'proxied', length, source: { address, port: Number(sourcePort) } };
}

/** Without a zone: that means something on the proxy alone. */
function isPlainIpv6(text: string): boolean {
  return isIPv6(text) && !text.includes('%');
}

function isPort(text: string): boolean {
  return V1_PORT.test(text) && Number(text) <= MAX_PORT;
}

/** What is wrong with the beginning of the fixed part, before all of it is there. */
function readShortV2(octets: Buffer): ProxyHeader {
  const command = octets[V2_SIGNATURE.length];
  return (command === undefined ? undefined : refuseCommand(command)) ?? INCOMPLETE;
}

function refuseCommand(command: number): ProxyHeader | undefined {
  if (command >> 4 !== 2) return malformed('its version is not 2');
  return command === LOCAL || command === PROXY ? undefined : malformed('its command is not known');
}

function readV2(octets: Buffer): ProxyHeader {
  const command = octets.readUInt8(12);
  const refusal = refuseCommand(command);
  if (refusal) return refusal;
  const block = octets.readUInt16BE(14);
  if (block > MAX_V2_BLOCK) return malformed('it is longer than 4096 octets');
  const length = V2_FIXED + block;
  // The whole block of LOCAL is to be ignored, its family, too.
  if (command === LOCAL) return octets.length < length ? INCOMPLETE : { kind: 'local', length };
  const family = octets.readUInt8(13);
  if (DATAGRAM.has(family)) return malformed('its transport is not a stream');
  const addresses = V2_ADDRESSES.get(family);
  if (addresses === undefined && family !== UNSPEC) return malformed('its family is not known');
  if (block < (addresses ?? 0)) return malformed('it is too short for its addresses');
  if (octets.length < length) return INCOMPLETE;
  // Where the TLVs of an unspecified family would begin is not said.
  if (addresses === undefined) return { kind: 'unknown', length };
  const fault = checkTlvs(octets.subarray(0, length), V2_FIXED + addresses);
  if (fault !== undefined) return malformed(fault);
  if (family === UNIX_STREAM) return { kind: 'unknown', length };
  return { kind: 'proxied', length, source: readV2Source(octets, addresses) };
}

function readV2Source(octets: Buffer, addresses: number): ProxiedSource {
  // Source, destination, and the two ports.
  const half = (addresses - 4) / 2;
  const source = octets.subarray(V2_FIXED, V2_FIXED + half);
  const port = octets.readUInt16BE(V2_FIXED + 2 * half);
  if (half === 4) return { address: source.join('.'), port };
  const groups = source.toString('hex').replace(/(.{4})(?=.)/g, '$1:');
  return { address: canonicalIpv6(groups), port };
}

/** What is wrong with the TLVs from `start` to the end of the header (§2.2.7). */
function checkTlvs(header: Buffer, start: number): string | undefined {
  let isSummed = false;
  for (let at = start; at < header.length; ) {
    if (header.length - at < 3) return 'a TLV is cut off';
    const type = header.readUInt8(at);
    const length = header.readUInt16BE(at + 1);
    const value = at + 3;
    at = value + length;
    if (at > header.length) return 'a TLV is cut off';
    if (type !== TLV_CRC32C) continue;
    if (isSummed || length !== 4) return 'its checksum is none';
    isSummed = true;
    if (!hasSum(header, value)) return 'its checksum is wrong';
  }
  return undefined;
}

/** §2.2.7.3: the sum of the whole header, with its own four octets 0. */
function hasSum(header: Buffer, at: number): boolean {
  const zeroed = Buffer.from(header);
  zeroed.writeUInt32BE(0, at);
  return crc32c(zeroed) === header.readUInt32BE(at);
}

const MAPPED = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/;

/** An address in one form (RFC 5952 §4), IPv4-mapped ones unwrapped. */
function canonicalIpv6(text: string): string {
  const canonical = new URL(`http://[${text}]`).hostname.slice(1, -1);
  const mapped = MAPPED.exec(canonical);
  if (!mapped) return canonical;
  const [high = 0, low = 0] = mapped.slice(1).map((group) => Number.parseInt(group, 16));
  return [high >> 8, high & 0xff, low >> 8, low & 0xff].join('.');
}
