/**
 * RFC 7672 (DANE for SMTP), section by section, as the relay obeys it: each test is named after the requirement
 * that it shows. The relay's own way out, with MX hosts on loopback; DNS is a server that says of its answers what a validating
 * resolver would (test/integration/dane.test.ts has a real one). Certificate against record: vectors `dane`.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import type { TlsaData } from 'dns-packet';
import type { Envelope } from '../../src/mail/envelope.ts';
import { createCa } from '../support/ca.ts';
import type { MxHost } from '../support/mx-host.ts';
import { DEFAULT_KEYWORDS } from '../support/mx-script.ts';
import type { MxDescription, StsDescription } from '../support/pretend-internet.ts';
import { assertToldNothing } from '../support/relay-world.ts';
import { type Sent, senderWorld } from '../support/sender.ts';
import { assertDeferred, assertDelivered } from './rfc8461/outcomes.ts';

const world = senderWorld();
const PKIX_EE: TlsaData = {
  ...{ usage: 1, selector: 1, matchingType: 1 },
  certificate: Buffer.alloc(32, 7),
};
/** No root of ours vouches for it. */
const UNKNOWN = { certificate: 'untrusted' } as const;

/** A domain that DNSSEC vouches for. */
function secureDomain(name: string, mx: readonly MxDescription[], sts?: StsDescription) {
  return world.domain(name, { secure: true, mx, ...(sts ? { sts } : {}) });
}

function policyOf({ sessions }: Sent): readonly string[] {
  return sessions.map(({ facts }) => facts.requirement.source.kind);
}

function tlsaQueries(name: string): number {
  return world.internet.dns.queries.filter(
    ({ type, name: asked }) => type === 'TLSA' && asked.endsWith(name),
  ).length;
}

/** Where the TLSA records of a host stand. */
function tlsaAt(host: string): string {
  return `_${world.internet.mxPort}._tcp.${host}`;
}

function assertNothingTold(hosts: readonly MxHost[]): void {
  for (const host of hosts) assertToldNothing(host);
}

describe('RFC 7672 §2.1 Security of DNS answers', () => {
  test('R142 an MX lookup that fails delays the mail', async () => {
    await using sender = await world.sender();
    const { mx } = await secureDomain('r142.test', [{ host: 'mx.r142.test', tlsa: 'match' }]);
    world.internet.dns.behave('r142.test', 'MX', 'servfail');
    assertDeferred(await sender.send('bob@r142.test'), 'dns-failed');
    assertNothingTold(mx);
  });

  test('R143 a host whose addresses cannot be had leaves the others', async () => {
    await using sender = await world.sender();
    const { mx } = await secureDomain('r143.test', [
      { host: 'mx1.r143.test', tlsa: 'match', ...UNKNOWN },
      { host: 'mx2.r143.test', tlsa: 'match', ...UNKNOWN },
    ]);
    world.internet.dns.behave('mx1.r143.test', '*', 'servfail');
    assertDelivered(await sender.send('bob@r143.test'), 'verified');
    assertNothingTold(mx.slice(0, 1));
  });

  test('R144 a host whose TLSA lookup fails is not used; the next one may be', async () => {
    await using sender = await world.sender();
    const { mx } = await secureDomain('r144.test', [
      { host: 'mx1.r144.test', tlsa: 'match' },
      { host: 'mx2.r144.test' },
    ]);
    world.internet.dns.behave(tlsaAt('mx1.r144.test'), 'TLSA', 'servfail');
    const sent = await sender.send('bob@r144.test');
    assertDelivered(sent, 'verified');
    assert.deepEqual(policyOf(sent), ['dane', 'default']);
    assert.equal(mx[0]?.sessions.length, 0);
    const labels = { policy_type: 'tlsa', mode: 'none', result: 'dnssec-invalid' };
    assert.equal(await sender.metric('tls_sessions_total', labels), 1);
  });

  test('R144 R172 none left: the mail waits, and no MTA-STS policy helps it on', async () => {
    await using sender = await world.sender();
    const one = { host: 'mx.r144b.test', tlsa: 'match' } as const;
    const { mx } = await secureDomain('r144b.test', [one], {});
    world.internet.dns.behave(tlsaAt('mx.r144b.test'), 'TLSA', 'servfail');
    const sent = await sender.send('bob@r144b.test');
    assertDeferred(sent, 'dnssec-failed');
    assert.equal(sent.record.deferred[0]?.failure.status, '4.7.5');
    assert.equal(mx[0]?.sessions.length, 0);
    world.internet.dns.behave(tlsaAt('mx.r144b.test'), 'TLSA', undefined);
    assertDelivered(await sender.attempt(sent.id), 'verified');
  });
});

describe('RFC 7672 §2.2 Which hosts have TLSA records', () => {
  test('R145 R146 an insecure MX: no TLSA query, and nothing but what was asked before', async () => {
    await using sender = await world.sender();
    await world.domain('r146.test', { mx: [{ host: 'mx.r146.test', tlsa: 'mismatch' }] });
    const sent = await sender.send('bob@r146.test');
    assertDelivered(sent, 'verified');
    assert.deepEqual(policyOf(sent), ['default']);
    assert.equal(tlsaQueries('r146.test'), 0);
  });

  test('R147 each host is judged by its own records', async () => {
    await using sender = await world.sender();
    const { mx } = await secureDomain('r147.test', [
      { host: 'mx1.r147.test', tlsa: 'mismatch' },
      { host: 'mx2.r147.test', tlsa: 'match', ...UNKNOWN },
    ]);
    const sent = await sender.send('bob@r147.test');
    assertDelivered(sent, 'verified');
    assertNothingTold(mx.slice(0, 1));
    const [session] = sent.events.filter(({ event }) => event === 'delivery.session_failed');
    assert.deepEqual([session?.['cause'], session?.['policy']], ['tlsa-mismatch', 'tlsa']);
    const [delivered] = sent.events.filter(({ event }) => event === 'delivery.delivered');
    assert.equal(delivered?.['policyDomain'], 'mx2.r147.test');
    assert.match(String(delivered?.['tlsa']), /^3 1 1 [0-9a-f]{64}$/);
    const labels = { policy_type: 'tlsa', mode: 'none' };
    for (const result of ['tlsa-invalid', 'successful']) {
      assert.equal(await sender.metric('tls_sessions_total', { ...labels, result }), 1, result);
    }
  });

  test('R149 addresses that are not secure: no TLSA query', async () => {
    await using sender = await world.sender();
    const { dns } = world.internet;
    const { mx } = await secureDomain('r149.test', [{ host: 'mx.r149.test', tlsa: 'mismatch' }]);
    dns.set('mx.r149.test', 'A', [mx[0]?.address ?? ''], { ttl: 0 });
    assertDelivered(await sender.send('bob@r149.test'), 'verified');
    assert.equal(tlsaQueries('r149.test'), 0);
  });

  test('R150 R169 an alias that is secure: the records of the final name, which is sent as SNI', async () => {
    await using sender = await world.sender();
    const { dns } = world.internet;
    const { mx } = await secureDomain('r150.test', [
      { host: 'final.r150.test', tlsa: 'match', ...UNKNOWN },
    ]);
    dns.set('alias.r150.test', 'CNAME', ['final.r150.test'], { ttl: 0, ad: true });
    const record = { preference: 10, exchange: 'alias.r150.test' };
    dns.set('r150.test', 'MX', [record], { ttl: 0, ad: true });
    assertDelivered(await sender.send('bob@r150.test'), 'verified');
    assert.equal(mx[0]?.sessions.at(-1)?.tls?.serverName, 'final.r150.test');
  });

  test('R151 a secure alias of a name that is not: the records of the alias alone', async () => {
    await using sender = await world.sender();
    const { dns } = world.internet;
    const { mx } = await secureDomain('r151.test', [
      { host: 'alias.r151.test', tlsa: 'match', ...UNKNOWN },
    ]);
    dns.remove('alias.r151.test', 'A');
    dns.remove('alias.r151.test', 'AAAA');
    dns.set('alias.r151.test', 'CNAME', ['far.unsigned.test'], { ttl: 0, ad: true });
    dns.set('far.unsigned.test', 'A', [mx[0]?.address ?? ''], { ttl: 0 });
    assertDelivered(await sender.send('bob@r151.test'), 'verified');
    assert.equal(tlsaQueries('far.unsigned.test'), 0);
  });

  test('R152 R153 a smart host: its own records, at its port', async () => {
    const route = { domain: 'r152.test', tls: 'opportunistic' } as const;
    await secureDomain('hub.test', [{ host: 'smart.hub.test', tlsa: 'mismatch' }]);
    const nextHop = `smart.hub.test:${world.internet.mxPort}`;
    await using sender = await world.sender({ settings: { routes: [{ ...route, nextHop }] } });
    assertDeferred(await sender.send('bob@r152.test'), 'tlsa-mismatch');
    assert.equal(tlsaQueries(tlsaAt('smart.hub.test')), 1);
  });

  test('R154 secure denial, or an insecure answer: as if there were no DANE', async () => {
    await using sender = await world.sender();
    await secureDomain('r154.test', [{ host: 'mx.r154.test', certificate: null }]);
    assertDelivered(await sender.send('bob@r154.test'), 'clear-text');
    assert.ok(tlsaQueries('mx.r154.test') > 0);
  });
});

describe('RFC 7672 §2.2 What the records ask for', () => {
  test('R157 none usable: TLS, whatever the certificate; without it the host is not used', async () => {
    await using sender = await world.sender();
    await secureDomain('r157.test', [{ host: 'mx.r157.test', tlsa: [PKIX_EE], ...UNKNOWN }]);
    assertDelivered(await sender.send('bob@r157.test'), 'unauthenticated');
    const { mx } = await secureDomain('r157b.test', [
      { host: 'mx.r157b.test', tlsa: [PKIX_EE], certificate: null },
    ]);
    assertDeferred(await sender.send('bob@r157b.test'), 'starttls-not-offered');
    assertNothingTold(mx);
  });

  test('R157 none usable under MTA-STS in enforce: its certificate check stays', async () => {
    await using sender = await world.sender();
    const one = { host: 'mx.r157c.test', tlsa: [PKIX_EE], ...UNKNOWN };
    const { mx } = await secureDomain('r157c.test', [one], {});
    assertDeferred(await sender.send('bob@r157c.test'), 'certificate-untrusted');
    assertNothingTold(mx);
  });

  test('R158 R288 usable: STARTTLS that is taken away delays the mail', async () => {
    await using sender = await world.sender();
    const { mx } = await secureDomain('r158.test', [
      { host: 'mx.r158.test', tlsa: 'match', startTls: 'refused' },
    ]);
    assertDeferred(await sender.send('bob@r158.test'), 'starttls-refused');
    assertNothingTold(mx);
  });

  test('R158 a certificate that a root of ours vouches for is not enough', async () => {
    await using sender = await world.sender();
    const { mx } = await secureDomain('r158b.test', [{ host: 'mx.r158b.test', tlsa: 'mismatch' }]);
    assertDeferred(await sender.send('bob@r158b.test'), 'tlsa-mismatch');
    assertNothingTold(mx);
  });

  test('R160 a leaf that has expired and is for another name is authenticated by its record', async () => {
    await using sender = await world.sender();
    for (const certificate of ['expired', 'wrong-host', 'self-signed'] as const) {
      const name = `${certificate}.r160.test`;
      await secureDomain(name, [{ host: `mx.${name}`, tlsa: 'match', certificate }]);
      assertDelivered(await sender.send(`bob@${name}`), 'verified');
    }
  });

  test('R162 R166 a trust anchor vouches for a leaf with the name of the next hop', async () => {
    await using sender = await world.sender();
    // Of an authority that only the record vouches for, which is sent with the leaf.
    const ca = await createCa();
    const certificate = await ca.issue({ names: ['r162.test'], intermediate: 'sent' });
    const [, pem = ''] = certificate.certPem.split(/(?=-----BEGIN)/);
    const digest = createHash('sha256').update(derOf(pem)).digest();
    const anchor = { usage: 2, selector: 0, matchingType: 1, certificate: digest };
    await secureDomain('r162.test', [{ host: 'mx.r162.test', tlsa: [anchor], certificate }]);
    const sent = await sender.send('bob@r162.test');
    assertDelivered(sent, 'verified');
    await secureDomain('r166.test', [{ host: 'mx.r166.test', tlsa: [anchor], certificate }]);
    assertDeferred(await sender.send('bob@r166.test'), 'certificate-host-mismatch');
  });
});

describe('DANE and MTA-STS', () => {
  test('R077 what MTA-STS asks of the certificate is replaced, its list of hosts is not', async () => {
    await using sender = await world.sender();
    const listed = { host: 'mx.r077.test', tlsa: 'match', ...UNKNOWN } as const;
    await secureDomain('r077.test', [listed], {});
    assertDelivered(await sender.send('bob@r077.test'), 'verified');
    const stray = { host: 'mx.r077b.test', tlsa: 'match', ...UNKNOWN } as const;
    const { mx } = await secureDomain('r077b.test', [stray], { mx: ['other.r077b.test'] });
    assertDeferred(await sender.send('bob@r077b.test'), 'mx-outside-policy');
    assertNothingTold(mx);
  });

  test('R076 a failing check is not rescued by a certificate that MTA-STS would take', async () => {
    await using sender = await world.sender();
    for (const mode of ['enforce', 'testing'] as const) {
      const name = `${mode}.r076.test`;
      const { mx } = await secureDomain(name, [{ host: `mx.${name}`, tlsa: 'mismatch' }], { mode });
      assertDeferred(await sender.send(`bob@${name}`), 'tlsa-mismatch');
      assertNothingTold(mx);
    }
  });

  test('where DANE does not apply MTA-STS stays in force', async () => {
    await using sender = await world.sender();
    const { mx } = await secureDomain('stays.test', [{ host: 'mx.stays.test', ...UNKNOWN }], {});
    assertDeferred(await sender.send('bob@stays.test'), 'certificate-untrusted');
    assertNothingTold(mx);
  });
});

describe('who stands before DANE, and who relies on it', () => {
  const TAGGED: Partial<Envelope> = { requireTls: true };

  test('an override, and TLS-Required: No in the message: no TLSA query', async () => {
    const overrides = [{ domain: 'over.test', tls: 'encrypt' as const }];
    await using sender = await world.sender({ settings: { overrides } });
    for (const name of ['over.test', 'waived.test']) {
      await secureDomain(name, [{ host: `mx.${name}`, tlsa: 'mismatch', ...UNKNOWN }]);
    }
    assertDelivered(await sender.send('bob@over.test'), 'unauthenticated');
    const waived = await sender.send('bob@waived.test', { tlsRequiredNo: true });
    assertDelivered(waived, 'unauthenticated');
    assert.equal(tlsaQueries('over.test') + tlsaQueries('waived.test'), 0);
  });

  test('R176 R177 REQUIRETLS goes to hosts of secure MX records, by TLSA record or by trusted root', async () => {
    await using sender = await world.sender();
    const keywordsOverTls = [...DEFAULT_KEYWORDS, 'REQUIRETLS'];
    await secureDomain('r176.test', [
      { host: 'mx.r176.test', tlsa: 'match', ...UNKNOWN, keywordsOverTls },
    ]);
    assertDelivered(await sender.send('bob@r176.test', TAGGED), 'verified');
    await secureDomain('r177.test', [{ host: 'mx.r177.test', keywordsOverTls }]);
    assertDelivered(await sender.send('bob@r177.test', TAGGED), 'verified');
    const { mx } = await secureDomain('r177b.test', [
      { host: 'mx.r177b.test', tlsa: [PKIX_EE], ...UNKNOWN, keywordsOverTls },
    ]);
    assertDeferred(await sender.send('bob@r177b.test', TAGGED), 'certificate-untrusted');
    assertNothingTold(mx);
  });

  test('a connection that was verified one way is not reused for mail that asks for another', async () => {
    const destinations = { default: { messagesPerConnection: 100, idle: '10m' } };
    await using sender = await world.sender({ settings: { destinations } });
    const { mx } = await secureDomain('shared-a.test', [{ host: 'mx.shared.test', tlsa: 'match' }]);
    await world.domain('shared-b.test', { mx: [{ host: 'mx.shared.test' }] });
    await secureDomain('shared-c.test', [{ host: 'mx.shared.test' }]);
    for (const name of ['shared-b.test', 'shared-a.test', 'shared-c.test']) {
      assertDelivered(await sender.send(`bob@${name}`), 'verified');
    }
    // Without DANE, with it, and with the same record for another domain.
    assert.deepEqual(
      mx[0]?.sessions.map(({ messages }) => messages.length),
      [1, 2],
    );
    world.internet.dns.set(tlsaAt('mx.shared.test'), 'TLSA', [{ ...PKIX_EE, usage: 3 }], {
      ttl: 0,
      ad: true,
    });
    assertDeferred(await sender.send('bob@shared-a.test'), 'tlsa-mismatch');
  });
});

function derOf(pem: string): Buffer {
  return Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
}
