/**
 * Bundles the admin page for the browser: script and style sheet, from this folder into `dist/page`, or where the
 * first argument says. Part of `make build`; nothing of it is needed when the relay runs.
 */
import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const HERE = fileURLToPath(new URL('./', import.meta.url));
const DIST = fileURLToPath(new URL('../../../dist/page/', import.meta.url));

/** Rejects with what is wrong in the sources. */
export async function buildPage(directory: string = DIST): Promise<void> {
  await mkdir(directory, { recursive: true });
  await build({
    entryPoints: { page: join(HERE, 'main.tsx') },
    outdir: directory,
    bundle: true,
    minify: true,
    format: 'esm',
    target: ['chrome123', 'firefox121', 'safari17.5'],
    jsx: 'automatic',
    jsxImportSource: 'preact',
    legalComments: 'inline',
    logLevel: 'warning',
  });
  await copyFile(join(HERE, 'icon.svg'), join(directory, 'icon.svg'));
}

if (import.meta.main) await buildPage(process.argv[2]);
