/**
 * Inputs on disk: the corpus, which is committed, and what a campaign found, which is not.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Finding } from './engine/finding.ts';

const CORPUS = fileURLToPath(new URL('./corpus/', import.meta.url));
export const FOUND = fileURLToPath(new URL('./found/', import.meta.url));

/** Inputs kept for a target: each once broke something, or is hard to come by. */
export function corpusOf(target: string): readonly Buffer[] {
  const directory = join(CORPUS, target);
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .sort()
    .map((name) => readFileSync(join(directory, name)));
}

/** The targets that have a corpus. */
export function corpusTargets(): readonly string[] {
  return readdirSync(CORPUS);
}

/** Write the input of a finding; its path, from the working directory. */
export function keepFinding({ target, input }: Finding, directory = FOUND): string {
  const digest = createHash('sha256').update(input).digest('hex').slice(0, 12);
  const file = join(directory, `${target}-${digest}`);
  mkdirSync(directory, { recursive: true });
  writeFileSync(file, input);
  return relative(process.cwd(), file);
}
