/**
 * Redis in trouble of many kinds, under a relay that runs: while it lasts mail is accepted and `/readyz`
 * says 503; when it is over everything is delivered, once, within seconds and without a restart.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type RecoveryScene, startScene } from '../support/recovery-scene.ts';
import { redisMissing, startRedis } from '../support/redis.ts';
import { startRedisWire } from '../support/redis-wire.ts';
import { waitFor } from '../support/wait-for.ts';

/** What begins it, and gives back what ends it. */
type Trouble = (scene: RecoveryScene) => Promise<() => Promise<unknown>>;

/** BullMQ's worker asks at once again when there is an error: without a pause it is thousands. */
const MOST_ERRORS_A_SECOND = 100;

async function clientIds(scene: RecoveryScene, command: RegExp): Promise<readonly string[]> {
  const list = String(await scene.redis.command('CLIENT', 'LIST'));
  const lines = list.split('\n').filter((line) => command.test(line));
  return lines.map((line) => /^id=(\d+)/.exec(line)?.[1] ?? '');
}

/** Those that are over at once. */
const blows: readonly (readonly [string, (scene: RecoveryScene) => Promise<unknown>])[] = [
  [
    'all its connections are closed',
    (scene) => scene.redis.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'),
  ],
  [
    'the connection on which the worker waits is closed, ten times',
    async (scene) => {
      for (let times = 0; times < 10; times += 1) {
        const ids = await waitFor('the worker to wait', async () => {
          const waiting = await clientIds(scene, /cmd=bzpopmin/);
          return waiting.length > 0 ? waiting : undefined;
        });
        for (const id of ids) await scene.redis.command('CLIENT', 'KILL', 'ID', id);
      }
    },
  ],
  [
    'the wait of the worker is broken off',
    async (scene) => {
      for (const id of await clientIds(scene, /cmd=bzpopmin/)) {
        await scene.redis.command('CLIENT', 'UNBLOCK', id, 'ERROR');
      }
    },
  ],
  ['it is another process, with the same data', (scene) => scene.redis.restart()],
];

const troubles: readonly (readonly [string, Trouble])[] = [
  [
    'it stands still (CLIENT PAUSE)',
    async (scene) => {
      await scene.redis.command('CLIENT', 'PAUSE', 6000, 'ALL');
      return () => scene.redis.command('PING');
    },
  ],
  [
    'it is loading its data (LOADING)',
    async (scene) => {
      await scene.redis.command('DEBUG', 'POPULATE', 500, 'filler');
      await scene.redis.command('BGREWRITEAOF');
      await waitFor('its file', async () => {
        const info = String(await scene.redis.command('INFO', 'persistence'));
        return /aof_rewrite_in_progress:0/.test(info) && /aof_rewrite_scheduled:0/.test(info);
      });
      await scene.redis.stop();
      const loaded = scene.redis.start();
      return () => loaded;
    },
  ],
  [
    'it is a replica (READONLY)',
    async (scene) => {
      await scene.redis.command('REPLICAOF', '127.0.0.1', 1);
      return () => scene.redis.command('REPLICAOF', 'NO', 'ONE');
    },
  ],
  [
    'its memory is full (OOM)',
    async (scene) => {
      await scene.redis.command('CONFIG', 'SET', 'maxmemory', 1);
      return () => scene.redis.command('CONFIG', 'SET', 'maxmemory', 0);
    },
  ],
  [
    'a script of somebody runs and runs (BUSY)',
    async (scene) => {
      await scene.redis.command('CONFIG', 'SET', 'busy-reply-threshold', 50);
      const script = scene.redis.command('EVAL', 'while true do end', 0).catch(() => {});
      return async () => {
        await scene.redis.command('SCRIPT', 'KILL');
        await script;
      };
    },
  ],
  [
    'our user may do nothing any more (NOPERM)',
    async (scene) => {
      await addAdmin(scene);
      await scene.redis.command('ACL', 'SETUSER', 'default', '-@all');
      await asAdmin(scene, 'CLIENT', 'KILL', 'USER', 'default');
      return () => asAdmin(scene, 'ACL', 'SETUSER', 'default', '+@all');
    },
  ],
  [
    'our user has another password (NOAUTH)',
    async (scene) => {
      await addAdmin(scene);
      await scene.redis.command('ACL', 'SETUSER', 'default', 'resetpass', '>other');
      await asAdmin(scene, 'CLIENT', 'KILL', 'USER', 'default');
      return () => asAdmin(scene, 'ACL', 'SETUSER', 'default', 'nopass');
    },
  ],
];

/** For when the user of relay and test is shut out. */
function addAdmin({ redis }: RecoveryScene): Promise<unknown> {
  return redis.command('ACL', 'SETUSER', 'admin', 'on', '>x', '~*', '&*', '+@all');
}

function asAdmin(scene: RecoveryScene, ...command: readonly [string, ...(string | number)[]]) {
  return scene.redis.commandAs({ username: 'admin', password: 'x' }, ...command);
}

describe('Redis in trouble', { skip: redisMissing }, () => {
  let scene: RecoveryScene;
  before(async () => {
    const slowLoading = [
      '--key-load-delay',
      '2000',
      '--loading-process-events-interval-bytes',
      '1024',
    ];
    const debug = ['--enable-debug-command', 'yes'];
    scene = await startScene({ redis: { aof: true, args: [...slowLoading, ...debug] } });
  });
  after(() => scene?.close());

  for (const [name, strike] of blows) {
    test(name, async () => {
      const all = [...(await scene.sendDeferred(4))];
      const struck = strike(scene);
      all.push(...(await scene.send(4)));
      await struck;
      all.push(...(await scene.send(4)));
      await scene.assertDelivered(all);
      await assertWell(scene);
    });
  }

  for (const [name, begin] of troubles) {
    test(name, async () => {
      const all = [...(await scene.sendDeferred(4))];
      const before = await workerErrors(scene);
      const beganAtMs = performance.now();
      const end = await begin(scene);
      all.push(...(await scene.send(4)));
      await scene.relay.waitForReadiness(503, ({ parts }) => parts['redis']?.ok === false);
      all.push(...(await scene.send(4)));
      await end();
      await scene.assertDelivered(all);
      await assertWell(scene);
      const seconds = (performance.now() - beganAtMs) / 1000;
      const errors = ((await workerErrors(scene)) ?? 0) - (before ?? 0);
      assert.ok(errors / seconds < MOST_ERRORS_A_SECOND, `${errors} errors in ${seconds} s`);
    });
  }
});

const workerErrors = ({ relay }: RecoveryScene) =>
  relay.metric('stsrelay_redis_errors_total', { kind: 'worker' });

/** It says so, nothing was restarted, and nothing came on stderr. */
async function assertWell({ relay }: RecoveryScene): Promise<void> {
  await relay.waitForReadiness(200);
  assert.equal(await relay.metric('stsrelay_redis_up'), 1);
  assert.deepEqual(relay.events('relay.role_ended'), []);
  assert.equal(relay.stderr, '');
}

describe('each on its own', { skip: redisMissing, concurrency: true }, () => {
  test('a failover behind the address: the master of before, a replica now, is left', async () => {
    await using next = await startRedis();
    await using wire = await startRedisWire(0);
    await using scene = await startScene({
      redisUrl: (redis) => {
        wire.target = redis.port;
        return wire.url;
      },
    });
    const all = [...(await scene.sendDeferred(4))];
    wire.target = next.port;
    await scene.redis.command('REPLICAOF', '127.0.0.1', next.port);
    all.push(...(await scene.send(4)));
    await scene.assertDelivered(all);
    await assertWell(scene);
  });

  test('connections that fall silent are given up, and everything goes on', async () => {
    await using wire = await startRedisWire(0);
    await using scene = await startScene({
      redisUrl: (redis) => {
        wire.target = redis.port;
        return wire.url;
      },
    });
    const all = [...(await scene.sendDeferred(4))];
    assert.ok(wire.silence() >= 4);
    all.push(...(await scene.send(4)));
    await scene.relay.waitForReadiness(503, ({ parts }) => parts['redis']?.ok === false);
    await scene.assertDelivered(all);
    await assertWell(scene);
  });

  test('away at the start and for long: mail is taken, and delivered once it is there', async () => {
    const redis = await startRedis();
    await redis.kill();
    await using scene = await startScene({ redisUrl: () => redis.url });
    const all = [...(await scene.send(4))];
    await scene.relay.waitForReadiness(503, ({ parts }) => parts['redis']?.ok === false);
    await redis.start();
    await scene.assertDelivered(all);
    await assertWell(scene);
    // In the middle of attempts.
    const { promise: gone, resolve } = Promise.withResolvers<void>();
    let asked = 0;
    scene.script = async (_session, { verb }) => {
      if (verb !== '.') return undefined;
      asked += 1;
      await gone;
      return undefined;
    };
    const { length: answered } = scene.relay.events('delivery.delivered');
    const underWay = await scene.send(4);
    await waitFor('attempts', () => asked >= 4);
    await redis.kill();
    resolve();
    await scene.relay.waitForEvents('delivery.delivered', answered + 4);
    const later = await scene.send(8);
    await scene.relay.waitForReadiness(503, ({ parts }) => parts['redis']?.ok === false);
    await redis.start();
    await scene.assertDelivered([...underWay, ...later]);
    await assertWell(scene);
    await redis.close();
  });
});
