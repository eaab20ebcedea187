/**
 * `stsrelay policy list | show | refresh | forget`: the MTA-STS policies that the running relay
 * keeps.
 */
import { Option } from 'commander';
import { loadSettings } from '../config/load.ts';
import type { DomainName } from '../protocol/domain.ts';
import { requireDomain } from './answers.ts';
import { type CliCommand, EXIT, type ExitCode, type Invocation } from './command.ts';
import { requireDataDir } from './configuration.ts';
import { fold } from './fold.ts';
import {
  domainOption,
  filtersOf,
  LIST_EXIT_CODES,
  limitOf,
  limitOption,
  showList,
} from './list.ts';
import { forgetPolicy, listPolicies, refreshPolicy, showPolicy } from './policy-client.ts';
import { formatPolicy, LIST_HEADING, listRow } from './policy-screen.ts';
import { print, printable, printError, printJson } from './terminal.ts';

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
    domainOption(),
    limitOption(),
  ],
  notes: `
In the order of the domains.
${LIST_EXIT_CODES}`,
  run(invocation) {
    const filters = filtersOf(invocation, ['domain', 'mode']);
    const views = listPolicies(requireDataDir(invocation), { filters, limit: limitOf(invocation) });
    const isFiltered = Object.keys(filters).length > 0;
    const shown = { heading: LIST_HEADING, rowOf: listRow, none: 'no policy is kept', isFiltered };
    return showList(invocation, views, shown);
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
    else print(fold(printed > 0 && text.includes('\n') ? `\n${text}` : text));
    if (code === EXIT.done) printed += 1;
  }
  if (invocation.json) {
    const values = results.map(({ json }) => json);
    printJson(values.length === 1 ? values[0] : values);
  }
  return results.every(({ code }) => code === EXIT.done) ? EXIT.done : EXIT.no;
}
