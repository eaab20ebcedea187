/**
 * The processes of a relay, found through /proc, whatever it is made of: one process, or a
 * supervisor with its roles, and its Redis.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { redisIn } from '../support/relay-mail.ts';
import { processesIn } from '../support/tied-child.ts';

export type Part = 'supervisor' | 'deliver' | 'receive' | 'redis';

const PAGE_KIB = 4;

/** The process of that part; undefined when there is none. A relay in one process is all roles. */
export function findPart(part: Part, mainPid: number, dataDir: string): number | undefined {
  if (part === 'redis') return redisIn(dataDir)[0];
  if (part === 'supervisor') return mainPid;
  const roles = childrenOf(mainPid).map((pid) => ({ pid, role: roleOf(pid) }));
  if (roles.every(({ role }) => role === undefined)) return mainPid;
  return roles.find(({ role }) => role === part)?.pid;
}

/** Whether the relay has processes for its roles. */
export function hasRoles(mainPid: number): boolean {
  return childrenOf(mainPid).some((pid) => roleOf(pid) !== undefined);
}

/** Memory in use, in MiB, of the largest node process of the relay. */
export function largestMiB(mainPid: number): number {
  const pids = [mainPid, ...childrenOf(mainPid).filter((pid) => roleOf(pid) !== undefined)];
  return Math.round(Math.max(...pids.map(residentKiB)) / 1024);
}

/** What the processes at work in a directory are and what they are doing, for a report. */
export function describeProcesses(directory: string): string {
  return processesIn(directory)
    .map((pid) => {
      const read = (name: string) => {
        try {
          return readFileSync(`/proc/${pid}/${name}`, 'utf8').replaceAll('\0', ' ').trim();
        } catch {
          return '';
        }
      };
      return `${read('cmdline')}\n${read('status')}\nwaits in ${read('wchan')}\n`;
    })
    .join('\n');
}

function roleOf(pid: number): string | undefined {
  try {
    return /\0--role[\0=](\w+)/.exec(readFileSync(`/proc/${pid}/cmdline`, 'utf8'))?.[1];
  } catch {
    return undefined; // it ended meanwhile
  }
}

function childrenOf(parent: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => statOf(pid)?.[1] === String(parent));
}

/** The fields of /proc/PID/stat behind the name: state, parent, … */
function statOf(pid: number): readonly string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

function residentKiB(pid: number): number {
  try {
    const pages = readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1];
    return Number(pages) * PAGE_KIB;
  } catch {
    return 0;
  }
}
