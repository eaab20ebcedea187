/**
 * The heaps of a relay made of any number of node processes: each loads heap-reporter.ts first,
 * which writes down what its process has, every few seconds, in a file in the relay's folder.
 */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Peer } from '../peers/peer.ts';

export const HEAP_FOLDER_VARIABLE = 'BENCH_HEAP_FOLDER';
const FOLDER = 'heaps';
const MIB = 2 ** 20;

/** `peer`, with the reporter in each of its node processes. */
export function withHeapReporter(peer: Peer): Peer {
  return {
    ...peer,
    prepare: (site) => {
      const launch = peer.prepare(site);
      const folder = join(site.dir, FOLDER);
      mkdirSync(folder);
      const options = launch.env?.['NODE_OPTIONS'] ?? process.env['NODE_OPTIONS'] ?? '';
      const reporter = new URL('heap-reporter.ts', import.meta.url).href;
      const NODE_OPTIONS = `${options} --import ${reporter}`.trim();
      return { ...launch, env: { ...launch.env, NODE_OPTIONS, [HEAP_FOLDER_VARIABLE]: folder } };
    },
  };
}

/** MiB by `PROCESS heap` and `PROCESS external`, as they were a few seconds ago. */
export function readHeaps(dir: string): Readonly<Record<string, number>> {
  const folder = join(dir, FOLDER);
  const figures = readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .flatMap((file) => {
      const name = file.replace(/\.json$/, '');
      const usage = JSON.parse(readFileSync(join(folder, file), 'utf8')) as NodeJS.MemoryUsage;
      return [
        [`${name} heap`, usage.heapUsed / MIB],
        [`${name} external`, usage.external / MIB],
      ] as const;
    });
  return Object.fromEntries(figures);
}
