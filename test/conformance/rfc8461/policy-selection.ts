/**
 * RFC 8461 §3.4: whose policy it is (R001 to R005).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SenderWorld } from '../../support/sender.ts';
import { assertDeferred, assertDelivered, policyOf } from './outcomes.ts';

/** Which domain is asked for a policy. */
export function policySelection(world: SenderWorld): void {
  test('R001 the policy domain is the domain of the recipient, in lower case, not the MX host', async () => {
    await using sender = await world.sender();
    await world.domain('r001-hosting.test', { sts: { mode: 'none' } });
    await world.domain('r001.test', { mx: [{ host: 'mx.r001-hosting.test' }], sts: { id: 'own' } });
    const sent = await sender.send('Bob@R001.Test');
    assertDelivered(sent, 'verified');
    assert.equal(policyOf(sent), 'r001.test own enforce');
    const { dns } = world.internet;
    for (const name of ['_mta-sts.mx.r001-hosting.test', '_mta-sts.r001-hosting.test']) {
      assert.deepEqual(dns.queriesFor(name), []);
    }
  });

  test('R001 a CNAME at the domain does not change it', async () => {
    await using sender = await world.sender();
    await world.domain('r001-target.test', { sts: { id: 'target' } });
    const alias = await world.domain('r001-alias.test', { mx: [] });
    await alias.publishSts({ id: 'alias', mx: ['mx.r001-target.test'] });
    world.internet.dns.remove('r001-alias.test');
    world.internet.dns.set('r001-alias.test', 'CNAME', ['r001-target.test'], { ttl: 0 });
    const sent = await sender.send('bob@r001-alias.test');
    assertDelivered(sent, 'verified');
    assert.equal(policyOf(sent), 'r001-alias.test alias enforce');
    assert.deepEqual(world.internet.dns.queriesFor('_mta-sts.r001-target.test'), []);
  });

  const nextHops = [
    ['a domain', 'r002-0.test', () => 'mx:r002-hop-0.test', 'r002-hop-0.test'],
    ['a host', 'r002-1.test', (port: number) => `mx.r002-hop-1.test:${port}`, 'mx.r002-hop-1.test'],
  ] as const;
  for (const [what, domain, nextHop, policyDomain] of nextHops) {
    test(`R002 mail routed to ${what} is under the policy of that, not of the recipient domain`, async () => {
      const hop = policyDomain.replace(/^mx\./, '');
      const mx = [{ host: `mx.${hop}`, certificate: 'self-signed' as const }];
      const made = await world.domain(hop, { mx });
      await world.domain(domain, { sts: { mode: 'none' } });
      const port = world.internet.mxPort;
      await using sender = await world.sender({
        settings: { routes: [{ domain, nextHop: nextHop(port) }] },
      });
      assertDelivered(await sender.send(`bob@${domain}`), 'unauthenticated');
      const publisher = policyDomain === hop ? made : await world.domain(policyDomain, { mx: [] });
      await publisher.publishSts({ id: 'hop', mx: [`mx.${hop}`] });
      const sent = await sender.send(`bob@${domain}`);
      assertDeferred(sent, 'certificate-self-signed');
      assert.equal(policyOf(sent), `${policyDomain} hop enforce`);
      assert.deepEqual(world.internet.dns.queriesFor(`_mta-sts.${domain}`), []);
    });
  }

  test('R003 a policy of the parent domain is not looked for', async () => {
    await using sender = await world.sender();
    const mx = [{ host: 'mx.sub.r003.test', certificate: 'self-signed' as const }];
    await world.domain('r003.test', { sts: { mx: ['*.sub.r003.test'] } });
    await world.domain('sub.r003.test', { mx });
    assertDelivered(await sender.send('bob@sub.r003.test'), 'unauthenticated');
    assert.deepEqual(world.internet.dns.queriesFor('_mta-sts.r003.test'), []);
    assert.equal(world.internet.dns.queriesFor('_mta-sts.sub.r003.test').length, 1);
  });

  test('R004 for an address no policy is looked up: as recipient, or as next hop', async () => {
    const { mx } = await world.domain('r004.test', { sts: {} });
    const address = mx[0]?.address;
    const nextHop = `${address}:${world.internet.mxPort}`;
    await using sender = await world.sender({
      settings: { routes: [{ domain: 'r004.test', nextHop }] },
    });
    const before = world.internet.dns.queries.length;
    assertDelivered(await sender.send(`bob@[${address}]`), 'unauthenticated');
    assertDelivered(await sender.send('bob@r004.test'), 'unauthenticated');
    assert.deepEqual(
      world.internet.dns.queries.slice(before).filter(({ type }) => type === 'TXT'),
      [],
    );
  });

  test('R005 a domain in U-labels is asked for in A-labels, in DNS and over HTTPS', async () => {
    await using sender = await world.sender();
    await world.domain('xn--bcher-r005-9db.test', { sts: { id: 'books' } });
    const sent = await sender.send('bob@B\u00fccher-r005.test');
    assertDelivered(sent, 'verified');
    assert.equal(policyOf(sent), 'xn--bcher-r005-9db.test books enforce');
    const { dns, policyHost } = world.internet;
    assert.equal(dns.queriesFor('_mta-sts.xn--bcher-r005-9db.test', 'TXT').length, 1);
    assert.equal(policyHost.requestsFor('mta-sts.xn--bcher-r005-9db.test').length, 1);
  });
}
