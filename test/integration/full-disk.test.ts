/**
 * A disk that fills up under a running relay, to the last block: no mail is taken, what is queued is
 * still delivered and its outcome recorded, the log stays short and says where and what, and all is as
 * before when there is room again. Takes root, for a small file system of its own.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import { openSession, redisIn } from '../support/relay-mail.ts';
import { startRelay } from '../support/relay-process.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';
import { SmallDisk } from '../torture/small-disk.ts';

const WAITING = 30;
const PORTION = 10;
const REFUSED = 50;

let net: PretendInternet;
before(async () => {
  net = await startPretendInternet();
});
after(() => net?.close());

const message = (to: string) => ({
  from: 'a@sender.test',
  to,
  data: `Subject: ${to}\r\n\r\nhello\r\n`,
});

test('a full disk', async (t) => {
  using dir = tempDir();
  const disk = SmallDisk.mount(dir.file('disk'));
  if (typeof disk === 'string') return t.skip(disk);
  using _ = { [Symbol.dispose]: () => disk.close() };
  const name = 'full.test';
  await net.domain(name, { mx: [{ host: `mx.${name}`, certificate: null }] });
  const mx = await net.mxHost({ host: `mx.${name}` });
  /** So many recipients are taken. */
  let open = 0;
  mx.change({
    script: (_session, { verb, argument }) =>
      verb === 'RCPT' && Number(/r(\d+)@/.exec(argument)?.[1]) >= open
        ? '450 4.2.0 later'
        : undefined,
  });
  const settings = {
    dataDir: `${disk.path}/data`,
    retry: { schedule: ['1s'] },
    log: { level: 'info' },
  };
  await using relay = await startRelay({ settings: [net.relaySettings(), settings] });
  using client = await openSession({ port: relay.smtpPort });
  for (let i = 0; i < WAITING; i += 1) {
    assert.ok((await client.deliver(message(`r${i}@${name}`))).accepted);
  }
  await relay.waitForEvents('delivery.deferred', WAITING);

  const filled = relay.log.length;
  await disk.fill();
  const off = await relay.waitForEvent('redis.persistence_off');
  assert.equal(off['directory'], `${disk.path}/data/redis`);
  assert.match(String(off['advice']), /make room/);
  for (let i = 0; i < REFUSED; i += 1) {
    const { reply } = await client.deliver(message(`late@${name}`));
    assert.match(reply.raw, /^452 4\.3\.1 Insufficient system storage\r\n/);
    await client.send('RSET');
  }
  open = PORTION;
  await mx.waitForMessages(PORTION);
  await relay.waitForEvents('delivery.delivered', PORTION);

  // Its Redis may die on top of it.
  const [redis] = redisIn(`${disk.path}/data`);
  assert.ok(redis);
  process.kill(redis, 'SIGKILL');
  await relay.waitForEvent('redis.died');
  open = 2 * PORTION;
  await mx.waitForMessages(2 * PORTION);

  for (const event of ['intake.refusing', 'spool.failed']) await relay.waitForEvent(event);
  const troubles = relay.log
    .slice(filled)
    .filter(({ level }) => level === 'warn' || level === 'error');
  const told = (event: string) => troubles.filter((line) => line.event === event);
  for (const event of ['redis.persistence_off', 'intake.refusing', 'spool.failed']) {
    assert.equal(told(event).length, 1, event);
  }
  for (const event of ['intake.refusing', 'spool.failed']) {
    const line = JSON.stringify(told(event));
    assert.ok(line.includes(`${disk.path}/data/spool`), line); // in which words depends on who met it first
  }
  assert.ok(troubles.length <= 12, JSON.stringify(troubles));

  open = WAITING;
  disk.empty();
  await mx.waitForMessages(WAITING);
  await relay.waitForEvent('redis.persistence_on');
  await waitFor('ready', async () => (await relay.http('/readyz')).status === 200);
  await waitFor('the end of it told', async () => {
    assert.ok((await client.deliver(message(`r0@${name}`))).accepted);
    return relay.events('intake.accepting').length > 0;
  });
  assert.equal(relay.events('intake.accepting')[0]?.['refused'], REFUSED);
  const arrived = mx.messages.flatMap(({ recipients }) => recipients.map(({ address }) => address));
  assert.equal(new Set(arrived).size, WAITING);
  assert.deepEqual(
    [relay.stderr, relay.strayOutput, relay.events('relay.role_ended')],
    ['', [], []],
  );
  assert.equal(await relay.stop(), 0);
});

test('a start on a full disk says which', async (t) => {
  using dir = tempDir();
  const disk = SmallDisk.mount(dir.file('disk'));
  if (typeof disk === 'string') return t.skip(disk);
  using _ = { [Symbol.dispose]: () => disk.close() };
  await disk.fill();
  const settings = [net.relaySettings(), { dataDir: `${disk.path}/data` }];
  await using relay = await startRelay({ settings, dontWait: true });
  assert.equal(await relay.waitForExit(), 1);
  assert.match(
    relay.stderr,
    new RegExp(`^stsrelay: [^\n]*the disk of dataDir ${disk.path}/data is full, make`),
  );
  disk.empty();
  await relay.start();
  assert.equal(await relay.waitReady().then(() => relay.stop()), 0);
});
