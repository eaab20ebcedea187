/**
 * What goes wrong around the relay: hosts that do not answer, an attacker, the disk, the clock,
 * a machine that stands still, too much mail.
 */
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { retrySettings } from '../relay-settings.ts';
import { GOOD_MOOD } from '../town.ts';
import { type Disturbance, processOf } from './disturbance.ts';
import { pauseProcess } from './redis-troubles.ts';

const HOUR_MS = 3_600_000;
const BEYOND_LOCK_MS = 40_000;
/** More than one client may have at once. */
const FLOOD_SESSIONS = 60;
const FLOOD_MS = 8000;
/** Answers of MX hosts then: on time, and few a second. */
const SLOW_ANSWERS_MS = 2000;
/** What the largest process may take at four times what it can deliver. */
const MOST_MEMORY_MIB = 768;
const RECOVERED_MS = 30_000;

export const surroundings: readonly Disturbance[] = [
  {
    name: 'late-answers',
    weight: 3,
    // Each arrival that was not answered in time is marked: nothing else may come twice.
    mayRepeat: false,
    isLasting: true,
    async strike({ town, random }, meanwhile) {
      const share = () => random.below(12);
      town.mood = { ...town.mood, late: share(), silent: share(), closing: share() };
      await meanwhile();
      town.mood = { ...town.mood, late: 0, silent: 0, closing: 0 };
    },
  },
  {
    name: 'stripped-tls',
    weight: 2,
    mayRepeat: false,
    isLasting: true,
    async strike({ town }, meanwhile) {
      town.strip();
      await meanwhile();
      await town.unstrip();
    },
  },
  {
    name: 'clock-jump',
    weight: 2,
    mayRepeat: false,
    isLasting: true,
    async strike({ relay, random }, meanwhile) {
      const offsetMs = random.pick([0, random.below(8) + 1, -random.below(8) - 1]) * HOUR_MS;
      relay.note(`the clock is wrong by ${offsetMs / HOUR_MS} h from now on`);
      writeFileSync(relay.clockFile, String(offsetMs));
      await meanwhile();
    },
  },
  {
    name: 'disk-full',
    weight: 2,
    mayRepeat: false,
    isLasting: true,
    missing: ({ disk }) =>
      disk === undefined ? 'the data directory is on no small disk' : undefined,
    async strike({ disk, random }, meanwhile) {
      await disk?.fill(random.pick([0, 0, 64 * 1024, 900 * 1024]));
      try {
        await meanwhile();
        await sleep(random.below(1500));
      } finally {
        disk?.empty();
      }
    },
  },
  {
    name: 'pause-deliver',
    weight: 2,
    mayRepeat: true, // its timers say that answers are late, whenever they came
    strike: (scene) =>
      pauseProcess(processOf(scene, 'deliver'), () => sleep(500 + scene.random.below(2500))),
  },
  {
    name: 'pause-deliver-long',
    weight: 1,
    mayRepeat: true,
    isAlone: true,
    isSlow: true,
    strike: (scene) => pauseProcess(processOf(scene, 'deliver'), () => sleep(BEYOND_LOCK_MS)),
  },
  {
    name: 'reload',
    weight: 2,
    mayRepeat: false,
    async strike({ relay, random }) {
      const first = 50 + random.below(400);
      // maddy once went mad when the number of tries shrank under what was used up.
      const schedule = random.pick([[first], [first, 2 * first], [first, first, first, 900]]);
      await relay.reload({ retry: retrySettings(schedule.map((ms) => `${ms}ms`)) });
    },
  },
  {
    name: 'overload',
    weight: 2,
    mayRepeat: false,
    isAlone: true, // afterwards it must take mail at once
    async strike({ relay, town, flood }) {
      town.mood = { ...town.mood, delayMs: SLOW_ANSWERS_MS };
      const { largestMiB, turnedAway, acknowledged } = await flood({
        sessions: FLOOD_SESSIONS,
        durationMs: FLOOD_MS,
        enoughRefused: 50,
      });
      relay.note(`flood: ${acknowledged} acknowledged, ${turnedAway} turned away`);
      town.mood = { ...town.mood, delayMs: GOOD_MOOD.delayMs };
      if (turnedAway === 0) throw new Error('an overload, and nobody was turned away');
      if (largestMiB > MOST_MEMORY_MIB) {
        throw new Error(`overload had a process of the relay grow to ${largestMiB} MiB`);
      }
      const after = await flood({ sessions: 1, durationMs: RECOVERED_MS, enough: 1 });
      if (after.acknowledged === 0) {
        throw new Error(`no mail was taken for ${RECOVERED_MS} ms after an overload`);
      }
    },
  },
];
