/**
 * A relay on its port, delivering to a sink: started in a folder and a CPU account of its own,
 * and ended, with everything it started, when the work is done.
 */
import type { ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { freePort } from '../support/free-port.ts';
import { killProcessesIn, processesIn, spawnTied } from '../support/tied-child.ts';
import { waitFor } from '../support/wait-for.ts';
import { type CpuAccount, openCpuAccount } from './measure/cpu-account.ts';
import { type Sink, startSink } from './measure/sink.ts';
import type { Bench, Launch, Peer } from './peers/peer.ts';
import type { Scenario } from './scenarios.ts';

const READY_MS = 60_000;
/** With half a million messages in the queue, on a slow machine. */
const READY_AGAIN_MS = 300_000;
const STOP_MS = 60_000;
const LAST_LINES = 8;
const LAST_CHARACTERS = 400;

/** A peer on its port, delivering to a sink. */
export interface Running {
  readonly account: CpuAccount;
  readonly sink: Sink;
  readonly port: number;
  /** Of its HTTP listener, where it has one. */
  readonly sparePort: number;
  readonly dir: string;
  /** End it by this signal, SIGKILL for all its processes at once, and start it again. */
  restart(signal: 'SIGTERM' | 'SIGKILL'): Promise<RestartTimes>;
}

export interface RestartTimes {
  /** From the signal to the end of its last process. */
  readonly stopMs: number;
  /** From the start of its first process to its greeting. */
  readonly startMs: number;
}

export interface RunSite {
  readonly bench: Bench;
  readonly peer: Peer;
  readonly scenario: Scenario;
  /** The sink shows a certificate that nobody trusts. */
  readonly impostor?: boolean;
  /** Its folder, where several run at once. */
  readonly folder?: string;
}

/** Start sink and relay, do `work`, and end them. */
export async function withRunning<T>(
  { bench, peer, scenario, impostor = false, folder = 'run' }: RunSite,
  work: (running: Running) => Promise<T>,
): Promise<T> {
  const dir = join(bench.work, folder);
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir);
  const [port, sparePort, sinkPort] = [await freePort(), await freePort(), await freePort()];
  const { outside } = bench;
  const shown = impostor ? outside.impostor : outside.mx;
  const tls = scenario.tls ? shown : undefined;
  const sink = await startSink({
    program: bench.programs.sink,
    dir: bench.work,
    port: sinkPort,
    tls,
  });
  const account = openCpuAccount(`stsrelay-bench-${process.pid}-${randomInt(1e6)}`);
  try {
    const { command, env = {} } = peer.prepare({
      dir,
      port,
      sparePort,
      sinkPort,
      outside,
      scenario,
    });
    const launch = (readyMs: number) => start({ command, env, account, dir, port, readyMs });
    let child = await launch(READY_MS);
    const restart = async (signal: 'SIGTERM' | 'SIGKILL'): Promise<RestartTimes> => {
      const stopping = performance.now();
      const pids = signal === 'SIGKILL' ? account.pids() : [child.pid ?? 0];
      for (const pid of pids) process.kill(pid, signal);
      await waitFor('the end of the relay', () => account.pids().length === 0, STOP_MS);
      const starting = performance.now();
      child = await launch(READY_AGAIN_MS);
      return { stopMs: starting - stopping, startMs: performance.now() - starting };
    };
    return await work({ account, sink, port, sparePort, dir, restart });
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${lastWords(dir)}`, { cause: error });
  } finally {
    await endAll(account, dir);
    sink.stop();
  }
}

interface Start extends Launch {
  readonly account: CpuAccount;
  readonly dir: string;
  readonly port: number;
  readonly readyMs: number;
}

/** Start it, and wait until it greets. */
async function start({ command, env, account, dir, port, readyMs }: Start): Promise<ChildProcess> {
  const log = openSync(join(dir, 'output.log'), 'a');
  const [program = '', ...args] = account.wrap(command);
  const stdio = ['ignore', log, log] as const;
  const child = spawnTied(program, args, {
    dir,
    cwd: dir,
    group: true,
    stdio: [...stdio],
    env: { ...process.env, ...env },
  });
  closeSync(log);
  if (child.pid !== undefined) account.adopt(child.pid);
  await waitFor(
    'the relay on its port',
    () => {
      if (child.exitCode !== null) throw new Error(`it ended (${child.exitCode})`);
      return answers(port);
    },
    readyMs,
  );
  return child;
}

/** The end of what a relay wrote. */
function lastWords(dir: string): string {
  return ['output.log', 'mail.log']
    .map((name) => join(dir, name))
    .filter(existsSync)
    .flatMap((file) => readFileSync(file, 'utf8').trim().split('\n').slice(-LAST_LINES))
    .map((line) => `    ${line.slice(0, LAST_CHARACTERS)}`)
    .join('\n');
}

/** SIGTERM, and SIGKILL for those that stay. */
async function endAll(account: CpuAccount, dir: string): Promise<void> {
  const left = () => new Set([...account.pids(), ...processesIn(dir)]);
  const send = (signal: NodeJS.Signals) => {
    for (const pid of left()) {
      try {
        process.kill(pid, signal);
      } catch {
        // It ended meanwhile.
      }
    }
  };
  send('SIGTERM');
  await waitFor('the end of the relay', () => left().size === 0, 5000).catch(async () => {
    await waitFor('the death of the relay', () => {
      send('SIGKILL');
      killProcessesIn(dir);
      return left().size === 0;
    });
  });
  account.close();
}

/** Does it greet? */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    const settle = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(2000, () => settle(false));
    socket.on('error', () => settle(false));
    socket.on('close', () => settle(false));
    socket.once('data', (greeting) => settle(greeting.toString('latin1').startsWith('220')));
  });
}
