/**
 * What /proc says about processes: CPU time, memory, names. A process that ended meanwhile is
 * left out.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';

/** The kernel's USER_HZ is 100 on all that matter. */
const MS_PER_TICK = 10;

export interface ProcessStat {
  readonly pid: number;
  readonly parent: number;
  readonly name: string;
  readonly userMs: number;
  readonly systemMs: number;
  /** Of children that ended and were waited for. */
  readonly endedUserMs: number;
  readonly endedSystemMs: number;
}

/** /proc/PID/stat, read. */
export function parseStat(text: string): ProcessStat | undefined {
  const match = /^(\d+) \((.*)\) (.*)$/s.exec(text.trim());
  if (match === null) return undefined;
  // Field 3, the state, is the first of these: utime is field 14.
  const fields = (match[3] ?? '').split(' ').map(Number);
  const ticks = (field: number) => (fields[field - 3] ?? 0) * MS_PER_TICK;
  return {
    pid: Number(match[1]),
    parent: fields[1] ?? 0,
    name: match[2] ?? '',
    userMs: ticks(14),
    systemMs: ticks(15),
    endedUserMs: ticks(16),
    endedSystemMs: ticks(17),
  };
}

export function readStat(pid: number): ProcessStat | undefined {
  const text = readProc(pid, 'stat');
  return text === undefined ? undefined : parseStat(text);
}

/** Those of these processes that live, and everything below them. */
export function processTree(roots: readonly number[]): readonly number[] {
  const stats = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => readStat(Number(name)))
    .filter((stat) => stat !== undefined);
  const tree = new Set(stats.map(({ pid }) => pid).filter((pid) => roots.includes(pid)));
  let size = -1;
  while (size !== tree.size) {
    size = tree.size;
    for (const { pid, parent } of stats) if (tree.has(parent)) tree.add(pid);
  }
  return [...tree];
}

/** Resident and proportional memory of some processes, in MiB. */
export function memoryOf(pids: readonly number[]): { readonly rss: number; readonly pss: number } {
  let [rss, pss] = [0, 0];
  for (const pid of pids) {
    const text = readProc(pid, 'smaps_rollup') ?? '';
    rss += Number(/^Rss:\s+(\d+)/m.exec(text)?.[1] ?? 0);
    pss += Number(/^Pss:\s+(\d+)/m.exec(text)?.[1] ?? 0);
  }
  return { rss: rss / 1024, pss: pss / 1024 };
}

/** Resident MiB by name of the process. */
export function residentByName(pids: readonly number[]): ReadonlyMap<string, number> {
  const sums = new Map<string, number>();
  for (const pid of pids) {
    const stat = readStat(pid);
    if (stat === undefined) continue;
    const name = nameOf(stat, readProc(pid, 'cmdline')?.split('\0') ?? []);
    sums.set(name, (sums.get(name) ?? 0) + memoryOf([pid]).rss);
  }
  return sums;
}

/** CPU milliseconds by name of the process; a node process is named by its `--role` or script. */
export function cpuByName(pids: readonly number[]): ReadonlyMap<string, number> {
  const sums = new Map<string, number>();
  for (const pid of pids) {
    const stat = readStat(pid);
    if (stat === undefined) continue;
    const name = nameOf(stat, readProc(pid, 'cmdline')?.split('\0') ?? []);
    sums.set(name, (sums.get(name) ?? 0) + stat.userMs + stat.systemMs);
  }
  return sums;
}

function nameOf(stat: ProcessStat, args: readonly string[]): string {
  if (basename(args[0] ?? '') !== 'node') return stat.name;
  const role = args.findIndex((arg) => arg === '--role' || arg.startsWith('--role='));
  if (role >= 0) return `node ${(args[role] ?? '').split('=')[1] ?? args[role + 1]}`;
  const script = args.slice(1).find((arg) => !arg.startsWith('-')) ?? '';
  return `node ${basename(script).slice(0, 20)}`;
}

function readProc(pid: number, name: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return undefined;
  }
}
