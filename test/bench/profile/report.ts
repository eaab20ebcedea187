/** Profiles as text: for each thread of the relay where its time went, a message. */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { markdownTable, plainTable } from '../result/table.ts';
import { type CpuProfile, type ProfileSummary, type Share, summarise } from './summary.ts';

const LINES = 30;
const DOCUMENT_LINES = 20;

export interface ThreadProfile {
  /** Role or script, process id, thread id. */
  readonly thread: string;
  /** Messages the relay took while it was recorded. */
  readonly messages: number;
  readonly summary: ProfileSummary;
}

/** The busiest thread first. */
export function readProfiles(paths: readonly string[], messages: number): readonly ThreadProfile[] {
  return paths
    .map((path) => ({
      thread: basename(path, '.cpuprofile'),
      messages,
      summary: summarise(JSON.parse(readFileSync(path, 'utf8')) as CpuProfile),
    }))
    .sort((a, b) => b.summary.busyUs - a.summary.busyUs);
}

/** For a terminal. */
export function printProfile({ thread, messages, summary }: ThreadProfile): string {
  const { busyUs, idleUs } = summary;
  const table = (head: string, shares: readonly Share[]) =>
    plainTable([
      [`  ${head}`, 'us/msg', 'share'],
      ...shares
        .slice(0, LINES)
        .map((share) => [`  ${share.name}`, ...figures(share, { messages, busyUs })]),
    ]);
  const busy = `busy ${(busyUs / 1e6).toFixed(2)} s of ${((busyUs + idleUs) / 1e6).toFixed(2)} s`;
  const perMessage = `${(busyUs / messages).toFixed(0)} us a message`;
  return [
    `profile of ${thread}: ${busy}, ${perMessage} on this thread`,
    table('whose doing (native code and Node charged to who called)', summary.charged),
    table('where (self time)', summary.groups),
    table('function (self time)', summary.functions),
  ].join('\n');
}

/** For the document. */
export function documentProfile({ thread, messages, summary }: ThreadProfile): string {
  const { busyUs, charged } = summary;
  const name = thread.replace(/-\d+-(\d+)$/, (_, id: string) =>
    id === '0' ? '' : `, thread ${id}`,
  );
  const rows = charged
    .slice(0, DOCUMENT_LINES)
    .map((share) => [`\`${share.name}\``, ...figures(share, { messages, busyUs })]);
  const total = `${(busyUs / messages).toFixed(0)} µs a message`;
  return `Process \`${name}\`, ${total}:\n\n${markdownTable([['doing of', 'µs a message', 'share'], ...rows])}`;
}

function figures({ us }: Share, { messages, busyUs }: { messages: number; busyUs: number }) {
  return [(us / messages).toFixed(1), `${((100 * us) / busyUs).toFixed(1)} %`];
}
