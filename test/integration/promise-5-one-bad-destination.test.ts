/**
 * Promise 5: one bad destination harms nobody else. Hosts that are away, or say nothing, with mail
 * that piles up for them: others get theirs as before, the pile costs next to no attempts, it goes
 * out when the hosts are back, and what reaches the end of its lifetime has its answer.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { injectMany } from '../support/inject.ts';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import { dsnAbout, onVerb, openSession } from '../support/relay-mail.ts';
import { type RelayProcess, startRelay } from '../support/relay-process.ts';
import { waitFor } from '../support/wait-for.ts';

const CONNECTIONS = 10;
const FAILURES = 10;

let net: PretendInternet;
before(async () => {
  net = await startPretendInternet();
});
after(() => net?.close());

const breaker = (probeEvery: string) => ({
  destinations: { breaker: { failures: FAILURES, probeEvery } },
});

async function pile(relay: RelayProcess, domain: string, count: number): Promise<void> {
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

async function sendOne(relay: RelayProcess, to: string): Promise<void> {
  using client = await openSession({ port: relay.smtpPort });
  const { accepted, reply } = await client.deliver({
    from: 'ann@home.test',
    to,
    data: 'Subject: one\r\n\r\nhello\r\n',
  });
  assert.ok(accepted, reply.raw);
}

function attemptsFor(relay: RelayProcess, host: string): number {
  return relay.events('delivery.session_failed').filter(({ mx }) => mx === host).length;
}

describe('hosts that are away', () => {
  test('cost a handful of attempts, however much waits; all of it goes when they are back', async () => {
    const dead = await net.domain('dead.test', { mx: [{ host: 'mx.dead.test', down: true }] });
    const alive = await net.domain('alive.test');
    await using relay = await startRelay({
      settings: [net.relaySettings(), breaker('1h'), { retry: { schedule: ['2s'] } }],
    });
    const many = 1000;
    await pile(relay, 'dead.test', many);
    const opened = await relay.waitForEvent('queue.breaker_opened');
    assert.match(String(opened['site']), /^mx\.dead\.test/);
    assert.match(String(opened['failure']), /^mx\.dead\.test\[.*refused/i);

    await sendOne(relay, 'one@alive.test');
    await waitFor('mail for the other one', () => alive.messages.length === 1);
    // Those under way when it opened are all there is.
    assert.ok(attemptsFor(relay, 'mx.dead.test') < FAILURES + CONNECTIONS);
    assert.equal(await relay.metric('stsrelay_breaker_state', { state: 'open' }), 1);
    await relay.waitForMetric('stsrelay_queue_messages', many, { state: 'parked' });

    await dead.mx[0]?.start();
    relay.changeSettings(breaker('100ms'));
    relay.reload();
    await relay.waitForEvent('queue.breaker_closed');
    await waitFor('all of it', () => dead.messages.length === many);
    assert.equal(new Set(dead.messages.map(({ recipients }) => recipients[0]?.address)).size, many);
    assert.equal(await relay.metric('stsrelay_breaker_state', { state: 'open' }), 0);
  });

  test('shared by many domains, are found to be away once', async () => {
    const mx = [{ host: 'mx.shared.test', down: true }];
    const names = Array.from({ length: 30 }, (_, n) => `d${n}.shared.test`);
    for (const name of names) await net.domain(name, { mx });
    await using relay = await startRelay({
      settings: [net.relaySettings(), breaker('1h'), { retry: { schedule: ['1h'] } }],
    });
    await pile(relay, 'd0.shared.test', 3 * FAILURES);
    await relay.waitForEvent('queue.breaker_opened');
    for (const name of names) await sendOne(relay, `a@${name}`);
    const inState = (state: string) => relay.metric('stsrelay_queue_messages', { state });
    await waitFor('all of it to be put off', async () => {
      const [parked = 0, delayed = 0] = [await inState('parked'), await inState('delayed')];
      return parked + delayed === 3 * FAILURES + names.length;
    });
    assert.ok(attemptsFor(relay, 'mx.shared.test') < FAILURES + CONNECTIONS);
    assert.equal(relay.events('queue.breaker_opened').length, 1);
  });

  test('mail that reaches the end of its lifetime meanwhile is bounced, with the reason', async () => {
    await net.domain('gone.test', { mx: [{ host: 'mx.gone.test', down: true }] });
    const home = await net.domain('home.test');
    const [inbox] = home.mx;
    assert.ok(inbox);
    await using relay = await startRelay({
      settings: [net.relaySettings(), breaker('1h'), { retry: { schedule: ['1h'] } }],
    });
    const many = 4 * FAILURES;
    await pile(relay, 'gone.test', many);
    await relay.waitForEvent('queue.breaker_opened');
    relay.changeSettings({ retry: { schedule: ['1h'], lifetime: '1s' } });
    relay.reload();
    // The others wait for their second attempt.
    const least = many - FAILURES - CONNECTIONS;
    await waitFor('DSNs', () => inbox.messages.length >= least);
    const dsn = await dsnAbout(inbox, `r${many - 1}@gone.test`);
    assert.match(dsn, /mx\.gone\.test.*does not\s+answer.*refused/is);
    assert.match(dsn, /^Status: 4\.4\.7/m);
  });
});

test('hosts that take connections and say nothing hold up nobody else', async () => {
  await net.domain('mute.test', {
    mx: [{ host: 'mx.mute.test', script: onVerb('CONNECT', { ending: 'hang' }) }],
  });
  const alive = await net.domain('lively.test');
  await using relay = await startRelay({ settings: [net.relaySettings()] });
  await pile(relay, 'mute.test', 300);
  const mute = await net.mxHost({ host: 'mx.mute.test' });
  await waitFor('its connections', () => mute.sessions.length >= CONNECTIONS);
  for (let n = 0; n < 20; n += 1) await sendOne(relay, `r${n}@lively.test`);
  await waitFor('mail for the other one', () => alive.messages.length === 20);
  assert.equal(mute.sessions.length, CONNECTIONS);
});
