/**
 * RFC 8689, section by section, as the relay obeys it: each test is named after the requirement of
 * docs/conformance.md that it shows. What comes in goes through the front door; what goes out, through the
 * relay's own resolver, policy store and sessions to MX hosts on loopback, whose word on what they were told counts.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Envelope } from '../../src/mail/envelope.ts';
import type { CertificateKind } from '../support/ca.ts';
import { openDoor } from '../support/front-door.ts';
import type { MxHost } from '../support/mx-host.ts';
import { DEFAULT_KEYWORDS } from '../support/mx-script.ts';
import type { MxDescription } from '../support/pretend-internet.ts';
import { assertToldNothing } from '../support/relay-world.ts';
import { type Sent, senderWorld } from '../support/sender.ts';
import { dsnsOf } from '../support/vectors/dsn.ts';
import { parseReport } from '../unit/report-parser.ts';
import { octets } from '../unit/sample-mail.ts';
import { assertDeferred, assertDelivered, causeOf } from './rfc8461/outcomes.ts';

const world = senderWorld();

const TAGGED: Partial<Envelope> = { requireTls: true };
const RELAXED: Partial<Envelope> = { tlsRequiredNo: true };
const DAY = 86_400_000;

/** A host that offers it over TLS, which is where it counts. */
function willing(host: string, more: Partial<MxDescription> = {}): MxDescription {
  return { host, keywordsOverTls: [...DEFAULT_KEYWORDS, 'REQUIRETLS'], ...more };
}

function paramsOf({ messages }: Sent): readonly string[] {
  return messages.flatMap(({ mailFrom }) => mailFrom.params);
}

function assertTagged(sent: Sent): void {
  assertDelivered(sent, 'verified');
  assert.equal(paramsOf(sent).filter((param) => param === 'REQUIRETLS').length, 1);
}

function assertUntagged(sent: Sent, how: Parameters<typeof assertDelivered>[1]): void {
  assertDelivered(sent, how);
  assert.ok(!paramsOf(sent).some((param) => /^REQUIRETLS/i.test(param)));
}

/** It goes back at once with this status, and no host was told anything of it. */
function assertReturned(sent: Sent, status: string, hosts: readonly MxHost[]): void {
  assert.equal(sent.outcome.kind, 'bounced', causeOf(sent));
  assert.equal(sent.record.bounced[0]?.failure.status, status);
  for (const host of hosts) assertToldNothing(host);
}

/** A domain with a policy in enforce. */
function enforcing(name: string, ...mx: readonly MxDescription[]) {
  return world.domain(name, { sts: {}, mx });
}

describe('RFC 8689 §2 The REQUIRETLS Service Extension', () => {
  test('R175 MAIL carries REQUIRETLS, without a value, where it is offered over TLS', async () => {
    await using sender = await world.sender();
    const { mx } = await enforcing('r175.test', willing('mx.r175.test'));
    const sent = await sender.send('bob@r175.test', TAGGED);
    assertTagged(sent);
    const [session] = await (mx[0]?.waitForSessions(1) ?? []);
    assert.deepEqual(session?.violations, []);
    const mail = session?.commands.find(({ verb }) => verb === 'MAIL');
    assert.ok(mail?.overTls);
  });

  test('R175 offered in clear text only it is not offered', async () => {
    await using sender = await world.sender();
    const { mx } = await enforcing('r175b.test', {
      host: 'mx.r175b.test',
      keywords: [...DEFAULT_KEYWORDS, 'REQUIRETLS'],
      keywordsOverTls: DEFAULT_KEYWORDS,
    });
    assertReturned(await sender.send('bob@r175b.test', TAGGED), '5.7.30', mx);
  });

  for (const keyword of ['XREQUIRETLS', 'REQUIRETLS2', 'X REQUIRETLS']) {
    test(`R175 ${keyword} is another extension`, async () => {
      await using sender = await world.sender();
      const name = `r175-${keyword.toLowerCase().replace(' ', '-')}.test`;
      const keywordsOverTls = [...DEFAULT_KEYWORDS, keyword];
      const { mx } = await enforcing(name, { host: `mx.${name}`, keywordsOverTls });
      assertReturned(await sender.send(`bob@${name}`, TAGGED), '5.7.30', mx);
    });
  }

  test('R175 other mail to the same host goes without, and over another connection', async () => {
    await using sender = await world.sender({
      settings: { destinations: { default: { messagesPerConnection: 100, idle: '10m' } } },
    });
    const { mx } = await enforcing('r175c.test', willing('mx.r175c.test'));
    assertTagged(await sender.send('bob@r175c.test', TAGGED));
    assertUntagged(await sender.send('bob@r175c.test'), 'verified');
    assertTagged(await sender.send('bob@r175c.test', TAGGED));
    assertUntagged(await sender.send('bob@r175c.test', RELAXED), 'verified');
    assert.deepEqual(
      mx[0]?.sessions.map(({ messages }) => messages.length),
      [2, 1, 1],
    );
  });
});

describe('RFC 8689 §3 The TLS-Required Header Field', () => {
  const forms: readonly (readonly [header: string, counts: boolean])[] = [
    ['TLS-Required: No', true],
    ['tls-required:\r\n no', true],
    ['TLS-Required: Yes', false],
    ['TLS-Required: No, please', false],
    ['TLS-Required: No\r\nTLS-Required: No', false],
  ];
  for (const [header, counts] of forms) {
    const what = header.replaceAll('\r\n', '\\r\\n');
    test(`R181 ${what} ${counts ? 'counts' : 'does not count'}`, async () => {
      await using door = await openDoor();
      using client = await door.session();
      const data = `Subject: x\r\n${header}\r\n\r\nTLS-Required: No\r\n`;
      const { accepted } = await client.deliver({ from: 'a@here.test', to: 'b@there.test', data });
      assert.ok(accepted);
      assert.equal(door.queue.last.envelope.tlsRequiredNo, counts ? true : undefined);
    });
  }

  for (const mailParams of ['', 'REQUIRETLS']) {
    test(`R185 the field stays in the message${mailParams && ', beside REQUIRETLS, too'}`, async () => {
      await using door = await openDoor();
      using client = await door.secureSession();
      const data = 'TLS-Required: No\r\nSubject: x\r\n\r\nbody\r\n';
      const message = { from: 'a@here.test', to: 'b@there.test', mailParams, data };
      assert.ok((await client.deliver(message)).accepted);
      assert.equal(door.queue.last.content, data);
    });
  }

  test('R183 beside REQUIRETLS the field is not even noted', async () => {
    await using door = await openDoor();
    using client = await door.secureSession();
    const data = 'TLS-Required: No\r\n\r\n';
    const message = { from: 'a@here.test', to: 'b@there.test', mailParams: 'REQUIRETLS', data };
    assert.ok((await client.deliver(message)).accepted);
    const { requireTls, tlsRequiredNo } = door.queue.last.envelope;
    assert.deepEqual([requireTls, tlsRequiredNo], [true, undefined]);
  });
});

describe('RFC 8689 §4.2.1 Sending with TLS Required', () => {
  test('R176 a host that a policy in enforce lists will do', async () => {
    await using sender = await world.sender();
    await enforcing('r176.test', willing('mx.r176.test'));
    assertTagged(await sender.send('bob@r176.test', TAGGED));
  });

  const insecure = [
    ['testing', { sts: { mode: 'testing' } }],
    ['none', { sts: { mode: 'none' } }],
    ['nothing', {}],
  ] as const;
  for (const [what, published] of insecure) {
    test(`R176 with ${what} published the host is not even connected to`, async () => {
      await using sender = await world.sender();
      const name = `r176-${what}.test`;
      const { mx } = await world.domain(name, { ...published, mx: [willing(`mx.${name}`)] });
      assertReturned(await sender.send(`bob@${name}`, TAGGED), '5.7.30', mx);
      assert.equal(mx[0]?.sessions.length, 0);
    });
  }

  test('R176 a host that the policy does not list gets nothing, and the message waits', async () => {
    await using sender = await world.sender();
    const sts = { mx: ['other.r176d.test'] };
    const { mx } = await world.domain('r176d.test', { sts, mx: [willing('mx.r176d.test')] });
    assertDeferred(await sender.send('bob@r176d.test', TAGGED), 'mx-outside-policy');
    assert.equal(mx[0]?.sessions.length, 0);
  });

  test('R176 a policy that cannot be fetched may say so later: the message waits', async () => {
    await using sender = await world.sender();
    const policy = { status: 503 };
    const mx = [willing('mx.r176e.test')];
    const made = await world.domain('r176e.test', { sts: {}, policy, mx });
    // Others go meanwhile as if nothing were published (RFC 8461 §3.3).
    assertUntagged(await sender.send('bob@r176e.test'), 'verified');
    assertDeferred(await sender.send('bob@r176e.test', TAGGED), 'policy-unknown');
    assert.equal(made.messages.length, 1);
  });

  test('R176 the host that a route names will do, the MX hosts of a domain that it names will not', async () => {
    const { mx } = await world.domain('r176f.test', { mx: [willing('mx.r176f.test')] });
    const [host] = mx as [MxHost];
    for (const [nextHop, isTaken] of [
      [`mx.r176f.test:${host.port}`, true],
      ['mx:r176f.test', false],
    ] as const) {
      const routes = [{ domain: '*', nextHop, tls: 'opportunistic' as const }];
      await using sender = await world.sender({ settings: { routes } });
      const sent = await sender.send('bob@elsewhere.test', TAGGED);
      if (isTaken) assertTagged(sent);
      else assert.equal(causeOf(sent), 'requiretls-mx-insecure');
    }
    assert.equal(host.messages.length, 1);
  });

  for (const tls of ['none', 'opportunistic', 'encrypt', 'verify'] as const) {
    test(`R176 an override (${tls}) takes nothing away from it`, async () => {
      const name = `r176-override-${tls}.test`;
      const bare = `bare.${name}`;
      const overrides = [name, bare].map((domain) => ({ domain, tls }));
      await using sender = await world.sender({ settings: { overrides } });
      await enforcing(name, willing(`mx.${name}`));
      const { mx } = await world.domain(bare, { mx: [willing(`mx.${bare}`)] });
      assertTagged(await sender.send(`bob@${name}`, TAGGED));
      assertReturned(await sender.send(`bob@${bare}`, TAGGED), '5.7.30', mx);
    });
  }

  const bad: readonly (readonly [CertificateKind, string])[] = [
    ['expired', 'certificate-expired'],
    ['self-signed', 'certificate-self-signed'],
    ['untrusted', 'certificate-untrusted'],
    ['wrong-host', 'certificate-host-mismatch'],
    // RFC 8689 §4.2.1 would allow a CN-ID; RFC 8461 §4.2 does not.
    ['cn-only', 'certificate-host-mismatch'],
  ];
  for (const [certificate, cause] of bad) {
    test(`R177 a certificate that is ${certificate}: the next host gets it, or it waits`, async () => {
      await using sender = await world.sender();
      const name = `r177-${certificate}.test`;
      const first = willing(`mx1.${name}`, { certificate });
      const { mx } = await enforcing(name, first, willing(`mx2.${name}`));
      assertTagged(await sender.send(`bob@${name}`, TAGGED));
      const alone = `alone.${name}`;
      const only = await enforcing(alone, willing(`mx.${alone}`, { certificate }));
      assertDeferred(await sender.send(`bob@${alone}`, TAGGED), cause as never);
      for (const host of [mx[0], only.mx[0]]) assertToldNothing(host as MxHost);
    });
  }

  test('R178 a host without REQUIRETLS is left with QUIT, and the next one gets the message', async () => {
    await using sender = await world.sender();
    const plain = { host: 'mx1.r178.test' };
    const { mx } = await enforcing('r178.test', plain, willing('mx2.r178.test'));
    assertTagged(await sender.send('bob@r178.test', TAGGED));
    const [first] = mx as [MxHost];
    await first.waitUntil('the end of the session', ([session]) => session?.ended || undefined);
    const verbs = first.sessions[0]?.commands.map(({ verb }) => verb);
    assert.deepEqual(verbs, ['EHLO', 'STARTTLS', 'EHLO', 'QUIT']);
  });

  test('R178 also where the same host takes other mail over a session that is kept', async () => {
    await using sender = await world.sender({
      settings: { destinations: { default: { messagesPerConnection: 100, idle: '10m' } } },
    });
    const { mx } = await enforcing('r178b.test', { host: 'mx.r178b.test' });
    const [host] = mx as [MxHost];
    assertUntagged(await sender.send('bob@r178b.test'), 'verified');
    assert.equal((await sender.send('bob@r178b.test', TAGGED)).outcome.kind, 'bounced');
    assertToldNothing(host, { afterSession: 1 });
    assertUntagged(await sender.send('bob@r178b.test'), 'verified');
    assert.equal(host.sessions.length, 2);
  });

  test('R178 no host left: the domain gets nothing of the message', async () => {
    await using sender = await world.sender();
    const { mx } = await enforcing(
      'r178c.test',
      { host: 'mx1.r178c.test' },
      { host: 'mx2.r178c.test', certificate: 'expired' },
      { host: 'mx3.r178c.test', certificate: null },
    );
    const sent = await sender.send('bob@r178c.test', TAGGED);
    assert.equal(sent.outcome.kind, 'deferred');
    for (const host of mx) assertToldNothing(host);
  });

  test('R179 where no host offers REQUIRETLS the message is returned with 5.7.30', async () => {
    await using sender = await world.sender();
    const hosts = [{ host: 'mx1.r179.test' }, { host: 'mx2.r179.test' }];
    const { mx } = await enforcing('r179.test', ...hosts);
    const sent = await sender.send('bob@r179.test', TAGGED);
    assertReturned(sent, '5.7.30', mx);
    assert.deepEqual(
      mx.map(({ sessions }) => sessions.length),
      [1, 1],
    );
    assert.ok(sent.record.dsnId);
    assert.match(sent.record.bounced[0]?.failure.demand ?? '', /REQUIRETLS/);
  });

  const withoutTls: readonly (readonly [string, Partial<MxDescription>])[] = [
    ['no-starttls', { certificate: null }],
    ['refused', { startTls: 'refused' }],
    ['garbage', { startTls: 'garbage' }],
    ['tls-1-1', { maxTls: 'TLSv1.1' }],
  ];
  for (const [what, behaviour] of withoutTls) {
    test(`R179 without TLS (${what}) it waits, and is returned with 5.7.10 in the end`, async () => {
      await using sender = await world.sender();
      const name = `r179-${what}.test`;
      const { mx } = await enforcing(name, willing(`mx.${name}`, behaviour));
      const sent = await sender.send(`bob@${name}`, TAGGED);
      assert.equal(sent.outcome.kind, 'deferred');
      assert.equal(sent.record.deferred[0]?.failure.status, '4.7.10');
      sender.clock.advance(5 * DAY);
      const last = await sender.attempt(sent.id);
      assert.deepEqual(
        [last.record.bounced[0]?.failure.status, last.record.deferred.length],
        ['5.7.10', 0],
      );
      for (const host of mx) assertToldNothing(host);
    });
  }
});

describe('RFC 8689 §4.2.2 Sending with TLS Optional', () => {
  const breaches: readonly (readonly [
    string,
    Partial<MxDescription>,
    'clear-text' | 'unauthenticated',
  ])[] = [
    ['no STARTTLS', { certificate: null }, 'clear-text'],
    ['a handshake that fails', { startTls: 'garbage' }, 'clear-text'],
    ['an expired certificate', { certificate: 'expired' }, 'unauthenticated'],
  ];
  for (const [n, [what, behaviour, how]] of breaches.entries()) {
    test(`R182 ${what} under a policy in enforce: it is delivered all the same`, async () => {
      await using sender = await world.sender();
      const name = `r182-${n}.test`;
      await enforcing(name, { host: `mx.${name}`, ...behaviour });
      assert.equal((await sender.send(`bob@${name}`)).outcome.kind, 'deferred');
      assertUntagged(await sender.send(`bob@${name}`, RELAXED), how);
    });
  }

  test('R182 so it is by a host outside the policy, over TLS where that can be had', async () => {
    await using sender = await world.sender();
    const sts = { mx: ['other.r182.test'] };
    await world.domain('r182.test', { sts, mx: [willing('mx.r182.test')] });
    const sent = await sender.send('bob@r182.test', RELAXED);
    assertUntagged(sent, 'verified');
    const [line] = sent.events.filter(({ event }) => event === 'delivery.delivered');
    assert.equal(line?.['policy'], 'tls-required-no');
    const labels = { mode: 'tls-required-no', result: 'successful' };
    assert.equal(await sender.metric('tls_sessions_total', labels), 1);
  });

  test('R183 with both, REQUIRETLS counts', async () => {
    await using sender = await world.sender();
    await enforcing('r183.test', willing('mx.r183.test'));
    assertTagged(await sender.send('bob@r183.test', { ...TAGGED, ...RELAXED }));
    const { mx } = await enforcing('r183b.test', { host: 'mx.r183b.test' });
    const sent = await sender.send('bob@r183b.test', { ...TAGGED, ...RELAXED });
    assertReturned(sent, '5.7.30', mx);
  });

  test('R184 a host that insists on TLS and cannot do it: the message is returned', async () => {
    await using sender = await world.sender();
    const { messages } = await world.domain('r184.test', {
      sts: {},
      mx: [
        {
          host: 'mx.r184.test',
          startTls: 'refused',
          script: (_session, { verb, overTls }) =>
            verb === 'MAIL' && !overTls
              ? '530 5.7.0 Must issue a STARTTLS command first'
              : undefined,
        },
      ],
    });
    const sent = await sender.send('bob@r184.test', RELAXED);
    assert.equal(sent.outcome.kind, 'bounced');
    assert.equal(sent.record.bounced[0]?.failure.status, '5.7.0');
    assert.ok(sent.record.dsnId);
    assert.equal(messages.length, 0);
  });
});

describe('RFC 8689 §5 Non-delivery Message Handling', () => {
  test('R180 a report about a tagged message has its header alone, and is tagged', async () => {
    const message = { mail_from: 'ann@sender.test', ret: 'FULL', requiretls: true };
    const event = { kind: 'local', reason: 'requiretls-unsupported' } as const;
    const [dsn] = await dsnsOf({ message, recipients: [{ rcpt: 'bob@dest.test', event }] });
    assert.equal(dsn?.envelope.requireTls, true);
    assert.equal(dsn?.envelope.reversePath, '');
    const { parts } = parseReport(await octets(dsn?.body as never));
    assert.equal(parts[2]?.type, 'text/rfc822-headers');
  });

  const BOUNCE: Partial<Envelope> = { ...TAGGED, reversePath: '' };
  test('R180 it goes with REQUIRETLS where all is there for it', async () => {
    await using sender = await world.sender();
    await enforcing('r180.test', willing('mx.r180.test'));
    assertTagged(await sender.send('ann@r180.test', BOUNCE));
  });

  const ways: readonly (readonly [
    string,
    MxDescription,
    boolean,
    'verified' | 'unauthenticated' | 'clear-text',
  ])[] = [
    ['the host does not offer it', { host: 'mx.r180-0.test' }, true, 'verified'],
    ['nothing vouches for the host', willing('mx.r180-1.test'), false, 'verified'],
    [
      'the certificate is bad',
      willing('mx.r180-2.test', { certificate: 'expired' }),
      false,
      'unauthenticated',
    ],
    ['there is no TLS', { host: 'mx.r180-3.test', certificate: null }, false, 'clear-text'],
  ];
  for (const [n, [why, host, hasPolicy, how]] of ways.entries()) {
    test(`R180 it is not lost, and goes without, where ${why}`, async () => {
      await using sender = await world.sender();
      await world.domain(`r180-${n}.test`, { mx: [host], ...(hasPolicy ? { sts: {} } : {}) });
      assertUntagged(await sender.send(`ann@r180-${n}.test`, BOUNCE), how);
    });
  }

  test('R180 the policy of the domain holds for it as for other mail', async () => {
    await using sender = await world.sender();
    await enforcing('r180e.test', willing('mx.r180e.test', { certificate: 'expired' }));
    assertDeferred(await sender.send('ann@r180e.test', BOUNCE), 'certificate-expired');
  });

  test('R180 an override to clear text does not keep it from TLS', async () => {
    const overrides = [{ domain: 'r180f.test', tls: 'none' as const }];
    await using sender = await world.sender({ settings: { overrides } });
    await enforcing('r180f.test', { host: 'mx.r180f.test' });
    assertUntagged(await sender.send('ann@r180f.test'), 'clear-text');
    assertUntagged(await sender.send('ann@r180f.test', BOUNCE), 'verified');
  });
});
