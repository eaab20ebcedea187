/**
 * What stands before a connection that comes by way of a proxy.
 */
import assert from 'node:assert/strict';
import { isIP } from 'node:net';
import {
  MAX_PROXY_HEADER,
  type ProxyHeader,
  readProxyHeader,
} from '../../../src/protocol/proxy-header.ts';
import { tlv, v1, v2 } from '../../support/proxy-headers.ts';
import { chunksOf, type FuzzTarget } from '../engine/target.ts';

const header: FuzzTarget = {
  name: 'proxy-header',
  seeds: [
    v1('203.0.113.7'),
    v1('2001:db8::7'),
    v1('::ffff:203.0.113.7'),
    'PROXY UNKNOWN ffff::1 ffff::2 1 2\r\nEHLO x\r\n',
    v2(),
    v2({ source: '2001:db8:0:0:0:0:0:7', tlvs: tlv(2, Buffer.from('mx.example')) }),
    v2({ tlvs: tlv(4, Buffer.alloc(9)), sum: 0 }),
    v2({ command: 0x20, family: 0, addresses: Buffer.alloc(0) }),
    v2({ family: 0x31, addresses: Buffer.alloc(216) }),
  ].map((octets) => Buffer.from(octets as string, 'latin1')),
  tokens: [
    ...['PROXY ', 'TCP4 ', 'TCP6 ', 'UNKNOWN', '\r\n', '\r', '\n', ' ', '::', '::ffff:', '%1'],
    ...[' 65535', ' 65536', ' 0', ' 01', '255.', '256.', 'ffff:'],
    ...[tlv(3, Buffer.alloc(4)), tlv(4, Buffer.alloc(0)), Buffer.of(0x20), Buffer.of(0x31, 0, 216)],
  ],
  maxOctets: 2 * MAX_PROXY_HEADER,
  run(input) {
    const whole = readProxyHeader(input);
    for (const chunks of chunksOf(input)) assert.deepEqual(readPieces(chunks), whole);
    if (whole.kind === 'incomplete') assert.ok(input.length < MAX_PROXY_HEADER);
    if ('length' in whole) assert.ok(whole.length <= Math.min(input.length, MAX_PROXY_HEADER));
    if (whole.kind === 'malformed') return whole.reason;
    if (whole.kind !== 'proxied') return whole.kind;
    const { address, port } = whole.source;
    assert.notEqual(isIP(address), 0);
    assert.doesNotMatch(address, /[%A-Z]|::ffff:\d+\.|^::ffff:[0-9a-f]+:[0-9a-f]+$/);
    assert.ok(Number.isInteger(port) && port >= 0 && port <= 65_535);
    return `proxied IPv${isIP(address)}`;
  },
};

/** The first answer, as a reader of chunks gets it. */
function readPieces(chunks: readonly Buffer[]): ProxyHeader {
  let octets = Buffer.alloc(0);
  let answer = readProxyHeader(octets);
  for (const chunk of chunks) {
    octets = Buffer.concat([octets, chunk]);
    answer = readProxyHeader(octets);
    if (answer.kind !== 'incomplete') break;
  }
  return answer;
}

export const proxyTargets: readonly FuzzTarget[] = [header];
