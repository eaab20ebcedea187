/**
 * A destination that an admin pauses on the running relay: what waits and what comes in later stays,
 * others get theirs, a restart changes nothing, and it goes on when it is resumed or over.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { QueueRow } from '../../src/admin/queue-list.ts';
import type { MessageView } from '../../src/admin/queue-show.ts';
import type { QueueSummary } from '../../src/admin/queue-summary.ts';
import { runStsrelay } from '../support/cli.ts';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import { dsnAbout, openSession } from '../support/relay-mail.ts';
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

test('paused and resumed', async () => {
  const partner = await net.domain('partner.test');
  const other = await net.domain('other.test');
  await using relay = await startRelay({ settings: net.relaySettings() });
  const cli = (...args: string[]) => runStsrelay([...args, '--config', relay.configFile]);
  const paused = await cli(
    'domain',
    'pause',
    'partner.test',
    '--reason',
    'ticket 7',
    '--for',
    '2h',
  );
  assert.deepEqual([paused.code, paused.stdout], [0, 'partner.test: paused\n'], paused.stderr);
  await send(relay, 'a@partner.test');
  await send(relay, 'a@other.test');
  await waitFor('mail for the other one', () => other.messages.length === 1);
  await relay.waitForMetric('stsrelay_queue_messages', 1, { state: 'parked' });

  await relay.restart();
  await send(relay, 'b@partner.test');
  await send(relay, 'b@other.test');
  await waitFor('mail for the other one', () => other.messages.length === 2);
  await relay.waitForMetric('stsrelay_queue_messages', 2, { state: 'parked' });
  const listed = await cli('domain', 'list', '--json');
  const [view] = JSON.parse(listed.stdout) as Record<string, unknown>[];
  assert.deepEqual(
    [view?.['domain'], view?.['reason'], view?.['waiting']],
    ['partner.test', 'ticket 7', 2],
  );
  assert.equal(partner.messages.length, 0);
  // When the pause is over, and not when it was due: wherever it is asked.
  const until = String(view?.['expires']).slice(0, 19);
  const asked = async <T>(...args: string[]) =>
    JSON.parse((await cli(...args, '--json')).stdout) as T;
  const rows = await asked<QueueRow[]>('queue', 'list', '--domain', 'partner.test');
  const shown = await asked<MessageView>('queue', 'show', String(rows[0]?.id));
  const { destinations } = await asked<QueueSummary>('queue', 'summary');
  const nexts = [rows[0]?.nextAttempt, shown.now[0]?.nextAttempt, destinations[0]?.nextAttempt];
  assert.deepEqual(
    nexts.map((next) => next?.slice(0, 19)),
    [until, until, until],
  );

  const resumed = await cli('domain', 'resume', 'partner.test');
  assert.deepEqual([resumed.code, resumed.stdout], [0, 'partner.test: resumed\n']);
  await waitFor('all that waited', () => partner.messages.length === 2);
  assert.equal((await cli('domain', 'resume', 'partner.test')).code, 1, 'it is not paused');

  assert.equal((await cli('domain', 'pause', 'partner.test', '--for', '3s')).code, 0);
  await send(relay, 'c@partner.test');
  await relay.waitForEvent('queue.pause_over');
  await waitFor('mail when it is over', () => partner.messages.length === 3);
});

test('what reaches its lifetime in a pause is bounced with the reason', async () => {
  await net.domain('held.test');
  const home = await net.domain('home.test');
  const [inbox] = home.mx;
  assert.ok(inbox);
  await using relay = await startRelay({
    settings: [net.relaySettings(), { retry: { lifetime: '1s' } }],
  });
  const cli = (...args: string[]) => runStsrelay([...args, '--config', relay.configFile]);
  await cli('domain', 'pause', 'held.test', '--reason', 'they are moving');
  await send(relay, 'a@held.test');
  await relay.waitForMetric('stsrelay_queue_messages', 1, { state: 'parked' });
  // It is looked for once a minute, and at a start.
  await waitFor('its lifetime', () => Date.now() - startOf(relay) > 1000);
  await relay.restart();
  const dsn = await dsnAbout(inbox, 'a@held.test');
  assert.match(dsn, /delivery to held\.test is paused: they are moving/);
});

function startOf(relay: RelayProcess): number {
  return Date.parse(relay.events('intake.accepted')[0]?.time ?? '');
}
