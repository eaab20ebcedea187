/**
 * What `make bench` is told through make's variables, which come here as the environment:
 * ROUNDS, N, SCENARIOS, PEERS, MAIN, PROFILE, WARMUP, WRITE, OUT, BENCH_WORK, DEPTHS, MINUTES, RATE.
 */
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { GROWTH_NAMES, type GrowthName } from './growth/names.ts';
import { SCENARIOS, type Scenario } from './scenarios.ts';

const DIST_MAIN = new URL('../../dist/main.js', import.meta.url);

export const DURABILITY = 'durability';
export const PEER_NAMES = ['stsrelay', 'postfix-reuse', 'postfix', 'haraka'] as const;
export type PeerName = (typeof PEER_NAMES)[number];

export interface BenchSettings {
  readonly scenarios: readonly Scenario[];
  /** Count syncs, too. */
  readonly durability: boolean;
  /** How our relay's cost grows: only what was asked for by name. */
  readonly growth: readonly GrowthName[];
  /** Messages in the queue for `deep`, ascending. */
  readonly depths: readonly number[];
  /** How long `steady` takes. */
  readonly minutes: number;
  /** Messages a second of `steady`; undefined: half of what is sustained. */
  readonly rate: number | undefined;
  readonly peers: readonly PeerName[];
  readonly rounds: number;
  /** Messages a run; undefined: what the scenario says. */
  readonly messages: number | undefined;
  /** Messages before each run that do not count. */
  readonly warmUp: number;
  /** The relay's main file. */
  readonly main: string;
  /** Profile our relay. */
  readonly profile: boolean;
  /** Put the figures into docs/performance.md. */
  readonly write: boolean;
  /** All results as JSON lines go into this file; empty: nowhere. */
  readonly outFile: string;
  /** The scratch folder; empty: a new one below the system's. */
  readonly work: string;
}

export class UsageError extends Error {}

/** Throws UsageError with a sentence for people. */
export function readSettings(env: NodeJS.ProcessEnv): BenchSettings {
  const compared = [...SCENARIOS.map(({ name }) => name), DURABILITY];
  const known = [...compared, ...GROWTH_NAMES];
  const wanted = listOf(env, { name: 'SCENARIOS', known, otherwise: compared });
  const peers = listOf(env, { name: 'PEERS', known: PEER_NAMES, otherwise: PEER_NAMES });
  const tuned = ['SCENARIOS', 'N', 'ROUNDS', 'PEERS', 'WARMUP', 'PROFILE'].some(
    (name) => text(env, name) !== '',
  );
  return {
    scenarios: SCENARIOS.filter(({ name }) => wanted.includes(name)),
    durability: wanted.includes(DURABILITY),
    growth: GROWTH_NAMES.filter((name) => wanted.includes(name)),
    depths: depthsOf(env),
    minutes: wholeNumber(env, 'MINUTES', 60),
    rate: text(env, 'RATE') === '' ? undefined : wholeNumber(env, 'RATE', 0),
    peers: peers as readonly PeerName[],
    rounds: wholeNumber(env, 'ROUNDS', 5),
    messages: text(env, 'N') === '' ? undefined : wholeNumber(env, 'N', 0),
    warmUp: wholeNumber(env, 'WARMUP', 500),
    main: resolve(text(env, 'MAIN') || fileURLToPath(DIST_MAIN)),
    profile: yes(env, 'PROFILE', false),
    write: yes(env, 'WRITE', !tuned),
    outFile: text(env, 'OUT'),
    work: text(env, 'BENCH_WORK'),
  };
}

function depthsOf(env: NodeJS.ProcessEnv): readonly number[] {
  const given = text(env, 'DEPTHS') || '1000,100000,500000';
  const depths = given.split(/[\s,]+/).map((depth) => {
    if (/^[1-9]\d{0,7}$/.test(depth)) return Number(depth);
    throw new UsageError(`DEPTHS: ${depth} is no whole number`);
  });
  return depths.sort((a, b) => a - b);
}

/** Processes a peer may have where it asks for a number. */
export const CORES = availableParallelism();

function text(env: NodeJS.ProcessEnv, name: string): string {
  return (env[name] ?? '').trim();
}

function wholeNumber(env: NodeJS.ProcessEnv, name: string, otherwise: number): number {
  const given = text(env, name);
  if (given === '') return otherwise;
  if (!/^[1-9]\d{0,7}$/.test(given)) throw new UsageError(`${name}=${given} is no whole number`);
  return Number(given);
}

function yes(env: NodeJS.ProcessEnv, name: string, otherwise: boolean): boolean {
  const given = text(env, name);
  if (given === '') return otherwise;
  if (given !== '0' && given !== '1') throw new UsageError(`${name}=${given} is neither 0 nor 1`);
  return given === '1';
}

interface ListQuestion {
  readonly name: string;
  readonly known: readonly string[];
  readonly otherwise: readonly string[];
}

function listOf(env: NodeJS.ProcessEnv, question: ListQuestion): readonly string[] {
  const given = text(env, question.name);
  if (given === '') return question.otherwise;
  const names = given.split(/[\s,]+/).filter((name) => name !== '');
  const stranger = names.find((name) => !question.known.includes(name));
  if (stranger !== undefined) {
    const all = question.known.join(', ');
    throw new UsageError(`${question.name}: there is no ${stranger}; there are ${all}`);
  }
  return names;
}
