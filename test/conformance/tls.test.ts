/**
 * The TLS that is offered and accepted (RFC 9325, BCP 195), seen from the other side: what the
 * ClientHello of a delivery holds, and with which hosts it comes to terms.
 */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import {
  type ClientHelloFacts,
  type HelloHost,
  readClientHello,
  startHelloHost,
} from '../support/client-hello-facts.ts';
import { senderWorld } from '../support/sender.ts';

const TLS_1_2 = 0x0303;
const TLS_1_3 = 0x0304;
const SERVER_NAME = 0;
const EARLY_DATA = 42;
const RENEGOTIATION_INFO = 0xff01;
const RENEGOTIATION_SCSV = 0x00ff;

/**
 * Suites as numbered by IANA, all those up to TLS 1.2 that nobody may use: without encryption,
 * export, RC2, RC4, DES, IDEA, or with nobody authenticated.
 */
const FORBIDDEN = new Set([
  ...[0x0000, 0x0001, 0x0002, 0x003b, 0xc001, 0xc006, 0xc00b, 0xc010, 0xc015, 0xc0b4, 0xc0b5],
  ...[0x0003, 0x0006, 0x0008, 0x000b, 0x000e, 0x0011, 0x0014, 0x0017, 0x0019],
  ...[0x0004, 0x0005, 0x0018, 0x0007, 0xc002, 0xc007, 0xc00c, 0xc011, 0xc016],
  ...[0x0009, 0x000c, 0x000f, 0x0012, 0x0015, 0x001a, 0x001b, 0x0034, 0x003a, 0x0046],
  ...[0x006c, 0x006d, 0x0089, 0x009b, 0x00a6, 0x00a7, 0x00bf, 0x00c5],
  ...[0xc017, 0xc018, 0xc019, 0xc046, 0xc047, 0xc05a, 0xc05b, 0xc084, 0xc085],
]);
/** RSA as key exchange: whoever gets the key reads what was recorded. */
const STATIC_RSA = new Set([
  ...[0x002f, 0x0035, 0x003c, 0x003d, 0x000a, 0x0041, 0x0084, 0x0096, 0x009c, 0x009d, 0x00ba],
  ...[0x00c0, 0xc03c, 0xc03d, 0xc050, 0xc051, 0xc07a, 0xc07b, 0xc09c, 0xc09d, 0xc0a0, 0xc0a1],
]);
/** Those of TLS 1.3, and (EC)DHE with GCM or ChaCha20. */
const FORWARD_SECRET_AEAD = new Set([
  ...[0x1301, 0x1302, 0x1303, 0xc02b, 0xc02c, 0xc02f, 0xc030, 0x009e, 0x009f],
  ...[0xcca8, 0xcca9, 0xccaa],
]);

const world = senderWorld();

/** The two ways a delivery tries TLS: in full, then with a small ClientHello. */
let offered: readonly [full: ClientHelloFacts, small: ClientHelloFacts];

async function helloHostOf(name: string): Promise<HelloHost> {
  const mx = [{ host: `mx.${name}`, down: true }];
  const domain = await world.domain(name, { mx, sts: {} });
  return startHelloHost(domain.mx[0]?.address ?? '', world.internet.mxPort);
}

before(async () => {
  await using host = await helloHostOf('hello.test');
  await using sender = await world.sender();
  await sender.send('bob@hello.test');
  const [full, small] = host.hellos.map(readClientHello);
  assert.ok(full && small && host.hellos.length === 2, `${host.hellos.length} ClientHellos`);
  offered = [full, small];
});

describe('RFC 9325 §3.1.1 SSL/TLS Protocol Versions', () => {
  test('R309 nothing below TLS 1.2 is offered', () => {
    for (const { versions } of offered) assert.deepEqual([...versions].sort(), [TLS_1_2, TLS_1_3]);
  });

  for (const maxTls of ['TLSv1', 'TLSv1.1'] as const) {
    test(`R309 a host that speaks ${maxTls} at most gets no mail under enforce`, async () => {
      await using sender = await world.sender();
      const name = `r309-${maxTls.toLowerCase().replace('.', '')}.test`;
      const { mx } = await world.domain(name, { mx: [{ host: `mx.${name}`, maxTls }], sts: {} });
      const { outcome } = await sender.send(`bob@${name}`);
      assert.ok(outcome.kind === 'deferred');
      assert.equal(outcome.diagnosis.status, '4.7.5');
      assert.equal(mx[0]?.messages.length, 0);
    });
  }

  test('R310 TLS 1.3 is preferred', async () => {
    for (const { versions } of offered) assert.equal(versions[0], TLS_1_3);
    await using sender = await world.sender();
    await world.domain('r310.test', { sts: {} });
    const { messages } = await sender.send('bob@r310.test');
    assert.equal(messages[0]?.tls?.version, 'TLSv1.3');
  });

  test('R310 TLS 1.2 is enough', async () => {
    await using sender = await world.sender();
    const mx = [{ host: 'mx.r310-12.test', maxTls: 'TLSv1.2' as const }];
    await world.domain('r310-12.test', { mx, sts: {} });
    const { messages } = await sender.send('bob@r310-12.test');
    assert.equal(messages[0]?.tls?.version, 'TLSv1.2');
  });
});

describe('RFC 9325 §4 cipher suites', () => {
  test('R311 no suite without encryption or authentication, and no broken one, is offered', () => {
    for (const { suites } of offered) {
      assert.ok(suites.length > 4);
      assert.deepEqual(
        suites.filter((suite) => FORBIDDEN.has(suite)),
        [],
      );
    }
  });

  for (const ciphers of ['NULL-SHA256', 'ADH-AES128-SHA256']) {
    test(`R311 a host that has nothing but ${ciphers} gets no mail under enforce`, async () => {
      await using sender = await world.sender();
      const name = `r311-${ciphers.toLowerCase()}.test`;
      const weak = { ciphers: `${ciphers}@SECLEVEL=0`, maxTls: 'TLSv1.2' as const };
      const host = { host: `mx.${name}`, certificate: 'good-rsa' as const, ...weak };
      const { mx } = await world.domain(name, { mx: [host], sts: {} });
      const { outcome } = await sender.send(`bob@${name}`);
      assert.equal(outcome.kind, 'deferred');
      assert.equal(mx[0]?.messages.length, 0);
    });
  }

  test('R312 suites with forward secrecy and authenticated encryption come first', () => {
    for (const { suites } of offered) {
      for (const suite of suites.slice(0, 6)) {
        assert.ok(FORWARD_SECRET_AEAD.has(suite), suite.toString(16));
      }
    }
  });

  test('R312 no RSA key exchange is offered where a policy demands a certificate', () => {
    for (const { suites } of offered) assert.deepEqual(suites.filter(isStaticRsa), []);
  });

  test('R312 without a policy it is, behind everything else: better than clear text', async () => {
    const mx = [{ host: 'mx.plain-hello.test', down: true }];
    const domain = await world.domain('plain-hello.test', { mx });
    await using host = await startHelloHost(domain.mx[0]?.address ?? '', world.internet.mxPort);
    await using sender = await world.sender();
    await sender.send('bob@plain-hello.test');
    const { suites = [] } = host.hellos.map(readClientHello)[0] ?? {};
    const rest = suites.slice(suites.findIndex(isStaticRsa));
    assert.ok(rest.length > 0 && rest.length < suites.length);
    assert.deepEqual(
      rest.filter((suite) => !isStaticRsa(suite) && suite !== RENEGOTIATION_SCSV),
      [],
    );
  });
});

function isStaticRsa(suite: number): boolean {
  return STATIC_RSA.has(suite);
}

describe('RFC 9325 §3 the rest of the ClientHello', () => {
  test('R313 the host is named', async () => {
    for (const { extensions } of offered) assert.ok(extensions.includes(SERVER_NAME));
  });

  test('R313 an address is not named', async () => {
    await using host = await helloHostOf('r313.test');
    await using sender = await world.sender();
    await sender.send(`bob@[${host.address}]`);
    const [hello] = host.hellos.map(readClientHello);
    assert.ok(hello && !hello.extensions.includes(SERVER_NAME));
  });

  test('R314 no compression is offered', () => {
    for (const { compressionMethods } of offered) assert.deepEqual(compressionMethods, [0]);
  });

  test('R315 renegotiation_info is sent', () => {
    for (const { suites, extensions } of offered) {
      assert.ok(extensions.includes(RENEGOTIATION_INFO) || suites.includes(RENEGOTIATION_SCSV));
    }
  });

  test('R316 a session that is resumed has the verdict of its own full handshake, which is that of the policy', async () => {
    await using sender = await world.sender();
    const { mx } = await world.domain('r316.test', { sts: {} });
    for (let i = 0; i < 2; i += 1) await sender.send('bob@r316.test');
    assert.deepEqual(
      mx[0]?.sessions.map(({ tls }) => tls?.resumed),
      [false, true],
    );
  });

  test('R318 no early data is offered', () => {
    for (const { extensions } of offered) assert.ok(!extensions.includes(EARLY_DATA));
  });
});

describe('RFC 7435 opportunistic security', () => {
  for (const certificate of ['self-signed', 'expired', 'wrong-host'] as const) {
    test(`R317 without a policy, TLS with a host whose certificate is ${certificate} is better than none`, async () => {
      await using sender = await world.sender();
      const name = `r317-${certificate}.test`;
      await world.domain(name, { mx: [{ host: `mx.${name}`, certificate }] });
      const { messages } = await sender.send(`bob@${name}`);
      assert.equal(messages[0]?.tls?.version, 'TLSv1.3');
    });
  }
});
