/**
 * CPU time and processes of a relay, children that ended included. A control group of our own
 * counts exactly (version 1 cpuacct or version 2); where none can be made, /proc is summed over
 * the process tree, in steps of 10 ms and without children that nobody waited for.
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { untilSync } from '../until-sync.ts';
import { processTree, readStat } from './processes.ts';

export interface CpuTime {
  readonly userMs: number;
  readonly systemMs: number;
}

export interface CpuAccount {
  /** How it counts. */
  readonly kind: 'cgroup v1' | 'cgroup v2' | '/proc';
  /** The command line that starts `command` in this account. */
  wrap(command: readonly string[]): readonly string[];
  /** Tell it of a process that `wrap` was used for. */
  adopt(pid: number): void;
  pids(): readonly number[];
  read(): CpuTime;
  /** When all processes ended. */
  close(): void;
}

const ROOT = '/sys/fs/cgroup';

const groups = new Set<string>();
process.on('exit', () => {
  for (const dir of groups) {
    untilSync(() => {
      killGroup(dir);
      return removeGroup(dir);
    });
  }
});

function pidsOf(dir: string): readonly number[] {
  return readFileSync(join(dir, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number);
}

function killGroup(dir: string): void {
  try {
    for (const pid of pidsOf(dir)) process.kill(pid, 'SIGKILL');
  } catch {
    // They, or the group, ended meanwhile.
  }
}

/** Is it gone? */
function removeGroup(dir: string): boolean {
  try {
    rmdirSync(dir);
  } catch {
    return !existsSync(dir);
  }
  groups.delete(dir);
  return true;
}

/** Open one; `name` must be new on this machine. */
export function openCpuAccount(name: string): CpuAccount {
  const v1 = makeGroup(join(ROOT, 'cpuacct'), name, 'cpuacct.usage_user');
  if (v1 !== undefined) return groupAccount(v1, 'cgroup v1', readVersion1);
  const v2 = makeGroup(ROOT, name, 'cpu.stat');
  if (v2 !== undefined) return groupAccount(v2, 'cgroup v2', readVersion2);
  return treeAccount();
}

function makeGroup(parent: string, name: string, probe: string): string | undefined {
  const dir = join(parent, name);
  if (!existsSync(join(parent, 'cgroup.procs'))) return undefined;
  try {
    mkdirSync(dir);
  } catch {
    return undefined; // not allowed here
  }
  groups.add(dir);
  if (existsSync(join(dir, probe))) return dir;
  removeGroup(dir);
  return undefined;
}

function groupAccount(
  dir: string,
  kind: CpuAccount['kind'],
  read: (dir: string) => CpuTime,
): CpuAccount {
  const procs = join(dir, 'cgroup.procs');
  return {
    kind,
    wrap: (command) => ['sh', '-c', `echo $$ > ${procs} && exec "$@"`, 'sh', ...command],
    adopt: () => {},
    pids: () => pidsOf(dir),
    read: () => read(dir),
    close: () => {
      removeGroup(dir);
    },
  };
}

/** Only the total is exact; how it divides is sampled with the timer tick. */
function readVersion1(dir: string): CpuTime {
  const nanoseconds = (name: string) => Number(readFileSync(join(dir, name), 'utf8'));
  const user = nanoseconds('cpuacct.usage_user');
  const system = nanoseconds('cpuacct.usage_sys');
  const totalMs = nanoseconds('cpuacct.usage') / 1e6;
  const userShare = user / Math.max(1, user + system);
  return { userMs: totalMs * userShare, systemMs: totalMs * (1 - userShare) };
}

function readVersion2(dir: string): CpuTime {
  const text = readFileSync(join(dir, 'cpu.stat'), 'utf8');
  const microseconds = (name: string) =>
    Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
  return { userMs: microseconds('user_usec') / 1e3, systemMs: microseconds('system_usec') / 1e3 };
}

function treeAccount(): CpuAccount {
  const roots: number[] = [];
  const pids = () => processTree(roots);
  return {
    kind: '/proc',
    wrap: (command) => command,
    adopt: (pid) => roots.push(pid),
    pids,
    read: () => {
      const stats = pids().map(readStat);
      const sum = (of: 'user' | 'system') =>
        stats.reduce((ms, stat) => {
          if (stat === undefined) return ms;
          return of === 'user'
            ? ms + stat.userMs + stat.endedUserMs
            : ms + stat.systemMs + stat.endedSystemMs;
        }, 0);
      return { userMs: sum('user'), systemMs: sum('system') };
    },
    close: () => {},
  };
}
