/**
 * What is kept of a campaign that broke a promise: the relay's directory with its log, its
 * configuration and its data, and a file that says what happened.
 */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeProcesses } from './processes.ts';

const EXCERPT_LINES = 30;
const LINE_CHARACTERS = 400;

export interface Evidence {
  readonly directory: string;
  readonly dataDir: string;
  readonly logFile: string;
  readonly violation: string;
  readonly ids: readonly string[];
  /** How to have it again. */
  readonly again: string;
}

/** Write it all down; the lines to show. */
export function keepEvidence(evidence: Evidence): readonly string[] {
  const { directory, dataDir, violation, ids, again } = evidence;
  if (!dataDir.startsWith(join(directory, 'data'))) copy(dataDir, join(directory, 'data'));
  const lines = [
    violation,
    `ids: ${ids.length === 0 ? 'none' : ids.join(' ')}`,
    `again: ${again}`,
    `kept: ${directory} (relay.log, relay.stderr, stsrelay.yaml, processes.txt, data)`,
    '--- what the log says:',
    ...excerpt(evidence),
  ];
  writeFileSync(join(directory, 'processes.txt'), describeProcesses(directory));
  writeFileSync(join(directory, 'violation.txt'), `${lines.join('\n')}\n`);
  return lines;
}

/** The lines about these messages, or the last ones. */
function excerpt({ logFile, ids }: Evidence): string[] {
  let all: string[];
  try {
    all = readFileSync(logFile, 'utf8').split('\n');
  } catch {
    return [];
  }
  const marked = all.filter((line) => line.includes('"event":"torture"'));
  const found = all.filter((line) => ids.some((id) => line.includes(id)));
  const shown = found.length > 0 ? [...found.slice(-EXCERPT_LINES), ...marked.slice(-5)] : all;
  return shown.slice(-EXCERPT_LINES).map((line) => line.slice(0, LINE_CHARACTERS));
}

function copy(from: string, to: string): void {
  try {
    // No sockets: they cannot be copied.
    cpSync(from, to, { recursive: true, filter: (path) => !/\.sock$|\/filler$/.test(path) });
  } catch {
    // Half of it is better than nothing.
  }
}
