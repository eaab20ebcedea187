/**
 * Measurements of our relay alone, that say how its cost grows: with the queue (`deep`, `asks`), with the
 * size of messages (`sizes`), with time (`steady`), and what it costs while there is nothing to do
 * (`idle`). Each gives a table. They take long, so they run only when they are named.
 */
import type { Bench, Peer } from '../peers/peer.ts';
import type { BenchSettings } from '../settings.ts';
import { inTurn } from '../turn.ts';
import { measureAsks } from './asks.ts';
import { measureDeep } from './deep.ts';
import { measureIdle } from './idle.ts';
import type { GrowthName } from './names.ts';
import { measureRedis } from './redis.ts';
import { measureSizes } from './sizes.ts';
import { measureSteady } from './steady.ts';

/** What a measurement works with. */
export interface GrowthSite {
  readonly bench: Bench;
  /** Our relay. */
  readonly peer: Peer;
  readonly settings: BenchSettings;
  readonly print: (line: string) => void;
}

/** What came out, for people. */
export interface GrowthTable {
  readonly name: GrowthName;
  /** One line. */
  readonly summary: string;
  /** The first row is the head. */
  readonly rows: readonly (readonly string[])[];
  /** Sentences below the table. */
  readonly notes: readonly string[];
  /** The figures behind it, for a file. */
  readonly figures: unknown;
}

const MEASUREMENTS: Readonly<Record<GrowthName, (site: GrowthSite) => Promise<GrowthTable>>> = {
  deep: measureDeep,
  asks: measureAsks,
  sizes: measureSizes,
  idle: measureIdle,
  steady: measureSteady,
  redis: measureRedis,
};

/** Run one. Throws when the relay does not do what it should. */
export function measureGrowth(name: GrowthName, site: GrowthSite): Promise<GrowthTable> {
  return inTurn(() => MEASUREMENTS[name](site));
}
