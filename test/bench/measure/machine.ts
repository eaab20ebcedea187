/**
 * Facts about the machine: what it is, how long its disk takes to sync, how busy it is, and
 * how fast it is right now (other tenants of the same host come and go).
 */
import { createHash } from 'node:crypto';
import { closeSync, fdatasyncSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { median } from '../result/median.ts';

const BLOCK = Buffer.alloc(65_536, 'x');
const BLOCKS = 1500;
const SYNCS = 200;
/** So much slower than at its best, the machine is doing something else. */
const QUIET = 1.3;
const QUIET_TRIES = 5;

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
  readonly openssl: string;
  /** Median time of a 4 KiB append and fdatasync, in milliseconds. */
  readonly syncMs: number;
}

export function describeMachine(work: string): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    openssl: process.versions.openssl,
    syncMs: measureSyncMs(work),
  };
}

function measureSyncMs(dir: string): number {
  const path = join(dir, 'sync-probe');
  const fd = openSync(path, 'w', 0o600);
  try {
    const times = Array.from({ length: SYNCS }, () => {
      const start = performance.now();
      writeSync(fd, BLOCK, 0, 4096);
      fdatasyncSync(fd);
      return performance.now() - start;
    });
    return median(times);
  } finally {
    closeSync(fd);
    rmSync(path);
  }
}

/** Milliseconds that a fixed piece of work for one core takes now. */
function calibrate(): number {
  const start = performance.now();
  let block = BLOCK;
  for (let i = 0; i < BLOCKS; i += 1) {
    block = Buffer.alloc(BLOCK.length, createHash('sha256').update(block).digest());
  }
  return performance.now() - start;
}

let quickestMs = Number.POSITIVE_INFINITY;

/** Calibrate when the machine is about as fast as it was at its best, or after some seconds. */
export async function calibrateQuietly(): Promise<number> {
  let ms = calibrate();
  for (let i = 0; i < QUIET_TRIES && ms > QUIET * quickestMs; i += 1) {
    await sleep(1000);
    ms = calibrate();
  }
  quickestMs = Math.min(quickestMs, ms);
  return ms;
}

export interface CpuTicks {
  readonly all: number;
  readonly idle: number;
}

export function readCpuTicks(): CpuTicks {
  const line = readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '';
  const fields = line.split(/\s+/).slice(1).map(Number);
  return {
    all: fields.slice(0, 8).reduce((sum, ticks) => sum + ticks, 0),
    idle: (fields[3] ?? 0) + (fields[4] ?? 0),
  };
}

/** The share of all cores that was busy between two readings, 0 to 1. */
export function busyShare(before: CpuTicks, after: CpuTicks): number {
  const all = after.all - before.all;
  return all <= 0 ? 0 : 1 - (after.idle - before.idle) / all;
}
