/**
 * `stsrelay policy list | show | refresh | forget`: the MTA-STS policies that the running relay
 * keeps.
 */
import { InvalidArgumentError, Option } from 'commander';
import { loadSettings } from '../config/load.ts';
import { type DomainName, parseDomain } from '../protocol/domain.ts';
import type { StsMode } from '../protocol/mta-sts/policy.ts';
import { quoted } from '../protocol/quote.ts';
import { type CliCommand, CliError, EXIT, type ExitCode, type Invocation } from './command.ts';
import { requireDataDir } from './configuration.ts';
import {
  forgetPolicy,
  type ListWish,
  listPolicies,
  refreshPolicy,
  showPolicy,
} from './policy-client.ts';
import { formatPolicy, LIST_HEADING, listRow } from './policy-screen.ts';
import { formatTable } from './table.ts';
import { print, printable, printError, printJson, printJsonList } from './terminal.ts';

/** Below the notes of each command. */
function exitCodes(done: string, no: string): string {
  return `
Exit codes:
  0  ${done}
  1  ${no}
  2  wrong usage or configuration
  3  the relay cannot be reached`;
}

export const policyList: CliCommand = {
  usage: 'list',
  summary:
    'list the policies kept: mode, id, age, expiry, source, signs of a downgrade, last failure',
  options: [
    new Option('--mode <mode>', 'only those with this mode').choices([
      'enforce',
      'testing',
      'none',
    ]),
    new Option('--limit <n>', 'at most so many').argParser(parseLimit),
  ],
  notes: `
In the order of the domains. Away from a terminal: no heading, a tab between the columns.
${exitCodes('listed, also when no policy is kept at all', 'none with this --mode')}`,
  async run(invocation) {
    const { options, json } = invocation;
    const wish: ListWish = {
      mode: options['mode'] as StsMode | undefined,
      limit: options['limit'] as number | undefined,
    };
    const views = listPolicies(requireDataDir(invocation), wish);
    const shown = json ? await printJsonList(views) : await printTable(views);
    if (shown > 0) return EXIT.done;
    if (!json)
      printError(wish.mode === undefined ? 'no policy is kept' : `none with mode ${wish.mode}`);
    return wish.mode === undefined ? EXIT.done : EXIT.no;
  },
};

export const policyShow: CliCommand = {
  usage: 'show <domains...>',
  summary:
    'all that is known about the policy of a domain: its text, troubles, signs of a downgrade',
  notes: `
--json gives an object for one domain, an array for several.
${exitCodes('shown', 'nothing is known about one of the domains')}`,
  run: (invocation) => {
    const graceMs = dnsFailureGraceMs(invocation);
    return forEachDomain(invocation, async (domain, dataDir) => {
      const view = await showPolicy(dataDir, domain);
      if (view === undefined) return unknown(domain);
      return { code: EXIT.done, text: formatPolicy(view, Date.now(), graceMs), json: view };
    });
  },
};

export const policyRefresh: CliCommand = {
  usage: 'refresh <domains...>',
  summary: 'look up and fetch the policy of a domain now, also just after a fetch that failed',
  notes: `
A refresh that fails changes nothing: the policy that is in force stays.
--json gives an object for one domain, an array for several.
${exitCodes('the policy was fetched', 'the refresh of one of the domains failed')}`,
  run: (invocation) =>
    forEachDomain(invocation, async (domain, dataDir) => {
      const answer = await refreshPolicy(dataDir, domain);
      const code = answer.ok ? EXIT.done : EXIT.no;
      return { code, text: `${domain}: ${printable(answer.text)}`, json: { domain, ...answer } };
    }),
};

export const policyForget: CliCommand = {
  usage: 'forget <domains...>',
  summary: 'remove all that is known about the policy of a domain',
  notes: `
Until the next message to the domain has it fetched again, nothing protects that message from somebody
who can make DNS or the policy host fail: where a newer policy is wanted, use refresh.
--json gives an object for one domain, an array for several.
${exitCodes('forgotten', 'nothing was known about one of the domains')}`,
  run: (invocation) =>
    forEachDomain(invocation, async (domain, dataDir) => {
      if (!(await forgetPolicy(dataDir, domain))) return unknown(domain);
      return { code: EXIT.done, text: `${domain}: forgotten`, json: { domain, forgotten: true } };
    }),
};

/** As configured; undefined when the file is not valid any more. */
function dnsFailureGraceMs({ configFile }: Invocation): number | undefined {
  const loaded = loadSettings({ configFile });
  return loaded.ok ? loaded.settings.security.mtaSts.dnsFailureGrace : undefined;
}

interface Result {
  readonly code: ExitCode;
  readonly text: string;
  readonly json: unknown;
}

function unknown(domain: DomainName): Result {
  const error = 'nothing is known about its policy';
  return { code: EXIT.no, text: `${domain}: ${error}`, json: { ok: false, domain, error } };
}

/** One after the other, each told when it is done; `no` when it is the answer for one of them. */
async function forEachDomain(
  invocation: Invocation,
  ask: (domain: DomainName, dataDir: string) => Promise<Result>,
): Promise<ExitCode> {
  const domains = [...new Set(invocation.args.map(requireDomain))];
  const dataDir = requireDataDir(invocation);
  const results: Result[] = [];
  let printed = 0;
  for (const domain of domains) {
    const result = await ask(domain, dataDir);
    results.push(result);
    if (invocation.json) continue;
    const { code, text } = result;
    if (code !== EXIT.done) printError(text);
    else print(printed > 0 && text.includes('\n') ? `\n${text}` : text);
    if (code === EXIT.done) printed += 1;
  }
  if (invocation.json) {
    const values = results.map(({ json }) => json);
    printJson(values.length === 1 ? values[0] : values);
  }
  return results.every(({ code }) => code === EXIT.done) ? EXIT.done : EXIT.no;
}

function requireDomain(text: string): DomainName {
  const domain = parseDomain(text);
  if (domain !== undefined) return domain;
  throw new CliError(EXIT.wrong, `${quoted(text)} is no domain name`);
}

function parseLimit(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It is a whole number from 1 on.');
}

/** Print all when their widths are known; how many there were. */
async function printTable(views: ReturnType<typeof listPolicies>): Promise<number> {
  const rows: (readonly string[])[] = [];
  for await (const view of views) rows.push(listRow(view, Date.now()));
  if (rows.length > 0) print(formatTable(LIST_HEADING, rows));
  return rows.length;
}
