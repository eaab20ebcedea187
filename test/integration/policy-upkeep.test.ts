/**
 * What happens to policies between deliveries, in the running relay: refreshed before they expire
 * (RFC 8461 §3.3, §10.2), checked before a message is given up (RFC 8461 §5.1), and signs of a
 * downgrade counted, logged and kept.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { runStsrelay } from '../support/cli.ts';
import type { PretendDomain } from '../support/pretend-internet.ts';
import {
  type Answer,
  assertToldNothing,
  type RelayWorld,
  type Sent,
  startWorld,
} from '../support/relay-world.ts';

/** Due in half of it at the latest: what is left is more than a machine stands still for. */
const SHORT_MAX_AGE_SECONDS = 24;
/** Domains whose messages are tried again and again, and for how long. */
const LIFETIMES = new Map(['changed.test', 'silent.test', 'same.test'].map((name) => [name, '1h']));
const domainSettings = () =>
  [...LIFETIMES].map(([domain, lifetime]) => ({ domain, lifetime, schedule: ['500ms'] }));

let world: RelayWorld;
before(async () => {
  world = await startWorld({
    // Every message meets the host as it is then.
    destinations: { default: { messagesPerConnection: 1 } },
    retry: {
      schedule: ['1h'],
      lifetime: '1h',
      classes: { tlsPolicy: { schedule: ['1h'] } },
      domains: domainSettings(),
    },
  });
  world.internet.dns.negativeTtl = 0;
});
after(() => world.close());

/** A domain that was delivered to under its enforce policy. */
async function known(name: string, maxAge = 604_800): Promise<PretendDomain> {
  const domain = await world.internet.domain(name, { sts: { id: '1', maxAge }, ttl: 0 });
  const answer = await world.answer(await world.send({ to: `first@${name}` }));
  assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
  assert.equal(answer['verified'], true);
  return domain;
}

async function certificate(domain: PretendDomain, kind: 'expired' | 'good') {
  const [host] = domain.mx;
  assert.ok(host);
  host.change({ certificate: await world.internet.ca.issueKind(kind, host.name, host.address) });
  return host;
}

describe('a policy in use', { concurrency: true }, () => {
  test('is fetched anew before it expires, whatever the TXT record says', async () => {
    const domain = await known('short.test', SHORT_MAX_AGE_SECONDS);
    await domain.changePolicyAnswer({
      body: 'version: STSv1\nmode: testing\nmx: mx.short.test\nmax_age: 604800\n',
    });
    world.internet.dns.set('_mta-sts.short.test', 'TXT', [], { ttl: 0 });
    const line = await world.relay.waitForLog('the refresh', () =>
      world.relay.events('policy.refreshed').find((one) => one['domain'] === 'short.test'),
    );
    assert.equal(line['cause'], 'background');
    assert.equal(line['mode'], 'testing');
    assert.equal(line['changed'], true);
    const labels = { cause: 'background', result: 'fetched' };
    assert.ok(((await world.relay.metric('stsrelay_mtasts_refreshes_total', labels)) ?? 0) > 0);
    assert.equal(await world.relay.metric('stsrelay_mtasts_cache_entries', { mode: 'testing' }), 1);
  });

  test('that cannot be fetched stays, and the operator is told', async () => {
    const domain = await known('broken.test', SHORT_MAX_AGE_SECONDS);
    await domain.changePolicyAnswer({ status: 404 });
    const line = await world.relay.waitForLog('the failure', () =>
      world.relay.events('policy.refresh_failed').find((one) => one['domain'] === 'broken.test'),
    );
    assert.equal(line.level, 'warn');
    assert.equal(line['inForce'], 'enforce');
    assert.equal(line['resultType'], 'sts-policy-fetch-error');
  });
});

describe('a message whose lifetime ends under a policy', { concurrency: true }, () => {
  /** Now, and not sooner: it was deferred before. */
  function endLifetime(domain: PretendDomain): void {
    LIFETIMES.set(domain.name, '1s');
    world.relay.changeSettings({ retry: { domains: domainSettings() } });
    world.relay.reload();
  }

  /** The first answer but `delivery.deferred`. */
  const end = (sent: Sent): Promise<Answer> =>
    world.relay.waitForLog(`the end of ${sent.id}`, () =>
      world.answers(sent).find(({ event }) => event !== 'delivery.deferred'),
    );

  test('is delivered after all when the policy has changed meanwhile', async () => {
    const domain = await known('changed.test');
    const host = await certificate(domain, 'expired');
    const sent = await world.send({ to: 'a@changed.test' });
    assert.equal((await world.answer(sent)).event, 'delivery.deferred');
    await domain.changePolicyAnswer({
      body: 'version: STSv1\nmode: none\nmax_age: 604800\n',
    });
    endLifetime(domain);
    const answer = await end(sent);
    assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
    assert.equal(host.messages.length, 2);
    const refreshed = world.relay.events('policy.refreshed');
    assert.ok(refreshed.some((one) => one['cause'] === 'last-attempt'));
  });

  test('waits on while nobody can say whether the policy has changed', async () => {
    const domain = await known('silent.test');
    await certificate(domain, 'expired');
    const sent = await world.send({ to: 'a@silent.test' });
    await world.answer(sent);
    await domain.changePolicyAnswer({ status: 500 });
    world.internet.dns.behave('_mta-sts.silent.test', 'TXT', 'servfail');
    endLifetime(domain);
    const checked = await world.relay.waitForEvent('policy.last_check_failed');
    assert.equal(checked['domain'], 'silent.test');
    const answer = await world.relay.waitForLog('an answer after that', (lines) =>
      world.answers(sent).find((line) => lines.indexOf(line) > lines.indexOf(checked)),
    );
    assert.equal(answer.event, 'delivery.deferred', JSON.stringify(answer));
    const nextMs = Date.parse(String(answer['nextAttempt']));
    assert.ok(nextMs > Date.parse(String(checked.time)));
  });

  test('bounces when it has not, and nothing was ever said to the host', async () => {
    const domain = await known('same.test');
    const host = await certificate(domain, 'expired');
    const sent = await world.send({ to: 'a@same.test' });
    assert.equal((await world.answer(sent)).event, 'delivery.deferred');
    endLifetime(domain);
    const answer = await end(sent);
    assert.equal(answer.event, 'outcome.bounced', JSON.stringify(answer));
    assertToldNothing(host, { afterSession: 1 });
  });
});

describe('a sign of a downgrade', { concurrency: true }, () => {
  const attacks: Record<string, (domain: PretendDomain) => Promise<unknown> | unknown> = {
    'record-gone': ({ name }) => world.internet.dns.set(`_mta-sts.${name}`, 'TXT', [], { ttl: 0 }),
    'record-lookup-failed': ({ name }) =>
      world.internet.dns.behave(`_mta-sts.${name}`, 'TXT', 'servfail'),
    'fetch-failed': (domain) => domain.publishSts({ id: '2', mode: 'none' }, { status: 404 }),
    'mx-outside-policy': async ({ name }) => {
      await world.internet.mxHost({ host: 'mx.evil.test' });
      const records = [{ preference: 10, exchange: 'mx.evil.test' }];
      world.internet.dns.set(name, 'MX', records, { ttl: 0 });
    },
    'starttls-gone': ({ mx }) => mx[0]?.change({ startTls: 'off' }),
    'certificate-invalid': (domain) => certificate(domain, 'expired'),
  };
  for (const [signal, attack] of Object.entries(attacks)) {
    test(`${signal}: counted, logged, and in policy show`, async () => {
      const domain = await known(`${signal}.test`);
      await attack(domain);
      await world.answer(await world.send({ to: `b@${domain.name}` }));
      const line = await world.relay.waitForLog(signal, () =>
        world.relay
          .events('policy.downgrade_suspected')
          .find((one) => one['signal'] === signal && one['domain'] === domain.name),
      );
      assert.equal(line.level, 'warn');
      const count = await world.relay.metric('stsrelay_downgrade_suspected_total', { signal });
      assert.ok((count ?? 0) > 0);
      const shown = await runStsrelay([
        'policy',
        'show',
        domain.name,
        '--config',
        world.relay.configFile,
      ]);
      assert.equal(shown.code, 0, shown.stderr);
      assert.match(shown.stdout, new RegExp(signal));
    });
  }
});
