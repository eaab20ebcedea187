/**
 * What a disturbance is, and what it has at hand.
 */
import type { Random } from '../../fuzz/engine/random.ts';
import type { Flood, FloodResult } from '../flood.ts';
import type { Part } from '../processes.ts';
import type { RelayRun } from '../relay-run.ts';
import type { SmallDisk } from '../small-disk.ts';
import type { Town } from '../town.ts';

export interface Scene {
  readonly relay: RelayRun;
  readonly town: Town;
  readonly random: Random;
  /** What the data directory is on; undefined when it cannot be filled. */
  readonly disk: SmallDisk | undefined;
  /** Minutes may be spent on one disturbance. */
  readonly isLong: boolean;
  /** Many more sessions than are good for the relay. */
  readonly flood: (flood: Flood) => Promise<FloodResult>;
}

export interface Disturbance {
  readonly name: string;
  /** How often it is chosen, compared with others. */
  readonly weight: number;
  /** What is under way then may arrive twice. */
  readonly mayRepeat: boolean;
  /** Another one may happen in its midst. */
  readonly isLasting?: boolean;
  /** Never in the midst of another one. */
  readonly isAlone?: boolean;
  /** Takes a minute: for long campaigns. */
  readonly isSlow?: boolean;
  /** Why it cannot be had here; undefined when it can. */
  readonly missing?: (scene: Scene) => string | undefined;
  /**
   * Do it and undo it. `meanwhile` is awaited in between: a moment, or another disturbance.
   * Afterwards the relay may be down, but nothing else may be wrong.
   */
  strike(scene: Scene, meanwhile: () => Promise<void>): Promise<void>;
}

/** The process of this part of the relay; it must be there. */
export function processOf({ relay }: Scene, part: Part): number {
  const pid = relay.pidOf(part);
  if (pid === undefined) throw new Error(`the relay has no process for ${part}`);
  return pid;
}
