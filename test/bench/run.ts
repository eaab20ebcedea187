/**
 * One run: start the sink and a relay, warm it up, hand over the messages, wait until the sink
 * has them all, and say what that took. Everything started here has ended when it returns.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CpuTime } from './measure/cpu-account.ts';
import { type InjectionResult, inject } from './measure/injector.ts';
import { busyShare, calibrateQuietly, readCpuTicks } from './measure/machine.ts';
import { cpuByName, memoryOf } from './measure/processes.ts';
import type { Sink, SinkStats } from './measure/sink.ts';
import { startRecording, stopRecording } from './profile/recording.ts';
import type { RunResult } from './result/run-result.ts';
import { type Running, type RunSite, withRunning } from './running.ts';
import { recipientDomain, SESSIONS } from './scenarios.ts';

const POLL_MS = 50;
const DRAIN_MS = 180_000;
/** For what a relay does after the last message: logs, states, files to remove. */
const SETTLE_MS = 500;
const MEMORY_EVERY_MS = 1000;

export interface RunPlan extends RunSite {
  readonly messages: number;
  readonly warmUp: number;
  /** Gets the profiles of the run; undefined: none are made. */
  readonly onProfiles?: ((paths: readonly string[]) => void) | undefined;
}

/** Throws when the relay does not start, or does not deliver what it took. */
export async function runOnce(plan: RunPlan): Promise<RunResult> {
  const calibrationMs = await calibrateQuietly();
  return withRunning(plan, async (running) => {
    await warmUp(plan, running);
    const measured = await measure(plan, running);
    if (plan.scenario.tls && measured.overTls < measured.messages) {
      throw new Error(`only ${measured.overTls} of ${measured.messages} messages came over TLS`);
    }
    return { ...measured, peer: plan.peer.name, scenario: plan.scenario.name, calibrationMs };
  });
}

export function injection(plan: Pick<RunPlan, 'bench' | 'scenario'>, port: number) {
  const { bench, scenario } = plan;
  return {
    program: bench.programs.inject,
    port,
    sessions: SESSIONS,
    octets: scenario.octets,
    domain: recipientDomain(scenario),
    domains: scenario.domains,
    messagesPerConnection: scenario.messagesPerInbound,
  };
}

async function warmUp(plan: RunPlan, { sink, port }: Running): Promise<void> {
  const messages = Math.max(plan.warmUp, plan.scenario.domains);
  await inject({ ...injection(plan, port), messages });
  await drained(sink, messages);
  await sleep(SETTLE_MS);
}

async function drained(sink: Sink, count: number): Promise<void> {
  const deadline = Date.now() + DRAIN_MS;
  while (sink.stats().messages < count) {
    if (Date.now() > deadline) {
      throw new Error(`${sink.stats().messages} of ${count} messages reached the sink`);
    }
    await sleep(POLL_MS);
  }
}

type Measured = Omit<RunResult, 'peer' | 'scenario' | 'calibrationMs'>;

async function measure(plan: RunPlan, running: Running): Promise<Measured> {
  const { account, sink, port, dir } = running;
  const profiles = join(dir, 'profiles');
  const recorded = plan.onProfiles !== undefined && plan.peer.name === 'stsrelay';
  if (recorded) {
    startRecording(profiles);
    await sleep(SETTLE_MS);
  }
  const memory = { rss: 0, pss: 0 };
  const sampler = setInterval(() => {
    const now = memoryOf(account.pids());
    memory.rss = Math.max(memory.rss, now.rss);
    memory.pss = Math.max(memory.pss, now.pss);
  }, MEMORY_EVERY_MS);
  const before = snapshot(running);
  try {
    const injected = await inject({ ...injection(plan, port), messages: plan.messages });
    await drained(sink, before.sink.messages + injected.accepted);
    const ticks = readCpuTicks();
    await sleep(SETTLE_MS);
    const after = { ...snapshot(running), ticks };
    if (recorded) plan.onProfiles?.(await stopRecording(profiles));
    return { ...judge(before, after, injected), rssMiB: memory.rss, pssMiB: memory.pss };
  } finally {
    clearInterval(sampler);
  }
}

interface Snapshot {
  readonly cpu: CpuTime;
  readonly byName: ReadonlyMap<string, number>;
  readonly ticks: ReturnType<typeof readCpuTicks>;
  readonly sink: SinkStats;
}

function snapshot({ account, sink }: Running): Snapshot {
  const byName = cpuByName(account.pids());
  return { cpu: account.read(), byName, ticks: readCpuTicks(), sink: sink.stats() };
}

function judge(
  before: Snapshot,
  after: Snapshot,
  injected: InjectionResult,
): Omit<Measured, 'rssMiB' | 'pssMiB'> {
  const messages = after.sink.messages - before.sink.messages;
  const perMessage = (ms: number) => ms / Math.max(1, messages);
  const userMs = after.cpu.userMs - before.cpu.userMs;
  const systemMs = after.cpu.systemMs - before.cpu.systemMs;
  const byName = [...after.byName]
    .map(([name, ms]) => [name, perMessage(ms - (before.byName.get(name) ?? 0))] as const)
    .filter(([, ms]) => ms > 0.005);
  return {
    accepted: injected.accepted,
    refused: injected.refused,
    messages,
    acceptRate: (injected.accepted * 1000) / (injected.endMs - injected.startMs),
    drainRate: (messages * 1000) / (after.sink.lastMs - injected.startMs),
    ackP50Ms: injected.ackP50Ms,
    ackP99Ms: injected.ackP99Ms,
    cpuMs: perMessage(userMs + systemMs),
    cpuUserMs: perMessage(userMs),
    cpuSystemMs: perMessage(systemMs),
    cpuByProcess: Object.fromEntries(byName),
    connections: after.sink.connections - before.sink.connections,
    handshakes: after.sink.handshakes - before.sink.handshakes,
    resumed: after.sink.resumed - before.sink.resumed,
    overTls: after.sink.messagesOverTls - before.sink.messagesOverTls,
    busy: busyShare(before.ticks, after.ticks),
  };
}
