/** How fast a running relay takes messages, and how fast they come through. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Injection, type InjectionResult, inject } from '../measure/injector.ts';
import type { Sink } from '../measure/sink.ts';
import type { Running } from '../running.ts';

const POLL_MS = 20;
const DRAIN_MS = 300_000;
const SETTLE_MS = 500;

export interface Rates {
  /** A second, to the last `250`. */
  readonly acceptRate: number;
  /** A second, to the last message at the sink. */
  readonly drainRate: number;
  readonly ackP50Ms: number;
  readonly ackP99Ms: number;
  /** CPU a message, of all processes of the relay. */
  readonly cpuMs: number;
}

/** Hand over messages, wait until the sink has them. Throws when one is refused, or does not arrive. */
export async function measureRates(running: Running, injection: Injection): Promise<Rates> {
  const before = running.sink.stats().messages;
  const cpuBefore = running.account.read();
  const { accepted, startMs, endMs, ackP50Ms, ackP99Ms } = await inject(injection);
  if (accepted < injection.messages) throw new Error(`${accepted} messages were accepted only`);
  await arrived(running.sink, before + accepted);
  const drainMs = running.sink.stats().lastMs - startMs;
  await sleep(SETTLE_MS);
  const cpu = running.account.read();
  return {
    acceptRate: (accepted * 1000) / (endMs - startMs),
    drainRate: (accepted * 1000) / drainMs,
    ackP50Ms,
    ackP99Ms,
    cpuMs: (cpu.userMs + cpu.systemMs - cpuBefore.userMs - cpuBefore.systemMs) / accepted,
  };
}

/** How long one message takes from the connection of the client to the sink, in milliseconds. */
export async function timeThrough(
  sink: Sink,
  injectOne: () => Promise<InjectionResult>,
): Promise<number> {
  const before = sink.stats().messages;
  const { startMs } = await injectOne();
  await arrived(sink, before + 1);
  return sink.stats().lastMs - startMs;
}

/** What two measure, `count` times each and in turn; ascending. */
export async function alternate(
  count: number,
  one: () => Promise<number>,
  other: () => Promise<number>,
): Promise<readonly [readonly number[], readonly number[]]> {
  const ones: number[] = [];
  const others: number[] = [];
  for (let n = 0; n < count; n += 1) {
    ones.push(await one());
    others.push(await other());
  }
  const ascending = (times: number[]) => times.sort((a, b) => a - b);
  return [ascending(ones), ascending(others)];
}

/** The value that `part` (0 to 1) of these, ascending, do not exceed. */
export function share(ascending: readonly number[], part: number): number {
  return ascending[Math.floor((ascending.length - 1) * part)] ?? Number.NaN;
}

/** Wait until the sink has `count` messages. Throws when it takes too long. */
export async function arrived(sink: Sink, count: number): Promise<void> {
  const deadline = Date.now() + DRAIN_MS;
  while (sink.stats().messages < count) {
    if (Date.now() > deadline) throw new Error(`${sink.stats().messages} of ${count} arrived`);
    await sleep(POLL_MS);
  }
}
