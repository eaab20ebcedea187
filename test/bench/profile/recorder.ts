/**
 * Loaded into a process of the relay by `--import`: records a CPU profile of its thread between
 * the two marks of recording.ts. A file `*.recording` is there as long as it records.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import { basename, join } from 'node:path';
import { threadId } from 'node:worker_threads';
import { FOLDER_VARIABLE, isMarked, START_MARK, STOP_MARK } from './recording.ts';

const LOOK_EVERY_MS = 50;
const SAMPLE_EVERY_US = 200;

const folder = process.env[FOLDER_VARIABLE];
if (folder !== undefined) watch(folder);

function watch(dir: string): void {
  const session = new Session();
  let recording = false;
  const timer = setInterval(() => {
    if (!recording && isMarked(dir, START_MARK)) {
      recording = true;
      void start(session, dir);
    } else if (recording && isMarked(dir, STOP_MARK)) {
      clearInterval(timer);
      void stop(session, dir);
    }
  }, LOOK_EVERY_MS);
  timer.unref();
}

function fileOf(dir: string, suffix: string): string {
  const role = /--role[= ](\w+)/.exec(process.argv.join(' '))?.[1];
  const name = role ?? basename(process.argv[2] ?? process.argv[1] ?? 'node');
  return join(dir, `${name}-${process.pid}-${threadId}.${suffix}`);
}

async function start(session: Session, dir: string): Promise<void> {
  writeFileSync(fileOf(dir, 'recording'), '');
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.setSamplingInterval', { interval: SAMPLE_EVERY_US });
  await session.post('Profiler.start');
}

async function stop(session: Session, dir: string): Promise<void> {
  const { profile } = await session.post('Profiler.stop');
  writeFileSync(fileOf(dir, 'cpuprofile'), JSON.stringify(profile));
  rmSync(fileOf(dir, 'recording'));
  session.disconnect();
}
