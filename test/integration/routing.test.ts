/**
 * Where the relay takes mail: MX hosts in order, the ways round hosts that are away, domains
 * that take no mail, smart hosts, and whose policy binds on the way (RFC 5321 §5.1, RFC 7505,
 * RFC 8461 §3.4).
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { MxHost } from '../support/mx-host.ts';
import {
  type MxDescription,
  type PretendInternet,
  startPretendInternet,
} from '../support/pretend-internet.ts';
import { dsnAbout, NO_RETRY, onVerb, openSession } from '../support/relay-mail.ts';
import { type RelayProcess, startRelay } from '../support/relay-process.ts';
import type { SmtpClient } from '../support/smtp-client.ts';

const CONTENT = 'From: a@sender.test\r\nSubject: routed\r\n\r\nhello\r\n';

let net: PretendInternet;
let senderMx: MxHost;
before(async () => {
  net = await startPretendInternet();
  senderMx = await net.mxHost({ host: 'mx.sender.test', certificate: null });
  await net.domain('sender.test', { mx: [{ host: senderMx.name }] });
});
after(() => net?.close());

/** Hand a message to the relay; its id. */
async function send(client: SmtpClient, to: string, mailParams = ''): Promise<string> {
  const params = mailParams === '' ? {} : { mailParams };
  const result = await client.deliver({ from: 'a@sender.test', to, data: CONTENT, ...params });
  assert.ok(result.accepted, result.reply.raw);
  return result.id ?? '';
}

describe('by MX', () => {
  let relay: RelayProcess;
  let client: SmtpClient;
  before(async () => {
    relay = await startRelay({ settings: [net.relaySettings(), NO_RETRY] });
    client = await openSession({ port: relay.smtpPort });
  });
  after(async () => {
    client?.close();
    await relay?.close();
  });
  const fate = (event: string, id: string) => relay.waitForEvent(event, (line) => line.id === id);
  const delivered = async (to: string, mailParams = '') =>
    fate('delivery.delivered', await send(client, to, mailParams));
  const deferred = async (to: string) => fate('delivery.deferred', await send(client, to));
  const bounced = async (to: string) => fate('outcome.bounced', await send(client, to));

  test('lowest preference first, in random order among equals', async () => {
    const host = (name: string, preference: number) =>
      ({ host: `${name}.equal.test`, preference, certificate: null }) as const;
    const { mx } = await net.domain('equal.test', {
      mx: [host('worse', 20), host('a', 10), host('b', 10), host('c', 10), host('last', 30)],
    });
    for (let i = 0; i < 40; i += 1) await send(client, `user${i}@equal.test`);
    await relay.waitForEvents('delivery.delivered', 40, {
      matches: (line) => line['destination'] === 'equal.test',
    });
    const [worse, a, b, c, last] = mx.map((one) => one.messages.length);
    assert.deepEqual([worse, last], [0, 0]);
    // Three hosts, forty draws: one of them is left out about once in three million runs.
    for (const share of [a, b, c]) assert.ok((share ?? 0) > 0, `${a}, ${b}, ${c}`);
  });

  const away: [string, Partial<MxDescription>][] = [
    ['refuses connections', { down: true }],
    ['has no address', { noAddress: true }],
    ['greets with 554', { script: onVerb('CONNECT', '554 5.3.2 not here') }],
    ['hangs up before its greeting', { script: onVerb('CONNECT', { ending: 'close' }) }],
    ['resets at EHLO', { script: onVerb('EHLO', { ending: 'reset' }) }],
    ['says 421 to MAIL', { script: onVerb('MAIL', '421 4.3.2 going down') }],
    ['says 451 to MAIL', { script: onVerb('MAIL', '451 4.3.0 not now') }],
  ];
  for (const [i, [what, behaviour]] of away.entries()) {
    test(`the next host when the first ${what}`, async () => {
      const name = `away${i}.test`;
      const { mx } = await net.domain(name, {
        mx: [
          { host: `first.${name}`, certificate: null, ...behaviour },
          { host: `second.${name}`, certificate: null },
        ],
      });
      const line = await delivered(`user@${name}`);
      assert.equal(line['mx'], `second.${name}`);
      assert.equal(mx[1]?.messages.length, 1);
      assert.equal(mx[0]?.received.length, 0);
    });
  }

  test('not the next host after a refusal that is about the recipient', async () => {
    const { mx } = await net.domain('final.test', {
      mx: [
        { host: 'a.final.test', certificate: null, script: onVerb('RCPT', '550 5.1.1 unknown') },
        { host: 'b.final.test', certificate: null },
      ],
    });
    assert.equal((await bounced('nobody@final.test'))['status'], '5.1.1');
    assert.equal(mx[1]?.sessions.length, 0);
  });

  test('every host away: deferred, and the line says what happened', async () => {
    await net.domain('dead.test', {
      mx: [
        { host: 'a.dead.test', down: true },
        { host: 'b.dead.test', down: true },
      ],
    });
    const line = await deferred('user@dead.test');
    assert.equal(line['status'], '4.4.1');
    assert.match(JSON.stringify(line), /[ab]\.dead\.test/);
    assert.ok(Date.parse(String(line['nextAttempt'])) > Date.parse(String(line.time)));
  });

  test('no MX record: the domain itself (implicit MX)', async () => {
    const host = await net.mxHost({ host: 'implicit.test' });
    assert.equal((await delivered('user@implicit.test'))['mx'], 'implicit.test');
    assert.equal(host.messages.length, 1);
  });

  test('null MX: bounced at once with 5.1.10, and the sender is told', async () => {
    await net.domain('nomail.test', { nullMx: true, mx: [] });
    net.dns.set('nomail.test', 'A', [net.deadAddress]);
    assert.equal((await bounced('user@nomail.test'))['status'], '5.1.10');
    assert.match(await dsnAbout(senderMx, 'user@nomail.test'), /^Status: 5\.1\.10\r$/m);
  });

  test('no such domain: bounced with 5.1.2', async () => {
    assert.equal((await bounced('user@nowhere.test'))['status'], '5.1.2');
    assert.match(await dsnAbout(senderMx, 'user@nowhere.test'), /^Status: 5\.1\.2\r$/m);
  });

  test('a domain with neither MX nor address: bounced with 5.4.4', async () => {
    net.dns.set('txtonly.test', 'TXT', ['something else']);
    assert.equal((await bounced('user@txtonly.test'))['status'], '5.4.4');
  });

  test('DNS that fails is no answer: deferred', async () => {
    for (const kind of ['servfail', 'refused'] as const) {
      await net.domain(`${kind}.test`);
      net.dns.behave(`${kind}.test`, 'MX', kind);
      assert.equal((await deferred(`user@${kind}.test`))['status'], '4.4.3');
    }
  });

  test('a CNAME: the target takes the mail, address and policy domain stay the recipient’s', async () => {
    // The target's policy would forbid its own MX.
    const real = await net.domain('real.test', { sts: { mx: ['elsewhere.test'] } });
    net.dns.set('alias.test', 'CNAME', ['real.test']);
    assert.equal((await delivered('user@alias.test'))['mx'], 'mx.real.test');
    assert.equal(real.mx[0]?.messages[0]?.recipients[0]?.address, 'user@alias.test');
    assert.ok(net.dns.queriesFor('_mta-sts.alias.test', 'TXT').length > 0);
    assert.equal(net.dns.queriesFor('_mta-sts.real.test', 'TXT').length, 0);
  });

  test('a U-label domain is routed and sent in A-labels, its policy obeyed', async () => {
    const idn = await net.domain('xn--bcher-kva.test', { sts: {} });
    const line = await delivered('user@BÜCHER.test', 'SMTPUTF8');
    assert.equal(line['policyDomain'], 'xn--bcher-kva.test');
    assert.equal(idn.messages[0]?.recipients[0]?.address, 'user@xn--bcher-kva.test');
  });

  test('an address literal', async () => {
    const host = await net.mxHost({ host: 'literal.test' });
    const line = await delivered(`user@[${host.address}]`);
    assert.equal(line['address'], host.address);
    assert.equal(host.messages[0]?.recipients[0]?.address, `user@[${host.address}]`);
  });

  test('the relay is the best MX itself: bounced, not sent to itself or to worse hosts', async () => {
    const { mx } = await net.domain('loop.test', { mx: [{ host: 'b.loop.test', preference: 20 }] });
    net.dns.set('loop.test', 'MX', [
      { preference: 10, exchange: 'relay.example.net' },
      { preference: 20, exchange: 'b.loop.test' },
    ]);
    assert.equal((await bounced('user@loop.test'))['status'], '5.4.6');
    assert.equal(mx[0]?.sessions.length, 0);
  });

  test('recipients of one message: one transaction per domain, everyone once', async () => {
    const one = await net.domain('one.test', { mx: [{ host: 'mx.one.test', certificate: null }] });
    const two = await net.domain('two.test', { mx: [{ host: 'mx.two.test', certificate: null }] });
    const to = ['a@one.test', 'b@two.test', 'c@ONE.test'];
    const { id } = await client.deliver({ from: 'a@sender.test', to, data: CONTENT });
    await relay.waitForEvents('delivery.delivered', 3, { matches: (line) => line.id === id });
    const addresses = (messages: typeof one.messages) =>
      messages.map((message) => message.recipients.map(({ address }) => address));
    assert.deepEqual(addresses(one.messages), [['a@one.test', 'c@ONE.test']]);
    assert.deepEqual(addresses(two.messages), [['b@two.test']]);
  });
});

describe('by configured routes', () => {
  let relay: RelayProcess;
  let client: SmtpClient;
  let direct: MxHost;
  before(async () => {
    direct = await net.mxHost({ host: 'direct.test', certificate: null });
    await net.domain('smart.test', { mx: [{ host: 'smart.test' }], sts: { mx: ['smart.test'] } });
    await net.domain('hub.test', { sts: {} });
    await net.domain('outside.test', { sts: { mx: ['mx.elsewhere.test'] } });
    await net.domain('expired.test', {
      mx: [{ host: 'expired.test', certificate: 'expired' }],
      sts: { mx: ['expired.test'] },
    });
    await net.domain('catchall.test', { mx: [{ host: 'catchall.test', certificate: null }] });
    const routes = [
      { domain: 'branch.test', nextHop: `smart.test:${net.mxPort}` },
      { domain: 'byaddress.test', nextHop: `${direct.address}:${net.mxPort}` },
      { domain: 'viamx.test', nextHop: 'mx:hub.test' },
      { domain: 'forbidden.test', nextHop: 'mx:outside.test' },
      { domain: 'unproven.test', nextHop: `expired.test:${net.mxPort}` },
      { domain: 'excepted.test', nextHop: `expired.test:${net.mxPort}`, tls: 'encrypt' },
      { domain: 'clear.test', nextHop: `${direct.address}:${net.mxPort}`, tls: 'verify' },
      { domain: 'gone.test', nextHop: 'mx:nowhere.test' },
      { domain: '*', nextHop: `catchall.test:${net.mxPort}` },
    ];
    const overrides = [{ domain: 'excepted.test', tls: 'encrypt' }];
    // Routes are the administrator's word: the guard against strangers' DNS is not asked about
    // their hosts. About policy hosts it is.
    const outbound = { allowPrivateAddresses: [`${net.policyHost.address}/32`] };
    const guarded = { outbound, routes, overrides };
    relay = await startRelay({ settings: [net.relaySettings(), NO_RETRY, guarded] });
    client = await openSession({ port: relay.smtpPort });
  });
  after(async () => {
    client?.close();
    await relay?.close();
  });
  const fate = async (event: string, to: string) => {
    const id = await send(client, to);
    return relay.waitForEvent(event, (line) => line.id === id);
  };

  test('to a host and port: its policy binds, the recipient domain is not asked about', async () => {
    const line = await fate('delivery.delivered', 'user@branch.test');
    assert.equal(line['mx'], 'smart.test');
    assert.equal(line['policyDomain'], 'smart.test');
    assert.equal(line['verified'], true);
    for (const name of ['branch.test', '_mta-sts.branch.test']) {
      assert.equal(net.dns.queriesFor(name).length, 0, name);
    }
  });

  test('to an address and port: no policy can bind', async () => {
    const line = await fate('delivery.delivered', 'user@byaddress.test');
    assert.equal(line['address'], direct.address);
    assert.equal(direct.messages.length, 1);
  });

  test('to the MX of a domain, under that domain’s policy', async () => {
    const line = await fate('delivery.delivered', 'user@viamx.test');
    assert.equal(line['mx'], 'mx.hub.test');
    assert.equal(line['policyDomain'], 'hub.test');
    assert.equal(line['verified'], true);
  });

  test('a next hop outside its own policy gets nothing', async () => {
    const line = await fate('delivery.deferred', 'user@forbidden.test');
    assert.equal(line['cause'], 'mx-outside-policy');
    assert.equal((await net.mxHost({ host: 'mx.outside.test' })).sessions.length, 0);
  });

  test('a next hop with an expired certificate gets nothing', async () => {
    const line = await fate('delivery.deferred', 'user@unproven.test');
    assert.equal(line['cause'], 'certificate-expired');
    assert.equal(line['status'], '4.7.5');
    const { received } = await net.mxHost({ host: 'expired.test' });
    assert.equal(received.length, 0);
  });

  test('unless an override for the recipient domain says otherwise', async () => {
    const line = await fate('delivery.delivered', 'user@excepted.test');
    assert.equal(line['mx'], 'expired.test');
    assert.equal(line['policy'], 'override');
  });

  test('tls: verify on the route itself is obeyed where no policy is published', async () => {
    const line = await fate('delivery.deferred', 'user@clear.test');
    assert.equal(line['cause'], 'starttls-not-offered');
  });

  test('a next hop that does not exist bounces nobody’s mail', async () => {
    assert.equal((await fate('delivery.deferred', 'user@gone.test'))['status'], '4.4.3');
  });

  test('"*" takes all the others, whatever their own records say', async () => {
    await net.domain('refusing.test', { nullMx: true, mx: [] });
    for (const to of ['user@refusing.test', 'user@unheard-of.test', 'user@[192.0.2.1]']) {
      assert.equal((await fate('delivery.delivered', to))['mx'], 'catchall.test', to);
    }
    assert.equal(net.dns.queriesFor('refusing.test').length, 0);
  });
});
