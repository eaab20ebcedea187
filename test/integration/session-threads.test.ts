/**
 * A session thread that ends in the middle of its work: the relay goes on, its other mail too, and
 * what was under way is kept. The rest of the threads is in unit/session-threads.test.ts.
 */
import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import { onVerb, openSession } from '../support/relay-mail.ts';
import { startRelay } from '../support/relay-process.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const MESSAGE = { from: 'a@sender.test', data: 'Subject: thread\r\n\r\nhello\r\n' };

/** `node --import`: in a thread, once the file is there, what it says happens, one time. */
const PRELOAD = `
  import { existsSync, readFileSync, unlinkSync } from 'node:fs';
  import { isMainThread } from 'node:worker_threads';
  const file = process.env.SESSION_THREAD_ORDERS;
  const look = () => {
    if (!existsSync(file)) return;
    const order = readFileSync(file, 'utf8');
    unlinkSync(file);
    if (order === 'warn') process.emitWarning('injected warning');
    if (order === 'throw') throw new Error('injected error');
    if (order === 'reject') Promise.reject(new Error('injected error'));
  };
  if (!isMainThread && file) setInterval(look, 20).unref();`;

let net: PretendInternet;
before(async () => {
  net = await startPretendInternet();
});
after(() => net?.close());

test('an error that nobody caught ends the thread, and nothing else', async () => {
  using dir = tempDir();
  const orders = dir.file('orders');
  /** Whole at once: the thread looks again and again. */
  const give = (order: string) => {
    writeFileSync(dir.file('next'), order);
    renameSync(dir.file('next'), orders);
  };
  await using relay = await startRelay({
    settings: net.relaySettings(),
    env: {
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(PRELOAD)}`,
      SESSION_THREAD_ORDERS: orders,
    },
  });
  const host = (name: string, script = {}) =>
    net.domain(name, { mx: [{ host: `mx.${name}`, certificate: null, ...script }] });
  const hanging = await host('hanging.test', { script: onVerb('.', { ending: 'hang' }) });
  const other = await host('other.test');
  using client = await openSession({ port: relay.smtpPort });
  const pid = relay.rolePid('deliver');
  const connectionsOpen = () => relay.metric('stsrelay_connections_open');

  give('warn');
  const warned = await relay.waitForEvent('relay.node_warning');
  assert.equal(warned['warning'], 'Warning: injected warning');

  for (const [nth, how] of ['throw', 'reject'].entries()) {
    const { id } = await client.deliver({ ...MESSAGE, to: `b${nth}@hanging.test` });
    await waitFor('the content', () => hanging.mx[0]?.received.length === nth + 1);
    give(how);
    const ended = (await relay.waitForEvents('delivery.thread_ended', nth + 1))[nth];
    assert.equal(ended?.['error'], 'injected error');
    assert.match(String(ended?.['stack']), /injected error\n +at /);
    assert.deepEqual([ended?.level, ended?.['runs']], ['error', 1]);
    const crashed = await relay.waitForEvent('queue.attempt_crashed', (line) => line.id === id);
    assert.equal(crashed['error'], 'the session thread ended: injected error');
    await waitFor('no connection', async () => (await connectionsOpen()) === 0);

    const next = await client.deliver({ ...MESSAGE, to: `c${nth}@other.test` });
    await relay.waitForEvent('delivery.delivered', (line) => line.id === next.id);
  }
  assert.equal(other.mx[0]?.messages.length, 2);
  assert.equal(relay.rolePid('deliver'), pid);
  assert.deepEqual(relay.events('relay.crashed'), []);

  // It may have arrived: it is not tried again before five minutes are over, and not lost.
  assert.equal(hanging.mx[0]?.received.length, 2);
  hanging.mx[0]?.change({ script: () => undefined });
  await relay.restart();
  await hanging.mx[0]?.waitForMessages(2);
  assert.equal(await relay.stop(), 0);
  assert.equal(relay.stderr, '');
});
