/**
 * Several relays on one Redis, as programs: what they share and what is each one's own. A node that dies
 * keeps the mail it holds until it returns, and stops nobody else; a Redis that was emptied is told
 * everything again; a second relay with the name of a first one does not deliver.
 */
import assert from 'node:assert/strict';
import { cpSync, rmSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MessageView } from '../../src/admin/queue-show.ts';
import { runStsrelay } from '../support/cli.ts';
import { injectMany } from '../support/inject.ts';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import { redisMissing, startRedis, type TestRedis } from '../support/redis.ts';
import { startRedisWire } from '../support/redis-wire.ts';
import { type RelayProcess, type Settings, startRelay } from '../support/relay-process.ts';
import { RelayWorld } from '../support/relay-world.ts';
import { waitFor } from '../support/wait-for.ts';

const RETRY_SOON = { retry: { schedule: ['1s'], classes: { tlsPolicy: { schedule: ['1s'] } } } };

describe('two relays on one Redis', { skip: redisMissing }, () => {
  let net: PretendInternet;
  let redis: TestRedis;
  let a: RelayProcess;
  let b: RelayProcess;

  const start = (node: string, ...more: readonly Settings[]) =>
    startRelay({
      settings: [
        net.relaySettings(),
        { node, redis: { url: redis.url }, ...RETRY_SOON },
        { destinations: { breaker: { failures: 3, probeEvery: '5s' } } },
        ...more,
      ],
    });
  before(async () => {
    redis = await startRedis();
    net = await startPretendInternet();
    [a, b] = await Promise.all([start('a'), start('b')]);
  });
  after(async () => {
    for (const relay of [a, b]) await relay?.close();
    await net?.close();
    await redis?.close();
  });

  const world = (relay: RelayProcess) => new RelayWorld(net, relay);
  const cli = (relay: RelayProcess, ...args: string[]) =>
    runStsrelay([...args, '--config', relay.configFile]);

  test('fetch a policy once', async () => {
    const domain = await net.domain('policy.test', { sts: {} });
    for (const relay of [a, b, a, b]) {
      const sent = await world(relay).send({ to: 'ann@policy.test' });
      assert.equal((await world(relay).answer(sent)).event, 'delivery.delivered');
    }
    assert.equal(net.policyHost.requestsFor(domain.policyHostName).length, 1);
    const shown = await cli(b, 'policy', 'show', 'policy.test', '--json');
    assert.match(shown.stdout, /shared/, 'it came from the other node');
  });

  test('a pause set on one is in force on the other, over a restart, and removed', async () => {
    const domain = await net.domain('paused.test');
    const paused = await cli(a, 'domain', 'pause', 'paused.test', '--reason', 'ticket 7');
    assert.equal(paused.code, 0, paused.stderr);
    const told = await b.waitForEvent('queue.shared_change');
    assert.deepEqual(
      [told['list'], told['domain'], told['change'], told['node']],
      ['pause', 'paused.test', 'set', 'a'],
    );
    await world(b).send({ to: 'ann@paused.test' });
    await b.waitForMetric('stsrelay_queue_messages', 1, { state: 'parked' });
    // Kept on its own disk: nobody has to tell it again.
    await redis.flushAll();
    await b.restart();
    assert.match((await cli(b, 'domain', 'list')).stdout, /paused\.test.*ticket 7/);
    assert.equal(domain.messages.length, 0);
    const resumed = await cli(b, 'domain', 'resume', 'paused.test');
    assert.equal(resumed.code, 0, resumed.stderr);
    await waitFor('what waited', () => domain.messages.length === 1);
    await a.waitForEvent('queue.shared_change', ({ change }) => change === 'removed');
    assert.doesNotMatch((await cli(a, 'domain', 'list')).stdout, /paused\.test/);
    const noted = (relay: RelayProcess) => cli(relay, 'audit', '--target', 'paused.test');
    await waitFor('the audit log of both', async () => {
      const [here, there] = [(await noted(a)).stdout, (await noted(b)).stdout];
      return (
        /\tnode b\tdomain\.resume\tpaused\.test\treasonBefore: ticket 7$/m.test(here) &&
        /\tnode a\tdomain\.pause\tpaused\.test\treason: ticket 7$/m.test(there)
      );
    });
  });

  test('a change made while one was down is learnt when it is back, also of what was removed', async () => {
    await cli(a, 'domain', 'pause', 'early.test', '--reason', 'x');
    await b.waitForEvent('queue.shared_change', ({ domain }) => domain === 'early.test');
    await b.stop();
    await cli(a, 'domain', 'resume', 'early.test');
    await cli(a, 'domain', 'pause', 'late.test', '--reason', 'y');
    await redis.flushAll(); // nobody but a knows by now
    await b.start();
    await b.waitForEvent('queue.shared_change', ({ domain }) => domain === 'late.test');
    await b.waitForEvent('queue.shared_change', ({ domain }) => domain === 'early.test');
    for (const relay of [a, b]) {
      const { stdout } = await cli(relay, 'domain', 'list');
      assert.match(stdout, /late\.test/);
      assert.doesNotMatch(stdout, /early\.test/);
    }
    await cli(b, 'domain', 'resume', 'late.test');
  });

  test('an override added on one lets mail of the other out, and binds again when removed', async () => {
    const domain = await net.domain('partner.test', {
      sts: {},
      mx: [{ host: 'mx.partner.test', certificate: 'expired' }],
    });
    const first = await world(b).send({ to: 'ann@partner.test' });
    assert.equal((await world(b).answer(first)).event, 'delivery.deferred');
    const wish = ['--tls', 'encrypt', '--for', '7d', '--owner', 'ops', '--reason', 'expired'];
    const added = await cli(a, 'override', 'add', 'partner.test', ...wish);
    assert.equal(added.code, 0, added.stderr);
    await waitFor('the mail that waited', () => domain.messages.length === 1);
    const delivered = await b.waitForEvent('delivery.delivered', ({ id }) => id === first.id);
    assert.equal(delivered['policy'], 'override');
    await cli(b, 'override', 'remove', 'partner.test');
    await a.waitForEvent('queue.shared_change', ({ change, list }) => {
      return change === 'removed' && list === 'override';
    });
    const second = await world(a).send({ to: 'ann@partner.test' });
    assert.equal((await world(a).answer(second)).event, 'delivery.deferred');
    await cli(a, 'queue', 'drop', second.id);
  });

  test('a breaker opened by one holds for the other; one of them probes; what that shows holds for both', async () => {
    const domain = await net.domain('dead.test', {
      mx: [{ host: 'mx.dead.test', script: () => ({ ending: 'close' }) }],
    });
    const [host] = domain.mx;
    assert.ok(host);
    for (let i = 0; i < 3; i += 1) await world(a).send({ to: `r${i}@dead.test` });
    await a.waitForEvent('queue.breaker_opened');
    // The other has no mail for it, so that nothing shows when it has heard: twice a second it looks.
    await sleep(1500);
    const before = host.sessions.length;
    await world(b).send({ to: 'ann@dead.test' });
    const opened = await b.waitForEvent('queue.breaker_opened');
    assert.equal(opened['node'], 'a');
    assert.equal(host.sessions.length, before, 'it made no attempt of its own');
    await waitFor('two probes', () => host.sessions.length >= before + 2);
    const beganAtMs = Date.now();
    const count = host.sessions.length;
    await waitFor('three more', () => host.sessions.length >= count + 3);
    const tookMs = Date.now() - beganAtMs;
    assert.ok(
      tookMs > 8000,
      `three probes of both together took ${tookMs} ms, one comes every 5 s`,
    );
    host.change({ script: () => undefined });
    for (const relay of [a, b]) await relay.waitForEvent('queue.breaker_closed');
    await waitFor('all of it', () => domain.messages.length >= 4);
  });

  test('a node whose network is broken closes nothing for one that gets through', async () => {
    const broken = `${net.network}.251`;
    const domain = await net.domain('split.test', {
      mx: [
        {
          host: 'mx.split.test',
          script: ({ remoteAddress }) =>
            remoteAddress === broken ? { ending: 'close' } : undefined,
        },
      ],
    });
    const e = await start('e', { outbound: { sourceAddresses: [broken] } });
    try {
      await world(b).send({ to: 'first@split.test' });
      await waitFor('an answer', () => domain.messages.length === 1);
      for (let i = 0; i < 4; i += 1) await world(e).send({ to: `r${i}@split.test` });
      const opened = e.waitForEvent('queue.breaker_opened').then(() => true);
      let isOpen = false;
      void opened.then(() => {
        isOpen = true;
      });
      let sent = 1;
      // Mail goes on at the other one, over some probes of the broken one.
      for (let more = 12; more > 0; more -= Number(isOpen)) {
        await world(b).send({ to: `s${sent}@split.test` });
        sent += 1;
        await waitFor('it to arrive', () => domain.messages.length === sent, 20_000);
        await sleep(1000);
      }
      const atB = b.events('queue.breaker_opened').filter(({ site }) => /split/.test(String(site)));
      assert.deepEqual(atB, []);
    } finally {
      await e.close();
    }
  });

  test('one of them killed: the other goes on, and what it held waits for its return', async () => {
    const domain = await net.domain('busy.test');
    const slow = await net.domain('slow.test', {
      mx: [{ host: 'mx.slow.test', script: () => '451 4.3.0 later' }],
    });
    const hand = (relay: RelayProcess, to: string, count: number) =>
      injectMany({
        port: relay.smtpPort,
        count,
        makeMessage: (index) => ({
          from: 'ann@home.test',
          to: `r@${to}`,
          data: `Subject: ${relay.smtpPort}-${index}\r\n\r\nhello\r\n`,
        }),
      });
    const waiting = await hand(a, 'slow.test', 20);
    assert.equal(waiting.acknowledged.length, 20);
    await a.kill('SIGKILL', { group: true });
    slow.mx[0]?.change({ script: () => undefined });
    const others = await hand(b, 'busy.test', 50);
    assert.equal(others.acknowledged.length, 50);
    await waitFor('mail of the one that lives', () => domain.messages.length === 50);
    assert.equal(slow.messages.length, 0, 'nobody takes what is not its own');
    await a.start();
    await waitFor('mail of the one that came back', () => slow.messages.length >= 20);
    const ids = slow.messages.map(({ data }) => /Subject: (.*)/.exec(data.toString())?.[1]);
    assert.deepEqual([new Set(ids).size, ids.length], [20, 20], 'each once');
  });

  test('a spool that was moved to another machine goes on there, under its name', async () => {
    const domain = await net.domain('moved.test');
    const old = await start('d');
    const moved = await startRelay({
      ...{ dontWait: true },
      settings: [net.relaySettings(), { node: 'd', redis: { url: redis.url }, ...RETRY_SOON }],
    });
    try {
      await cli(old, 'domain', 'pause', 'moved.test');
      const sent = await world(old).send({ to: 'ann@moved.test' });
      await old.kill('SIGKILL', { group: true });
      await moved.kill('SIGKILL', { group: true });
      rmSync(moved.dataDir, { recursive: true, force: true });
      cpSync(old.dataDir, moved.dataDir, { recursive: true, preserveTimestamps: true });
      await moved.start();
      await moved.waitReady();
      await cli(a, 'domain', 'resume', 'moved.test');
      const delivered = await moved.waitForEvent('delivery.delivered');
      assert.equal(delivered.id, sent.id);
      assert.equal(domain.messages.length, 1);
    } finally {
      await old.close();
      await moved.close();
    }
  });

  test('a copy of one does not start, and touches nothing', async () => {
    const domain = await net.domain('copied.test');
    await cli(a, 'domain', 'pause', 'copied.test');
    await world(a).send({ to: 'ann@copied.test' });
    const copy = await startRelay({
      dontWait: true,
      settings: [net.relaySettings(), { node: 'a', redis: { url: redis.url } }],
    });
    try {
      assert.equal(await copy.waitForExit(), 2);
      assert.match(copy.stderr, /the name a belongs to another relay on this Redis/);
      assert.match(copy.stderr, /:.*\/data/, 'whose it is');
      // The same with everything it has on disk.
      cpSync(a.dataDir, copy.dataDir, {
        recursive: true,
        force: true,
        filter: (path) => !/lock|\.sock$/.test(path),
      });
      await copy.start();
      assert.equal(await copy.waitForExit(), 2);
    } finally {
      await copy.close();
    }
    assert.equal(domain.messages.length, 0);
    await cli(a, 'domain', 'resume', 'copied.test');
    await waitFor('the message', () => domain.messages.length === 1);
    assert.equal(a.events('queue.requeued').length, 0, 'nobody disturbed its queue');
  });

  test('nor does one that is far from Redis, or is to use a Redis that drops keys', async () => {
    await using wire = await startRedisWire(redis.port);
    wire.delayMs = 300; // the relay has read its spool by then
    const far = await startRelay({
      dontWait: true,
      settings: [net.relaySettings(), { node: 'a', redis: { url: wire.url } }],
    });
    try {
      assert.equal(await far.waitForExit(), 2);
      assert.match(far.stderr, /the name a belongs to another relay on this Redis/);
      await using evicting = await startRedis({ maxmemoryPolicy: 'allkeys-lru' });
      wire.target = evicting.port;
      await far.start();
      assert.equal(await far.waitForExit(), 1);
      assert.match(far.stderr, /maxmemory-policy allkeys-lru/);
      assert.deepEqual(far.events('redis.down'), [], 'it was there all the time');
    } finally {
      await far.close();
    }
  });

  test('a copy that was started while Redis was away takes mail, delivers nothing, and says so', async () => {
    const domain = await net.domain('standby.test');
    const original = await start('c');
    await redis.kill();
    const copy = await start('c');
    try {
      await redis.start();
      const [one, other] = [original, copy].map((relay) =>
        relay.waitForEvent('queue.node_taken').then(() => relay),
      );
      const out = await Promise.race([one, other]);
      assert.ok(out);
      const { id } = await world(out).send({ to: 'ann@standby.test' });
      const { parts } = await out.waitForReadiness(503);
      assert.match(String(parts['redis']?.reason), /belongs to another relay/);
      await out.waitForMetric('stsrelay_queue_messages', 1, { state: 'parked' });
      const shown = await cli(out, 'queue', 'show', id, '--json');
      const [now] = (JSON.parse(shown.stdout) as MessageView).now;
      assert.deepEqual([now?.state, now?.waitsFor[0]?.kind], ['parked', 'node']);
      assert.match(
        now?.waitsFor[0]?.text ?? '',
        /the name c belongs to another relay, .*: nothing is/,
      );
      const first = out === original ? copy : original;
      await world(first).send({ to: 'ann@standby.test' });
      await waitFor('mail of the one that has the name', () => domain.messages.length === 1);
      await first.stop();
      await out.waitForEvent('queue.node_regained');
      await waitFor('mail of the other, once it has', () => domain.messages.length === 2);
    } finally {
      await original.close();
      await copy.close();
    }
  });
});
