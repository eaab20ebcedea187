/**
 * Composition of the relay's side of Redis: the private server or the configured one, the
 * connection that several parts share, and the watch over it. Built by relay.ts.
 */
import { join } from 'node:path';
import type { Engine } from './engine.ts';
import type { Ground } from './ground.ts';
import { startEmbeddedRedis } from './platform/embedded-redis.ts';
import { connectRedis, firstTry, type RedisClient, type RedisTarget } from './platform/redis.ts';
import { RedisMonitor, UnsafeRedisError } from './platform/redis-monitor.ts';
import { queueNames } from './queue/job-queue.ts';
import type { Sharing } from './sharing.ts';

export interface RedisSide {
  readonly target: RedisTarget;
  /** For what needs an answer now, or does without. */
  readonly shared: RedisClient;
}

/** Start the private Redis below `dataDir`, or say where the configured one is, and connect. */
export async function openRedis(ground: Ground, dataDir: string): Promise<RedisSide> {
  const target = await redisTarget(ground, dataDir);
  const shared = connectRedis(target, 'fail-fast', (error) =>
    ground.events.queue.redisError('connection', error),
  );
  ground.undo(() => shared.disconnect());
  return { target, shared };
}

async function redisTarget(ground: Ground, dataDir: string): Promise<RedisTarget> {
  const { mode, url, sentinels, cluster, ...login } = ground.settings.redis;
  if (cluster.length > 0) return { kind: 'cluster', nodes: cluster, url };
  if (sentinels.length > 0) {
    const { sentinelUser: user, sentinelPassword: password } = login;
    return { kind: 'sentinel', url, sentinels, user, password };
  }
  if (mode === 'external') return { kind: 'url', url };
  const events = ground.events.relay;
  const redis = await startEmbeddedRedis(join(dataDir, 'redis'), {
    started: events.redisStarted,
    died: events.redisDied,
    output: events.redisOutput,
    setAside: events.redisDataSetAside,
    persistenceOff: events.redisPersistenceOff,
    persistenceOn: events.redisPersistenceOn,
  });
  ground.undo(() => redis.stop());
  return { kind: 'socket', path: redis.socketPath };
}

/** Watch it from now on. Rejects with UnsafeRedisError; one that does not answer is waited for. */
export async function watchRedis(
  ground: Ground,
  parts: {
    client: RedisClient;
    node: string;
    engine: Engine;
    sharing: Pick<Sharing, 'redisIsBack' | 'trouble'> | undefined;
  },
): Promise<RedisMonitor> {
  const { client, node, engine, sharing } = parts;
  const { queue, relay } = ground.events;
  // Of a cluster it is the queue's part that is watched.
  const { prefix } = queueNames(ground.settings.redis.keyPrefix, node);
  const probeKey = `${prefix}:probe`;
  const monitor = new RedisMonitor(client, probeKey, {
    clock: ground.clock,
    events: {
      up: () => {
        queue.redisUp();
        void (sharing?.redisIsBack() ?? Promise.resolve()).then(() => {
          if (sharing?.trouble !== undefined) ground.metrics.redisUp.set(0);
          engine.redisIsBack();
        });
      },
      down: queue.redisDown,
      latency: (seconds) => ground.metrics.redisLatency.observe(seconds),
      evictionPolicy: (policy) => relay.evictionPolicy(policy),
    },
  });
  ground.undo(() => monitor.stop());
  // What keeps a relay from starting, its policy or whose the name is, must not depend on who is faster.
  await firstTry(client);
  await monitor.start();
  const policy = monitor.evictionPolicy;
  if (policy !== undefined && policy !== 'noeviction') throw new UnsafeRedisError(policy);
  return monitor;
}
