/**
 * Profiles of a relay made of any number of node processes and worker threads: each loads
 * recorder.ts first, and records between two marks in a folder they all watch.
 */
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor } from '../../support/wait-for.ts';

export const FOLDER_VARIABLE = 'BENCH_PROFILE_FOLDER';
export const START_MARK = 'start';
export const STOP_MARK = 'stop';

/** The environment for the relay; `folder` exists. */
export function profilerEnvironment(folder: string): Readonly<Record<string, string>> {
  const recorder = new URL('recorder.ts', import.meta.url).href;
  const options = process.env['NODE_OPTIONS'] ?? '';
  return { NODE_OPTIONS: `${options} --import ${recorder}`.trim(), [FOLDER_VARIABLE]: folder };
}

/** All that run begin to record, within the recorders' 50 ms. */
export function startRecording(folder: string): void {
  writeFileSync(join(folder, START_MARK), '');
}

/** Stop, and wait for the profiles; their paths. */
export async function stopRecording(folder: string): Promise<readonly string[]> {
  writeFileSync(join(folder, STOP_MARK), '');
  const named = (suffix: string) => readdirSync(folder).filter((name) => name.endsWith(suffix));
  await waitFor('the profiles', () => named('.recording').length === 0, 30_000);
  return named('.cpuprofile').map((name) => join(folder, name));
}

export function isMarked(folder: string, mark: string): boolean {
  return existsSync(join(folder, mark));
}
