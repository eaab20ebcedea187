/**
 * Child processes that never outlive the test: killed when the test process exits, is told to
 * end by a signal, or (where setpriv exists) is killed itself. Leftovers of a child, such as a
 * Redis the relay started, are found by the temp dir they work in.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { accessSync, constants as modes, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, join } from 'node:path';

interface Tied {
  readonly child: ChildProcess;
  /** Leader of a process group of its own. */
  readonly group: boolean;
  readonly dir: string | undefined;
}

const live = new Set<Tied>();
let watching = false;

export interface TiedOptions extends SpawnOptions {
  /** In a process group of its own, killed as a whole. */
  readonly group?: boolean;
  /** Processes that work in this directory are killed with it. */
  readonly dir?: string;
}

/** Like spawn, for a process that must not be left behind. */
export function spawnTied(
  command: string,
  args: readonly string[],
  options: TiedOptions = {},
): ChildProcess {
  watch();
  const { group = false, dir, ...rest } = options;
  const setpriv = findCommand('setpriv');
  const line =
    setpriv === undefined ? [command, ...args] : [setpriv, '--pdeathsig', 'KILL', command, ...args];
  const [file = command, ...tail] = line;
  const child = spawn(file, tail, { ...rest, detached: group });
  const tied = { child, group, dir };
  live.add(tied);
  child.once('exit', () => live.delete(tied));
  return child;
}

export type EndSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP';
const endAtOnce = (signal: EndSignal): void => process.exit(128 + constants.signals[signal]);
let onEndSignal = endAtOnce;

/** What the first signal to end does, in place of ending at once; another one still does that. */
export function whenToldToEnd(act: (signal: EndSignal) => void): void {
  watch();
  onEndSignal = (signal) => {
    onEndSignal = endAtOnce;
    act(signal);
  };
}

/** The full path of a command; undefined when it is not installed. Looks in sbin as well. */
export function findCommand(...names: readonly string[]): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  for (const name of names) {
    for (const folder of [...folders, '/usr/local/sbin', '/usr/sbin', '/sbin']) {
      try {
        accessSync(join(folder, name), modes.X_OK);
        return join(folder, name);
      } catch {
        // Not there.
      }
    }
  }
  return undefined;
}

/** SIGKILL every process whose command line or working directory lies in `dir`. */
export function killProcessesIn(dir: string): void {
  for (const pid of processesIn(dir)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // Ended by itself meanwhile.
    }
  }
}

/** Ids of the processes, but ours, whose command line or working directory lies in `dir`. */
export function processesIn(dir: string): number[] {
  let entries: string[];
  try {
    entries = readdirSync('/proc');
  } catch {
    return []; // no /proc: the process group has to do
  }
  return entries
    .filter((entry) => /^\d+$/.test(entry) && Number(entry) !== process.pid)
    .filter((entry) => {
      try {
        const inside = (path: string) => path === dir || path.startsWith(`${dir}/`);
        const words = readFileSync(`/proc/${entry}/cmdline`, 'utf8').split(/[\0 =:]/);
        return words.some(inside) || inside(readlinkSync(`/proc/${entry}/cwd`));
      } catch {
        return false;
      }
    })
    .map(Number);
}

function killAll(): void {
  for (const { child, group, dir } of live) {
    if (child.pid === undefined) continue;
    try {
      process.kill(group ? -child.pid : child.pid, 'SIGKILL');
    } catch {
      // Ended by itself meanwhile.
    }
    if (dir !== undefined) killProcessesIn(dir);
  }
}

function watch(): void {
  if (watching) return;
  watching = true;
  // Before temp dirs are removed: whoever still writes there would make them anew.
  process.prependListener('exit', killAll);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    // Through `exit`, so that temp dirs go too; 128 + number is what a shell would say.
    process.on(signal, () => onEndSignal(signal));
  }
}
