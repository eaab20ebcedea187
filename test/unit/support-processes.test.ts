/**
 * The test clock, the private Redis, the relay process and the injector do what later tests
 * rely on. The relay's part is played by a small program of the same manners.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { FakeClock } from '../support/fake-clock.ts';
import { injectMany } from '../support/inject.ts';
import { startMxHost } from '../support/mx-host.ts';
import { redisMissing, startRedis } from '../support/redis.ts';
import { mergeSettings, startRelay, sumSamples } from '../support/relay-process.ts';
import { tempDir } from '../support/temp-dir.ts';
import { findCommand, processesIn } from '../support/tied-child.ts';
import { Chronicle, waitFor } from '../support/wait-for.ts';

describe('fake clock', () => {
  test('runs what is due in order, each at its time, nested ones too', () => {
    const clock = new FakeClock(1000);
    const ran: [string, number][] = [];
    const note = (name: string) => () => ran.push([name, clock.now()]);
    clock.after(30, note('c'));
    clock.after(10, () => {
      note('a')();
      clock.after(5, note('b'));
    });
    const cancel = clock.after(20, note('cancelled'));
    clock.after(100, note('later'));
    cancel();
    clock.advance(50);
    assert.deepEqual(ran, [
      ['a', 1010],
      ['b', 1015],
      ['c', 1030],
    ]);
    assert.equal(clock.now(), 1050);
    assert.equal(clock.pending, 1);
    clock.set(5000);
    assert.deepEqual(ran.at(-1), ['later', 1100]);
  });

  test('advanceAsync lets promises ask for the next task', async () => {
    const clock = new FakeClock(0);
    let ticks = 0;
    const sleep = (ms: number) => new Promise<void>((resolve) => clock.after(ms, resolve));
    const loop = async () => {
      for (; ticks < 3; ticks += 1) await sleep(10);
    };
    const done = loop();
    await clock.advanceAsync(30);
    await done;
    assert.equal(ticks, 3);
  });
});

describe('waiting', () => {
  test('waitFor and Chronicle say what they waited for', async () => {
    await assert.rejects(
      waitFor('the moon', () => false, 30),
      /in vain for the moon/,
    );
    const chronicle = new Chronicle<number>();
    const two = chronicle.untilCount('numbers', 2);
    chronicle.push(1);
    chronicle.push(2);
    assert.deepEqual(await two, [1, 2]);
    await assert.rejects(chronicle.untilCount('numbers', 3, 30), /3 x numbers; 2 entries/);
    const never = chronicle.untilCount('numbers', 9);
    chronicle.end(new Error('it broke'));
    await assert.rejects(never, /it broke/);
  });
});

describe('test Redis', { skip: redisMissing }, () => {
  test('keeps data over a restart only with the append-only file', async () => {
    await using kept = await startRedis({ aof: true });
    await using lost = await startRedis();
    for (const redis of [kept, lost]) {
      await redis.command('SET', 'k', 'v');
      await redis.kill();
      await redis.start();
    }
    assert.equal(await kept.command('GET', 'k'), 'v');
    assert.equal(await lost.command('GET', 'k'), null);
    await kept.flushAll();
    assert.equal(await kept.command('GET', 'k'), null);
  });

  test('paused it is silent, resumed it answers', async () => {
    await using redis = await startRedis();
    redis.pause();
    let answered = false;
    const ping = redis.command('PING').then(() => {
      answered = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(answered, false);
    redis.resume();
    await ping;
  });

  const signals = ['SIGTERM', ...(findCommand('setpriv') ? ['SIGKILL'] : [])] as NodeJS.Signals[];
  for (const signal of signals) {
    test(`dies with a test process that gets ${signal}`, async () => {
      using dir = tempDir();
      const program = dir.file('program.ts');
      const redisModule = new URL('../support/redis.ts', import.meta.url).href;
      writeFileSync(
        program,
        `import { startRedis } from '${redisModule}';
         const redis = await startRedis();
         console.log(redis.pid);
         setInterval(() => {}, 1000);`,
      );
      // Its temp dir inside ours: after SIGKILL nobody else removes it.
      const child = spawn(process.execPath, [program], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, TMPDIR: dir.path },
      });
      const [pid] = await once(child.stdout.setEncoding('utf8'), 'data');
      assert.ok(isAlive(Number(pid)));
      child.kill(signal);
      await once(child, 'exit');
      await waitFor('Redis to be gone', () => !isAlive(Number(pid)));
    });
  }
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Plays the relay: says it started, echoes signals as events, leaves a child behind if told to. */
const PROGRAM = `
import { readFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
const file = process.argv[4];
const say = (event, fields = {}) => console.log(JSON.stringify({ event, ...fields }));
const config = readFileSync(file, 'utf8');
if (config.includes('broken')) { console.error('cannot start'); process.exit(2); }
console.log('no JSON');
const httpPort = Number(/http:\\s+address: \\S+\\s+port: (\\d+)/.exec(config)[1]);
const server = createServer((_, response) => response.end('stsrelay_x_total{a="1",b="2"} 3\\nstsrelay_x_total{a="2"} 4\\n'));
server.listen(httpPort, '127.0.0.1', () => say('relay.started', { config: file, env: process.env.STSRELAY_TEST }));
process.on('SIGHUP', () => say('relay.reloaded', { changed: readFileSync(file, 'utf8').includes('changed') }));
process.on('SIGTERM', () => process.exit(7));
if (config.includes('orphan')) spawn('sleep', ['600'], { detached: true, stdio: 'ignore' }).unref();
`;

describe('relay process', () => {
  const dir = tempDir();
  const main = dir.file('main.mjs');
  before(() => writeFileSync(main, PROGRAM));
  after(() => dir.remove());

  test('events, reload, metrics, exit code', async () => {
    await using relay = await startRelay({ main, env: { STSRELAY_TEST: 'yes' } });
    assert.equal(relay.events('relay.started')[0]?.['env'], 'yes');
    assert.deepEqual(relay.strayOutput, ['no JSON']);
    relay.changeSettings({ node: 'changed' });
    relay.reload();
    await relay.waitForEvent('relay.reloaded', (line) => line['changed'] === true);
    assert.equal(await relay.metric('stsrelay_x_total'), 7);
    assert.equal(await relay.metric('stsrelay_x_total', { b: '2' }), 3);
    assert.equal(await relay.metric('stsrelay_y_total'), undefined);
    assert.equal(await relay.stop(), 7);
    await relay.start();
    assert.equal(relay.events('relay.started').length, 1);
    assert.equal(relay.wholeLog.filter(({ event }) => event === 'relay.started').length, 2);
    await assert.rejects(
      relay.waitForEvent('never', undefined, 30),
      /never.*\n--- its log:\n.*relay.started/s,
    );
    await relay.kill();
    assert.ok(!relay.isRunning);
  });

  test('a start that fails tells why at once', async () => {
    const start = startRelay({ main, settings: { hostname: 'broken' } });
    await assert.rejects(start, /the relay ended \(2\).*cannot start/s);
  });

  test('children it leaves behind are ended', async () => {
    const relay = await startRelay({ main, settings: { hostname: 'orphan' } });
    const home = relay.configFile.slice(0, relay.configFile.lastIndexOf('/'));
    await relay.kill();
    assert.ok(processesIn(home).length > 0);
    await relay.close();
    await waitFor('the orphan to be gone', () => processesIn(home).length === 0);
  });

  test('settings merge by key, metrics sum by label', () => {
    assert.deepEqual(
      mergeSettings({ a: { b: 1, c: [1, 2] }, d: 1 }, { a: { c: [3] }, d: { e: 2 } }),
      { a: { b: 1, c: [3] }, d: { e: 2 } },
    );
    assert.equal(sumSamples('x_total 1\nx_total_more 2\n', 'x_total'), 1);
  });
});

describe('injector', () => {
  test('counts acknowledgements, survives a lost host', async () => {
    await using host = await startMxHost({
      name: 'relay.test',
      script: (_, { verb, argument }) =>
        verb === 'RCPT' && argument.includes('<u3@') ? '550 5.1.1 no' : undefined,
    });
    const injected = await injectMany({
      port: host.port,
      count: 60,
      concurrency: 3,
      makeMessage: (i) => ({ from: 'a@b.test', to: `u${i}@c.test`, data: `Subject: ${i}\r\n\r\n` }),
      onAcknowledged: (total) => {
        if (total === 20) void host.stop();
      },
    });
    assert.ok(injected.acknowledged.length >= 20);
    assert.deepEqual(injected.refused, [{ index: 3, reply: '550 5.1.1 no' }]);
    assert.ok(injected.unsent.length > 0);
    const { acknowledged, uncertain, refused, unsent } = injected;
    const seen = [...acknowledged, ...refused].map(({ index }) => index).concat(uncertain, unsent);
    assert.deepEqual(
      seen.sort((a, b) => a - b),
      Array.from({ length: 60 }, (_, i) => i),
    );
    assert.ok(host.messages.length >= acknowledged.length);
  });
});
