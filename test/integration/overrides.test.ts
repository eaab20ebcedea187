/**
 * An exception for one broken partner, as an admin makes it on a running relay: mail waits, the
 * exception lets it out, its end has it wait again.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { runStsrelay } from '../support/cli.ts';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import { openSession } from '../support/relay-mail.ts';
import { type RelayProcess, startRelay } from '../support/relay-process.ts';
import { waitFor } from '../support/wait-for.ts';

let net: PretendInternet;
before(async () => {
  net = await startPretendInternet();
});
after(() => net?.close());

async function send(relay: RelayProcess, to: string): Promise<void> {
  using client = await openSession({ port: relay.smtpPort });
  const data = `Subject: ${to}\r\n\r\nhello\r\n`;
  const { accepted, reply } = await client.deliver({ from: 'ann@home.test', to, data });
  assert.ok(accepted, reply.raw);
}

test('added, it holds at once and over a restart; removed, the policy binds again', async () => {
  const partner = await net.domain('partner.test', {
    sts: {},
    mx: [{ host: 'mx.partner.test', certificate: 'expired' }],
  });
  await using relay = await startRelay({
    settings: [net.relaySettings(), { retry: { classes: { tlsPolicy: { schedule: ['1s'] } } } }],
  });
  const cli = (...args: string[]) => runStsrelay([...args, '--config', relay.configFile]);
  await send(relay, 'a@partner.test');
  await relay.waitForEvent('delivery.deferred');
  assert.equal(partner.messages.length, 0);

  const refused = await cli('override', 'add', 'partner.test', '--tls', 'encrypt', '--reason', 'x');
  assert.equal(refused.code, 2, 'without an end');
  const reason = 'their certificate expired, ticket 123';
  const wish = ['--tls', 'encrypt', '--for', '7d', '--owner', 'ops@home.test', '--reason', reason];
  const added = await cli('override', 'add', 'partner.test', ...wish);
  assert.equal(added.code, 0, added.stderr);
  assert.match(added.stdout, /^partner\.test: added, TLS \w+ until \d{4}-\d\d-\d\dT[\d:]{8}Z\n$/);
  await waitFor('the mail that waited', () => partner.messages.length === 1);
  const delivered = await relay.waitForEvent('delivery.delivered');
  assert.equal(delivered['policy'], 'override');
  await relay.waitForMetric('stsrelay_overrides_active', 1);

  await relay.restart();
  await send(relay, 'b@partner.test');
  await waitFor('mail after a restart', () => partner.messages.length === 2);
  const listed = await cli('override', 'list', '--json');
  const [view] = JSON.parse(listed.stdout) as Record<string, string>[];
  assert.deepEqual(
    [view?.['domain'], view?.['tls'], view?.['owner'], view?.['reason'], view?.['source']],
    ['partner.test', 'encrypt', 'ops@home.test', reason, 'added'],
  );
  const days = (Date.parse(view?.['expires'] ?? '') - Date.now()) / 86_400_000;
  assert.ok(days > 6.9 && days <= 7, `${days}`);

  const checked = await cli('check', 'partner.test');
  assert.match(checked.stdout, /^partner\.test: mail would be delivered/m);

  const removed = await cli('override', 'remove', 'partner.test');
  assert.deepEqual([removed.code, removed.stdout], [0, 'partner.test: removed\n']);
  const none = await cli('override', 'remove', 'partner.test');
  assert.equal(none.code, 1);
  assert.match(none.stderr, /there is no override for partner\.test/);
  await send(relay, 'c@partner.test');
  await relay.waitForEvent('delivery.deferred', ({ recipient }) => recipient === 'c@partner.test');
  assert.equal(partner.messages.length, 2);

  const audit = await cli('audit', '--json');
  const actions = JSON.parse(audit.stdout) as Record<string, string>[];
  assert.deepEqual(
    actions.map(({ action, target }) => [action, target]),
    [
      ['override.remove', 'partner.test'],
      ['override.add', 'partner.test'],
    ],
  );
  assert.match((await cli('audit')).stdout, /\toverride\.add\tpartner\.test\ttls: encrypt, /);
  for (const { actor, at } of actions) {
    assert.match(actor ?? '', /^\S+ uid \d+$/);
    assert.ok(Date.parse(at ?? '') <= Date.now());
  }
});
