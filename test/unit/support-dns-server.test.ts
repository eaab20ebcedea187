/**
 * The test DNS server answers, and fails, as it is told; asked by raw packets.
 */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import * as dns from 'dns-packet';
import { type DnsServer, startDnsServer } from '../support/dns-server.ts';

const ID = 4711;

function query(name: string, type: dns.RecordType, edns = true): Buffer {
  return dns.encode({
    type: 'query',
    id: ID,
    flags: dns.RECURSION_DESIRED,
    questions: [{ name, type }],
    additionals: edns
      ? [
          {
            type: 'OPT',
            name: '.',
            udpPayloadSize: 1232,
            extendedRcode: 0,
            ednsVersion: 0,
            flags: dns.DNSSEC_OK,
            flag_do: true,
            options: [],
          },
        ]
      : [],
  });
}

/** Undefined when nothing came within `waitMs`. */
async function askUdp(port: number, message: Buffer, waitMs = 60_000): Promise<Buffer | undefined> {
  const socket = createSocket('udp4');
  try {
    socket.send(message, port, '127.0.0.1');
    const signal = AbortSignal.timeout(waitMs);
    const keepAlive = setTimeout(() => {}, waitMs + 100);
    const [answer] = await once(socket, 'message', { signal }).finally(() =>
      clearTimeout(keepAlive),
    );
    return answer as Buffer;
  } catch {
    return undefined;
  } finally {
    socket.close();
  }
}

async function askTcp(port: number, message: Buffer): Promise<Buffer | undefined> {
  const socket = connect(port, '127.0.0.1');
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  socket.write(Buffer.concat([length, message]));
  let seen: Buffer = Buffer.alloc(0);
  for await (const chunk of socket) {
    seen = Buffer.concat([seen, chunk as Buffer]);
    if (seen.length >= 2 && seen.length >= 2 + seen.readUInt16BE(0)) {
      socket.destroy();
      return seen.subarray(2);
    }
  }
  return undefined;
}

const rcodeOf = (packet: dns.DecodedPacket) => (packet as unknown as { rcode: string }).rcode;

describe('test DNS server', () => {
  let server: DnsServer;
  before(async () => {
    server = await startDnsServer();
  });
  after(() => server.close());

  const ask = async (name: string, type: dns.RecordType, edns = true) => {
    const answer = await askUdp(server.port, query(name, type, edns));
    assert.ok(answer, `an answer for ${name} ${type}`);
    return dns.decode(answer);
  };

  test('MX, TTL, AD bit, and the log', async () => {
    server.set('mx.test', 'MX', [{ preference: 5, exchange: 'a.test' }], { ttl: 77, ad: true });
    const packet = await ask('MX.test', 'MX');
    assert.equal(packet.id, ID);
    assert.ok(packet.flag_ad && packet.flag_ra);
    assert.deepEqual(
      packet.answers?.map((a) => (a.type === 'MX' ? [a.ttl, a.data] : a.type)),
      [[77, { preference: 5, exchange: 'a.test' }]],
    );
    const [logged] = server.queriesFor('mx.test', 'MX');
    assert.equal(logged?.nameAsSent, 'MX.test');
    assert.equal(logged?.transport, 'udp');
    assert.deepEqual(logged?.edns, { udpSize: 1232, dnssecOk: true });
  });

  test('TXT: character-strings are kept, long strings are cut at 255', async () => {
    server.set('txt.test', 'TXT', [['v=ST', 'Sv1'], 'x'.repeat(300)]);
    const packet = await ask('txt.test', 'TXT');
    const strings = packet.answers?.map((a) =>
      a.type === 'TXT' ? (a.data as Buffer[]).map(String) : [],
    );
    assert.deepEqual(strings, [
      ['v=ST', 'Sv1'],
      ['x'.repeat(255), 'x'.repeat(45)],
    ]);
  });

  test('CNAMEs are followed, also to nowhere', async () => {
    server.set('alias.test', 'CNAME', ['real.test']);
    server.set('real.test', 'A', ['127.9.9.9']);
    server.set('dangling.test', 'CNAME', ['nowhere.test']);
    const packet = await ask('alias.test', 'A');
    assert.deepEqual(
      packet.answers?.map((a) => a.type),
      ['CNAME', 'A'],
    );
    const dangling = await ask('dangling.test', 'A');
    assert.equal(rcodeOf(dangling), 'NXDOMAIN');
    assert.deepEqual(
      dangling.answers?.map((a) => a.type),
      ['CNAME'],
    );
  });

  test('NXDOMAIN, NODATA and empty non-terminals carry the SOA', async () => {
    server.set('a.deep.test', 'A', ['127.9.9.9']);
    const unknown = await ask('unknown.test', 'A');
    assert.equal(rcodeOf(unknown), 'NXDOMAIN');
    const soa = unknown.authorities?.[0];
    assert.equal(soa?.type === 'SOA' && soa.data.minimum, 60);
    assert.equal(rcodeOf(await ask('a.deep.test', 'MX')), 'NOERROR');
    assert.equal(rcodeOf(await ask('deep.test', 'A')), 'NOERROR');
    server.remove('a.deep.test');
    assert.equal(rcodeOf(await ask('deep.test', 'A')), 'NXDOMAIN');
  });

  test('what does not fit is truncated over UDP and whole over TCP', async () => {
    server.set(
      'big.test',
      'TXT',
      Array.from({ length: 20 }, () => 'y'.repeat(200)),
    );
    const cut = await ask('big.test', 'TXT');
    assert.ok(cut.flag_tc);
    assert.equal(cut.answers?.length, 0);
    const whole = await askTcp(server.port, query('big.test', 'TXT'));
    assert.equal(dns.decode(whole ?? Buffer.alloc(0)).answers?.length, 20);
  });

  test('behaviours', async () => {
    server.set('bad.test', 'A', ['127.9.9.9']);
    for (const [kind, rcode] of [
      ['servfail', 'SERVFAIL'],
      ['refused', 'REFUSED'],
      ['formerr', 'FORMERR'],
      ['nxdomain', 'NXDOMAIN'],
      ['nodata', 'NOERROR'],
    ] as const) {
      server.behave('bad.test', 'A', kind);
      const packet = await ask('bad.test', 'A');
      assert.equal(rcodeOf(packet), rcode);
      assert.equal(packet.answers?.length, 0);
    }
    server.behave('bad.test', 'A', 'wrong-id');
    assert.notEqual((await ask('bad.test', 'A')).id, ID);
    server.behave('bad.test', 'A', 'wrong-question');
    assert.notEqual((await ask('bad.test', 'A')).questions?.[0]?.name, 'bad.test');
    server.behave('bad.test', 'A', 'garbage');
    const garbage = await askUdp(server.port, query('bad.test', 'A'));
    assert.throws(() => dns.decode(garbage ?? Buffer.alloc(0)));
    server.behave('bad.test', 'A', 'timeout');
    assert.equal(await askUdp(server.port, query('bad.test', 'A'), 150), undefined);
    server.behave('bad.test', 'A', undefined);
    assert.equal((await ask('bad.test', 'A')).answers?.length, 1);
  });

  test('behaviours for a while, for one transport, and for everything', async () => {
    server.set('some.test', 'A', ['127.9.9.9']);
    server.behave('some.test', 'A', { kind: 'servfail', times: 1 });
    assert.equal(rcodeOf(await ask('some.test', 'A')), 'SERVFAIL');
    assert.equal(rcodeOf(await ask('some.test', 'A')), 'NOERROR');
    server.behave('some.test', 'A', { kind: 'close', transport: 'tcp' });
    assert.equal(rcodeOf(await ask('some.test', 'A')), 'NOERROR');
    assert.equal(await askTcp(server.port, query('some.test', 'A')), undefined);
    server.behave('*', '*', { kind: 'answer', delayMs: 100 });
    const start = performance.now();
    await ask('some.test', 'AAAA');
    assert.ok(performance.now() - start >= 95);
    server.behave('*', '*', undefined);
  });
});
