/**
 * `stsrelay start`: keeps the two roles of a relay running, each in a process of its own.
 *
 *     deliver   owns the data directory: spool, Redis, queue, deliveries, HTTP, control socket
 *     receive   the SMTP listeners; hands what it takes to `deliver`
 *
 * It loads nothing of the relay and handles no mail: there is little that could end it. A role
 * that ends without being asked to is started again, after FIRST_RESTART_MS and then ever
 * later, while the other one goes on. During the start that is the end of everything instead, with
 * the exit code of the role: it has said why.
 *
 * Signals come here alone: SIGTERM and SIGINT end both roles in order, a second one at once;
 * SIGHUP has the configuration read again. When this process is killed the channel to the roles
 * closes, and they end.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { createLog, type Log } from '../telemetry/log.ts';
import { reportProcessTroubles } from '../telemetry/process-troubles.ts';
import { type RoleName, supervisorEvents } from '../telemetry/role-events.ts';
import type { LogChoice, Order, OwnerPlace, Report } from './orders.ts';
import { listenForSignals } from './signals.ts';

export interface SupervisorOptions {
  /** The program that is running. */
  readonly program: string;
  /** What starts it as a role. */
  readonly argumentsFor: (role: RoleName) => readonly string[];
}

const ROLES: readonly RoleName[] = ['deliver', 'receive'];
const FIRST_RESTART_MS = 200;
const LAST_RESTART_MS = 30_000;
/** A role that ran this long starts anew with its first delay. */
const LONG_RUN_MS = 60_000;
/** Roles take 30 s at most to finish what is under way, and a few to close everything. */
const END_MS = 45_000;
const CRASHED = 1;

interface RoleState {
  child: ChildProcess | undefined;
  progress: 'loading' | 'ready' | 'begun';
  startedAtMs: number;
  restartInMs: number;
  timer: NodeJS.Timeout | undefined;
}

/** Run both roles until told to stop; the exit code. */
export function supervise(options: SupervisorOptions): Promise<number> {
  return new Supervisor(options).run();
}

class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #roles = new Map<RoleName, RoleState>();
  readonly #restarts: Record<RoleName, number> = { deliver: 0, receive: 0 };
  readonly #ended = Promise.withResolvers<number>();
  #log: Log | undefined;
  #owner: OwnerPlace | undefined;
  #isStarted = false;
  /** The signal that asked us to stop. */
  #signal: string | undefined;
  /** Asked for during the start. */
  #isReloadDue = false;
  #isStopping = false;
  #exitCode = 0;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  run(): Promise<number> {
    const signals = listenForSignals(() => this.#killAll());
    signals.onReload(async () => {
      this.#isReloadDue = !this.#isStarted;
      if (this.#isStarted) this.#order('deliver', { kind: 'reload' });
    });
    void signals.stop.then((signal) => {
      this.#signal = signal;
      if (this.#isStarted) this.#stop(signal);
    });
    for (const role of ROLES) this.#start(role);
    return this.#ended.promise;
  }

  #start(role: RoleName): void {
    const { program, argumentsFor } = this.#options;
    const child = fork(program, [...argumentsFor(role)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const { restartInMs = FIRST_RESTART_MS } = this.#roles.get(role) ?? {};
    const startedAtMs = performance.now();
    this.#roles.set(role, {
      child,
      progress: 'loading',
      startedAtMs,
      restartInMs,
      timer: undefined,
    });
    child.on('message', (report: Report) => this.#take(role, report));
    child.on('error', ({ message }) => {
      // One that has an id is alive, or its end is told by `exit`.
      if (child.pid === undefined) this.#hasEnded(role, child, { code: null, reason: message });
    });
    child.once('exit', (code, signal) =>
      this.#hasEnded(role, child, { code, reason: signal ?? `exit status ${code}` }),
    );
  }

  /** The receiving role can begin when it is known where the owner is. */
  #begin(role: RoleName): void {
    const state = this.#roles.get(role);
    if (state?.progress !== 'ready' || (role === 'receive' && !this.#owner)) return;
    state.progress = 'begun';
    const restarts = { ...this.#restarts };
    const owner = role === 'receive' && this.#owner ? { owner: this.#owner } : {};
    this.#order(role, { kind: 'begin', isAgain: this.#isStarted, restarts, ...owner });
    if (this.#log) supervisorEvents(this.#log).roleStarted(role, state.child?.pid);
  }

  #order(role: RoleName, order: Order): void {
    const child = this.#roles.get(role)?.child;
    if (child?.connected) child.send(order, () => {}); // one that is ending is noticed by its end
  }

  #take(role: RoleName, report: Report): void {
    const state = this.#roles.get(role);
    switch (report.kind) {
      case 'ready':
        if (state) state.progress = 'ready';
        this.#begin(role);
        break;
      case 'listening':
        this.#owner = report.owner;
        this.#openLog(report.owner.log);
        this.#begin('receive');
        break;
      case 'log':
        this.#log?.setLevel(report.log.level);
        if (this.#owner) this.#owner = { ...this.#owner, log: report.log };
        break;
      case 'started':
        if (!this.#isStarted) this.#started();
    }
  }

  /** From here on what goes wrong in this process is told in JSON lines, too. */
  #openLog(choice: LogChoice): void {
    if (this.#log) return;
    this.#log = createLog(choice);
    reportProcessTroubles(this.#log);
    supervisorEvents(this.#log).roleStarted('deliver', this.#roles.get('deliver')?.child?.pid);
  }

  #started(): void {
    this.#isStarted = true;
    if (this.#isReloadDue) this.#order('deliver', { kind: 'reload' });
    if (this.#signal !== undefined) this.#stop(this.#signal);
  }

  #hasEnded(role: RoleName, child: ChildProcess, end: { code: number | null; reason: string }) {
    const state = this.#roles.get(role);
    if (!state || state.child !== child) return;
    state.child = undefined;
    if (this.#isStarted && !this.#isStopping) {
      this.#restart(role, child, end.reason);
      return;
    }
    const isWanted = this.#isStopping && end.code === 0;
    if (!isWanted) this.#exitCode ||= end.code || CRASHED;
    if (!this.#isStopping) this.#killAll();
    this.#isStopping = true;
    this.#endIfDone();
  }

  #restart(role: RoleName, { pid }: ChildProcess, reason: string): void {
    const state = this.#roles.get(role);
    if (!state || !this.#log) return;
    if (performance.now() - state.startedAtMs > LONG_RUN_MS) state.restartInMs = FIRST_RESTART_MS;
    const { restartInMs } = state;
    supervisorEvents(this.#log).roleEnded(role, { pid, reason, restartInMs });
    state.restartInMs = Math.min(restartInMs * 2, LAST_RESTART_MS);
    this.#restarts[role] += 1;
    if (role !== 'deliver') this.#order('deliver', { kind: 'restarted', role });
    state.timer = setTimeout(() => this.#start(role), restartInMs);
  }

  #stop(signal: string): void {
    this.#isStopping = true;
    for (const [role, state] of this.#roles) {
      clearTimeout(state.timer);
      if (state.progress === 'begun') this.#order(role, { kind: 'stop', signal });
      else drop(state);
    }
    setTimeout(() => this.#killAll(), END_MS).unref();
    this.#endIfDone();
  }

  #endIfDone(): void {
    const isDone = [...this.#roles.values()].every(({ child }) => child === undefined);
    if (isDone) this.#ended.resolve(this.#exitCode);
  }

  #killAll(): void {
    for (const { child } of this.#roles.values()) child?.kill('SIGKILL');
  }
}

/** End a role that has not begun anything. */
function drop(state: RoleState): void {
  state.child?.kill('SIGKILL');
  state.child = undefined;
}
