/**
 * Redis empty, silent, or full. None of them makes the relay forget what it has under way, so
 * none of them may have anything delivered twice.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { type Disturbance, processOf, type Scene } from './disturbance.ts';

/** A minute; BullMQ's locks last 30 s. */
const BEYOND_LOCK_MS = 60_000;
/** A Redis that is paused does not answer. */
const COMMAND_MS = 1000;

/** One command over the relay's own socket; false when nobody takes it. */
async function command(scene: Scene, name: string, ...args: string[]): Promise<boolean> {
  const client = new Redis(scene.relay.redisSocket, {
    lazyConnect: true,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
    connectTimeout: COMMAND_MS,
    commandTimeout: COMMAND_MS,
  });
  client.on('error', () => {});
  try {
    await client.connect();
    await client.call(name, ...args);
    return true;
  } catch {
    return false;
  } finally {
    client.disconnect();
  }
}

/** SIGSTOP, wait, SIGCONT, unless it was ended meanwhile. */
export async function pauseProcess(pid: number, meanwhile: () => Promise<void>): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  try {
    await meanwhile();
  } finally {
    try {
      process.kill(pid, 'SIGCONT');
    } catch {
      // Killed meanwhile.
    }
  }
}

export const redisTroubles: readonly Disturbance[] = [
  {
    name: 'flush-redis',
    weight: 3,
    mayRepeat: false,
    async strike(scene) {
      for (let times = 1 + scene.random.below(3); times > 0; times -= 1) {
        await command(scene, 'FLUSHALL');
        await sleep(scene.random.below(200));
      }
    },
  },
  {
    name: 'pause-redis',
    weight: 2,
    mayRepeat: false,
    isLasting: true,
    strike: (scene, meanwhile) =>
      pauseProcess(processOf(scene, 'redis'), async () => {
        await meanwhile();
        await sleep(scene.random.below(2000));
      }),
  },
  {
    name: 'pause-redis-long',
    weight: 1,
    mayRepeat: false,
    isAlone: true,
    isSlow: true,
    strike: (scene) => pauseProcess(processOf(scene, 'redis'), () => sleep(BEYOND_LOCK_MS)),
  },
  {
    name: 'redis-full',
    weight: 2,
    mayRepeat: false,
    isAlone: true, // a Redis that is paused could not be told when it is over
    isLasting: true,
    async strike(scene, meanwhile) {
      await command(scene, 'CONFIG', 'SET', 'maxmemory', '1');
      await meanwhile();
      await sleep(scene.random.below(1500));
      await command(scene, 'CONFIG', 'SET', 'maxmemory', '0');
    },
  },
];
