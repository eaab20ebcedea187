/**
 * Retry settings that change while mail waits: they hold for what is queued, counted from its last
 * attempt, when they are reloaded and when the relay is started with them.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import { dsnAbout, NO_RETRY, onVerb, openSession } from '../support/relay-mail.ts';
import { type RelayProcess, startRelay } from '../support/relay-process.ts';

let net: PretendInternet;
before(async () => {
  net = await startPretendInternet();
});
after(() => net?.close());

async function send(relay: RelayProcess, to: string): Promise<string> {
  using client = await openSession({ port: relay.smtpPort });
  const data = `Subject: ${to}\r\n\r\nhello\r\n`;
  const { id, reply } = await client.deliver({ from: 'ann@home.test', to, data });
  assert.ok(id, reply.raw);
  return id;
}

const BUSY = { mx: [{ host: 'mx.busy.test', script: onVerb('RCPT', '451 4.3.0 not now') }] };
const settings = (retry: object) => [net.relaySettings(), NO_RETRY, { retry }];

test('a shorter schedule has mail tried that waited for a longer one, however often it was tried', async () => {
  const busy = await net.domain('busy.test', BUSY);
  const [host] = busy.mx;
  assert.ok(host);
  await using relay = await startRelay({ settings: settings({ schedule: ['100ms', '1s', '1h'] }) });
  const id = await send(relay, 'a@busy.test');
  await relay.waitForEvents('delivery.deferred', 3, { matches: (line) => line.id === id });
  relay.changeSettings({ retry: { schedule: ['2s'] } });
  relay.reload();
  await relay.waitForEvent('config.reloaded');
  const lines = await relay.waitForEvents('delivery.deferred', 4, {
    matches: (line) => line.id === id,
  });
  assert.deepEqual(
    lines.map((line) => line['attempt']),
    [1, 2, 3, 4],
  );
  host.change({ script: () => undefined });
  await host.waitForMessages(1);
});

test('settings that are other ones at the next start hold for what waits, too', async () => {
  const busy = await net.domain('later.test', {
    mx: [{ host: 'mx.later.test', script: onVerb('RCPT', '451 4.3.0 not now') }],
  });
  const [host] = busy.mx;
  assert.ok(host);
  await using relay = await startRelay({ settings: settings({}) });
  const id = await send(relay, 'a@later.test');
  await relay.waitForEvent('delivery.deferred', (line) => line.id === id);
  await relay.stop();
  host.change({ script: () => undefined });
  relay.changeSettings({ retry: { schedule: ['100ms'] } });
  await relay.start();
  await host.waitForMessages(1);
});

test('a shorter lifetime gives what is older one more attempt, and then its bounce', async () => {
  await net.domain('old.test', {
    mx: [{ host: 'mx.old.test', script: onVerb('RCPT', '451 4.3.0 not now') }],
  });
  const home = await net.domain('home.test');
  const [inbox] = home.mx;
  assert.ok(inbox);
  await using relay = await startRelay({ settings: settings({}) });
  const id = await send(relay, 'a@old.test');
  await relay.waitForEvent('delivery.deferred', (line) => line.id === id);
  relay.changeSettings({ retry: { lifetime: '1s' } });
  relay.reload();
  const line = await relay.waitForEvent('outcome.bounced', (one) => one.id === id);
  assert.deepEqual([line['attempt'], line['lifetimeOver']], [2, true]);
  assert.match(await dsnAbout(inbox, 'a@old.test'), /4\.3\.0 not now/);
});
