/** Connections to Redis: what a URL says is used, failures are quick or patient, never fatal. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Redis } from 'ioredis';
import {
  connectRedis,
  evictionPolicy,
  masterOf,
  type RedisTarget,
} from '../../src/platform/redis.ts';
import { RedisMonitor, type RedisMonitorEvents } from '../../src/platform/redis-monitor.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { redisMissing, startRedis } from '../support/redis.ts';
import { startSentinelGroup } from '../support/redis-groups.ts';
import { waitFor } from '../support/wait-for.ts';
import { recordEvents } from './sample-mail.ts';

const ignore = () => {};

function optionsOf(target: RedisTarget) {
  const client = connectRedis(target, 'fail-fast', ignore);
  client.disconnect();
  return client.options as Redis['options'] & { redisOptions?: Redis['options'] };
}

describe('where Redis is', () => {
  test('a URL: user, password, database and TLS', () => {
    const options = optionsOf({ kind: 'url', url: 'rediss://me:p%40ss@redis.example:7000/3' });
    const { host, port, username, password, db } = options;
    assert.deepEqual(
      { host, port, username, db },
      { host: 'redis.example', port: 7000, username: 'me', db: 3 },
    );
    assert.match(String(password), /^p(@|%40)ss$/);
    assert.ok(options.tls);
  });

  test('Sentinel: the URL names the master, and how to log in there', () => {
    const options = optionsOf({
      kind: 'sentinel',
      url: 'rediss://me:p%40ss@queue',
      sentinels: ['s1.example:26380', '[2001:db8::1]:26379'],
    });
    assert.deepEqual(options.sentinels, [
      { host: 's1.example', port: 26380 },
      { host: '2001:db8::1', port: 26379 },
    ]);
    const { name, username, password } = options;
    assert.deepEqual([name, username, password], ['queue', 'me', 'p@ss']);
    assert.ok(options.tls);
    // Without the first ioredis speaks in clear to the master, whatever `tls` is.
    assert.equal(options.enableTLSForSentinelMode, true);
    assert.ok(options.sentinelTLS);
    assert.deepEqual([options.sentinelUsername, options.sentinelPassword], [undefined, undefined]);
    const login = { url: 'redis://:of-master@queue', user: 'me', password: 'theirs' };
    const secret = optionsOf({ kind: 'sentinel', sentinels: ['s:1'], ...login });
    const { sentinelUsername, sentinelPassword } = secret;
    assert.deepEqual(
      [sentinelUsername, sentinelPassword, secret.password],
      ['me', 'theirs', 'of-master'],
    );
    const plain = optionsOf({ kind: 'sentinel', url: 'redis://queue', sentinels: ['s:1'] });
    assert.equal(plain.tls ?? plain.sentinelTLS, undefined);
  });

  test('Sentinel: the path of the URL, or else its host, is the name of the master', () => {
    const named: readonly (readonly [string, ReturnType<typeof masterOf>])[] = [
      ['redis://queue', { name: 'queue' }],
      ['redis://queue/3', { name: 'queue', db: 3 }],
      ['redis://me:x@redis.example:6379/queue', { name: 'queue' }],
      ['redis://me:x@127.0.0.1:6379', { name: 'mymaster' }],
      ['redis://localhost/2', { name: 'mymaster', db: 2 }],
      ['redis://[::1]:6379', { name: 'mymaster' }],
      ['', { name: 'mymaster' }],
    ];
    for (const [url, master] of named) assert.deepEqual(masterOf(url), master, url);
  });

  test('Sentinel without a URL: the usual name', () => {
    assert.equal(optionsOf({ kind: 'sentinel', url: '', sentinels: ['s:1'] }).name, 'mymaster');
  });

  test('Cluster: nodes, and a URL for how to log in', () => {
    const plain = optionsOf({ kind: 'cluster', nodes: ['c1.example:7001'] });
    assert.equal(plain.redisOptions?.password, undefined);
    const secret = optionsOf({
      kind: 'cluster',
      nodes: ['c1.example:7001'],
      url: 'rediss://u:p@x',
    });
    assert.deepEqual([secret.redisOptions?.username, secret.redisOptions?.password], ['u', 'p']);
    assert.ok(secret.redisOptions?.tls);
  });
});

describe('a connection', { skip: redisMissing }, () => {
  test('that fails fast says so at once while Redis is away, and comes back by itself', async () => {
    await using redis = await startRedis();
    const errors: Error[] = [];
    const client = connectRedis({ kind: 'socket', path: redis.socketPath }, 'fail-fast', (error) =>
      errors.push(error),
    );
    try {
      await waitFor('a connection', () => client.status === 'ready');
      assert.equal(await evictionPolicy(client), 'noeviction');
      await redis.kill();
      await waitFor('the connection to end', () => client.status !== 'ready');
      // Not "Command timed out": nothing was waited for.
      await assert.rejects(client.get('x'), /isn't writeable|Connection is closed/);
      await waitFor('an error to be heard', () => errors.length > 0);
      await redis.start();
      await waitFor('an answer', async () => (await client.ping()) === 'PONG');
    } finally {
      client.disconnect();
    }
  });

  test('by Sentinels that ask for a password', async () => {
    await using group = await startSentinelGroup([], 'of-sentinels');
    const target = { kind: 'sentinel', url: 'redis://mymaster' } as const;
    const { sentinels } = group;
    for (const password of ['of-sentinels', 'another', undefined]) {
      const errors: string[] = [];
      const client = connectRedis(
        { ...target, sentinels, ...(password === undefined ? {} : { password }) },
        'fail-fast',
        ({ message }) => errors.push(message),
      );
      try {
        if (password === 'of-sentinels') {
          await waitFor('an answer', async () => (await client.ping()) === 'PONG');
        } else {
          await waitFor('an error to be heard', () => errors.length > 0);
          assert.match(errors.join(), /NOAUTH|WRONGPASS|All sentinels are unreachable/);
        }
      } finally {
        client.disconnect();
      }
    }
  });

  test('that waits holds commands until Redis is back', async () => {
    await using redis = await startRedis();
    await redis.kill();
    const client = connectRedis({ kind: 'socket', path: redis.socketPath }, 'wait', ignore);
    try {
      const pong = client.ping();
      await redis.start();
      assert.equal(await pong, 'PONG');
    } finally {
      client.disconnect();
    }
  });

  test('is watched: up, down, up again, and how it evicts', async () => {
    await using redis = await startRedis({ maxmemoryPolicy: 'allkeys-lru' });
    const client = connectRedis({ kind: 'socket', path: redis.socketPath }, 'fail-fast', ignore);
    const clock = new FakeClock();
    const recorded = recordEvents<RedisMonitorEvents>();
    const monitor = new RedisMonitor(client, 'probe', { clock, events: recorded.events });
    const events = () =>
      recorded.calls.entries.map(({ name }) => name).filter((name) => name !== 'latency');
    try {
      assert.equal(monitor.status.ok, false);
      await waitFor('a connection', () => client.status === 'ready');
      await monitor.start();
      assert.deepEqual([monitor.status.ok, events()], [true, ['evictionPolicy', 'up']]);
      assert.deepEqual(recorded.of('evictionPolicy'), [['allkeys-lru']]);
      await redis.kill();
      await waitFor('it to be missed', () => {
        clock.advance(1000);
        return !monitor.status.ok;
      });
      assert.notEqual(monitor.status.reason, '');
      await redis.start();
      await waitFor('it to be seen', () => {
        clock.advance(1000);
        return monitor.status.ok;
      });
      assert.deepEqual(events(), ['evictionPolicy', 'up', 'down', 'evictionPolicy', 'up']);
      monitor.stop();
      const asked = recorded.of('latency').length;
      await clock.advanceAsync(10_000);
      assert.ok(recorded.of('latency').length <= asked + 1);
      assert.equal(clock.pending, 0);
    } finally {
      monitor.stop();
      client.disconnect();
    }
  });
});
