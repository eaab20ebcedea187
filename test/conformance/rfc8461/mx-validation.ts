/**
 * RFC 8461 §4 and §7: which MX host is good enough for a policy (R058 to R066).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { matchesMxPattern } from '../../../src/protocol/mta-sts/match.ts';
import type { CertificateKind } from '../../support/ca.ts';
import type { SenderWorld } from '../../support/sender.ts';
import { assertDeferred, assertDelivered } from './outcomes.ts';

/** §4.1: the name of the host. */
export function mxHostValidation(world: SenderWorld): void {
  test('R058 a host is listed when its name is one of the patterns, without case or final dot', () => {
    assert.ok(matchesMxPattern('mx.example.com', 'mx.example.com'));
    assert.ok(matchesMxPattern('mx.example.com', 'MX.Example.COM.'));
    assert.ok(matchesMxPattern('MX.example.com', 'mx.example.com'));
    for (const host of [
      'mx2.example.com',
      'example.com',
      'a.mx.example.com',
      'mx.example.co',
      '',
    ]) {
      assert.ok(!matchesMxPattern('mx.example.com', host), host);
    }
  });

  test('R058 a host in capitals in DNS is the host of the policy', async () => {
    await using sender = await world.sender();
    await world.domain('r058.test', { sts: {} });
    const records = [{ preference: 10, exchange: 'MX.R058.TEST' }];
    world.internet.dns.set('r058.test', 'MX', records, { ttl: 0 });
    assertDelivered(await sender.send('bob@r058.test'), 'verified');
  });

  test('R059 *. stands for exactly one label, the left-most', () => {
    assert.ok(matchesMxPattern('*.example.com', 'mail.example.com'));
    for (const host of ['example.com', 'a.b.example.com', '.example.com', 'mailexample.com']) {
      assert.ok(!matchesMxPattern('*.example.com', host), host);
    }
    for (const pattern of [
      '*',
      'mail.*.com',
      'm*.example.com',
      '*mail.example.com',
      'mail.example.*',
    ]) {
      assert.ok(!matchesMxPattern(pattern, 'mail.example.com'), pattern);
    }
  });

  test('R059 of two hosts, *. in the policy lets the message go to the one it covers', async () => {
    await using sender = await world.sender();
    const mx = [{ host: 'a.b.r059.test' }, { host: 'b.r059.test' }];
    const made = await world.domain('r059.test', { mx, sts: { mx: ['*.r059.test'] } });
    assertDelivered(await sender.send('bob@r059.test'), 'verified');
    assert.deepEqual(
      made.mx.map(({ sessions }) => sessions.length),
      [0, 1],
    );
  });

  for (const [listed, isGood] of [
    ['alias', true],
    ['real', false],
  ] as const) {
    test(`R060 the name in the MX record counts, not where its CNAME leads (${listed} is listed)`, async () => {
      await using sender = await world.sender();
      const name = `r060-${listed}.test`;
      const certificate = { names: [`alias.${name}`, `real.${name}`] };
      await sender.send('bob@nowhere.test');
      const mx = [
        { host: `real.${name}`, certificate: await world.internet.ca.issue(certificate) },
      ];
      await world.domain(name, { mx, sts: { mx: [`${listed}.${name}`] } });
      const { dns } = world.internet;
      dns.set(name, 'MX', [{ preference: 10, exchange: `alias.${name}` }], { ttl: 0 });
      dns.set(`alias.${name}`, 'CNAME', [`real.${name}`], { ttl: 0 });
      const sent = await sender.send(`bob@${name}`);
      if (isGood) assertDelivered(sent, 'verified');
      else assertDeferred(sent, 'mx-outside-policy');
    });
  }

  test('R060 without an MX record the domain itself is the name that counts', async () => {
    await using sender = await world.sender();
    for (const [name, pattern] of [
      ['r060-self.test', 'r060-self.test'],
      ['r060-other.test', '*.r060-other.test'],
    ] as const) {
      await world.domain(name, { mx: [{ host: name }], sts: { mx: [pattern] } });
      world.internet.dns.set(name, 'MX', [], { ttl: 0 });
      const sent = await sender.send(`bob@${name}`);
      if (name === pattern) assertDelivered(sent, 'verified');
      else assertDeferred(sent, 'mx-outside-policy');
    }
  });
}

/** §4.2: the certificate of the host. */
export function mxCertificateValidation(world: SenderWorld): void {
  const untrusted: readonly (readonly [CertificateKind, Parameters<typeof assertDeferred>[1]])[] = [
    ['expired', 'certificate-expired'],
    ['not-yet-valid', 'certificate-not-yet-valid'],
    ['self-signed', 'certificate-self-signed'],
    ['untrusted', 'certificate-untrusted'],
    ['missing-intermediate', 'certificate-untrusted'],
    ['client-only', 'certificate-invalid'],
  ];
  for (const [certificate, cause] of untrusted) {
    test(`R062 a host whose certificate is ${certificate} gets nothing`, async () => {
      await using sender = await world.sender();
      const name = `r062-${certificate}.test`;
      await world.domain(name, { mx: [{ host: `mx.${name}`, certificate }], sts: {} });
      assertDeferred(await sender.send(`bob@${name}`), cause);
    });
  }

  for (const certificate of ['good', 'good-rsa', 'with-intermediate', 'wildcard'] as const) {
    test(`R062 R063 a host whose certificate is ${certificate} gets the message`, async () => {
      await using sender = await world.sender();
      const name = `r063-${certificate}.test`;
      await world.domain(name, { mx: [{ host: `mx.${name}`, certificate }], sts: {} });
      assertDelivered(await sender.send(`bob@${name}`), 'verified');
    });
  }

  for (const certificate of ['wrong-host', 'cn-only', 'ip-only', 'partial-wildcard'] as const) {
    test(`R063 a host that its certificate does not name in a SAN (${certificate}) gets nothing`, async () => {
      await using sender = await world.sender();
      const name = `r063-${certificate}.test`;
      await world.domain(name, { mx: [{ host: `mx.${name}`, certificate }], sts: {} });
      assertDeferred(await sender.send(`bob@${name}`), 'certificate-host-mismatch');
    });
  }

  const others: readonly (readonly [what: string, names: (domain: string) => string])[] = [
    ['the recipient domain', (domain) => domain],
    ['another host that the policy lists', (domain) => `other.${domain}`],
    ['the policy host', (domain) => `mta-sts.${domain}`],
  ];
  for (const [n, [what, nameOf]] of others.entries()) {
    test(`R064 a certificate for ${what} is not one for the MX host`, async () => {
      await using sender = await world.sender();
      const name = `r064-${n}.test`;
      const certificate = await world.internet.ca.issue({ names: [nameOf(name)] });
      const mx = [{ host: `mx.${name}`, certificate }];
      await world.domain(name, { mx, sts: { mx: [`*.${name}`, name] } });
      assertDeferred(await sender.send(`bob@${name}`), 'certificate-host-mismatch');
    });
  }
}

/** §7.1: SNI. */
export function serverNameIndication(world: SenderWorld): void {
  test('R065 the MX host is named in the ClientHello, in A-labels, without a final dot', async () => {
    await using sender = await world.sender();
    for (const name of ['r065.test', 'xn--bcher-r065-9db.test']) {
      await world.domain(name, { sts: {} });
      const sent = await sender.send(`bob@${name}`);
      assertDelivered(sent, 'verified');
      assert.equal(sent.messages[0]?.tls?.serverName, `mx.${name}`);
    }
  });
}

/** §7.2: the version of TLS. */
export function leastTlsVersion(world: SenderWorld): void {
  for (const [version, isEnough] of [
    ['TLSv1.3', true],
    ['TLSv1.2', true],
    ['TLSv1.1', false],
  ] as const) {
    test(`R066 a host that speaks ${version} at most gets ${isEnough ? 'the message' : 'nothing'}`, async () => {
      await using sender = await world.sender();
      const name = `r066-${version.slice(-1)}.test`;
      await world.domain(name, { mx: [{ host: `mx.${name}`, maxTls: version }], sts: {} });
      const sent = await sender.send(`bob@${name}`);
      if (isEnough) assertDelivered(sent, 'verified');
      else assertDeferred(sent, 'tls-version-too-low');
    });
  }

  for (const maxTls of ['TLSv1', 'TLSv1.1'] as const) {
    test(`R066 a policy host that speaks ${maxTls} at most gives no policy`, async () => {
      await using sender = await world.sender();
      const name = `r066-host-${maxTls.replaceAll('.', '-').toLowerCase()}.test`;
      const mx = [{ host: `mx.${name}`, certificate: 'self-signed' as const }];
      await world.domain(name, { mx, sts: {}, policy: { maxTls } });
      assertDelivered(await sender.send(`bob@${name}`), 'unauthenticated');
      assert.equal(sender.logged('policy.fetch_failed').length, 1);
    });
  }
}
