/**
 * A relay with a backlog: messages for destinations that nobody can connect to. The first ones were
 * tried and wait for hours, the others until a probe gets through, as some hours into an outage.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { inject } from '../measure/injector.ts';
import type { Bench } from '../peers/peer.ts';
import type { Running } from '../running.ts';
import { AWAY_DOMAIN, AWAY_DOMAINS, COMMON, type Scenario, SESSIONS } from '../scenarios.ts';

const LOOK_EVERY_MS = 500;
/** No attempt in this time: the relay is stuck. */
const STALLED_MS = 120_000;
const AT_ONCE = 20_000;

/** 4 KiB over verified TLS, by a relay that holds a backlog. */
export function backlogScenario(name: string): Scenario {
  const relay = { retry: { schedule: ['4h'] }, limits: { queuedMessages: 10_000_000 } };
  return { ...COMMON, name, summary: '', relay };
}

/** Hand over `count` messages and wait until all of them wait. Throws when one was refused. */
export async function addBacklog(
  running: Running,
  bench: Bench,
  { count, octets = COMMON.octets }: { readonly count: number; readonly octets?: number },
): Promise<void> {
  await allWaiting(running, 0); // it answers
  const before = await waiting(running);
  for (let added = 0; added < count; added += AT_ONCE) {
    const messages = Math.min(AT_ONCE, count - added);
    const { accepted } = await inject({
      program: bench.programs.inject,
      port: running.port,
      sessions: SESSIONS,
      messagesPerConnection: 0,
      octets,
      domain: AWAY_DOMAIN,
      domains: AWAY_DOMAINS,
      messages,
    });
    if (accepted < messages) throw new Error(`${messages - accepted} messages were refused`);
  }
  await allWaiting(running, before + count);
}

/** Wait until `count` deliveries wait. */
export async function allWaiting(running: Running, count: number): Promise<void> {
  let most = -1;
  let lastMs = Date.now();
  for (;;) {
    const now = await waiting(running).catch(() => -1);
    if (now >= count) return;
    if (now > most) [most, lastMs] = [now, Date.now()];
    if (Date.now() - lastMs > STALLED_MS) throw new Error(`${now} of ${count} were tried`);
    await sleep(LOOK_EVERY_MS);
  }
}

/** How many deliveries wait: for their next attempt, or until their hosts are back, as /metrics has it. */
async function waiting({ sparePort }: Running): Promise<number> {
  const metrics = await (await fetch(`http://127.0.0.1:${sparePort}/metrics`)).text();
  const states = metrics.matchAll(/^stsrelay_queue_messages\{state="(?:delayed|parked)"\} (\d+)/gm);
  return [...states].reduce((sum, [, count]) => sum + Number(count), 0);
}
