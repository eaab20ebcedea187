/** Loaded into a process of the relay by `--import`: writes down its memory now and then. */
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HEAP_FOLDER_VARIABLE } from './heaps.ts';

const EVERY_MS = 5000;

const folder = process.env[HEAP_FOLDER_VARIABLE];
const role = /--role[= ](\w+)/.exec(process.argv.join(' '))?.[1];
if (folder !== undefined && role !== undefined) {
  setInterval(() => {
    const file = join(folder, role);
    writeFileSync(file, JSON.stringify(process.memoryUsage()));
    renameSync(file, `${file}.json`);
  }, EVERY_MS).unref();
}
