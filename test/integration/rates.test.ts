/**
 * Delivery rates on the running relay: two nodes on one Redis share them, and so do domains on the same
 * hosts; what waits costs nothing and holds up nobody else; a reload counts at once.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { injectMany } from '../support/inject.ts';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import { redisMissing, startRedis, type TestRedis } from '../support/redis.ts';
import { type RelayProcess, type Settings, startRelay } from '../support/relay-process.ts';
import { waitFor } from '../support/wait-for.ts';

let net: PretendInternet;
before(async () => {
  net = await startPretendInternet();
});
after(() => net?.close());

const rateOf = (domain: string, rate: string): Settings => ({
  destinations: { domains: [{ domain, rate }] },
});

async function send(relay: RelayProcess, domain: string, count: number): Promise<void> {
  const { acknowledged } = await injectMany({
    port: relay.smtpPort,
    count,
    makeMessage: (index) => ({
      from: 'ann@home.test',
      to: `r${index}@${domain}`,
      data: `Subject: ${index}\r\n\r\nhello\r\n`,
    }),
  });
  assert.equal(acknowledged.length, count);
}

const parked = async (relay: RelayProcess) =>
  (await relay.metric('stsrelay_queue_messages', { state: 'parked' })) ?? 0;

test('a window holds so many attempts, then comes the next', async () => {
  const slow = await net.domain('windows.test');
  await using relay = await startRelay({
    settings: [net.relaySettings(), rateOf('windows.test', '3/4s')],
  });
  const beganAtMs = Date.now();
  await send(relay, 'windows.test', 9);
  await waitFor('all of it', () => slow.messages.length === 9);
  assert.ok(Date.now() - beganAtMs >= 8000, 'in the third window');
  const [reached] = relay.events('queue.rate_reached');
  assert.deepEqual(
    [reached?.level, reached?.['scope'], reached?.['key'], reached?.['rate']],
    ['info', 'domain', 'windows.test', '3/4s'],
  );
  const windows = relay.events('queue.rate_reached').map(({ until }) => until);
  assert.equal(new Set(windows).size, windows.length, 'once a window');
  const limited = await relay.metric('stsrelay_rate_limited_total', { scope: 'domain' });
  assert.equal(limited, windows.length);
});

test('domains on the same hosts share the rate', async () => {
  const mx = [{ host: 'mx.both.test' }];
  const [one, other] = [await net.domain('one.test', { mx }), await net.domain('two.test', { mx })];
  await using relay = await startRelay({
    settings: [net.relaySettings(), { destinations: { default: { rate: '4/1h' } } }],
  });
  for (const domain of ['one.test', 'two.test']) await send(relay, domain, 5);
  const arrived = () => new Set([...one.messages, ...other.messages]).size;
  await waitFor('what goes', () => arrived() >= 4);
  await waitFor('the others to wait', async () => (await parked(relay)) === 6);
  assert.equal(arrived(), 4);
  const [reached] = relay.events('queue.rate_reached');
  assert.equal(reached?.['scope'], 'site');
  assert.match(String(reached?.['key']), /^mx\.both\.test/);
  assert.equal(await relay.metric('stsrelay_rate_closed', { scope: 'site' }), 1);
});

describe('with a Redis of its own', { skip: redisMissing }, () => {
  let redis: TestRedis;
  before(async () => {
    redis = await startRedis();
  });
  after(() => redis?.close());

  test('two nodes share the rate, and are both held to it', async () => {
    const shared = await net.domain('shared.test');
    const other = await net.domain('other.test');
    const settings = [
      net.relaySettings(),
      rateOf('shared.test', '6/1h'),
      { redis: { url: redis.url } },
    ];
    await using a = await startRelay({ settings });
    await using b = await startRelay({ settings });
    await Promise.all([send(a, 'shared.test', 10), send(b, 'shared.test', 10)]);
    await waitFor('what goes', () => shared.messages.length >= 6);
    await waitFor('the rest to wait', async () => (await parked(a)) + (await parked(b)) === 14);
    assert.equal(shared.messages.length, 6);
    await Promise.all([send(a, 'other.test', 5), send(b, 'other.test', 5)]);
    await waitFor('mail for the other one', () => other.messages.length === 10);

    for (const relay of [a, b]) {
      relay.changeSettings(rateOf('shared.test', '9/1h'));
      relay.reload();
    }
    await waitFor('what a higher rate allows', () => shared.messages.length >= 9);
    await waitFor('the rest to wait', async () => (await parked(a)) + (await parked(b)) === 11);
    assert.equal(shared.messages.length, 9);
    for (const relay of [a, b])
      assert.equal(await relay.metric('stsrelay_queue_overdue_messages'), 0);
  });

  test('5,000 messages that wait cost neither Redis nor CPU, and hold up nobody', async () => {
    const slow = await net.domain('slow.test');
    const lively = await net.domain('lively.test');
    await using relay = await startRelay({
      settings: [net.relaySettings(), rateOf('slow.test', '5/1h'), { redis: { url: redis.url } }],
    });
    const many = 5000;
    await send(relay, 'slow.test', many);
    await waitFor('what goes', () => slow.messages.length >= 5);
    await waitFor('the rest to wait', async () => (await parked(relay)) === many - 5);

    const before = [await commands(redis), cpuMs(relay.rolePid('deliver'))] as const;
    const beganAtMs = Date.now();
    await sleep(4000); // nothing is to happen
    const spanMs = Date.now() - beganAtMs;
    const after = [await commands(redis), cpuMs(relay.rolePid('deliver'))] as const;
    const perSecond = ((after[0] - before[0]) * 1000) / spanMs;
    assert.ok(perSecond < 25, `${perSecond} commands a second`);
    const share = (after[1] - before[1]) / spanMs;
    assert.ok(share < 0.1, `${share} of a CPU`);

    await send(relay, 'lively.test', 50);
    await waitFor('mail for the other one', () => lively.messages.length === 50);
    assert.equal(slow.messages.length, 5);

    relay.changeSettings(rateOf('slow.test', '305/1h'));
    relay.reload();
    await waitFor('what a higher rate allows', () => slow.messages.length >= 305);
    await waitFor('the rest to wait', async () => (await parked(relay)) === many - 305);
    assert.equal(slow.messages.length, 305);
  });
});

/** Commands that Redis was given until now. */
async function commands(redis: TestRedis): Promise<number> {
  const stats = String(await redis.command('INFO', 'commandstats'));
  return [...stats.matchAll(/:calls=(\d+)/g)].reduce((sum, [, calls]) => sum + Number(calls), 0);
}

/** CPU time of a process, in milliseconds (ticks of 10). */
function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}
