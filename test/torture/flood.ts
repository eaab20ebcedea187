/**
 * Load of a given kind for a while, and how the relay bore it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { inject, type Load } from './injector.ts';
import type { RelayRun } from './relay-run.ts';

const LOOK_MS = 200;
/** Small messages: what is asked of the relay is many. */
const LARGEST = 8 * 1024;

export interface Flood {
  readonly sessions: number;
  readonly durationMs: number;
  /** Ends sooner, when so many were acknowledged. */
  readonly enough?: number;
  /** Ends sooner, when so many messages were refused. */
  readonly enoughRefused?: number;
}

export interface FloodResult {
  readonly acknowledged: number;
  /** Connections and messages answered 4xx. */
  readonly turnedAway: number;
  /** Memory of the largest process meanwhile. */
  readonly largestMiB: number;
}

export type FloodSource = Pick<Load, 'ledger' | 'composer' | 'random' | 'nextToken'>;

export async function flood(
  relay: RelayRun,
  source: FloodSource,
  {
    sessions,
    durationMs,
    enough = Number.POSITIVE_INFINITY,
    enoughRefused = Number.POSITIVE_INFINITY,
  }: Flood,
): Promise<FloodResult> {
  const endMs = Date.now() + durationMs;
  let [acknowledged, turnedAway, refused, largestMiB] = [0, 0, 0, 0];
  const isEnough = () => acknowledged >= enough || refused >= enoughRefused;
  const isOver = () => Date.now() >= endMs || isEnough();
  const injecting = inject({
    ...source,
    port: relay.smtpPort,
    sessions,
    largest: LARGEST,
    pace: () => (isOver() ? undefined : 0),
    onAcknowledged: () => {
      acknowledged += 1;
    },
    onTurnedAway: (reply) => {
      turnedAway += 1;
      if (reply.startsWith('452')) refused += 1;
    },
  });
  while (!isOver()) {
    largestMiB = Math.max(largestMiB, relay.memoryMiB);
    await sleep(Math.min(LOOK_MS, Math.max(1, endMs - Date.now())));
  }
  await injecting;
  return { acknowledged, turnedAway, largestMiB };
}
