/**
 * Promise 1, nothing acknowledged is lost: what was answered with 250 arrives, octet for octet,
 * after SIGKILL at any moment, after Redis was killed, restarted or emptied, and while Redis is
 * away. Twice arrives only what was in flight at a crash.
 */
import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { injectMany } from '../support/inject.ts';
import type { MxHost } from '../support/mx-host.ts';
import type { ReceivedMessage, Script } from '../support/mx-script.ts';
import { redisMissing, startRedis, type TestRedis } from '../support/redis.ts';
import type { LogLine } from '../support/relay-process.ts';
import {
  assertSameContent,
  type RelayWorld,
  type Sent,
  startWorld,
  startWorldWith,
} from '../support/relay-world.ts';
import { connect } from '../support/smtp-client.ts';
import { waitFor } from '../support/wait-for.ts';
import { WrongClock } from '../support/wrong-clock.ts';

/** Attempts at the same time, as the relay has it: no crash can catch more in flight. */
const CONCURRENCY = 100;
const ROUNDS = 6;
const PER_ROUND = 60;
const QUICK_RETRIES = { retry: { schedule: ['200ms'] } };

/** Content of every kind that must not be changed: dots, long lines, octets above 127. */
function oddContent(number: number): Buffer {
  const noise = randomBytes(randomInt(100, 8000)).map((octet) => (octet < 32 ? octet + 64 : octet));
  return Buffer.concat([
    Buffer.from(`X-Number: ${number}\r\nSubject: \xe4\r\n\r\n.\r\n..dots\r\n`, 'latin1'),
    Buffer.from(noise.filter((octet) => octet !== 127)),
    Buffer.from('\r\n'),
  ]);
}

function isSubset<T>(part: ReadonlySet<T>, whole: ReadonlySet<T>): boolean {
  return [...part].every((one) => whole.has(one));
}

function numberOf({ data }: ReceivedMessage): number {
  return Number(/^X-Number: (\d+)\r$/m.exec(data.toString('latin1'))?.[1]);
}

/** Until no delivery is waiting or under way: whatever was to arrive twice has. */
async function untilQueueIsEmpty({ relay }: RelayWorld): Promise<void> {
  await waitFor(
    'an empty queue',
    async () => (await relay.metric('stsrelay_queue_messages')) === 0,
  );
}

/** Accepts slowly, and now and then not at the first try: there is always something in flight. */
function slowScript(): Script {
  let asked = 0;
  return (_session, { verb }) => {
    if (verb === 'RCPT' && ++asked % 9 === 0) return '451 4.3.0 Not now';
    return verb === '.' ? { delayMs: randomInt(0, 60) } : undefined;
  };
}

describe('SIGKILL at random moments under load', { skip: redisMissing }, () => {
  test('every acknowledged message arrives; twice only what was in flight', async (t) => {
    await using world = await startWorld(QUICK_RETRIES);
    const { relay, internet } = world;
    const script = slowScript();
    const domain = await internet.domain('good.test', {
      sts: {},
      mx: [{ host: 'mx.good.test', script }],
    });
    const [host] = domain.mx;
    assert.ok(host !== undefined);
    const contents = new Map<number, Buffer>();
    const acknowledged = new Set<number>();
    let inFlight = 0;

    for (let round = 0; round < ROUNDS; round += 1) {
      const seen = host.messages.length;
      await injectUntilKilled(world, { round, contents, acknowledged });
      await waitFor('its connections to end', () => host.connectionsOpen === 0);
      const delivered = new Set(relay.events('delivery.delivered').map(({ id }) => id));
      const unrecorded = host.messages.slice(seen).filter((m) => !delivered.has(idOf(m)));
      assert.ok(unrecorded.length <= CONCURRENCY, `${unrecorded.length} in flight at once`);
      inFlight += unrecorded.length;
      await relay.start();
    }

    const arrived = () => new Set(host.messages.map(numberOf));
    await host.waitUntil('all acknowledged messages', () =>
      isSubset(acknowledged, arrived()) ? true : undefined,
    );
    await untilQueueIsEmpty(world);
    assert.ok(acknowledged.size >= ROUNDS * 5, `only ${acknowledged.size} were acknowledged`);
    for (const message of host.messages) {
      assertSameContent(message, contents.get(numberOf(message)) ?? Buffer.of());
    }
    const recorded = relay.wholeLog.filter(({ event }) => event === 'delivery.delivered');
    assert.equal(
      new Set(recorded.map(({ id }) => id)).size,
      recorded.length,
      'recorded, yet repeated',
    );
    const duplicates = host.messages.length - arrived().size;
    assert.ok(duplicates <= inFlight, `${duplicates} twice, ${inFlight} were in flight`);
    t.diagnostic(`${acknowledged.size} acknowledged, ${inFlight} in flight, ${duplicates} twice`);
  });
});

interface Round {
  readonly round: number;
  readonly contents: Map<number, Buffer>;
  readonly acknowledged: Set<number>;
}

/** Inject and, after some acknowledgements and a moment, kill: the relay alone, or Redis with it. */
async function injectUntilKilled({ relay }: RelayWorld, { round, contents, acknowledged }: Round) {
  const enough = Promise.withResolvers<void>();
  const killAt = randomInt(5, PER_ROUND - 5);
  const killed = enough.promise
    .then(() => sleep(randomInt(0, 50)))
    .then(() => relay.kill('SIGKILL', { group: round % 2 === 0 }));
  const injected = await injectMany({
    port: relay.smtpPort,
    count: PER_ROUND,
    concurrency: 6,
    makeMessage: (index) => {
      const number = round * PER_ROUND + index;
      const data = oddContent(number);
      contents.set(number, data);
      return { from: 'sender@client.test', to: `r${number}@good.test`, data };
    },
    onAcknowledged: (total) => {
      if (total >= killAt) enough.resolve();
    },
  });
  await killed;
  // The role that delivers may end before the one that receives.
  for (const { reply } of injected.refused) assert.match(reply, /^451 4\.3\.2 Mail queue not/);
  for (const { index } of injected.acknowledged) acknowledged.add(round * PER_ROUND + index);
}

/** The relay's id of a message, from the trace field. */
function idOf({ data }: ReceivedMessage): string {
  return / id ([0-9A-Z]{16})/.exec(data.subarray(0, 500).toString('latin1'))?.[1] ?? '';
}

describe('Redis in trouble', { skip: redisMissing }, () => {
  let redis: TestRedis;
  let world: RelayWorld;
  let host: MxHost;
  let held = false;
  before(async () => {
    redis = await startRedis();
    // Long enough that all jobs lie in Redis, none with the relay, when trouble comes.
    const retry = { schedule: ['1200ms'] };
    world = await startWorld({ retry }, { redis: { url: redis.url } });
    const script: Script = (_session, { verb }) =>
      held && verb === 'MAIL' ? '451 4.3.0 Later' : undefined;
    const domain = await world.internet.domain('held.test', {
      mx: [{ host: 'mx.held.test', script }],
    });
    host = domain.mx[0] as MxHost;
  });
  after(async () => {
    await world.close();
    await redis.close();
  });

  const sendSome = (count: number) =>
    Promise.all(Array.from({ length: count }, (_, i) => world.send({ to: `r${i}@held.test` })));

  /** Each of them is delivered, unchanged, and once; but those in flight when the relay was killed. */
  async function assertDelivered(
    all: readonly Sent[],
    inFlight: readonly Sent[] = [],
  ): Promise<void> {
    const arrivalsOf = ({ id }: Sent) => host.messages.filter((message) => idOf(message) === id);
    await host.waitUntil(`${all.length} messages`, () =>
      all.every((sent) => arrivalsOf(sent).length > 0) ? true : undefined,
    );
    await untilQueueIsEmpty(world);
    for (const sent of all) {
      const arrivals = arrivalsOf(sent);
      const most = inFlight.includes(sent) ? 2 : 1;
      assert.ok(arrivals.length <= most, `${sent.id} arrived ${arrivals.length} times`);
      assertSameContent(arrivals[0], sent.data);
    }
  }

  const troubles: readonly [string, () => Promise<void>][] = [
    ['emptied (FLUSHALL)', () => redis.flushAll()],
    ['restarted, and empty', () => redis.restart()],
    [
      'killed, and started a second later',
      async () => {
        await redis.kill();
        await sleep(1000);
        await redis.start();
      },
    ],
  ];
  for (const [name, trouble] of troubles) {
    test(`${name} while messages are deferred: all are delivered`, async () => {
      held = true;
      const all = await sendSome(20);
      for (const sent of all) assert.equal((await world.answer(sent)).event, 'delivery.deferred');
      const emptied = { matches: (line: LogLine) => line['reason'] === 'redis-emptied' };
      const before = world.relay.events('queue.entered').filter(emptied.matches).length;
      await trouble();
      all.push(...(await sendSome(5)));
      held = false;
      await world.relay.waitForEvents('queue.entered', before + 1, emptied);
      await assertDelivered(all);
    });
  }

  test('silent: mail is accepted, /readyz says 503, and it is delivered afterwards', async () => {
    redis.pause();
    const all = await sendSome(3);
    const readiness = await world.relay.waitForReadiness(
      503,
      ({ parts }) => parts['redis']?.ok === false,
    );
    assert.notEqual(readiness.parts['redis']?.reason, '');
    assert.equal(readiness.parts['spool']?.ok, true);
    all.push(...(await sendSome(3)));
    redis.resume();
    await assertDelivered(all);
    await world.relay.waitForReadiness(200);
  });

  test('gone, and the relay killed before the first attempt and started without it', async () => {
    await redis.kill();
    const all = await sendSome(3);
    await world.relay.kill('SIGKILL', { whole: true });
    // A turn that was given before may have taken some of them.
    const unanswered = all.filter((sent) => world.answers(sent).length === 0);
    await world.relay.start();
    await world.relay.waitForReadiness(503, ({ parts }) => parts['redis']?.ok === false);
    assert.ok(Number(world.relay.events('relay.started')[0]?.['recovered']) >= unanswered.length);
    all.push(...(await sendSome(3)));
    await redis.start();
    await assertDelivered(all, unanswered);
  });
});

async function serverPid(socketPath: string): Promise<number> {
  const client = new Redis(socketPath, { lazyConnect: true });
  await client.connect();
  const facts = await client.info('server');
  client.disconnect();
  return Number(/^process_id:(\d+)/m.exec(facts)?.[1]);
}

describe('each on its own', { skip: redisMissing, concurrency: true }, () => {
  test('the embedded Redis is killed: it is started again, and all is delivered', async () => {
    await using world = await startWorld(QUICK_RETRIES);
    let held = true;
    const { mx } = await world.internet.domain('held.test', {
      mx: [
        {
          host: 'mx.held.test',
          script: (_s, { verb }) => (held && verb === 'MAIL' ? '451 4.3.0 Later' : undefined),
        },
      ],
    });
    const all: Sent[] = [];
    for (let i = 0; i < 10; i += 1) all.push(await world.send({ to: `r${i}@held.test` }));
    for (const sent of all) assert.equal((await world.answer(sent)).event, 'delivery.deferred');
    const socket = String(world.relay.events('redis.started')[0]?.['socket']);
    process.kill(await serverPid(socket), 'SIGKILL');
    await world.relay.waitForEvent('redis.died');
    all.push(await world.send({ to: 'meanwhile@held.test' }));
    held = false;
    await mx[0]?.waitForMessages(all.length);
    await untilQueueIsEmpty(world);
    assert.deepEqual(new Set(mx[0]?.messages.map(idOf)), new Set(all.map(({ id }) => id)));
    assert.equal(mx[0]?.messages.length, all.length);
  });

  test('a deferred message keeps its attempts and its next attempt over SIGKILL', async () => {
    using clock = new WrongClock();
    const retry = { schedule: ['300ms', '1h'] };
    await using world = await startWorldWith({ env: clock.env }, { retry });
    const { relay, internet } = world;
    const script: Script = (_session, { verb }) =>
      verb === 'RCPT' ? '450 4.2.0 Mailbox busy' : undefined;
    await internet.domain('busy.test', { mx: [{ host: 'mx.busy.test', script }] });
    const sent = await world.send({ to: 'a@busy.test' });
    const second = await world.answer(sent, { nth: 2 });
    assert.equal(second['attempt'], 2);
    const dueMs = Date.parse(String(second['nextAttempt']));
    await relay.kill('SIGKILL', { group: true });
    clock.set(dueMs - Date.now() - 4000);
    await relay.start();
    // One that waited anew would wait for an hour.
    const third = await world.answer(sent);
    assert.equal(third['attempt'], 3, JSON.stringify(third));
    const madeMs = Date.parse(String(third.time));
    assert.ok(madeMs >= dueMs - 500, `${dueMs - madeMs} ms too early`);
  });

  test('a full disk: 452 4.3.1, the session goes on, and mail is taken once there is room', async () => {
    await using world = await startWorld({ limits: { minFreeDisk: '1000TiB' } });
    const { relay, internet } = world;
    const domain = await internet.domain('good.test');
    using client = await connect({ port: relay.smtpPort });
    await client.send('EHLO client.example.net');
    const message = { from: 'a@client.test', to: 'b@good.test', data: 'Subject: x\r\n\r\nx\r\n' };
    for (let i = 0; i < 2; i += 1) {
      const { reply, accepted } = await client.deliver(message);
      assert.equal(accepted, false);
      assert.match(reply.raw, /^452 4\.3\.1 /);
      assert.equal((await client.send('RSET')).code, 250);
    }
    await relay.waitForReadiness(503, ({ parts }) => parts['spool']?.ok === false);
    relay.changeSettings({ limits: { minFreeDisk: '1MiB' } });
    relay.reload();
    await relay.waitForEvent('config.reloaded');
    assert.ok((await client.deliver(message)).accepted);
    await domain.mx[0]?.waitForMessages(1);
    await relay.waitForReadiness(200);
  });
});
