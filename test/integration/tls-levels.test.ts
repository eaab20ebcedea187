/**
 * Every level of TLS that an administrator can ask for, as a default, as an override and as a route's own, end to
 * end: the relay's way out against real hosts, good ones and all kinds of bad ones. What each level allows stands in
 * one table; whoever asks, it is the same.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { reachedWith } from '../../src/mail/tls-outcome.ts';
import type { TlsLevel } from '../../src/mail/tls-requirement.ts';
import { type Middlebox, startMiddlebox } from '../support/middlebox.ts';
import type { MxHost } from '../support/mx-host.ts';
import type { MxDescription } from '../support/pretend-internet.ts';
import { type Sender, type SenderOptions, type Sent, senderWorld } from '../support/sender.ts';

/** Octets of a ClientHello that the box in front of `choosy` lets pass: less than one packet has. */
const CHOOSY_MOST = 600;

const HOSTS: Readonly<Record<string, Omit<MxDescription, 'host'>>> = {
  good: {},
  'self-signed': { certificate: 'self-signed' },
  'wrong-name': { certificate: 'wrong-host' },
  bare: { startTls: 'off' },
  refusing: { startTls: 'refused' },
  resetting: { startTls: 'reset' },
  talking: { startTls: 'garbage' },
  injected: { injectAfterStartTls: '250 2.0.0 Ok\r\n' },
  old: { maxTls: 'TLSv1.1' },
  choosy: {},
};

/** What comes of it, and over how many connections. */
type Row = readonly [result: string, connections: number];
const CLEAR: Row = ['clear', 1];
const EXPECTED: Readonly<Record<TlsLevel, Readonly<Record<string, Row>>>> = {
  none: Object.fromEntries(Object.keys(HOSTS).map((name) => [name, CLEAR])),
  opportunistic: {
    good: ['verified', 1],
    'self-signed': ['encrypted', 1],
    'wrong-name': ['encrypted', 1],
    bare: CLEAR,
    refusing: CLEAR,
    resetting: ['clear', 3],
    talking: ['clear', 3],
    injected: ['clear', 3],
    old: ['clear', 3],
    choosy: ['verified', 2],
  },
  encrypt: {
    good: ['verified', 1],
    'self-signed': ['encrypted', 1],
    'wrong-name': ['encrypted', 1],
    bare: ['starttls-not-offered', 1],
    refusing: ['starttls-refused', 1],
    resetting: ['tls-handshake-failed', 2],
    talking: ['clear-text-after-starttls', 2],
    injected: ['clear-text-after-starttls', 2],
    old: ['tls-version-too-low', 2],
    choosy: ['verified', 2],
  },
  verify: {
    good: ['verified', 1],
    'self-signed': ['certificate-self-signed', 1],
    'wrong-name': ['certificate-host-mismatch', 1],
    bare: ['starttls-not-offered', 1],
    refusing: ['starttls-refused', 1],
    resetting: ['tls-handshake-failed', 2],
    talking: ['clear-text-after-starttls', 2],
    injected: ['clear-text-after-starttls', 2],
    old: ['tls-version-too-low', 2],
    choosy: ['verified', 2],
  },
};

const world = senderWorld();
const hosts = new Map<string, MxHost>();
let box: Middlebox | undefined;

before(async () => {
  for (const [name, behaviour] of Object.entries(HOSTS)) {
    const { mx } = await world.domain(`${name}.test`, {
      mx: [{ host: `mx.${name}.test`, ...behaviour }],
    });
    if (mx[0]) hosts.set(name, mx[0]);
  }
  const { internet } = world;
  const address = `${internet.network}.250`;
  const dislikes = (octets: number) => octets > CHOOSY_MOST;
  box = await startMiddlebox({ address, host: hostOf('choosy'), dislikes });
  internet.dns.set('mx.choosy.test', 'A', [address], { ttl: 0 });
});
after(() => box?.close());

function hostOf(name: string): MxHost {
  const host = hosts.get(name);
  assert.ok(host, name);
  return host;
}

/** `verified`, `encrypted`, `clear`, or why the message waits. */
function resultOf({ outcome, messages }: Sent): string {
  if (outcome.kind !== 'delivered') {
    assert.equal(outcome.kind, 'deferred');
    assert.deepEqual(messages, []);
    const { failure } = outcome.diagnosis;
    return failure.kind === 'local' ? failure.cause : failure.stage;
  }
  const { tls } = outcome.facts;
  const [message] = messages;
  assert.equal(message?.tls === undefined, tls === undefined);
  return reachedWith(tls);
}

const names = Object.keys(HOSTS);
const reason = { owner: 'ops', reason: 'a test' };
const RULES: readonly (readonly [string, TlsLevel, () => SenderOptions])[] = [
  ...(['opportunistic', 'encrypt', 'verify'] as const).map(
    (level) => ['security.default', level, () => ({ defaultLevel: level })] as const,
  ),
  ...(['none', 'opportunistic', 'encrypt', 'verify'] as const).flatMap((level) => {
    const overrides = names.map((name) => ({ domain: `${name}.test`, tls: level, ...reason }));
    const routed = (nextHop: (name: string) => string) => ({
      settings: {
        routes: names.map((name) => ({
          domain: `${name}.test`,
          nextHop: nextHop(name),
          tls: level,
        })),
      },
    });
    const port = () => world.internet.mxPort;
    return [
      ['an override', level, () => ({ settings: { overrides }, defaultLevel: 'verify' as const })],
      ['a route to a host', level, () => routed((name) => `mx.${name}.test:${port()}`)],
      ['a route to MX hosts', level, () => routed((name) => `mx:${name}.test`)],
    ] as const;
  }),
];

for (const [by, level, options] of RULES) {
  describe(`${level} by ${by}`, () => {
    let sender: Sender;
    before(async () => {
      sender = await world.sender(options());
    });
    after(() => sender?.[Symbol.asyncDispose]());

    for (const name of names) {
      const [expected, connections] = EXPECTED[level][name] ?? CLEAR;
      test(`${name}: ${expected}`, async () => {
        const host = hostOf(name);
        const before = host.sessions.length;
        const sent = await sender.send(`bob@${name}.test`);
        assert.equal(resultOf(sent), expected);
        const isDelivered = sent.outcome.kind === 'delivered';
        const event = isDelivered ? 'delivery.delivered' : 'delivery.session_failed';
        const line = sent.events.find((one) => one.event === event);
        // A certificate that does not do is TLS all the same.
        const reached = /^certificate-/.test(expected) ? 'encrypted' : '-';
        assert.equal(line?.['tls'], `${level}:${isDelivered ? expected : reached}`);
        if (isDelivered) {
          const labels = { asked: level, reached: expected };
          assert.ok((await sender.metric('tls_deliveries_total', labels)) > 0);
        }
        await host.waitForSessions(before + connections);
        assert.equal(host.sessions.length, before + connections);
      });
    }
  });
}

describe('verify', () => {
  test('is about the host of a route, whatever the recipient domain and its MX hosts are', async () => {
    await world.domain('elsewhere.test');
    const { mxPort } = world.internet;
    const route = (host: string) => ({
      settings: {
        routes: [
          { domain: 'elsewhere.test', nextHop: `${host}:${mxPort}`, tls: 'verify' as const },
        ],
      },
    });
    await using right = await world.sender(route('mx.good.test'));
    assert.equal(resultOf(await right.send('bob@elsewhere.test')), 'verified');
    // The same host by another name, which its certificate does not have.
    world.internet.dns.set('alias.test', 'A', [hostOf('good').address]);
    await using wrong = await world.sender(route('alias.test'));
    assert.equal(resultOf(await wrong.send('bob@elsewhere.test')), 'certificate-host-mismatch');
  });
});

describe('a handshake that fails', () => {
  test('is logged and counted with what was tried next, and clear text is never remembered', async () => {
    await using sender = await world.sender();
    await sender.send('bob@talking.test');
    const cause = 'clear-text-after-starttls';
    const lines = sender.logged('delivery.tls_fallback');
    assert.deepEqual(
      lines.map(({ level, mx, to, cause, required }) => [level, mx, to, cause, required]),
      [
        ['info', 'mx.talking.test', 'small-hello', cause, 'opportunistic'],
        ['warn', 'mx.talking.test', 'clear', cause, 'opportunistic'],
      ],
    );
    for (const to of ['small-hello', 'clear']) {
      assert.equal(await sender.metric('tls_fallbacks_total', { to, cause }), 1);
    }
    const signs = (signal: string) => sender.metric('downgrade_suspected_total', { signal });
    assert.equal(await signs('starttls-injection'), 1);
    assert.equal(await signs('clear-text-fallback'), 1);
    // The next message begins with TLS again.
    const host = hostOf('talking');
    const before = host.sessions.length;
    await sender.send('bob@talking.test');
    assert.equal(host.sessions.length, before + 3);
  });

  test('and succeeds with a small ClientHello is no sign of a downgrade', async () => {
    await using sender = await world.sender();
    const { outcome } = await sender.send('bob@choosy.test');
    assert.ok(outcome.kind === 'delivered');
    assert.equal(outcome.facts.smallHelloBecause?.cause, 'tls-handshake-failed');
    const counted = { to: 'small-hello', cause: 'tls-handshake-failed' };
    assert.equal(await sender.metric('tls_fallbacks_total', counted), 1);
    assert.equal(await sender.metric('tls_fallbacks_total', { to: 'clear' }), 0);
    assert.deepEqual(sender.logged('policy.downgrade_suspected'), []);
  });

  test('costs a host with many addresses a few connections, then the next one is asked', async () => {
    const { internet } = world;
    const broken = hostOf('resetting');
    const addresses = [1, 2, 3, 4].map((n) => `${internet.network}.${240 + n}`);
    const boxes = await Promise.all(
      addresses.map((address) => startMiddlebox({ address, host: broken, dislikes: () => true })),
    );
    try {
      internet.dns.set('mx.resetting.test', 'A', addresses, { ttl: 0 });
      const { mx } = await world.domain('many.test', {
        sts: { mx: ['mx.resetting.test', 'mx2.many.test'] },
        mx: [{ host: 'mx.resetting.test' }, { host: 'mx2.many.test' }],
      });
      internet.dns.set('mx.resetting.test', 'A', addresses, { ttl: 0 });
      await using sender = await world.sender();
      const before = broken.sessions.length;
      assert.equal(resultOf(await sender.send('bob@many.test')), 'verified');
      assert.equal(mx[1]?.messages.length, 1);
      assert.equal(broken.sessions.length, before + 4, 'two addresses, each tried twice');
    } finally {
      await Promise.all(boxes.map((one) => one.close()));
      internet.dns.set('mx.resetting.test', 'A', [broken.address], { ttl: 0 });
    }
  });

  test('costs nothing where it does not fail', async () => {
    await using sender = await world.sender();
    const { outcome } = await sender.send('bob@good.test');
    assert.ok(outcome.kind === 'delivered');
    assert.equal(outcome.facts.smallHelloBecause, undefined);
    assert.deepEqual(sender.logged('delivery.tls_fallback'), []);
  });
});
