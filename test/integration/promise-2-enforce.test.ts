/**
 * Promise 2, enforce means enforce: no byte of a message to a domain whose policy says
 * `enforce` goes to a host outside the policy, or over anything but TLS 1.2+ with a certificate
 * that chains to a trusted root and names that host (RFC 8461 §4, §5). The other rows of the
 * contract's table, and the exceptions an administrator may make, are held against the same
 * hosts.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startMiddlebox } from '../support/middlebox.ts';
import type { MxHost } from '../support/mx-host.ts';
import type { MxDescription, PretendDomain } from '../support/pretend-internet.ts';
import {
  assertSameContent,
  assertToldNothing,
  type RelayWorld,
  type Sent,
  startWorld,
} from '../support/relay-world.ts';

/** Long schedules: within a test, what is deferred stays deferred. */
const PATIENT = {
  retry: { schedule: ['1h'], classes: { tlsPolicy: { schedule: ['1h'] } } },
};
/**
 * Silence is not waited for. A good host that is too slow for that, on a machine that stands still,
 * gets the message at a later attempt.
 */
const SILENT = 'silence';
const HASTY = {
  retry: { domains: [{ domain: `then-good.${SILENT}.test`, schedule: ['1s'] }] },
  outbound: { timeouts: { tls: '1s' } },
};
const MIXED_OVERRIDES = [
  { domain: 'none.override.test', tls: 'none' },
  { domain: 'encrypt.override.test', tls: 'encrypt' },
  { domain: 'bare.override.test', tls: 'encrypt' },
  { domain: 'verify.override.test', tls: 'verify' },
  { domain: 'over.override.test', tls: 'none', expires: '2020-01-01' },
];

type Breach = Omit<MxDescription, 'host'>;
const BREACHES: readonly [string, Breach, cause: string][] = [
  ['no-starttls', { certificate: null }, 'starttls-not-offered'],
  ['starttls-refused', { startTls: 'refused' }, 'starttls-refused'],
  ['starttls-reset', { startTls: 'reset' }, 'tls-handshake-failed'],
  ['garbage', { startTls: 'garbage' }, 'clear-text-after-starttls'],
  [SILENT, { startTls: 'hang' }, 'tls-handshake-failed'],
  ['injection', { injectAfterStartTls: '250 2.0.0 Ok\r\n250 Ok\r\n' }, 'clear-text-after-starttls'],
  ['tls-1-1', { maxTls: 'TLSv1.1' }, 'tls-version-too-low'],
  ['expired', { certificate: 'expired' }, 'certificate-expired'],
  ['not-yet-valid', { certificate: 'not-yet-valid' }, 'certificate-not-yet-valid'],
  ['self-signed', { certificate: 'self-signed' }, 'certificate-self-signed'],
  ['missing-intermediate', { certificate: 'missing-intermediate' }, 'certificate-untrusted'],
  ['untrusted', { certificate: 'untrusted' }, 'certificate-untrusted'],
  ['client-only', { certificate: 'client-only' }, 'certificate-invalid'],
  ['wrong-host', { certificate: 'wrong-host' }, 'certificate-host-mismatch'],
  ['cn-only', { certificate: 'cn-only' }, 'certificate-host-mismatch'],
  ['partial-wildcard', { certificate: 'partial-wildcard' }, 'certificate-host-mismatch'],
  ['ip-only', { certificate: 'ip-only' }, 'certificate-host-mismatch'],
];

function onlyHost(domain: PretendDomain): MxHost {
  const [host] = domain.mx;
  assert.ok(host !== undefined);
  return host;
}

describe('a policy in enforce', () => {
  let world: RelayWorld;
  let hasty: RelayWorld;
  before(async () => {
    world = await startWorld(PATIENT);
    hasty = await startWorld(PATIENT, HASTY);
  });
  after(async () => {
    await world.close();
    await hasty.close();
  });

  /** Deferred, with this cause at this host; the log names the policy, the host heard nothing. */
  async function assertWithheld(sent: Sent, host: MxHost, cause: string, at = world) {
    const answer = await at.answer(sent);
    assert.equal(answer.event, 'delivery.deferred', JSON.stringify(answer));
    assert.equal(answer['cause'], cause, JSON.stringify(answer));
    assert.equal(answer['mx'], host.name);
    assert.ok(Date.parse(String(answer['nextAttempt'])) > Date.now());
    assertRefusal(sent, host, cause, at);
    assertToldNothing(host);
  }

  function assertRefusal(sent: Sent, host: MxHost, cause: string, at = world): void {
    const refusals = at.relay
      .events('delivery.session_failed')
      .filter((line) => line.id === sent.id && line['mx'] === host.name);
    assert.ok(refusals.length > 0, `no session with ${host.name} in the log`);
    for (const line of refusals) {
      assert.equal(line['cause'], cause, JSON.stringify(line));
      assert.equal(line['policy'], 'sts');
      assert.equal(line['policyMode'], 'enforce');
      assert.notEqual(line['verified'], true);
    }
  }

  describe('withholds the message from a host with', { concurrency: true }, () => {
    for (const [name, breach, cause] of BREACHES) {
      test(`${name}: ${cause}`, async () => {
        const domain = `${name}.test`;
        const at = name === SILENT ? hasty : world;
        const alone = await at.internet.domain(domain, {
          sts: {},
          mx: [{ host: `mx.${domain}`, ...breach }],
        });
        await assertWithheld(await at.send({ to: `a@${domain}` }), onlyHost(alone), cause, at);
      });

      test(`${name}: a good host further down the list gets it`, async () => {
        const domain = `then-good.${name}.test`;
        const at = name === SILENT ? hasty : world;
        const { mx } = await at.internet.domain(domain, {
          sts: {},
          mx: [{ host: `mx1.${domain}`, ...breach }, { host: `mx2.${domain}` }],
        });
        const [bad, good] = mx;
        assert.ok(bad !== undefined && good !== undefined);
        const sent = await at.send({ to: `a@${domain}` });
        const delivered = () => at.answers(sent).find(({ event }) => /delivered$/.test(event));
        const answer = await (name === SILENT
          ? at.relay.waitForLog('the delivery', delivered)
          : at.answer(sent));
        assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
        assert.equal(answer['mx'], good.name);
        assert.equal(answer['verified'], true);
        assert.match(String(answer['tlsVersion']), /^TLSv1\.[23]$/);
        assertSameContent(good.messages[0], sent.data);
        assert.equal(good.messages[0]?.tls?.serverName, good.name);
        assertRefusal(sent, bad, cause, at);
        assertToldNothing(bad);
      });
    }
  });

  test('withholds it from an MX host outside the policy, and gives it to one inside', async () => {
    const outside = await world.internet.domain('outside.test', {
      sts: { mx: ['mx.elsewhere.test', '*.mx.outside.test'] },
    });
    const sent = await world.send({ to: 'a@outside.test' });
    await assertWithheld(sent, onlyHost(outside), 'mx-outside-policy');
    assert.equal(onlyHost(outside).sessions.length, 0, 'it was not even connected to');

    const both = await world.internet.domain('then-inside.outside.test', {
      sts: { mx: ['inside.outside.test'] },
      mx: [{ host: 'first.outside.test' }, { host: 'inside.outside.test' }],
    });
    const answer = await world.answer(await world.send({ to: 'a@then-inside.outside.test' }));
    assert.equal(answer['mx'], 'inside.outside.test', JSON.stringify(answer));
    assert.equal(answer['verified'], true);
    assert.equal(both.mx[0]?.sessions.length, 0);
  });

  test('a wildcard pattern stands for one label', async () => {
    await world.internet.domain('wild.test', { sts: { mx: ['*.wild.test'] } });
    const answer = await world.answer(await world.send({ to: 'a@wild.test' }));
    assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
    assert.equal(answer['verified'], true);
    const deep = await world.internet.domain('deep.test', {
      sts: { mx: ['*.deep.test'] },
      mx: [{ host: 'a.b.deep.test' }],
    });
    const sent = await world.send({ to: 'a@deep.test' });
    await assertWithheld(sent, onlyHost(deep), 'mx-outside-policy');
  });

  test('a handshake that is reset never leads to clear text', async () => {
    const host = await world.internet.mxHost({ host: 'mx.cut.test' });
    await using box = await startMiddlebox({
      address: `${world.internet.network}.251`,
      host,
      dislikes: () => true,
    });
    world.internet.dns.set('mx.cut.test', 'A', [`${world.internet.network}.251`]);
    await world.internet.domain('cut.test', { sts: {}, mx: [{ host: 'mx.cut.test' }] });
    const sent = await world.send({ to: 'a@cut.test' });
    await assertWithheld(sent, host, 'tls-handshake-failed');
    assert.equal(box.hellos.length, 2, 'tried again with a small ClientHello');
  });

  test('a box that dislikes large ClientHellos costs a second try, not the verified TLS', async () => {
    const host = await world.internet.mxHost({ host: 'mx.choosy.test' });
    await using box = await startMiddlebox({
      address: `${world.internet.network}.252`,
      host,
      dislikes: (octets) => octets > 600,
    });
    world.internet.dns.set('mx.choosy.test', 'A', [`${world.internet.network}.252`]);
    await world.internet.domain('choosy.test', { sts: {}, mx: [{ host: 'mx.choosy.test' }] });
    const answer = await world.answer(await world.send({ to: 'a@choosy.test' }));
    assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
    assert.equal(answer['verified'], true);
    const [first = 0, second = 0] = box.hellos;
    assert.ok(second < first && second <= 600, `${first}, then ${second} octets`);
  });

  test('of one domain says nothing about another one on the same MX host', async () => {
    const shared = { host: 'mx.shared.test', certificate: 'wrong-host' } as const;
    await world.internet.domain('strict.test', { sts: {}, mx: [shared] });
    const lax = await world.internet.domain('lax.test', { mx: [shared] });
    const both = await world.send({ to: ['a@strict.test', 'a@lax.test'] });
    const pairs = await Promise.all(
      Array.from({ length: 6 }, async (_, i) => ({
        strict: await world.send({ to: `${i}@strict.test` }),
        lax: await world.send({ to: `${i}@lax.test` }),
      })),
    );
    for (const sent of [both, ...pairs.map((pair) => pair.strict)]) {
      const answer = await world.answer(sent);
      assert.equal(answer['cause'], 'certificate-host-mismatch', JSON.stringify(answer));
    }
    for (const sent of pairs.map((pair) => pair.lax)) {
      assert.equal((await world.answer(sent)).event, 'delivery.delivered');
    }
    assert.equal(
      (await world.answer(both, { recipient: 'a@lax.test' })).event,
      'delivery.delivered',
    );
    const mailboxes = onlyHost(lax).sessions.flatMap((session) =>
      session.commands.filter(({ verb }) => verb === 'RCPT').map(({ line }) => line),
    );
    assert.equal(mailboxes.length, 7);
    assert.ok(
      mailboxes.every((line) => line.includes('@lax.test>')),
      mailboxes.join(),
    );
  });
});

/** What the table of the contract's section 8 promises where no policy forbids delivery. */
describe('without enforce', () => {
  let world: RelayWorld;
  before(async () => {
    world = await startWorld(PATIENT);
  });
  after(() => world.close());

  const rows: readonly [string, Breach, tls: 'clear' | 'unauthenticated', sessions: number][] = [
    ['no-starttls', { certificate: null }, 'clear', 1],
    ['starttls-refused', { startTls: 'refused' }, 'clear', 1],
    ['starttls-reset', { startTls: 'reset' }, 'clear', 3],
    ['garbage', { startTls: 'garbage' }, 'clear', 3],
    ['injection', { injectAfterStartTls: '250 2.0.0 Ok\r\n' }, 'clear', 3],
    ['tls-1-1', { maxTls: 'TLSv1.1' }, 'clear', 3],
    ['expired', { certificate: 'expired' }, 'unauthenticated', 1],
    ['wrong-host', { certificate: 'wrong-host' }, 'unauthenticated', 1],
    ['self-signed', { certificate: 'self-signed' }, 'unauthenticated', 1],
  ];
  for (const mode of ['testing', 'none', undefined] as const) {
    describe(mode === undefined ? 'no policy' : `mode ${mode}`, { concurrency: true }, () => {
      for (const [name, breach, tls, sessions] of rows) {
        test(`${name}: delivered, ${tls}`, async () => {
          const domain = `${name}.${mode ?? 'nothing'}.test`;
          const host = onlyHost(
            await world.internet.domain(domain, {
              ...(mode === undefined ? {} : { sts: { mode } }),
              mx: [{ host: `mx.${domain}`, ...breach }],
            }),
          );
          const sent = await world.send({ to: `a@${domain}` });
          const answer = await world.answer(sent);
          assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
          assert.equal(answer['verified'], false);
          assert.equal(answer['policy'], mode === 'testing' ? 'sts' : 'default');
          assert.equal(answer['tlsVersion'] === undefined, tls === 'clear');
          assertSameContent(host.messages[0], sent.data);
          assert.equal(host.messages[0]?.tls === undefined, tls === 'clear');
          assert.equal(host.sessions.length, sessions);
        });
      }
    });
  }

  test('testing: an MX host outside the policy gets it, and is counted for the report', async () => {
    const { mx } = await world.internet.domain('outside.testing.test', {
      sts: { mode: 'testing', mx: ['mx.elsewhere.test'] },
    });
    const answer = await world.answer(await world.send({ to: 'a@outside.testing.test' }));
    assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
    assert.equal(mx[0]?.messages.length, 1);
    const labels = { policy_type: 'sts', mode: 'testing' };
    const count = (result: string) =>
      world.relay.metric('stsrelay_tls_sessions_total', { ...labels, result });
    assert.ok(((await count('validation-failure')) ?? 0) >= 1);
    assert.ok(((await count('starttls-not-supported')) ?? 0) >= 2);
    assert.ok(((await count('certificate-expired')) ?? 0) >= 1);
  });
});

describe('exceptions an administrator makes', () => {
  let world: RelayWorld;
  before(async () => {
    world = await startWorld(PATIENT, { overrides: MIXED_OVERRIDES });
    const { internet } = world;
    const host = (name: string, certificate: 'self-signed' | null) => ({
      mx: [{ host: `mx.${name}`, certificate }],
    });
    for (const name of ['none', 'encrypt', 'over', 'other']) {
      const domain = `${name}.override.test`;
      await internet.domain(domain, { sts: {}, ...host(domain, 'self-signed') });
    }
    await internet.domain('bare.override.test', host('bare.override.test', null));
    await internet.domain('verify.override.test', host('verify.override.test', 'self-signed'));
  });
  after(() => world.close());

  const verdicts: readonly [string, Readonly<Record<string, unknown>>][] = [
    ['none', { event: 'delivery.delivered', policy: 'override', tlsVersion: undefined }],
    ['encrypt', { event: 'delivery.delivered', policy: 'override', tlsVersion: 'TLSv1.3' }],
    ['bare', { event: 'delivery.deferred', cause: 'starttls-not-offered' }],
    ['verify', { event: 'delivery.deferred', cause: 'certificate-self-signed' }],
    ['over', { event: 'delivery.deferred', cause: 'certificate-self-signed' }],
    ['other', { event: 'delivery.deferred', cause: 'certificate-self-signed' }],
  ];
  for (const [name, expected] of verdicts) {
    test(`override ${name}: ${expected['event']}`, async () => {
      const host = await world.internet.mxHost({ host: `mx.${name}.override.test` });
      const answer = await world.answer(await world.send({ to: `a@${name}.override.test` }));
      for (const [field, value] of Object.entries(expected)) {
        assert.equal(answer[field], value, JSON.stringify(answer));
      }
      if (answer.event === 'delivery.deferred') assertToldNothing(host);
      else assert.equal(host.messages.length, 1);
      if (name === 'none') {
        const verbs = host.sessions.flatMap(({ commands }) => commands.map(({ verb }) => verb));
        assert.ok(!verbs.includes('STARTTLS'), 'none means that TLS is not tried');
      }
    });
  }
});

test('security.default: verify demands of all what a policy would, until it is changed', async () => {
  await using world = await startWorld(PATIENT, {
    security: { default: 'verify', mtaSts: { enabled: false } },
  });
  const { internet, relay } = world;
  await internet.domain('good.test');
  const bad = await internet.domain('bad.test', {
    mx: [{ host: 'mx.bad.test', certificate: 'wrong-host' }],
  });
  const bare = await internet.domain('bare.test', {
    mx: [{ host: 'mx.bare.test', certificate: null }],
  });
  const [good, withheld, clear] = await Promise.all([
    world.send({ to: 'a@good.test' }),
    world.send({ to: 'a@bad.test' }),
    world.send({ to: 'a@bare.test' }),
  ]);
  assert.equal((await world.answer(good))['verified'], true);
  assert.equal((await world.answer(withheld))['cause'], 'certificate-host-mismatch');
  assert.equal((await world.answer(clear))['cause'], 'starttls-not-offered');
  assertToldNothing(onlyHost(bad));
  assertToldNothing(onlyHost(bare));

  relay.changeSettings({ security: { default: 'opportunistic' } });
  relay.reload();
  await relay.waitForEvent('config.reloaded');
  const { event } = await world.answer(await world.send({ to: 'b@bad.test' }));
  assert.equal(event, 'delivery.delivered');
});

test('with MTA-STS off, policies are neither looked up nor obeyed', async () => {
  await using world = await startWorld(PATIENT, { security: { mtaSts: { enabled: false } } });
  await world.internet.domain('bad.test', {
    sts: {},
    mx: [{ host: 'mx.bad.test', certificate: 'self-signed' }],
  });
  const answer = await world.answer(await world.send({ to: 'a@bad.test' }));
  assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
  assert.equal(answer['policy'], 'default');
  assert.equal(world.internet.dns.queriesFor('_mta-sts.bad.test').length, 0);
  assert.equal(world.internet.policyHost.connections.length, 0);
});
