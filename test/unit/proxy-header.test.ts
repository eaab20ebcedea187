/** PROXY headers: what is read of them, and what is none. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { crc32c } from '../../src/protocol/crc32c.ts';
import { MAX_PROXY_HEADER, readProxyHeader } from '../../src/protocol/proxy-header.ts';
import { tlv, v1, v2 } from '../support/proxy-headers.ts';

const read = (octets: Buffer | string) => readProxyHeader(Buffer.from(octets as string, 'latin1'));

/** Header, address and port. */
const PROXIED: readonly (readonly [string | Buffer, string, number, string])[] = [
  ['PROXY TCP4 203.0.113.7 127.0.0.1 5555 25\r\n', '203.0.113.7', 5555, 'version 1'],
  ['PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n', '255.255.255.255', 65535, 'its bounds'],
  ['PROXY TCP6 2001:DB8::7 ::1 1 2\r\n', '2001:db8::7', 1, 'IPv6'],
  ['PROXY TCP6 2001:db8:0:0:0:0:0:7 ::1 1 2\r\n', '2001:db8::7', 1, 'IPv6 written out'],
  ['PROXY TCP6 ::ffff:0:203.0.113.7 ::1 1 2\r\n', '::ffff:0:cb00:7107', 1, 'almost IPv4-mapped'],
  ['PROXY TCP6 ::ffff:203.0.113.7 ::1 1 2\r\n', '203.0.113.7', 1, 'IPv4-mapped'],
  [
    'PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n'.replaceAll(
      'f...f',
      'ffff:ffff:ffff:ffff:ffff:ffff',
    ),
    'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
    65535,
    'the longest there is',
  ],
  [v2(), '203.0.113.7', 5555, 'version 2'],
  [v2({ source: '2001:db8:0:0:0:0:0:7', port: 1 }), '2001:db8::7', 1, 'version 2, IPv6'],
  [v2({ source: '0:0:0:0:0:ffff:cb00:7107' }), '203.0.113.7', 5555, 'version 2, IPv4-mapped'],
  [v2({ tlvs: tlv(0x02, Buffer.from('mx.example')) }), '203.0.113.7', 5555, 'a TLV'],
  [v2({ tlvs: tlv(0x04, Buffer.alloc(0)) }), '203.0.113.7', 5555, 'an empty TLV'],
  [v2({ tlvs: tlv(0xee, Buffer.alloc(7)), sum: 0 }), '203.0.113.7', 5555, 'a checksum'],
  [v2({ tlvs: tlv(0xee, Buffer.alloc(4096 - 15)) }), '203.0.113.7', 5555, 'as long as may be'],
];

const NAMELESS: readonly (readonly [string | Buffer, 'local' | 'unknown', string])[] = [
  ['PROXY UNKNOWN\r\n', 'unknown', 'version 1'],
  [`PROXY UNKNOWN ${'x'.repeat(91)}\r\n`, 'unknown', '107 octets'],
  ['PROXY UNKNOWN ffff::1 what ever\xff 1 2\r\n', 'unknown', 'the rest is ignored'],
  [v2({ command: 0x20, family: 0, addresses: Buffer.alloc(0) }), 'local', 'LOCAL'],
  [v2({ command: 0x20 }), 'local', 'LOCAL with addresses'],
  [v2({ command: 0x20, family: 0xff, addresses: Buffer.alloc(5) }), 'local', 'whatever family'],
  [v2({ family: 0, addresses: Buffer.alloc(0) }), 'unknown', 'UNSPEC'],
  [v2({ family: 0, addresses: Buffer.alloc(9) }), 'unknown', 'UNSPEC with something'],
  [v2({ family: 0x31, addresses: Buffer.alloc(216) }), 'unknown', 'UNIX'],
];

const MALFORMED: readonly (readonly [string | Buffer, RegExp, string])[] = [
  ['EHLO client.example\r\n', /does not begin/, 'SMTP'],
  ['\x16\x03\x01', /does not begin/, 'a ClientHello'],
  ['proxy TCP4 203.0.113.7 127.0.0.1 1 2\r\n', /does not begin/, 'small letters'],
  ['PROXY\r\n', /does not begin/, 'nothing more'],
  ['PROXY \r\n', /family/, 'no family'],
  ['PROXY UDP4 203.0.113.7 127.0.0.1 1 2\r\n', /family/, 'UDP'],
  ['PROXY tcp4 203.0.113.7 127.0.0.1 1 2\r\n', /family/, 'tcp4'],
  ['PROXY TCP4 203.0.113.7 127.0.0.1 1\r\n', /two addresses/, 'a port is missing'],
  ['PROXY TCP4 203.0.113.7 127.0.0.1 1 2 3\r\n', /two addresses/, 'too many'],
  ['PROXY TCP4  203.0.113.7 127.0.0.1 1 2\r\n', /two addresses/, 'two spaces'],
  ['PROXY TCP4 203.0.113.7 127.0.0.1 1 2 \r\n', /two addresses/, 'a space at the end'],
  ['PROXY TCP4 203.0.113.07 127.0.0.1 1 2\r\n', /address/, 'a leading zero'],
  ['PROXY TCP4 203.0.113 127.0.0.1 1 2\r\n', /address/, 'too short'],
  ['PROXY TCP4 203.0.113.256 127.0.0.1 1 2\r\n', /address/, 'too large'],
  ['PROXY TCP4 203.0.113.7 ::1 1 2\r\n', /address/, 'destination of the other family'],
  ['PROXY TCP4 2001:db8::7 127.0.0.1 1 2\r\n', /address/, 'source of the other family'],
  ['PROXY TCP6 203.0.113.7 ::1 1 2\r\n', /address/, 'TCP6 with IPv4'],
  ['PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n', /address/, 'a zone'],
  ['PROXY TCP6 2001:db8:::7 ::1 1 2\r\n', /address/, 'no IPv6'],
  ['PROXY TCP4 203.0.113.7 127.0.0.1 01 2\r\n', /port/, 'a leading zero of a port'],
  ['PROXY TCP4 203.0.113.7 127.0.0.1 65536 2\r\n', /port/, 'a port too large'],
  ['PROXY TCP4 203.0.113.7 127.0.0.1 1 -2\r\n', /port/, 'a negative port'],
  ['PROXY TCP4 203.0.113.7 127.0.0.1 +1 2\r\n', /port/, 'a sign'],
  ['PROXY TCP4 203.0.113.7 127.0.0.1 1 2\n', /CRLF/, 'LF'],
  ['PROXY TCP4 203.0.113.7 127.0.0.1 1 2\rEHLO', /CRLF/, 'CR'],
  ['PROXY UNKNOWN \r \r\n', /CRLF/, 'CR within'],
  [`PROXY UNKNOWN ${'x'.repeat(92)}\r\n`, /107 octets/, '108 octets'],
  [`PROXY UNKNOWN ${'x'.repeat(92)}\r`, /107 octets/, 'no room for LF'],
  [`PROXY \r${'x'.repeat(200)}`, /CRLF/, 'CR, and no end'],
  [`PROXY UNKNOWN ${'x'.repeat(200)}`, /107 octets/, 'no end'],
  [v2({ command: 0x11 }), /version/, 'version 1 in binary'],
  [v2({ command: 0x31 }).subarray(0, 13), /version/, 'version 3, at once'],
  [v2({ command: 0x22 }), /command/, 'no command'],
  [v2({ family: 0x12 }), /stream/, 'UDP over IPv4'],
  [v2({ family: 0x22 }), /stream/, 'UDP over IPv6'],
  [v2({ family: 0x32 }), /stream/, 'UNIX datagrams'],
  [v2({ family: 0x10 }), /family/, 'a family without a transport'],
  [v2({ family: 0x01 }), /family/, 'a transport without a family'],
  [v2({ family: 0x41 }), /family/, 'a family nobody knows'],
  [v2({ addresses: Buffer.alloc(11) }), /too short/, 'addresses cut off'],
  [v2({ family: 0x21 }), /too short/, 'IPv6 with addresses of IPv4'],
  [v2({ tlvs: Buffer.alloc(4085) }).subarray(0, 16), /4096 octets/, 'too long, at once'],
  [v2({ command: 0x20, tlvs: Buffer.alloc(4085) }), /4096 octets/, 'LOCAL, too long'],
  [v2({ tlvs: Buffer.of(4) }), /cut off/, 'a TLV of one octet'],
  [v2({ tlvs: Buffer.of(4, 0, 2, 1) }), /cut off/, 'a TLV beyond the end'],
  [v2({ sum: 1 }), /checksum is wrong/, 'a wrong checksum'],
  [v2({ tlvs: tlv(3, Buffer.alloc(3)) }), /checksum is none/, 'a short checksum'],
  [v2({ tlvs: tlv(3, Buffer.alloc(0)), sum: 0 }), /checksum is none/, 'an empty checksum'],
];

describe('PROXY header', () => {
  for (const [header, address, port, why] of PROXIED) {
    test(`a client: ${why}`, () => {
      const { length } = header;
      const expected = { kind: 'proxied', length, source: { address, port } };
      assert.deepEqual(read(header), expected);
    });
  }
  for (const [header, kind, why] of NAMELESS) {
    test(`${kind}: ${why}`, () => assert.deepEqual(read(header), { kind, length: header.length }));
  }
  for (const [octets, reason, why] of MALFORMED) {
    test(`none: ${why}`, () => {
      const header = read(octets);
      assert.equal(header.kind, 'malformed');
      assert.match(header.reason, reason);
    });
  }

  test('two checksums are none', () => {
    const once = v2({ sum: 0 });
    const summed = v2({ tlvs: once.subarray(28), sum: 0 });
    const header = read(summed);
    assert.equal(header.kind, 'malformed');
  });

  test('every part of a good one is incomplete, and what follows changes nothing', () => {
    for (const [header] of [...PROXIED, ...NAMELESS]) {
      const octets = Buffer.from(header as string, 'latin1');
      const whole = read(octets);
      for (let end = 0; end < octets.length; end += 1) {
        assert.deepEqual(read(octets.subarray(0, end)), { kind: 'incomplete' }, `${end} octets`);
      }
      for (const more of ['EHLO x\r\n', '\r\n', '\x16\x03', '\n']) {
        assert.deepEqual(read(Buffer.concat([octets, Buffer.from(more, 'latin1')])), whole);
      }
    }
  });

  test('whatever comes is answered within the longest header, and more octets never change an answer', () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 40 }).map((octets) => Buffer.from(octets)),
      fc.constantFrom(
        ...[v1('203.0.113.7'), 'PROXY ', 'TCP4 ', 'TCP6 ::1 ', ' 1 2', '\r\n', 'UNKNOWN', '203.'],
        ...[v2(), v2({ sum: 0 }), v2().subarray(0, 12), v2().subarray(0, 16), tlv(3, v2())],
      ),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 6 }), fc.nat(), (pieces, cut) => {
        const octets = Buffer.concat(pieces.map((one) => Buffer.from(one as string, 'latin1')));
        const whole = read(octets);
        const part = read(octets.subarray(0, cut % (octets.length + 1)));
        if (part.kind !== 'incomplete') assert.deepEqual(part, whole);
        if ('length' in whole) assert.ok(whole.length <= octets.length);
        const padded = Buffer.concat([octets, Buffer.alloc(MAX_PROXY_HEADER)]);
        assert.notEqual(read(padded).kind, 'incomplete');
      }),
    );
  });
});

test('CRC-32C, as of RFC 3720 B.4', () => {
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa);
  assert.equal(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43);
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283);
});
