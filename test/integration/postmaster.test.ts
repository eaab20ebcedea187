/**
 * Our postmaster (RFC 5321 §4.5.1): whoever writes to him without a domain, or at our own name, reaches
 * the mailbox of the configuration; without one he is refused, and the log says so at the start.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type RelayWorld, startWorld } from '../support/relay-world.ts';
import { connect } from '../support/smtp-client.ts';

const TO_POSTMASTER = ['Postmaster', 'postMASTER@relay.example.net'];

/** What a client that may not relay is told. */
async function tell({ relay }: RelayWorld, to: string): Promise<string> {
  using client = await connect({ port: relay.smtpPort });
  await client.send('EHLO stranger.example');
  const data = 'Subject: to whom it may concern\r\n\r\nYour relay is broken.\r\n';
  const { reply } = await client.deliver({ from: 'stranger@home.test', to, data });
  return reply.raw;
}

test('strangers reach our postmaster, and nobody else', async () => {
  const settings = { access: { trustedNetworks: ['192.0.2.1'] }, postmaster: 'ops@home.test' };
  await using world = await startWorld(settings);
  const home = await world.internet.domain('home.test', { sts: {} });
  for (const to of TO_POSTMASTER) assert.match(await tell(world, to), /^250 /, to);
  assert.match(await tell(world, 'postmaster@home.test'), /^554 5\.7\.1/);
  const messages = await home.mx[0]?.waitForMessages(2);
  for (const { recipients } of messages ?? []) {
    assert.deepEqual(
      recipients.map(({ address }) => address),
      ['ops@home.test'],
    );
  }
});

test('without one he is refused, and the start tells', async () => {
  await using world = await startWorld({ postmaster: '' });
  for (const to of TO_POSTMASTER) assert.match(await tell(world, to), /^550 5\.1\.1/, to);
  const warned = world.relay.log.filter(({ level }) => level === 'warn');
  assert.match(JSON.stringify(warned), /mail for <postmaster> is refused/);
});
