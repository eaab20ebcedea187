/**
 * The bench's two C programs, compiled when their source is new. What is made stays in a cache
 * folder outside the checkout (BENCH_CACHE, else one below the user's).
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findCommand } from '../../support/tied-child.ts';
import { UsageError } from '../settings.ts';

const SOURCES = fileURLToPath(new URL('../tools/', import.meta.url));

export interface Programs {
  readonly inject: string;
  readonly sink: string;
}

/** The cache folder, made when it is not there. */
export function cacheFolder(): string {
  const base = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache');
  const folder = process.env['BENCH_CACHE'] || join(base, 'stsrelay-bench');
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** Throws UsageError when there is no compiler or it complains. */
export function compilePrograms(): Programs {
  return { inject: compile('inject', []), sink: compile('sink', ['-lssl', '-lcrypto']) };
}

function compile(name: string, libraries: readonly string[]): string {
  const source = join(SOURCES, `${name}.c`);
  const digest = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 12);
  const program = join(cacheFolder(), `${name}-${digest}`);
  if (existsSync(program)) return program;
  const compiler = findCommand('cc', 'gcc', 'clang');
  if (compiler === undefined) throw new UsageError('no C compiler; apt-get install gcc libc6-dev');
  const unfinished = `${program}.${process.pid}`;
  try {
    execFileSync(compiler, ['-O2', '-o', unfinished, source, ...libraries], { stdio: 'pipe' });
  } catch (error) {
    const said = (error as { stderr?: Buffer }).stderr?.toString() ?? '';
    throw new UsageError(`${name}.c does not compile (apt-get install libssl-dev):\n${said}`);
  }
  renameSync(unfinished, program);
  return program;
}
