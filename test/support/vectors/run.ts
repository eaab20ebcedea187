/**
 * `make vectors`: runs the vector files of a directory against the relay's own modules. Prints each
 * case that failed, then a line a file, and at the very end `N passed, N failed`. JSON that is
 * no vectors is named, and not counted.
 *
 * Usage: run.ts DIRECTORY [FIXTURES]. Exits with 0 when every case passed, 1 when one failed, 2
 * when there is nothing to run. No case is passed over: what is not supported fails.
 */
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inOneLine } from './compare.ts';
import { DANE_CERTIFICATES } from './dane.ts';
import { readVectorFiles, type VectorFile } from './files.ts';
import { kindFor } from './registry.ts';
import { type CaseResult, runCase } from './run-case.ts';
import type { Vector, VectorContext } from './vector.ts';

/** Cases at the same time: they wait more than they compute. */
const CONCURRENCY = 8;
const OUR_FIXTURES = fileURLToPath(new URL('../../fixtures/certs', import.meta.url));

interface Tally {
  readonly name: string;
  readonly passed: number;
  readonly failed: number;
  /** Of those that passed: by another answer than the first. */
  readonly alternatives: number;
}

process.exitCode = await main(process.argv.slice(2));

async function main([directory, fixtures]: readonly string[]): Promise<0 | 1 | 2> {
  if (!directory) return complain('usage: run.ts DIRECTORY [FIXTURES]');
  if (fixtures && !existsSync(fixtures)) return complain(`${fixtures} does not exist`);
  let files: readonly VectorFile[];
  try {
    files = readVectorFiles(directory);
  } catch (error) {
    return complain(`${directory} cannot be read: ${(error as Error).message}`);
  }
  const own = files.filter(({ kind }) => kind !== 'other');
  if (own.length === 0) return complain(`there are no vector files (*.json) in ${directory}`);
  const context = { fixtures: fixtures || fixturesBeside(directory) };
  const tallies: Tally[] = [];
  for (const { kind, name } of files) if (kind === 'other') print(`     ${name}: no vectors`);
  for (const file of own) tallies.push(await runFile(file, context));
  for (const tally of tallies) print(lineOf(tally));
  const passed = tallies.reduce((sum, tally) => sum + tally.passed, 0);
  const failed = tallies.reduce((sum, tally) => sum + tally.failed, 0);
  print(`${passed} passed, ${failed} failed`);
  return failed > 0 ? 1 : 0;
}

/** Inside the directory of vectors, next to it, or ours: the first that has something for us. */
function fixturesBeside(directory: string): string {
  const places = [join(directory, 'fixtures'), join(directory, '../fixtures')];
  return places.find((place) => existsSync(join(place, DANE_CERTIFICATES))) ?? OUR_FIXTURES;
}

async function runFile(file: VectorFile, context: VectorContext): Promise<Tally> {
  const { name } = file;
  if (file.kind !== 'vectors') {
    print(`${name}: cannot be read: ${file.kind === 'unreadable' ? file.reason : 'no vectors'}\n`);
    return { name, passed: 0, failed: 1, alternatives: 0 };
  }
  const kind = kindFor(basename(name));
  const results: CaseResult[] = [];
  const left = [...file.vectors.entries()];
  const worker = async () => {
    for (let next = left.shift(); next; next = left.shift()) {
      results[next[0]] = await runCase(kind, next[1], context);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  for (const [index, vector] of file.vectors.entries()) {
    const result = results[index];
    if (result?.kind === 'failed') printFailure(name, vector, result);
  }
  const count = (wanted: CaseResult['kind']) =>
    results.filter(({ kind }) => kind === wanted).length;
  const failed = count('failed');
  const alternatives = count('alternative');
  return { name, passed: results.length - failed, failed, alternatives };
}

function printFailure(
  file: string,
  { id, rule, note, expect, alt = [] }: Vector,
  { came, why, unsupported }: CaseResult & { readonly kind: 'failed' },
): void {
  const title = `${file}: ${[id, rule, note].filter(Boolean).join(' ')}`;
  print(title);
  if (!unsupported) print(`    expected ${inOneLine(expect)}`);
  for (const other of unsupported ? [] : alt) print(`          or ${inOneLine(other)}`);
  if (came !== undefined) print(`    came     ${inOneLine(came)}`);
  for (const line of why) print(`    ${line}`);
  print('');
}

function lineOf({ name, passed, failed, alternatives }: Tally): string {
  const verdict = failed > 0 ? 'FAIL' : 'ok  ';
  const others = alternatives > 0 ? ` (${alternatives} by an alternative answer)` : '';
  return `${verdict} ${name}: ${passed} passed, ${failed} failed${others}`;
}

function complain(problem: string): 2 {
  process.stderr.write(`vectors: ${problem}\n`);
  return 2;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
