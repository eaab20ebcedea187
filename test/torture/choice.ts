/**
 * Which disturbance a round has: chosen by the seed and the number of the round alone, so that the
 * same seed gives the same rounds.
 */
import { Random } from '../fuzz/engine/random.ts';
import type { Disturbance } from './disturbances/disturbance.ts';
import { kills } from './disturbances/kills.ts';
import { redisTroubles } from './disturbances/redis-troubles.ts';
import { surroundings } from './disturbances/surroundings.ts';

export const DISTURBANCES: readonly Disturbance[] = [...kills, ...redisTroubles, ...surroundings];
/** A disturbance that lasts has another one in its midst in so many of 100 rounds. */
const TOGETHER = 50;

export interface Choice {
  readonly name: string;
  readonly outer: Disturbance;
  readonly inner: Disturbance | undefined;
  readonly mayRepeat: boolean;
}

/** The numbers of one round. */
export function randomOf(seed: number, round: number): Random {
  return new Random((Math.imul(seed, 0x9e37_79b1) + Math.imul(round, 0x85eb_ca6b)) >>> 0);
}

/** What happens in a round; `possible` is not empty. */
export function choose(possible: readonly Disturbance[], random: Random): Choice {
  const outer = weighted(possible, random);
  const others = possible.filter(({ name, isAlone }) => name !== outer.name && isAlone !== true);
  const isTogether = outer.isLasting === true && random.below(100) < TOGETHER;
  const inner = isTogether && others.length > 0 ? weighted(others, random) : undefined;
  const name = inner === undefined ? outer.name : `${outer.name}+${inner.name}`;
  return { name, outer, inner, mayRepeat: outer.mayRepeat || inner?.mayRepeat === true };
}

function weighted(among: readonly Disturbance[], random: Random): Disturbance {
  return random.pick(among.flatMap((one) => Array.from({ length: one.weight }, () => one)));
}
