/** PROXY headers of both versions, as proxies send them, and as they should not. */
import { isIPv4 } from 'node:net';
import { crc32c } from '../../src/protocol/crc32c.ts';

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

export interface V2Options {
  /** Version and command; default PROXY. */
  readonly command?: number;
  /** Family and transport; default TCP over that of `source`. */
  readonly family?: number;
  /** Default: 127.0.0.1, or ::1, port 25. */
  readonly source?: string;
  readonly port?: number;
  /** In place of addresses and ports. */
  readonly addresses?: Buffer;
  readonly tlvs?: Buffer;
  /** Add PP2_TYPE_CRC32C, right or (with this much added) wrong. */
  readonly sum?: number;
}

export function v1(source: string, port = 5555): string {
  return isIPv4(source)
    ? `PROXY TCP4 ${source} 127.0.0.1 ${port} 25\r\n`
    : `PROXY TCP6 ${source} ::1 ${port} 25\r\n`;
}

export function v2(options: V2Options = {}): Buffer {
  const { command = 0x21, source = '203.0.113.7', port = 5555, tlvs = Buffer.alloc(0) } = options;
  const family = options.family ?? (isIPv4(source) ? 0x11 : 0x21);
  const addresses = options.addresses ?? addressesOf(source, port);
  const sum = options.sum === undefined ? Buffer.alloc(0) : tlv(0x03, Buffer.alloc(4));
  const block = Buffer.concat([addresses, tlvs, sum]);
  const fixed = Buffer.of(command, family, block.length >> 8, block.length & 0xff);
  const header = Buffer.concat([SIGNATURE, fixed, block]);
  if (options.sum !== undefined) {
    header.writeUInt32BE((crc32c(header) + options.sum) >>> 0, header.length - 4);
  }
  return header;
}

export function tlv(type: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.of(type, value.length >> 8, value.length & 0xff), value]);
}

function addressesOf(source: string, port: number): Buffer {
  const ports = Buffer.of(port >> 8, port & 0xff, 0, 25);
  const destination = isIPv4(source) ? '127.0.0.1' : '0:0:0:0:0:0:0:1';
  return Buffer.concat([octetsOf(source), octetsOf(destination), ports]);
}

/** IPv6 with all its eight groups. */
function octetsOf(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  return Buffer.from(
    address
      .split(':')
      .map((group) => group.padStart(4, '0'))
      .join(''),
    'hex',
  );
}
