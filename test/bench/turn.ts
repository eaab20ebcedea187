/**
 * One run at a time on a machine, whoever asks: two benches that measured at once would measure
 * each other. A file in the system's temp folder holds the process id of the one whose turn it is.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const FILE = join(tmpdir(), 'stsrelay-bench.turn');
const LOOK_EVERY_MS = 200;

process.on('exit', () => {
  if (holder() === process.pid) rmSync(FILE, { force: true });
});

/** Wait for our turn, do `work`, and let others have theirs. */
export async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  while (!take()) await sleep(LOOK_EVERY_MS);
  try {
    return await work();
  } finally {
    rmSync(FILE, { force: true });
    await sleep(2 * LOOK_EVERY_MS); // whoever waits gets it
  }
}

function take(): boolean {
  try {
    writeFileSync(FILE, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  const pid = holder();
  if (pid !== undefined && !isAlive(pid)) rmSync(FILE, { force: true }); // it was killed
  return false;
}

function holder(): number | undefined {
  try {
    return Number(readFileSync(FILE, 'utf8')) || undefined;
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
