/**
 * The command line as its users type it: `node src/main.ts ARGS` in a process of its own, with
 * what it wrote and how it ended.
 */
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { spawnTied } from './tied-child.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const TIMEOUT_MS = 180_000;

export interface CliResult {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Run one command line to its end; `input` goes to its stdin. */
export async function runStsrelay(args: readonly string[], input = ''): Promise<CliResult> {
  const { NODE_TEST_CONTEXT: _, NODE_OPTIONS: __, ...env } = process.env;
  const child = spawnTied(process.execPath, [MAIN, ...args], {
    env,
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: TIMEOUT_MS,
  });
  const result = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      result[name] += text;
    });
  }
  child.stdin?.on('error', () => {}); // it may end without reading
  child.stdin?.end(input);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, ...result };
}
