/**
 * The pretend internet holds together: names resolve to its hosts, certificates and policies
 * fit, and several of them live side by side.
 */
import assert from 'node:assert/strict';
import { Resolver } from 'node:dns/promises';
import { existsSync } from 'node:fs';
import { request } from 'node:https';
import { describe, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import { connect } from '../support/smtp-client.ts';

function resolverOf(internet: PretendInternet): Resolver {
  const resolver = new Resolver({ timeout: 30_000, tries: 1 });
  resolver.setServers([internet.dns.endpoint]);
  return resolver;
}

function fetchPolicy(internet: PretendInternet, address: string, host: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const { httpsPort: port } = internet;
    request(
      {
        host: address,
        port,
        servername: host,
        headers: { host },
        ca: internet.ca.certPem,
        agent: false,
      },
      (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => {
          body += text;
        });
        response.on('end', () => resolve(body));
      },
    )
      .on('error', reject)
      .end();
  });
}

describe('pretend internet', () => {
  test('a domain from DNS to delivery', async () => {
    await using internet = await startPretendInternet();
    const domain = await internet.domain('good.test', {
      mx: [{ host: 'mx1.good.test' }, { host: 'mx2.good.test', preference: 50, down: true }],
      sts: { id: 'one', mode: 'enforce' },
      tlsRptRua: 'mailto:reports@good.test',
    });
    const resolver = resolverOf(internet);
    const mx = await resolver.resolveMx('good.test');
    assert.deepEqual(mx.map((r) => [r.priority, r.exchange]).sort(), [
      [10, 'mx1.good.test'],
      [50, 'mx2.good.test'],
    ]);
    assert.deepEqual(await resolver.resolveTxt('_mta-sts.good.test'), [['v=STSv1; id=one;']]);
    assert.deepEqual(await resolver.resolveTxt('_smtp._tls.good.test'), [
      ['v=TLSRPTv1; rua=mailto:reports@good.test'],
    ]);
    const [policyAddress = ''] = await resolver.resolve4('mta-sts.good.test');
    assert.equal(
      await fetchPolicy(internet, policyAddress, 'mta-sts.good.test'),
      'version: STSv1\r\nmode: enforce\r\nmx: mx1.good.test\r\nmx: mx2.good.test\r\nmax_age: 604800\r\n',
    );
    const [address = ''] = await resolver.resolve4('mx1.good.test');
    using client = await connect({ host: address, port: internet.mxPort });
    await client.send('EHLO x');
    await client.starttls({
      servername: 'mx1.good.test',
      ca: internet.ca.certPem,
      rejectUnauthorized: true,
    });
    assert.ok((client.socket as TLSSocket).authorized);
    await client.send('EHLO x');
    await client.deliver({ from: 'a@b.test', to: 'c@good.test', data: 'x\r\n' });
    assert.equal(domain.messages.length, 1);
    const [dead = ''] = await resolver.resolve4('mx2.good.test');
    await assert.rejects(connect({ host: dead, port: internet.mxPort }), /ECONNREFUSED/);
  });

  test('policies change, vanish and lie', async () => {
    await using internet = await startPretendInternet();
    const domain = await internet.domain('p.test', { sts: { id: 'one' } });
    const resolver = resolverOf(internet);
    await domain.publishSts({ id: 'two', mode: 'none', mx: [], maxAge: 5 });
    assert.deepEqual(await resolver.resolveTxt('_mta-sts.p.test'), [['v=STSv1; id=two;']]);
    const policy = () => fetchPolicy(internet, internet.policyHost.address, 'mta-sts.p.test');
    assert.equal(await policy(), 'version: STSv1\r\nmode: none\r\nmax_age: 5\r\n');
    await domain.changePolicyAnswer({ certificate: 'expired' });
    await assert.rejects(policy(), { code: 'CERT_HAS_EXPIRED' });
    domain.withdrawSts();
    await assert.rejects(resolver.resolveTxt('_mta-sts.p.test'), { code: 'ENOTFOUND' });
    const plain = await internet.domain('plain.test', {
      stsTxt: ['v=STSv1; id=a;', 'v=STSv1; id=b;'],
      nullMx: true,
    });
    assert.equal((await resolver.resolveTxt(`_mta-sts.${plain.name}`)).length, 2);
    const [nullMx] = await resolver.resolveMx('plain.test');
    assert.deepEqual([nullMx?.priority, nullMx?.exchange], [0, '']);
  });

  test('domains share an MX host by its name', async () => {
    await using internet = await startPretendInternet();
    const a = await internet.domain('a.test', { mx: [{ host: 'mx.shared.test' }] });
    const b = await internet.domain('b.test', { mx: [{ host: 'mx.shared.test' }] });
    assert.equal(a.mx[0], b.mx[0]);
    using client = await connect({ host: a.mx[0]?.address ?? '', port: internet.mxPort });
    await client.send('EHLO x');
    await client.deliver({ from: 'x@y.test', to: 'u@b.test', data: 'x\r\n' });
    assert.deepEqual([a.messages.length, b.messages.length], [0, 1]);
  });

  test('many at a time, and nothing left behind', async () => {
    const all = await Promise.all(Array.from({ length: 5 }, () => startPretendInternet()));
    for (const [i, internet] of all.entries()) await internet.domain(`d${i}.test`, { sts: {} });
    assert.equal(new Set(all.map((one) => `${one.network}:${one.mxPort}`)).size, 5);
    const settings = all[0]?.relaySettings();
    assert.ok(existsSync(settings?.outbound.trustedCaFiles[0] ?? ''));
    await Promise.all(all.map((internet) => internet.close()));
    assert.ok(!existsSync(settings?.outbound.trustedCaFiles[0] ?? ''));
  });
});
