/**
 * Does `250` come after a sync, and does each relay verify? strace watches all processes of a
 * relay. While the sink is stopped, so that nothing is synced for deliveries, one session hands
 * over one message after the other: between two acknowledgements a sync must have ended. Then
 * twenty sessions at once show how many messages share a sync. Last, the sink shows a
 * certificate of a CA nobody trusts: nothing may reach it.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findCommand, spawnTied } from '../support/tied-child.ts';
import { waitFor } from '../support/wait-for.ts';
import { inject } from './measure/injector.ts';
import { readTrace, TRACED } from './measure/sync-trace.ts';
import type { Bench, Peer } from './peers/peer.ts';
import { injection } from './run.ts';
import { type Running, withRunning } from './running.ts';
import { SCENARIOS, type Scenario } from './scenarios.ts';
import { inTurn } from './turn.ts';

const ONE_BY_ONE = 40;
const AT_ONCE = 400;
/** How long a relay gets to deliver to an impostor. */
const IMPOSTOR_MS = 5000;

export interface Durability {
  readonly peer: string;
  /** One session: acknowledged, and how many of these without a sync before. */
  readonly acknowledged: number;
  readonly unsynced: number;
  /** Twenty sessions, deliveries included. */
  readonly syncsPerMessage: number;
  /** Messages that reached a sink with the wrong certificate. */
  readonly toImpostor: number;
}

/** A finding for each relay that can take part. */
export async function measureDurability(
  peers: readonly Peer[],
  bench: Bench,
  print: (line: string) => void,
): Promise<readonly Durability[]> {
  const scenario = SCENARIOS.find(({ name }) => name === 'tls');
  if (scenario === undefined) return [];
  if (findCommand('strace') === undefined) {
    print('durability: strace is missing: apt-get install strace');
    return [];
  }
  const findings: Durability[] = [];
  for (const peer of peers.filter((one) => one.missing(scenario) === undefined)) {
    const finding = await inTurn(() => examine(peer, bench, scenario));
    findings.push(finding);
    print(sentence(finding));
  }
  return findings;
}

function sentence(finding: Durability): string {
  const { peer, acknowledged, unsynced, syncsPerMessage, toImpostor } = finding;
  const shared = `${syncsPerMessage.toFixed(2)} syncs a message with 20 sessions`;
  const order = `${unsynced} of ${acknowledged} acknowledged without a sync`;
  return `durability: ${peer}: ${order}; ${shared}; ${toImpostor} sent to an impostor`;
}

async function examine(peer: Peer, bench: Bench, scenario: Scenario): Promise<Durability> {
  const plan = { bench, peer, scenario };
  const counted = await withRunning(plan, async (running) => {
    const oneByOne = await traced(running, async () => {
      running.sink.pause();
      await inject({ ...injection(plan, running.port), messages: ONE_BY_ONE, sessions: 1 });
      running.sink.resume();
    });
    await reached(running, ONE_BY_ONE);
    const atOnce = await traced(running, async () => {
      await inject({ ...injection(plan, running.port), messages: AT_ONCE });
      await reached(running, ONE_BY_ONE + AT_ONCE);
    });
    return {
      acknowledged: oneByOne.acknowledged,
      unsynced: oneByOne.unsynced,
      syncsPerMessage: atOnce.syncs / AT_ONCE,
    };
  });
  const toImpostor = await withRunning({ ...plan, impostor: true }, async (running) => {
    await inject({ ...injection(plan, running.port), messages: 10, sessions: 1 });
    await sleep(IMPOSTOR_MS);
    return running.sink.stats().messages;
  });
  return { peer: peer.name, ...counted, toImpostor };
}

function reached({ sink }: Running, count: number): Promise<unknown> {
  return waitFor(`${count} messages at the sink`, () => sink.stats().messages >= count, 60_000);
}

/** What strace saw while `work` ran. */
async function traced({ account, dir }: Running, work: () => Promise<unknown>) {
  const file = join(dir, 'strace.out');
  const pids = account.pids().flatMap((pid) => ['-p', String(pid)]);
  const args = ['-f', '-s', '60', '-e', `trace=${TRACED}`, '-o', file, ...pids];
  const strace = spawnTied(findCommand('strace') ?? 'strace', args, {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  strace.stderr?.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const ended = once(strace, 'exit');
  await waitFor('strace', () => said.split('attached').length > account.pids().length, 15_000);
  await work();
  strace.kill('SIGTERM');
  await ended;
  return readTrace(readFileSync(file, 'utf8'));
}
