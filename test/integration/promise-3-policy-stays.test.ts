/**
 * Promise 3, a policy cannot be made to vanish: a cached, unexpired policy stays in force when
 * TXT or HTTPS fail, time out, are stripped or lie (RFC 8461 §3.1, §3.3, §10.2), over restarts
 * and without Redis. Only a new policy under a new id, or the end of its max_age, ends it.
 *
 * Each domain delivers once under its policy. Then its MX host shows a certificate for another
 * name, as an attacker would, and something happens to its TXT record or policy host.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { IssuedCertificate } from '../support/ca.ts';
import type { Behaviour } from '../support/dns-server.ts';
import type { MxHost } from '../support/mx-host.ts';
import type { PolicyAnswer } from '../support/policy-host.ts';
import type { PretendDomain, StsDescription } from '../support/pretend-internet.ts';
import { redisMissing, startRedis, type TestRedis } from '../support/redis.ts';
import type { LogLine, Settings } from '../support/relay-process.ts';
import { assertToldNothing, type RelayWorld, startWorldWith } from '../support/relay-world.ts';
import { waitFor } from '../support/wait-for.ts';
import { WrongClock } from '../support/wrong-clock.ts';

/** By the relay's clock, which is set; far more than a machine stands still for. */
const GRACE_MS = 600_000;
const MAX_AGE_SECONDS = 600;

const TXT_FAILURES: readonly [string, Behaviour['kind']][] = [
  ['servfail', 'servfail'],
  ['refused', 'refused'],
  ['nxdomain', 'nxdomain'],
  ['garbage', 'garbage'],
  ['timeout', 'timeout'],
];
const TXT_LIES: readonly [string, readonly string[]][] = [
  ['no record', []],
  ['a record without id', ['v=STSv1;']],
  ['a record with a broken id', ['v=STSv1; id=not-an-id;']],
  ['a record of another version', ['v=STSv2; id=2;']],
  ['two records', ['v=STSv1; id=2;', 'v=STSv1; id=3;']],
];
/** What the policy host answers when the TXT record shows a new id. */
const FETCH_FAILURES: readonly [string, PolicyAnswer][] = [
  ['404', { status: 404 }],
  ['500', { status: 500 }],
  ['a redirect', { redirect: 'https://elsewhere.test/.well-known/mta-sts.txt' }],
  ['a certificate for another host', { certificate: 'wrong-host' }],
  ['an expired certificate', { certificate: 'expired' }],
  ['a self-signed certificate', { certificate: 'self-signed' }],
  ['a reset in the handshake', { reset: 'handshake' }],
  ['half an answer', { reset: 'body' }],
  ['a policy without mode', { body: 'version: STSv1\r\nmx: mx.test\r\nmax_age: 1\r\n' }],
  ['a policy of HTML', { headers: { 'content-type': 'text/html' } }],
];

describe('a cached policy in enforce', { skip: redisMissing }, () => {
  let redis: TestRedis;
  let world: RelayWorld;
  let forged: IssuedCertificate;
  const clock = new WrongClock();
  const cached = new Map<string, { domain: PretendDomain; host: MxHost }>();
  before(async () => {
    redis = await startRedis();
    const relayClock = { env: clock.env };
    world = await startWorldWith(relayClock, {
      redis: { url: redis.url },
      // A connection that was verified before the attack would carry the next message, rightly.
      destinations: { default: { messagesPerConnection: 1 } },
      retry: { schedule: ['1h'], classes: { tlsPolicy: { schedule: ['1h'] } } },
      security: { mtaSts: { dnsFailureGrace: `${GRACE_MS}ms` } },
    });
    world.internet.dns.negativeTtl = 0;
    forged = await world.internet.ca.issueKind('wrong-host', 'any');
  });
  after(async () => {
    await world.close();
    await redis.close();
    clock.remove();
  });

  /** Change settings; the line that says that they are in force. */
  async function apply(changes: Settings): Promise<LogLine | undefined> {
    const seen = world.relay.events('config.reloaded').length;
    world.relay.changeSettings(changes);
    world.relay.reload();
    return (await world.relay.waitForEvents('config.reloaded', seen + 1)).at(-1);
  }

  /** Set the relay's clock so far ahead; returns once it goes by that. */
  async function setClock(offsetMs: number): Promise<void> {
    clock.set(offsetMs);
    await waitFor('the relay to look at its clock', async () => {
      const askedAtMs = Date.now();
      return Date.parse(String((await apply({}))?.time)) >= askedAtMs + offsetMs;
    });
  }

  /** A domain whose policy is cached, by a delivery under it, and whose MX host is forged now. */
  async function forgedDomain(title: string, sts: StsDescription = {}) {
    const name = `${title.toLowerCase().replace(/\W+/g, '-')}.test`;
    const domain = await world.internet.domain(name, { sts: { id: '1', ...sts }, ttl: 0 });
    const answer = await world.answer(await world.send({ to: `first@${name}` }));
    assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
    assert.equal(answer['policyMode'], 'enforce');
    assert.equal(answer['verified'], true);
    const [host] = domain.mx;
    assert.ok(host !== undefined);
    host.change({ certificate: forged });
    cached.set(title, { domain, host });
    return { domain, host };
  }

  /** Another message is deferred for the certificate, under the policy of id 1; the host hears nothing. */
  async function assertEnforced({ domain, host }: { domain: PretendDomain; host: MxHost }) {
    const afterSession = host.sessions.length;
    const sent = await world.send({ to: `more@${domain.name}` });
    const answer = await world.answer(sent);
    assert.equal(answer.event, 'delivery.deferred', JSON.stringify(answer));
    assert.equal(answer['cause'], 'certificate-host-mismatch', JSON.stringify(answer));
    const refusal = world.relay.events('delivery.session_failed').find(({ id }) => id === sent.id);
    assert.equal(refusal?.['policyMode'], 'enforce');
    assert.equal(refusal?.['policyId'], '1');
    assert.ok(host.sessions.length > afterSession);
    assertToldNothing(host, { afterSession });
  }

  function assertWarned(event: string, domain: PretendDomain): void {
    const warning = world.relay.events(event).find((line) => line['domain'] === domain.name);
    assert.equal(warning?.level, 'warn', `no ${event} about ${domain.name}`);
  }

  test('DNS that fails with nothing cached is not taken for an answer', async () => {
    await world.internet.domain('unknown.test', { ttl: 0 });
    world.internet.dns.behave('_mta-sts.unknown.test', 'TXT', 'servfail');
    const answer = await world.answer(await world.send({ to: 'a@unknown.test' }));
    assert.equal(answer.event, 'delivery.deferred', JSON.stringify(answer));
    assert.equal(answer['cause'], 'policy-unknown');
  });

  describe('stays in force when TXT', { concurrency: true }, () => {
    for (const [title, kind] of TXT_FAILURES) {
      test(`says ${title}`, async () => {
        const forgery = await forgedDomain(title);
        world.internet.dns.behave(`_mta-sts.${forgery.domain.name}`, 'TXT', kind);
        await assertEnforced(forgery);
        assertWarned('policy.record_gone', forgery.domain);
      });
    }
    for (const [title, texts] of TXT_LIES) {
      test(`shows ${title}`, async () => {
        const forgery = await forgedDomain(title);
        world.internet.dns.set(`_mta-sts.${forgery.domain.name}`, 'TXT', texts, { ttl: 0 });
        await assertEnforced(forgery);
        assertWarned('policy.record_gone', forgery.domain);
      });
    }
  });

  describe('stays in force when TXT shows a new id and the policy host', {
    concurrency: true,
  }, () => {
    for (const [title, failure] of FETCH_FAILURES) {
      test(`answers with ${title}`, async () => {
        const forgery = await forgedDomain(title);
        await forgery.domain.publishSts({ id: '2', mode: 'none' }, failure);
        await assertEnforced(forgery);
        assertWarned('policy.fetch_failed', forgery.domain);
      });
    }
    test('is not to be reached', async () => {
      const { domain, host } = await forgedDomain('down');
      await domain.publishSts({ id: '2', mode: 'none' });
      const dead = [world.internet.deadAddress];
      world.internet.dns.set(domain.policyHostName, 'A', dead, { ttl: 0 });
      await assertEnforced({ domain, host });
      assertWarned('policy.fetch_failed', domain);
    });
  });

  test('stays in force when TXT shows a new id and the policy host says nothing', async () => {
    const forgery = await forgedDomain('silence');
    await apply({ security: { mtaSts: { fetchTimeout: '1s' } } });
    await forgery.domain.publishSts({ id: '2', mode: 'none' }, { hang: 'response' });
    await assertEnforced(forgery);
    assertWarned('policy.fetch_failed', forgery.domain);
    await apply({ security: { mtaSts: { fetchTimeout: '1m' } } });
  });

  test('stays in force when the policy text changes and the id does not', async () => {
    const forgery = await forgedDomain('same id');
    await forgery.domain.publishSts({ id: '1', mode: 'none' });
    await assertEnforced(forgery);
  });

  test('is counted as a suspected downgrade whenever something of it was gone', async () => {
    const count = (await world.relay.metric('stsrelay_downgrade_suspected_total')) ?? 0;
    const troubles = TXT_FAILURES.length + TXT_LIES.length + FETCH_FAILURES.length + 2;
    assert.ok(count >= troubles, `${count} counted`);
  });

  /** One of each family; the slow ones are left out. */
  async function assertManyEnforced(): Promise<void> {
    const titles = ['servfail', 'no record', 'two records', '500', 'a redirect', 'same id'];
    const some = titles.flatMap((title) => cached.get(title) ?? []);
    assert.equal(some.length, titles.length);
    await Promise.all(some.map(assertEnforced));
  }

  test('stays in force over a restart of the relay', async () => {
    await world.relay.restart();
    await assertManyEnforced();
  });

  test('stays in force when Redis is emptied', async () => {
    await redis.flushAll();
    await assertManyEnforced();
  });

  test('stays in force when all comes at once: SIGKILL, Redis emptied, TXT and policy host gone', async () => {
    await world.relay.kill('SIGKILL');
    await redis.flushAll();
    for (const { domain } of cached.values()) domain.withdrawSts();
    await world.relay.start();
    await assertManyEnforced();
  });

  test('gives way to a weaker policy under a new id', async () => {
    const { domain } = await forgedDomain('weaker');
    await domain.publishSts({ id: '2', mode: 'testing' });
    const testing = await world.answer(await world.send({ to: 'a@weaker.test' }));
    assert.equal(testing.event, 'delivery.delivered', JSON.stringify(testing));
    assert.equal(testing['policyMode'], 'testing');
    assert.equal(testing['policyId'], '2');
    assert.equal(testing['verified'], false);
    await domain.publishSts({ id: '3', mode: 'none' });
    const none = await world.answer(await world.send({ to: 'a@weaker.test' }));
    assert.equal(none.event, 'delivery.delivered', JSON.stringify(none));
    assert.equal(none['policy'], 'default');
  });

  test('ends with its max_age, not before', async () => {
    const forgery = await forgedDomain('short', { maxAge: MAX_AGE_SECONDS });
    forgery.domain.withdrawSts();
    await setClock((MAX_AGE_SECONDS - 60) * 1000);
    await assertEnforced(forgery);
    await setClock(MAX_AGE_SECONDS * 1000);
    const answer = await world.answer(await world.send({ to: 'late@short.test' }));
    assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
    assert.equal(answer['policy'], 'default');
  });

  test('never cached, and DNS failing for longer than the grace: the mail goes', async () => {
    // The first failure was told to the relay before its restarts.
    await setClock(2 * GRACE_MS);
    const answer = await world.answer(await world.send({ to: 'b@unknown.test' }));
    assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
    assertWarned('policy.dns_grace_over', { name: 'unknown.test' } as PretendDomain);
  });
});
