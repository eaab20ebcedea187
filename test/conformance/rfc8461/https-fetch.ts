/**
 * RFC 8461 §3.3: fetching the policy from a real policy host (R021, R035, R037 to R049).
 *
 * Whether a policy was taken is seen from its effect: the MX host of each domain has a
 * certificate of its own making, so mail goes there without a policy and waits with one.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { settingsFrom } from '../../../src/config/load.ts';
import type { CertificateKind } from '../../support/ca.ts';
import type { PolicyAnswer } from '../../support/policy-host.ts';
import { type PretendDomain, policyText } from '../../support/pretend-internet.ts';
import type { Sender, SenderWorld } from '../../support/sender.ts';
import { waitFor } from '../../support/wait-for.ts';
import { assertDeferred, assertDelivered } from './outcomes.ts';

const MINUTE_MS = 60_000;

/** A domain whose MX host no policy can accept. */
function guarded(world: SenderWorld, name: string, policy?: PolicyAnswer): Promise<PretendDomain> {
  const mx = [{ host: `mx.${name}`, certificate: 'self-signed' as const }];
  return world.domain(name, { mx, sts: {}, ...(policy ? { policy } : {}) });
}

/** The fetch failed for a reason of this type, and mail goes as if nothing were published. */
async function assertNoPolicy(sender: Sender, name: string, resultType: string): Promise<void> {
  assertDelivered(await sender.send(`bob@${name}`), 'unauthenticated');
  assertFailedFetch(sender, resultType);
}

function assertFailedFetch(sender: Sender, resultType: string): void {
  assert.equal(sender.logged('policy.fetch_failed').at(-1)?.['resultType'], resultType);
}

/** The policy was fetched and holds. */
async function assertPolicy(sender: Sender, name: string): Promise<void> {
  assertDeferred(await sender.send(`bob@${name}`), 'certificate-self-signed');
}

/** What is asked, and of whom. */
export function policyRequest(world: SenderWorld): void {
  test('R021 GET https://mta-sts.<policy domain>/.well-known/mta-sts.txt, port 443', async () => {
    await using sender = await world.sender();
    const { policyHostName } = await guarded(world, 'r021.test');
    await assertPolicy(sender, 'r021.test');
    const [asked, ...more] = world.internet.policyHost.requestsFor(policyHostName);
    assert.ok(asked && more.length === 0);
    const { method, path, hostHeader } = asked;
    assert.deepEqual(
      [method, path, hostHeader],
      ['GET', '/.well-known/mta-sts.txt', `mta-sts.r021.test:${world.internet.httpsPort}`],
    );
    assert.equal(settingsFrom({}).security.mtaSts.httpsPort, 443);
  });

  const bad: readonly CertificateKind[] = [
    'expired',
    'not-yet-valid',
    'self-signed',
    'untrusted',
    'missing-intermediate',
    'wrong-host',
    'client-only',
  ];
  for (const certificate of bad) {
    test(`R037 a policy host whose certificate is ${certificate} gives no policy`, async () => {
      await using sender = await world.sender();
      const name = `r037-${certificate}.test`;
      const { policyHostName } = await guarded(world, name, { certificate });
      await assertNoPolicy(sender, name, 'sts-webpki-invalid');
      assert.equal(world.internet.policyHost.requestsFor(policyHostName).length, 0);
    });
  }

  test('R037 a chain over an intermediate is followed', async () => {
    await using sender = await world.sender();
    await guarded(world, 'r037.test', { certificate: 'with-intermediate' });
    await assertPolicy(sender, 'r037.test');
  });

  for (const certificate of ['cn-only', 'ip-only'] as const) {
    test(`R038 a policy host named in its certificate by ${certificate} gives no policy`, async () => {
      await using sender = await world.sender();
      const name = `r038-${certificate}.test`;
      await guarded(world, name, { certificate });
      await assertNoPolicy(sender, name, 'sts-webpki-invalid');
    });
  }

  test('R039 *.<policy domain> names the policy host, a part of a label with a star does not', async () => {
    await using sender = await world.sender();
    await guarded(world, 'r039.test', { certificate: 'wildcard' });
    await assertPolicy(sender, 'r039.test');
    await guarded(world, 'r039-partial.test', { certificate: 'partial-wildcard' });
    await assertNoPolicy(sender, 'r039-partial.test', 'sts-webpki-invalid');
  });

  test('R040 behind a CNAME to a provider, the name in the certificate stays mta-sts.<policy domain>', async () => {
    await using sender = await world.sender();
    const { dns, policyHost, ca } = world.internet;
    dns.set('policies.provider.test', 'A', [policyHost.address], { ttl: 0 });
    for (const name of ['r040.test', 'r040-wrong.test']) {
      const names = [name === 'r040.test' ? `mta-sts.${name}` : 'policies.provider.test'];
      await guarded(world, name, { certificate: await ca.issue({ names }) });
      dns.remove(`mta-sts.${name}`);
      dns.set(`mta-sts.${name}`, 'CNAME', ['policies.provider.test'], { ttl: 0 });
    }
    await assertPolicy(sender, 'r040.test');
    await assertNoPolicy(sender, 'r040-wrong.test', 'sts-webpki-invalid');
  });

  test('R041 the policy host is named in the ClientHello', async () => {
    await using sender = await world.sender();
    await guarded(world, 'r041.test');
    await assertPolicy(sender, 'r041.test');
    const { connections } = world.internet.policyHost;
    assert.equal(connections.filter(({ host }) => host === 'mta-sts.r041.test').length, 1);
  });
}

/** What comes back. */
export function policyResponse(world: SenderWorld): void {
  const isConnectedTo = (host: string) =>
    waitFor(`a connection to ${host}`, () =>
      world.internet.policyHost.connections.some((connection) => connection.host === host),
    );

  for (const headers of [{ 'content-type': 'text/html' }, { 'content-type': null }]) {
    test(`R035 a policy with the media type ${headers['content-type']} is none`, async () => {
      await using sender = await world.sender();
      const name = `r035-${headers['content-type'] === null ? 'none' : 'html'}.test`;
      await guarded(world, name, { headers });
      await assertNoPolicy(sender, name, 'sts-policy-fetch-error');
    });
  }

  for (const status of [201, 203, 204, 206, 304, 400, 404, 410, 500, 503]) {
    test(`R042 status ${status} gives no policy, whatever the body`, async () => {
      await using sender = await world.sender();
      const name = `r042-${status}.test`;
      await guarded(world, name, { status });
      await assertNoPolicy(sender, name, 'sts-policy-fetch-error');
    });
  }

  for (const status of [301, 302, 303, 307, 308]) {
    test(`R043 a redirect (${status}) is not followed`, async () => {
      await using sender = await world.sender();
      const target = await guarded(world, `r043-target-${status}.test`);
      const redirect = `https://${target.policyHostName}:${world.internet.httpsPort}/.well-known/mta-sts.txt`;
      const name = `r043-${status}.test`;
      await guarded(world, name, { status, redirect });
      await assertNoPolicy(sender, name, 'sts-policy-fetch-error');
      assert.equal(world.internet.policyHost.requestsFor(target.policyHostName).length, 0);
    });
  }

  test('R044 nothing of a former response is asked about again', async () => {
    await using sender = await world.sender();
    const headers = { etag: '"1"', 'last-modified': 'Thu, 01 Jan 2026 00:00:00 GMT' };
    const domain = await guarded(world, 'r044.test', { headers });
    await assertPolicy(sender, 'r044.test');
    await domain.publishSts({ id: 'other' }, { headers });
    await assertPolicy(sender, 'r044.test');
    const requests = world.internet.policyHost.requestsFor(domain.policyHostName);
    assert.equal(requests.length, 2);
    for (const { headers: sent } of requests) {
      const names = Object.keys(sent).filter((name) => name.startsWith('if-'));
      assert.deepEqual(names, []);
    }
  });

  test('R044 what HTTP says about caching shortens no policy', async () => {
    await using sender = await world.sender();
    const headers = {
      'cache-control': 'no-store, max-age=1',
      expires: 'Thu, 01 Jan 1970 00:00:00 GMT',
      age: '999999',
    };
    const domain = await guarded(world, 'r044-short.test', { headers });
    await assertPolicy(sender, 'r044-short.test');
    domain.withdrawSts();
    sender.clock.advance(6 * 86_400_000);
    await assertPolicy(sender, 'r044-short.test');
  });

  test('R044 nor does it lengthen one', async () => {
    await using sender = await world.sender();
    const domain = await guarded(world, 'r044-long.test');
    await domain.publishSts({ maxAge: 60 }, { headers: { 'cache-control': 'max-age=31536000' } });
    await assertPolicy(sender, 'r044-long.test');
    domain.withdrawSts();
    sender.clock.advance(MINUTE_MS);
    assertDelivered(await sender.send('bob@r044-long.test'), 'unauthenticated');
  });

  for (const hang of ['handshake', 'response', 'body'] as const) {
    test(`R046 a policy host that falls silent at the ${hang} is given up within a minute`, async () => {
      await using sender = await world.sender();
      assert.equal(sender.settings.security.mtaSts.fetchTimeout, MINUTE_MS);
      const name = `r046-${hang}.test`;
      const { policyHostName } = await guarded(world, name, { hang });
      const sending = sender.send(`bob@${name}`);
      await isConnectedTo(policyHostName);
      sender.clock.advance(MINUTE_MS);
      assertDelivered(await sending, 'unauthenticated');
      assertFailedFetch(sender, 'sts-policy-fetch-error');
    });
  }

  test('R046 the minute is for all of it: a body that comes in drops is given up, too', async () => {
    await using sender = await world.sender();
    function* drops() {
      for (;;) yield 'x';
    }
    const drip = { everyMs: 5 };
    const { policyHostName } = await guarded(world, 'r046.test', { chunks: drops(), drip });
    const sending = sender.send('bob@r046.test');
    await world.internet.policyHost.waitForRequests(policyHostName);
    sender.clock.advance(MINUTE_MS - 1);
    assert.equal(sender.logged('policy.fetch_failed').length, 0);
    sender.clock.advance(1);
    assertDelivered(await sending, 'unauthenticated');
    assertFailedFetch(sender, 'sts-policy-fetch-error');
  });

  for (const [octets, isTaken] of [
    [65_536, true],
    [65_537, false],
  ] as const) {
    test(`R047 a policy of ${octets} octets is ${isTaken ? 'taken' : 'refused as a whole'}`, async () => {
      await using sender = await world.sender();
      const name = `r047-${octets}.test`;
      const domain = await guarded(world, name);
      const text = policyText({}, domain.mx);
      await domain.changePolicyAnswer({
        body: `${text}x: ${'y'.repeat(octets - text.length - 3)}`,
      });
      if (isTaken) await assertPolicy(sender, name);
      else await assertNoPolicy(sender, name, 'sts-policy-fetch-error');
    });
  }
}

/** What a failed fetch means. */
export function policyFetchFailure(world: SenderWorld): void {
  test('R048 after a failed fetch, five minutes without another one for this id', async () => {
    await using sender = await world.sender();
    const domain = await guarded(world, 'r048.test', { status: 503 });
    const fetches = () => world.internet.policyHost.requestsFor(domain.policyHostName).length;
    await assertNoPolicy(sender, 'r048.test', 'sts-policy-fetch-error');
    assert.equal(fetches(), 1);
    sender.clock.advance(5 * MINUTE_MS - 1000);
    assertDelivered(await sender.send('bob@r048.test'), 'unauthenticated');
    assert.equal(fetches(), 1);
    await domain.publishSts({ id: 'other' }, { status: 503 });
    await sender.send('bob@r048.test');
    assert.equal(fetches(), 2);
    sender.clock.advance(5 * MINUTE_MS + 1000);
    await domain.publishSts({ id: 'other' });
    await assertPolicy(sender, 'r048.test');
    assert.equal(fetches(), 3);
  });

  const failures: readonly (readonly [what: string, answer: PolicyAnswer])[] = [
    ['the policy host refuses', { reset: 'handshake' }],
    ['the response never comes', { reset: 'response' }],
    ['the body is cut', { reset: 'body' }],
    ['the response is no HTTP', { raw: 'version: STSv1\r\n' }],
    ['the policy breaks the grammar', { body: 'mode: enforce\r\n' }],
  ];
  for (const [n, [what, answer]] of failures.entries()) {
    test(`R049 ${what} and nothing is in force: mail goes as without MTA-STS`, async () => {
      await using sender = await world.sender();
      const name = `r049-${n}.test`;
      await guarded(world, name, answer);
      const type = answer.body === undefined ? 'sts-policy-fetch-error' : 'sts-policy-invalid';
      await assertNoPolicy(sender, name, type);
    });
  }

  test('R049 the policy host is not in DNS and nothing is in force: mail goes as without MTA-STS', async () => {
    await using sender = await world.sender();
    const { policyHostName } = await guarded(world, 'r049.test');
    world.internet.dns.remove(policyHostName);
    await assertNoPolicy(sender, 'r049.test', 'sts-policy-fetch-error');
  });
}
