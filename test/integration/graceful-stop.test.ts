/**
 * How the relay ends: in order on SIGTERM, with everything under way finished and nothing left
 * behind, and without leftovers that matter when it is killed.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import {
  type PretendDomain,
  type PretendInternet,
  startPretendInternet,
} from '../support/pretend-internet.ts';
import { onVerb, openSession, redisIn } from '../support/relay-mail.ts';
import { type RelayProcess, startRelay } from '../support/relay-process.ts';
import { connect } from '../support/smtp-client.ts';
import { processesIn } from '../support/tied-child.ts';
import { waitFor } from '../support/wait-for.ts';

const CONTENT = 'Subject: stop\r\n\r\nhello\r\n';
const GRACE_MS = 30_000;
const MESSAGE = { from: 'a@sender.test', data: CONTENT };

let net: PretendInternet;
before(async () => {
  net = await startPretendInternet();
});
after(() => net?.close());

const start = () => startRelay({ settings: net.relaySettings() });

/** Nothing but files is left of the relay, and they are in order. */
async function assertNothingLeft(relay: RelayProcess): Promise<void> {
  assert.ok(!existsSync(relay.controlSocket), 'control.sock is gone');
  assert.ok(!existsSync(`${relay.dataDir}/lock`), 'the lock is gone');
  await assertNoProcesses(relay);
  assert.equal(relay.stderr, '');
  assert.deepEqual(relay.strayOutput, []);
  assert.equal(relay.log.at(-1)?.event, 'relay.stopped');
}

async function assertNoProcesses(relay: RelayProcess): Promise<void> {
  await waitFor('the end of all its processes', () => processesIn(relay.dataDir).length === 0);
}

// Two at a time: the first test waits for the whole grace.
describe('the end', { concurrency: 2 }, () => {
  test('MX hosts that hang are cut off after the grace, their mail stays queued', async () => {
    const domains: PretendDomain[] = [];
    for (const verb of ['EHLO', 'MAIL', '.']) {
      const name = `hanging-at-${verb === '.' ? 'dot' : verb}.test`.toLowerCase();
      const script = onVerb(verb, { ending: 'hang' });
      domains.push(
        await net.domain(name, { mx: [{ host: `mx.${name}`, certificate: null, script }] }),
      );
    }
    await using relay = await startRelay({
      settings: [net.relaySettings(), { retry: { schedule: ['100ms'] } }],
    });
    using client = await openSession({ port: relay.smtpPort });
    const to = domains.map(({ name }) => `b@${name}`);
    const { id } = await client.deliver({ ...MESSAGE, to });
    for (const { mx } of domains) {
      await mx[0]?.waitUntil('a session', (sessions) => sessions[0]?.commands[0]);
    }
    await waitFor('the dot', () => domains[2]?.mx[0]?.received.length);
    const askedAt = performance.now();
    const code = await relay.stop();
    const tookMs = performance.now() - askedAt;
    assert.equal(code, 0, 'it did not have to be killed');
    assert.ok(tookMs > GRACE_MS - 1000, `${tookMs} ms`);
    await assertNothingLeft(relay);
    assert.equal(relay.events('delivery.delivered').length, 0);
    assert.equal(relay.events('outcome.bounced').length, 0);

    for (const { mx } of domains) mx[0]?.change({ script: () => undefined });
    await relay.start();
    await relay.waitForEvents('delivery.delivered', 3, { matches: (line) => line.id === id });
  });

  describe('one after the other', { concurrency: 1 }, () => {
    describe('SIGTERM', () => {
      test('idle: at once, exit code 0, sessions told 421, nothing left', async () => {
        await using relay = await start();
        using greeted = await connect({ port: relay.smtpPort });
        using idle = await openSession({ port: relay.smtpPort });
        using inTransaction = await openSession({ port: relay.smtpPort });
        await inTransaction.send('MAIL FROM:<a@sender.test>');
        await inTransaction.send('RCPT TO:<b@good.test>');
        using secure = await openSession({ port: relay.smtpPort });
        await secure.starttls();
        await secure.send('EHLO client.test');
        const askedAt = performance.now();
        const stopped = relay.stop();
        for (const client of [greeted, idle, inTransaction, secure]) {
          assert.match((await client.read()).raw, /^421 4\.3\.2 /);
          await client.waitForClose();
        }
        assert.equal(await stopped, 0);
        assert.ok(performance.now() - askedAt < GRACE_MS - 1000, 'it waits for nothing');
        await assertNothingLeft(relay);
        assert.equal(relay.events('relay.stopping')[0]?.['signal'], 'SIGTERM');
        await assert.rejects(connect({ port: relay.smtpPort }), /ECONNREFUSED/);
        await assert.rejects(relay.http('/healthz'));
      });

      test('SIGINT does the same', async () => {
        await using relay = await start();
        const exited = relay.waitForExit();
        relay.signal('SIGINT');
        assert.equal(await exited, 0);
        await assertNothingLeft(relay);
      });

      test('a client inside DATA finishes and gets its 250; the message is there after the start', async () => {
        const late = await net.domain('late.test', {
          mx: [{ host: 'mx.late.test', certificate: null }],
        });
        await using relay = await start();
        using client = await openSession({ port: relay.smtpPort });
        await client.send('MAIL FROM:<a@sender.test>');
        await client.send('RCPT TO:<b@late.test>');
        await client.send('DATA');
        client.write('Subject: half\r\n\r\nfirst half, ');
        const stopped = relay.stop();
        await relay.waitForEvent('relay.stopping');
        await waitFor('the listener to close', () =>
          connect({ port: relay.smtpPort }).then(
            (other) => other.close(),
            () => true,
          ),
        );
        assert.ok(relay.isRunning, 'it waits for the client');
        client.write('second half\r\n');
        const reply = await client.send('.');
        assert.match(reply.raw, /^250 2\.0\.0 Ok: queued as \S+\r\n$/);
        assert.match((await client.read()).raw, /^421 4\.3\.2 /);
        assert.equal(await stopped, 0);
        await assertNothingLeft(relay);

        await relay.start();
        const [message] = (await late.mx[0]?.waitForMessages(1)) ?? [];
        assert.match(message?.data.toString() ?? '', /\r\n\r\nfirst half, second half\r\n$/);
        assert.equal(late.messages.length, 1);
      });

      test('a delivery in flight finishes and is recorded: it is not made again', async () => {
        const name = 'slow.test';
        const domain = await net.domain(name, {
          mx: [{ host: `mx.${name}`, certificate: null, script: onVerb('.', { delayMs: 2000 }) }],
        });
        await using relay = await start();
        using client = await openSession({ port: relay.smtpPort });
        const { id } = await client.deliver({ ...MESSAGE, to: `b@${name}` });
        await waitFor('the dot', () => domain.mx[0]?.received.length);
        assert.equal(await relay.stop(), 0);
        assert.ok(relay.events('delivery.delivered').some((line) => line.id === id));
        await assertNothingLeft(relay);
        assert.equal(domain.messages.length, 1);

        await relay.start();
        assert.equal(relay.events('relay.started')[0]?.['recovered'], 0);
        assert.equal(domain.messages.length, 1);
      });

      test('a second SIGTERM ends it at once', async () => {
        const name = 'stuck.test';
        const domain = await net.domain(name, {
          mx: [{ host: `mx.${name}`, certificate: null, script: onVerb('.', { ending: 'hang' }) }],
        });
        await using relay = await start();
        using client = await openSession({ port: relay.smtpPort });
        await client.deliver({ ...MESSAGE, to: `b@${name}` });
        await waitFor('the dot', () => domain.mx[0]?.received.length);
        const exited = relay.waitForExit();
        relay.signal('SIGTERM');
        await relay.waitForEvent('relay.stopping');
        // One that comes along with the first (make hands on what its group gets) does not count.
        const impatient = setInterval(() => relay.isRunning && relay.signal('SIGTERM'), 100);
        // After the grace it would be 0.
        assert.notEqual(await exited.finally(() => clearInterval(impatient)), 0);
        await assertNoProcesses(relay);
      });
    });

    describe('one relay per data directory', () => {
      test('the second one exits 2, names the first one’s pid and harms nothing', async () => {
        const good = await net.domain('good.test', {
          mx: [{ host: 'mx.good.test', certificate: null }],
        });
        await using first = await start();
        await using second = await startRelay({
          settings: [net.relaySettings(), { dataDir: first.dataDir }],
          dontWait: true,
        });
        assert.equal(await second.waitForExit(), 2);
        assert.match(second.stderr, new RegExp(`\\b${first.pid}\\b`));
        assert.match(second.stderr, /dataDir/);
        assert.ok(first.isRunning);
        using client = await openSession({ port: first.smtpPort });
        await client.deliver({ ...MESSAGE, to: 'b@good.test' });
        await good.mx[0]?.waitForMessages(1);
        assert.equal(await first.stop(), 0);
        await assertNothingLeft(first);
      });

      test('a lock left behind by a process that is gone stops nobody', async () => {
        await using relay = await start();
        const lock = readFileSync(`${relay.dataDir}/lock`, 'utf8');
        assert.ok(lock.includes(String(relay.pid)), lock);
        await relay.kill('SIGKILL');
        assert.ok(existsSync(`${relay.dataDir}/lock`));
        await relay.start();
        assert.equal(await relay.stop(), 0);
        await assertNothingLeft(relay);
      });
    });

    describe('SIGKILL', () => {
      test('leaves no Redis behind, and the next start goes on where it was', async () => {
        const domain = await net.domain('killed.test', {
          mx: [
            { host: 'mx.killed.test', certificate: null, script: onVerb('.', { ending: 'hang' }) },
          ],
        });
        await using relay = await start();
        assert.ok(processesIn(relay.dataDir).length > 0, 'there is a Redis');
        using client = await openSession({ port: relay.smtpPort });
        const { id } = await client.deliver({ ...MESSAGE, to: 'b@killed.test' });
        await waitFor('the dot', () => domain.mx[0]?.received.length);
        await relay.kill('SIGKILL');
        await assertNoProcesses(relay);
        domain.mx[0]?.change({ script: () => undefined });
        await relay.start();
        assert.equal(relay.events('relay.started')[0]?.['recovered'], 1);
        await relay.waitForEvent('delivery.delivered', (line) => line.id === id);
        assert.equal(domain.messages.length, 1);
        assert.equal(await relay.stop(), 0);
        await assertNothingLeft(relay);
      });

      test('of the private Redis: it is started again, mail goes on', async () => {
        const good = await net.domain('again.test', {
          mx: [{ host: 'mx.again.test', certificate: null }],
        });
        await using relay = await start();
        for (const pid of redisIn(relay.dataDir)) process.kill(pid, 'SIGKILL');
        await relay.waitForEvent('redis.died');
        using client = await openSession({ port: relay.smtpPort });
        const { accepted } = await client.deliver({ ...MESSAGE, to: 'b@again.test' });
        assert.ok(accepted, 'mail is taken meanwhile');
        await good.mx[0]?.waitForMessages(1);
        assert.equal(await relay.stop(), 0);
        await assertNothingLeft(relay);
      });
    });
  });
});
