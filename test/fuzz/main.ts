/**
 * `make fuzz`: mutated input for every parser, for some seconds each. Settings come from the
 * environment: FUZZ_SECONDS (10), TARGET (all), FUZZ_SEED (another each time), REPLAY (a file
 * with one input for TARGET). Exit status 1 when there are findings, 2 for wrong usage.
 */
import { existsSync, readFileSync } from 'node:fs';
import { SLOW_MS } from './engine/campaign.ts';
import type { Finding } from './engine/finding.ts';
import { type WatchResult, watchCampaign } from './engine/watch.ts';
import { corpusOf, keepFinding } from './kept.ts';
import { targets } from './targets.ts';

const MODULE = new URL('./targets.ts', import.meta.url).href;
const SHOWN_LINES = 14;
const isTerminal = process.stdout.isTTY === true;
const setting = (name: string) => process.env[name] ?? '';

class UsageError extends Error {}

function wholeNumber(name: string, otherwise: number): number {
  const text = setting(name);
  if (text === '') return otherwise;
  if (!/^\d{1,10}$/.test(text)) throw new UsageError(`${name}=${text} is no whole number`);
  return Number(text);
}

function wantedTargets(): readonly string[] {
  const names = targets.map(({ name }) => name);
  const wanted = setting('TARGET');
  if (wanted === '') return names;
  if (!names.includes(wanted)) {
    throw new UsageError(`no target ${wanted}; there are ${names.join(', ')}`);
  }
  return [wanted];
}

const WIDTH = Math.max(...targets.map(({ name }) => name.length));

function progressLine(
  name: string,
  facts: { runs: number; kinds: number; findings: number },
  ms: number,
): string {
  const rate = Math.round(facts.runs / Math.max(0.001, ms / 1000)).toLocaleString('en');
  const runs = facts.runs.toLocaleString('en');
  const seconds = (ms / 1000).toFixed(1);
  return `${name.padEnd(WIDTH)} ${seconds.padStart(6)} s ${runs.padStart(10)} runs ${rate.padStart(8)}/s  ${facts.kinds} kinds of answer, ${facts.findings} findings`;
}

function report(finding: Finding): void {
  const file = keepFinding(finding);
  const lines = finding.text.split('\n');
  const shown = lines.slice(0, SHOWN_LINES).map((line) => `    ${line}`);
  if (lines.length > SHOWN_LINES) shown.push('    ...');
  print(
    `  FOUND (${finding.kind}, ${finding.signature}), input of ${finding.input.length} octets:`,
  );
  print(shown.join('\n'));
  print(`    replay: make fuzz TARGET=${finding.target} REPLAY=${file}`);
}

async function fuzz(target: string, seed: number, durationMs: number): Promise<WatchResult> {
  const startedAt = performance.now();
  const result = await watchCampaign({
    module: MODULE,
    target,
    seed,
    durationMs,
    corpus: corpusOf(target),
    progress(now) {
      if (isTerminal) rewrite(progressLine(target, now, performance.now() - startedAt));
    },
  });
  const facts = { runs: result.runs, kinds: result.kinds.size, findings: result.findings.length };
  const line = progressLine(target, facts, performance.now() - startedAt);
  if (isTerminal) rewrite(`${line}\n`);
  else print(line);
  result.findings.forEach(report);
  return result;
}

async function replay(target: string, file: string): Promise<number> {
  const corpus = [readFileSync(file)];
  const { kinds, findings } = await watchCampaign({
    module: MODULE,
    target,
    seed: 0,
    durationMs: 10 * SLOW_MS,
    corpus,
    replay: true,
  });
  for (const { kind, text } of findings) print(`${kind}: ${text}`);
  if (findings.length === 0) print(`no finding any more; the answer: ${[...kinds.keys()].join()}`);
  return findings.length;
}

async function main(): Promise<number> {
  const wanted = wantedTargets();
  const file = setting('REPLAY');
  const [only = ''] = wanted;
  if (file !== '' && wanted.length !== 1) throw new UsageError('REPLAY needs its TARGET');
  if (file !== '' && !existsSync(file)) throw new UsageError(`there is no file ${file}`);
  if (file !== '') return (await replay(only, file)) > 0 ? 1 : 0;
  const seed = wholeNumber('FUZZ_SEED', Math.floor(Math.random() * 1_000_000));
  const durationMs = wholeNumber('FUZZ_SECONDS', 10) * 1000;
  print(`${wanted.length} targets, ${durationMs / 1000} s each, FUZZ_SEED=${seed}`);
  let findings = 0;
  for (const target of wanted) findings += (await fuzz(target, seed, durationMs)).findings.length;
  print(findings === 0 ? 'nothing found' : `${findings} findings`);
  return findings === 0 ? 0 : 1;
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** The line the cursor is on. */
function rewrite(text: string): void {
  process.stdout.write(`\r\x1b[K${text}`);
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 2;
}
