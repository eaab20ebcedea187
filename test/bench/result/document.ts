/**
 * The generated part of docs/performance.md: it stands between two marks, what people wrote
 * around them stays.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import type { Durability } from '../durability.ts';
import type { GrowthTable } from '../growth/growth.ts';
import type { GrowthName } from '../growth/names.ts';
import type { Machine } from '../measure/machine.ts';
import type { Peer } from '../peers/peer.ts';
import { documentProfile, type ThreadProfile } from '../profile/report.ts';
import { SCENARIOS, SESSIONS } from '../scenarios.ts';
import type { BenchSettings } from '../settings.ts';
import { compare, type Standing } from './compare.ts';
import type { RunResult } from './run-result.ts';
import { markdownTable } from './table.ts';

const FILE = new URL('../../../docs/performance.md', import.meta.url);
/** What was compared. */
const COMPARED: Marks = {
  begin: '<!-- figures: written by `make bench` -->',
  end: '<!-- end of the figures -->',
};

interface Marks {
  readonly begin: string;
  readonly end: string;
}

/** Each measurement of growth has a place of its own: they are made one by one. */
function marksOf(name: GrowthName): Marks {
  return {
    begin: `<!-- ${name}: written by \`make bench SCENARIOS=${name} WRITE=1\` -->`,
    end: `<!-- end of ${name} -->`,
  };
}

export interface Report {
  readonly results: readonly RunResult[];
  readonly durability: readonly Durability[];
  /** Of one more run of our relay in the first scenario. */
  readonly profiles: readonly ThreadProfile[];
  readonly machine: Machine;
  readonly peers: readonly Peer[];
  readonly settings: BenchSettings;
}

export function writePerformanceDoc(report: Report): void {
  const document = readFileSync(FILE, 'utf8');
  writeFileSync(FILE, replaceFigures(document, renderFigures(report)));
}

export function writeGrowthDoc(tables: readonly GrowthTable[], machine: Machine): void {
  let document = readFileSync(FILE, 'utf8');
  for (const table of tables) {
    document = replaceFigures(document, renderGrowth(table, machine), marksOf(table.name));
  }
  writeFileSync(FILE, document);
}

export function renderGrowth(
  { name, summary, rows, notes }: GrowthTable,
  { cores, cpu, syncMs }: Machine,
): string {
  const where = `${cores} cores (${cpu}), a synced append of 4 KiB in ${syncMs.toFixed(2)} ms`;
  const head = `### \`${name}\`: ${summary}`;
  return [head, markdownTable(rows), [...notes, `Measured on ${where}.`].join('\n')].join('\n\n');
}

/** Throws when the document has lost its marks. */
export function replaceFigures(document: string, figures: string, marks = COMPARED): string {
  const [begin, end] = [document.indexOf(marks.begin), document.indexOf(marks.end)];
  if (begin < 0 || end < begin) {
    throw new Error(`docs/performance.md lacks ${marks.begin} or ${marks.end}`);
  }
  const before = document.slice(0, begin + marks.begin.length);
  return `${before}\n\n${figures.trim()}\n\n${document.slice(end)}`;
}

export function renderFigures(report: Report): string {
  const { settings, results } = report;
  const tables = SCENARIOS.flatMap((scenario) => {
    const own = results.filter((result) => result.scenario === scenario.name);
    if (own.length === 0) return [];
    const messages = settings.messages ?? scenario.messages;
    const what = `${settings.rounds} rounds of ${messages.toLocaleString('en')} messages`;
    const head = `### \`${scenario.name}\`: ${scenario.summary}\n\n${what}, ${SESSIONS} sessions.\n`;
    return [`${head}\n${markdownTable(scenarioRows(compare(own)))}`];
  });
  return [machineText(report), ...tables, durabilityText(report.durability), costsText(report)]
    .filter((part) => part !== '')
    .join('\n');
}

function machineText({ machine, peers }: Report): string {
  const { cpu, cores, memoryGiB, kernel, node, openssl, syncMs } = machine;
  const disk = `a 4 KiB append with fdatasync takes ${syncMs.toFixed(2)} ms`;
  const setups = peers.map(({ name, setup }) => `- ${name}: ${setup}`);
  return `Machine: ${cores} cores (${cpu}), ${memoryGiB} GiB, Linux ${kernel.split('.').slice(0, 2).join('.')}; ${disk}. Node ${node}, OpenSSL ${openssl}.

${setups.join('\n')}
`;
}

const HEAD = ['relay', 'drain', 'accept', 'CPU a message', 'ack, median', 'memory', 'connections'];

function scenarioRows(standings: readonly Standing[]): readonly (readonly string[])[] {
  const rows = standings.map(({ peer, medians: m, ratios }) => [
    peer,
    cell(ratios?.drain, `${Math.round(m.drainRate)}/s`),
    cell(ratios?.accept, `${Math.round(m.acceptRate)}/s`),
    cell(ratios?.cpu, `${m.cpuMs.toFixed(2)} ms`),
    cell(ratios?.ackP50, `${m.ackP50Ms.toFixed(1)} ms`),
    `${Math.round(m.pssMiB)} MiB`,
    `${Math.round(m.connections)}`,
  ]);
  return [HEAD, ...rows];
}

function cell(ratio: number | undefined, absolute: string): string {
  return ratio === undefined ? absolute : `**${ratio.toFixed(2)}** (${absolute})`;
}

function durabilityText(findings: readonly Durability[]): string {
  if (findings.length === 0) return '';
  const rows = findings.map((one) => [
    one.peer,
    `${one.unsynced} of ${one.acknowledged}`,
    one.syncsPerMessage.toFixed(2),
    String(one.toImpostor),
  ]);
  const head = [
    'relay',
    '250 without a sync',
    'syncs a message, 20 sessions',
    'sent to an impostor',
  ];
  return `### \`durability\`: 250 after the sync, and only to a verified host\n\n${markdownTable([head, ...rows])}`;
}

function costsText({ profiles, settings }: Report): string {
  if (profiles.length === 0) return '';
  const scenario = settings.scenarios[0]?.name;
  const head = `### What costs what\n\nOne more run of \`${scenario}\`, profiled (that slows it by a quarter or so): time on each of our threads by whose doing it was. Native code and Node's own are charged to the package or source file that called them; \`Node alone\` is the event loop, streams and TLS records on their own account. Redis and Node's thread pool do not show.\n`;
  return `${head}\n${profiles.map(documentProfile).join('\n')}`;
}
