/** The packages of a release, built as `make` builds them, but not compressed. */
import { spawnSync } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { ROOT } from './deploy-files.ts';
import { findCommand } from './tied-child.ts';

export interface Built {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** npm runs on whatever Node.js it came with; it must not be asked by one of its own children's settings. */
export function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Built {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(npm_|NODE_TEST_CONTEXT$|NODE_OPTIONS$|STSRELAY_)/.test(name),
  );
  const path = `${join(ROOT, 'node_modules/.bin')}${delimiter}${process.env['PATH']}`;
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd: ROOT,
    env: { ...Object.fromEntries(inherited), PATH: path, ...env },
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  return { code: status, stdout, stderr };
}

/** dist/ for others: compiled anew into a directory, so that tests which run beside us keep theirs. */
export function compileTo(directory: string): void {
  const program = ['-p', 'tsconfig.build.json', '--outDir', directory];
  const page = ['src/admin/page/build.ts', `${directory}/page`];
  for (const { code, stdout, stderr } of [run('tsc', program), run('node', page)]) {
    if (code !== 0) throw new Error(stdout + stderr);
  }
}

/** Why no Debian package can be made here; false when it can. */
export const debianMissing: string | false =
  (findCommand('dpkg-deb') === undefined && 'dpkg-deb is not installed') ||
  (findCommand('npm') === undefined && 'npm is not installed');

/** Path of the package, which is made below `directory` with the program of `dist`. */
export function buildDebian(directory: string, dist: string): string {
  const env = { DEB_COMPRESSION: 'none', DIST: dist };
  const { code, stdout, stderr } = run('deploy/debian/build.sh', [directory], env);
  if (code !== 0) throw new Error(stderr);
  return stdout.trim();
}

export interface PackedFile {
  readonly path: string;
  readonly size: number;
  readonly mode: number;
}

/** What `npm pack` puts together from the directory `root`; the file goes to `directory`. */
export function packNpm(
  root: string,
  directory: string,
): { readonly file: string; readonly files: readonly PackedFile[]; readonly size: number } {
  const { code, stdout, stderr } = run('npm', [
    'pack',
    root,
    '--json',
    '--pack-destination',
    directory,
  ]);
  if (code !== 0) throw new Error(stderr);
  const [{ filename, files, size }] = JSON.parse(stdout);
  return { file: join(directory, filename), files, size };
}
