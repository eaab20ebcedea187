/**
 * Sudden and orderly ends: of everything, of one process, again and again while it starts.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '../../support/wait-for.ts';
import type { Part } from '../processes.ts';
import { type Disturbance, processOf, type Scene } from './disturbance.ts';

const BACK_TIMEOUT_MS = 180_000;

/** SIGKILL for one process; it comes back by itself, unless it was the only one. */
async function killPart(scene: Scene, part: Part): Promise<void> {
  const { relay } = scene;
  const pid = processOf(scene, part);
  const isAlone = pid === processOf(scene, 'supervisor');
  if (isAlone) return relay.killFirst();
  process.kill(pid, 'SIGKILL');
  const isBack = () => ![undefined, pid].includes(relay.pidOf(part));
  await waitFor(`another process for ${part}`, isBack, BACK_TIMEOUT_MS);
}

export const kills: readonly Disturbance[] = [
  {
    name: 'kill-all',
    weight: 4,
    mayRepeat: true,
    strike: ({ relay }) => relay.killAll(),
  },
  {
    name: 'kill-first',
    weight: 2,
    mayRepeat: true,
    strike: ({ relay }) => relay.killFirst(),
  },
  {
    name: 'kill-deliver',
    weight: 3,
    mayRepeat: true,
    strike: (scene) => killPart(scene, 'deliver'),
  },
  {
    name: 'kill-receive',
    weight: 2,
    mayRepeat: true,
    strike: (scene) => killPart(scene, 'receive'),
  },
  {
    name: 'kill-starting',
    weight: 2,
    mayRepeat: true,
    async strike({ relay, random }) {
      await relay.killAll();
      for (let times = 1 + random.below(3); times > 0; times -= 1) {
        relay.launch();
        await sleep(random.below(1500)); // it may be at anything
        await relay.killAll();
      }
    },
  },
  {
    name: 'restart',
    weight: 2,
    mayRepeat: false,
    async strike({ relay }) {
      const ended = await relay.stop();
      if (ended !== 0) throw new Error(`SIGTERM ended the relay with ${ended}`);
      await relay.waitGone();
    },
  },
  {
    name: 'kill-redis',
    weight: 2,
    mayRepeat: false,
    strike: (scene) => killPart(scene, 'redis'),
  },
];
