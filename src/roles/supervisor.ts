/**
 * `stsrelay start`: keeps the two roles of a relay running, each in a process of its own.
 *
 *     deliver   owns the data directory: spool, Redis, queue, deliveries, HTTP, control socket
 *     receive   the SMTP listeners; hands what it takes to `deliver`
 *
 * It loads nothing of the relay and handles no mail: there is little that could end it. A role
 * that ends without being asked to is started again, at once and then ever
 * later, while the other one goes on. During the start that is the end of everything instead, with
 * the exit code of the role: it has said why.
 *
 * Signals come here alone: SIGTERM and SIGINT end both roles in order, a second one at once;
 * SIGHUP has the configuration read again. How the roles are is told on a socket (roles-socket.ts). When this process is killed the channel to the roles
 * closes, and they end.
 */
import { type ChildProcess, fork } from 'node:child_process';
import type { Server } from 'node:net';
import { tellSystemdReady } from '../platform/tell-systemd.ts';
import { createLog, type Log } from '../telemetry/log.ts';
import { reportProcessTroubles } from '../telemetry/process-troubles.ts';
import { type RoleName, supervisorEvents, systemdUntold } from '../telemetry/role-events.ts';
import { VERSION } from '../version.ts';
import type { Order, OwnerPlace, Report } from './orders.ts';
import { RoleState } from './role-state.ts';
import { openRolesSocket, type SupervisorFacts } from './roles-socket.ts';
import { listenForSignals } from './signals.ts';

export interface SupervisorOptions {
  /** The program that is running. */
  readonly program: string;
  /** What starts it as a role. */
  readonly argumentsFor: (role: RoleName) => readonly string[];
  /** How long the roles have to end, ms; END_MS when absent. */
  readonly endMs?: number;
}

const ROLES: readonly RoleName[] = ['deliver', 'receive'];
/** Roles take 30 s at most to finish what is under way, and a few to close everything. */
const END_MS = 45_000;
const CRASHED = 1;

/** Run both roles until told to stop; the exit code. */
export function supervise(options: SupervisorOptions): Promise<number> {
  return new Supervisor(options).run();
}

class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #roles = { deliver: new RoleState('deliver'), receive: new RoleState('receive') };
  readonly #startedAt = new Date().toISOString();
  readonly #ended = Promise.withResolvers<number>();
  #log: Log | undefined;
  #owner: OwnerPlace | undefined;
  #rolesSocket: Server | undefined;
  #isStarted = false;
  /** The signal that asked us to stop. */
  #signal: string | undefined;
  /** Asked for, and deliver could not be told yet: what it has read may be older. */
  #isReloadDue = false;
  #isStopping = false;
  #exitCode = 0;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  run(): Promise<number> {
    const signals = listenForSignals(() => this.#killAll());
    signals.onReload(async () => {
      this.#isReloadDue = true;
      this.#reloadIfDue();
    });
    void signals.stop.then((signal) => {
      this.#signal = signal;
      if (this.#isStarted) this.#stop(signal);
      // A start that hangs (a disk that does not answer) is no reason to go on for ever.
      else this.#killLater();
    });
    for (const role of ROLES) this.#start(role);
    return this.#ended.promise;
  }

  #start(role: RoleName): void {
    const { program, argumentsFor } = this.#options;
    const child = fork(program, [...argumentsFor(role)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#roles[role].launched(child);
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
    const state = this.#roles[role];
    if (state.progress !== 'ready' || (role === 'receive' && !this.#owner)) return;
    state.progress = 'begun';
    const { deliver, receive } = this.#roles;
    const restarts = { deliver: deliver.restarts, receive: receive.restarts };
    const owner = role === 'receive' && this.#owner ? { owner: this.#owner } : {};
    this.#order(role, { kind: 'begin', isAgain: this.#isStarted, restarts, ...owner });
    if (this.#log) supervisorEvents(this.#log).roleStarted(role, state.child?.pid);
  }

  #order(role: RoleName, order: Order): void {
    const { child } = this.#roles[role];
    if (child?.connected) child.send(order, () => {}); // one that is ending is noticed by its end
  }

  #take(role: RoleName, report: Report): void {
    switch (report.kind) {
      case 'ready':
        this.#roles[role].progress = 'ready';
        this.#begin(role);
        break;
      case 'listening':
        this.#owner = report.owner;
        this.#open(report.owner);
        this.#begin('receive');
        break;
      case 'log':
        this.#log?.setLevel(report.log.level);
        if (this.#owner) this.#owner = { ...this.#owner, log: report.log };
        break;
      case 'started':
        this.#roles[role].isUp();
        if (role === 'deliver') this.#deliverStarted();
        break;
      case 'failed':
        this.#roles[role].failed(report.reason);
    }
  }

  /** From here on what goes wrong in this process is told in JSON lines, too. */
  #open({ log: choice, rolesSocket }: OwnerPlace): void {
    if (this.#log) return;
    const log = createLog(choice);
    this.#log = log;
    reportProcessTroubles(log);
    const { roleStarted, rolesUntold } = supervisorEvents(log);
    roleStarted('deliver', this.#roles.deliver.child?.pid);
    this.#rolesSocket = openRolesSocket(rolesSocket, () => this.#facts(), rolesUntold);
  }

  #facts(): SupervisorFacts {
    const roles = ROLES.map((role) => this.#roles[role].facts());
    return { version: VERSION, pid: process.pid, startedAt: this.#startedAt, roles };
  }

  #deliverStarted(): void {
    const isFirst = !this.#isStarted;
    this.#isStarted = true;
    this.#reloadIfDue();
    if (!isFirst) return;
    if (this.#signal !== undefined) this.#stop(this.#signal);
    else tellSystemdReady((why) => systemdUntold(this.#log, why));
  }

  #reloadIfDue(): void {
    if (!this.#isReloadDue || !this.#roles.deliver.isWorking) return;
    this.#isReloadDue = false;
    this.#order('deliver', { kind: 'reload' });
  }

  #hasEnded(role: RoleName, child: ChildProcess, end: { code: number | null; reason: string }) {
    const state = this.#roles[role];
    if (state.child !== child) return;
    state.ended(end.reason);
    if (this.#isStarted && !this.#isStopping) {
      this.#restart(role, child, end.reason);
      return;
    }
    const isWanted = this.#isStopping && end.code === 0;
    if (!isWanted) this.#exitCode ||= end.code || CRASHED;
    if (!this.#isStopping) {
      // With an exit code it has said why itself.
      if (end.code === null) tellOfEnd(role, child, end.reason);
      this.#killAll();
    }
    this.#isStopping = true;
    this.#endIfDone();
  }

  #restart(role: RoleName, { pid }: ChildProcess, reason: string): void {
    const restartInMs = this.#roles[role].restartLater(() => this.#start(role));
    if (this.#log) supervisorEvents(this.#log).roleEnded(role, { pid, reason, restartInMs });
    if (role !== 'deliver') this.#order('deliver', { kind: 'restarted', role });
  }

  #stop(signal: string): void {
    this.#isStopping = true;
    for (const role of ROLES) {
      const state = this.#roles[role];
      state.dontRestart();
      if (state.progress === 'begun') this.#order(role, { kind: 'stop', signal });
      else state.drop(); // it has not begun anything
    }
    this.#killLater();
    this.#endIfDone();
  }

  #endIfDone(): void {
    const { deliver, receive } = this.#roles;
    if (deliver.child || receive.child) return;
    this.#rolesSocket?.close(); // which removes it
    this.#ended.resolve(this.#exitCode);
  }

  #killLater(): void {
    setTimeout(() => this.#killAll(), this.#options.endMs ?? END_MS).unref();
  }

  #killAll(): void {
    for (const role of ROLES) this.#roles[role].child?.kill('SIGKILL');
  }
}

/** During the start: there may be no log yet. */
function tellOfEnd(role: RoleName, { pid = 0 }: ChildProcess, reason: string): void {
  const who = `its process for ${role} (${pid})`;
  process.stderr.write(`stsrelay: the relay did not start: ${who} ended with ${reason}\n`);
}
