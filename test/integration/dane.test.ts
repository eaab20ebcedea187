/**
 * DANE through the whole program, with a real validating resolver (Unbound) over zones that are really
 * signed: what it says of good, expired and missing signatures, and of names that are not signed, decides
 * where mail goes. Hosts have certificates that no root of the relay vouches for.
 */
import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { stringify } from 'yaml';
import { runStsrelay } from '../support/cli.ts';
import type { MxHost } from '../support/mx-host.ts';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import { startRelay } from '../support/relay-process.ts';
import { assertSameContent, assertToldNothing, RelayWorld } from '../support/relay-world.ts';
import { tempDir } from '../support/temp-dir.ts';
import {
  startValidatingDns,
  type ValidatingDns,
  validatingDnsMissing,
} from '../support/validating-dns.ts';

const HOSTS = ['mx', 'mx2', 'expired', 'stripped', 'plain', 'far'] as const;
type HostName = (typeof HOSTS)[number];

describe('DANE with a validating resolver', { skip: validatingDnsMissing }, () => {
  let internet: PretendInternet;
  let dns: ValidatingDns;
  let world: RelayWorld;
  const hosts = new Map<HostName, MxHost>();
  const digests = new Map<HostName, string>();

  before(async () => {
    internet = await startPretendInternet();
    for (const name of HOSTS) {
      const certificate = await internet.ca.issueKind('untrusted', `${name}.signed.test`);
      hosts.set(name, await internet.mxHost({ host: `${name}.signed.test`, certificate }));
      digests.set(name, hash('sha256', certificate.spki));
    }
    dns = await startValidatingDns([signedZone(), unsignedZone()]);
    const settings = [internet.relaySettings(), { dns: { servers: [dns.endpoint] } }];
    world = new RelayWorld(internet, await startRelay({ settings }));
  });
  after(async () => {
    await world?.close();
    await internet?.close();
    await dns?.close();
  });

  const address = (name: HostName) => hosts.get(name)?.address;
  const tlsa = (owner: string, of: HostName) =>
    `_${internet.mxPort}._tcp.${owner} TLSA 3 1 1 ${digests.get(of)}`;

  function signedZone() {
    const port = internet.mxPort;
    return {
      name: 'signed.test',
      records: [
        ...HOSTS.filter((name) => name !== 'far').map((name) => `${name} A ${address(name)}`),
        ...(['mx', 'expired', 'stripped'] as const).map((name) => tlsa(name, name)),
        tlsa('mx2', 'mx'), // of another host's key
        'alias CNAME far.unsigned.test.',
        tlsa('alias', 'far'),
        '@ MX 10 mx',
        'good MX 10 mx',
        'mismatch MX 10 mx2',
        'mixed MX 10 mx2',
        'mixed MX 20 mx',
        'bad-signature MX 10 expired',
        'no-signature MX 10 stripped',
        'next MX 10 expired',
        'next MX 20 stripped',
        'next MX 30 mx',
        'denied MX 10 plain',
        'aliased MX 10 alias',
        'broken MX 10 mx',
      ],
      expired: [`_${port}._tcp.expired TLSA`, 'broken MX'],
      stripped: [`_${port}._tcp.stripped TLSA`],
    };
  }

  function unsignedZone() {
    return {
      name: 'unsigned.test',
      signed: false,
      records: [
        `far A ${address('far')}`,
        `mx A ${address('mx2')}`,
        tlsa('mx', 'mx'),
        '@ MX 10 mx',
      ],
    };
  }

  /** What became of a message, and whether `to` has it. */
  async function deliver(domain: string, to?: HostName) {
    const sent = await world.send({ to: `bob@${domain}` });
    const answer = await world.answer(sent);
    if (to !== undefined) {
      assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
      const message = hosts.get(to)?.messages.at(-1);
      assertSameContent(message, sent.data);
      assert.ok(message?.tls, 'in clear text');
    }
    return answer;
  }

  test('a host with the key that its zone names gets the mail', async () => {
    for (const domain of ['good.signed.test', 'signed.test']) {
      const answer = await deliver(domain, 'mx');
      assert.deepEqual([answer['policy'], answer['verified']], ['tlsa', true]);
      assert.equal(answer['policyDomain'], 'mx.signed.test');
      assert.equal(answer['tlsa'], `3 1 1 ${digests.get('mx')}`);
    }
  });

  test('one with another key does not; the next host may', async () => {
    const answer = await deliver('mismatch.signed.test');
    assert.deepEqual([answer.event, answer['cause']], ['delivery.deferred', 'tlsa-mismatch']);
    await deliver('mixed.signed.test', 'mx');
    assertToldNothing(hosts.get('mx2') as MxHost);
  });

  for (const [domain, host] of [
    ['bad-signature.signed.test', 'expired'],
    ['no-signature.signed.test', 'stripped'],
  ] as const) {
    test(`TLSA records with a bad signature (${host}) keep mail from the host`, async () => {
      const answer = await deliver(domain);
      assert.deepEqual([answer.event, answer['cause']], ['delivery.deferred', 'dnssec-failed']);
      assert.equal(answer['status'], '4.7.5');
      assert.match(String(answer['reason']), /^TLSA lookup for \S+: SERVFAIL/);
      assert.equal(hosts.get(host)?.sessions.length, 0);
    });
  }

  test('and from no other host', async () => {
    await deliver('next.signed.test', 'mx');
    assert.equal(hosts.get('expired')?.sessions.length, 0);
    assert.equal(hosts.get('stripped')?.sessions.length, 0);
  });

  test('MX records with a bad signature lead nowhere', async () => {
    const answer = await deliver('broken.signed.test');
    assert.deepEqual([answer.event, answer['cause']], ['delivery.deferred', 'dns-failed']);
  });

  test('that there are none, signed: TLS without DANE', async () => {
    const answer = await deliver('denied.signed.test', 'plain');
    assert.deepEqual([answer['policy'], answer['verified']], ['default', false]);
  });

  test('a signed alias of a name that is not signed has records of its own', async () => {
    const answer = await deliver('aliased.signed.test', 'far');
    assert.deepEqual([answer['policyDomain'], answer['verified']], ['alias.signed.test', true]);
  });

  test('a zone that is not signed has no DANE, whatever it says', async () => {
    const answer = await deliver('unsigned.test', 'mx2');
    assert.deepEqual([answer['policy'], answer['verified']], ['default', false]);
  });

  describe('for whoever asks', () => {
    const dir = tempDir();
    after(() => dir.remove());
    const check = async (domain: string, change: object = {}) => {
      const file = dir.file('stsrelay.yaml');
      const { outbound, security } = internet.relaySettings();
      const settings = { dns: { servers: [dns.endpoint], ...change }, outbound, security };
      writeFileSync(file, stringify({ ...settings, dataDir: dir.file('data') }));
      return runStsrelay(['--config', file, 'check', domain]);
    };

    test('the queue tells what a message waits for', async () => {
      const sent = await world.send({ to: 'eve@mismatch.signed.test' });
      await world.answer(sent);
      const args = ['--config', world.relay.configFile, 'queue', 'show', sent.id];
      const { stdout } = await runStsrelay(args);
      assert.match(stdout, /The TLSA records of mx2\.signed\.test \(DANE\) ask for TLS/);
      assert.match(stdout, /the TLSA record does not fit its certificate/);
    });

    test('check shows records, security and verdict', async () => {
      const { stdout, code } = await check('good.signed.test');
      const where = `_${internet.mxPort}._tcp.mx.signed.test`;
      assert.ok(stdout.includes(`mx.signed.test: TLSA at ${where}: 1 secure, 1 usable`), stdout);
      assert.ok(stdout.includes(`3 1 1 ${digests.get('mx')}`), stdout);
      assert.match(stdout, /^good\.signed\.test: mail would be delivered over verified TLS/m);
      assert.match(stdout, /verified by TLSA/);
      assert.equal(code, 0);
    });

    test('check tells what is wrong', async () => {
      const mismatch = await check('mismatch.signed.test');
      assert.equal(mismatch.code, 1);
      assert.match(mismatch.stdout, /^error: mx2\.signed\.test \(tlsa-mismatch, RFC 7672 §3\)$/m);
      const expired = await check('bad-signature.signed.test');
      assert.equal(expired.code, 1);
      assert.match(expired.stdout, /^error: expired\.signed\.test \(dnssec-failed,/m);
      assert.match(expired.stdout, /DNSSEC: /);
      const unsigned = await check('unsigned.test');
      assert.match(unsigned.stdout, /^DANE {6}does not apply: DNSSEC does not vouch/m);
    });

    test('a resolver that is not believed is no reason to ask', async () => {
      const { stdout } = await check('mismatch.signed.test', { trustAd: 'never' });
      assert.match(stdout, /^DANE {6}does not apply: no DNS server .* \(dns\.trustAd\)$/m);
      assert.match(stdout, /^mismatch\.signed\.test: mail would be delivered over TLS/m);
    });
  });
});
