/**
 * What the ledger of the pretend internet says at the end: each promise of several nodes, and whether it was kept.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Ledger } from './ledger.ts';
import { rateHeld } from './limit.ts';
import type { Plan, World } from './world.ts';

export interface Promise_ {
  readonly ok: boolean;
  readonly text: string;
}

export interface Evidence {
  readonly world: World;
  readonly plan: Plan;
  readonly ledger: Ledger;
  /** UTC, on which it began. */
  readonly day: string;
  readonly closedAtMs: number;
  readonly revivedAtMs: number;
}

/** Transactions of one node at the same time, at most: what a crash may send twice, or not count. */
const IN_FLIGHT = 10;

export async function promisesKept(evidence: Evidence): Promise<readonly Promise_[]> {
  return [...delivered(evidence), rate(evidence), ...breaker(evidence), await reports(evidence)];
}

function delivered({ ledger }: Evidence): readonly Promise_[] {
  const { acknowledged, missing, twice } = ledger.account();
  const ofOthers = twice.filter((token) => ledger.nodeOf(token) !== 'two');
  const why =
    twice.length === 0
      ? 'no message arrived twice'
      : `${twice.length} arrived twice: their transactions were in flight at node two when it was killed`;
  return [
    {
      ok: missing.length === 0,
      text: `nothing is lost: of ${acknowledged} acknowledged messages ${acknowledged - missing.length} arrived`,
    },
    { ok: ofOthers.length === 0 && twice.length <= 6 * IN_FLIGHT, text: why },
  ];
}

function rate({ world, plan }: Evidence): Promise_ {
  const { count, perMs } = plan.rate;
  const { most, total, seconds, broken } = rateHeld(world.limitedAtMs, plan.rate);
  const limit = `${count} in ${perMs / 1000} s`;
  const found = `${total} in ${seconds.toFixed(1)} s, at most ${most} in any ${perMs / 1000} s (two windows may meet there)`;
  return {
    ok: !broken && total > 0,
    text: `the rate of limited.test (${limit}) held for all nodes together: ${found}`,
  };
}

function breaker({ world, plan, closedAtMs, revivedAtMs }: Evidence): readonly Promise_[] {
  const { probeEveryMs } = plan.breaker;
  const probes = world.deadAtMs.filter((atMs) => atMs >= closedAtMs && atMs < revivedAtMs).length;
  const seconds = (revivedAtMs - closedAtMs) / 1000;
  // One more at each end; and the node that was killed may have had a claim.
  const most = Math.ceil((revivedAtMs - closedAtMs) / probeEveryMs) + 2;
  const told = world.nodes.filter(({ relay }) =>
    relay.wholeLog.some(
      ({ event, ...line }) => event === 'queue.breaker_opened' && line['node'] !== undefined,
    ),
  );
  return [
    {
      ok: probes <= most,
      text: `while mx.dead.test was closed, all nodes together probed it ${probes} times in ${seconds.toFixed(0)} s (one each ${probeEveryMs / 1000} s)`,
    },
    {
      // The one that was killed may not have come to it.
      ok: told.length >= 1,
      text: `the breaker was opened once for all: ${told.map(({ name }) => name).join(' and ')} heard of it from another`,
    },
  ];
}

/** The report of the day as node one would send it, when the others have handed over what they counted. */
async function reports({ world, day }: Evidence): Promise<Promise_> {
  const [one, ...others] = world.nodes;
  for (const node of others) {
    await node.relay.stop();
    node.state = 'stopped';
  }
  const sessions = world.domain('reported.test').mx[0]?.sessions ?? [];
  const made = sessions.filter(({ tls }) => tls !== undefined).length;
  const counted = one ? await countedFor(one.relay.configFile, day) : 0;
  const lost = made - counted;
  const text = `the TLS report for reported.test counts the sessions of all nodes together: ${counted} of ${made} that its host saw`;
  const why = lost === 0 ? '' : ` (${lost} in flight at node two when it was killed)`;
  return { ok: lost >= 0 && lost <= IN_FLIGHT && counted > 0, text: `${text}${why}` };
}

async function countedFor(configFile: string, day: string): Promise<number> {
  const main = process.env['MAIN'] || new URL('../../dist/main.js', import.meta.url).pathname;
  const args = [
    main,
    'tlsrpt',
    'show',
    'reported.test',
    '--day',
    day,
    '--json',
    '--config',
    configFile,
  ];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  await once(child, 'close');
  let sum = 0;
  for (const [, n] of text.matchAll(/"total-(?:successful|failure)-session-count":\s*(\d+)/g))
    sum += Number(n);
  return sum;
}
