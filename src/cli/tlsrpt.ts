/**
 * `stsrelay tlsrpt list | show`: what the TLS reports (RFC 8460) of the days are made of, as the
 * running relay has counted it.
 */
import { InvalidArgumentError, Option } from 'commander';
import { z } from 'zod';
import { MAX_REPORTS } from '../admin/tlsrpt-routes.ts';
import { EXIT_CODES, readAnswer, requireDomain, TIMEOUT_MS } from './answers.ts';
import { type CliCommand, EXIT } from './command.ts';
import { requireDataDir } from './configuration.ts';
import { askRelay } from './control-client.ts';
import { formatTable } from './table.ts';
import { print, printError, printJson, printJsonList } from './terminal.ts';

const count = z.number();
const sums = z.looseObject({ successful: count, failed: count });
const listSchema = z.object({
  days: z.array(sums.extend({ day: z.string(), domains: count, other: sums })),
});
/** Loose: a relay of another version may say more. */
const reportSchema = z.looseObject({
  policies: z.array(
    z.looseObject({
      policy: z.looseObject({ 'policy-type': z.string(), 'policy-domain': z.string() }),
      summary: z.looseObject({
        'total-successful-session-count': count,
        'total-failure-session-count': count,
      }),
      'failure-details': z.array(
        z.looseObject({
          'result-type': z.string(),
          'failed-session-count': count,
          'receiving-mx-hostname': z.string().optional(),
          'failure-reason-code': z.string().optional(),
        }),
      ),
    }),
  ),
});
const pageSchema = z.object({
  reports: z.array(z.object({ domain: z.string(), report: reportSchema })),
  other: sums,
  next: z.string().optional(),
});
type Page = z.infer<typeof pageSchema>;
type Report = Page['reports'][number];

export const tlsReportList: CliCommand = {
  usage: 'list',
  summary: 'the days that TLS sessions are counted of: domains, sessions that succeeded and failed',
  notes: EXIT_CODES,
  async run(invocation) {
    const path = '/api/v1/tlsrpt/days';
    const dataDir = requireDataDir(invocation);
    const answer = await askRelay(dataDir, { method: 'GET', path, timeoutMs: TIMEOUT_MS });
    const { days } = readAnswer(answer, listSchema);
    if (invocation.json) printJson(days);
    else if (days.length === 0) printError('nothing is counted yet');
    else {
      const rows = days.map(({ day, domains, successful, failed, other }) => [
        ...[day, String(domains), String(successful), String(failed)],
        String(other.successful + other.failed),
      ]);
      print(formatTable(['day', 'domains', 'successful', 'failed', 'beyond'], rows));
    }
    return EXIT.done;
  },
};

export const tlsReportShow: CliCommand = {
  usage: 'show [domain]',
  summary:
    'the reports of a day: by domain and policy, sessions that succeeded and failed, and how',
  options: [
    new Option('--day <day>', 'which, in UTC: 2026-03-14; today without').argParser(parseDay),
  ],
  notes: `
Of today: what it comes to so far. A line for each policy, and below it one for each kind of failure, with how
many sessions, at which host, and why. Whether a domain asks for its report is not looked up. --json gives the
whole reports, as RFC 8460 has them.

  stsrelay tlsrpt show example.org --day 2026-03-14 --json

Exit codes:
  0  shown
  1  there is none
  2  wrong usage or configuration
  3  the relay cannot be reached`,
  async run(invocation) {
    const { args, options, json } = invocation;
    const day = (options['day'] as string | undefined) ?? new Date().toISOString().slice(0, 10);
    const domain = args[0] === undefined ? undefined : requireDomain(args[0]);
    const reports = reportsOf(requireDataDir(invocation), day, domain);
    let shown = 0;
    if (json) shown = await printJsonList(reportsAlone(reports));
    else {
      const rows: (readonly string[])[] = [];
      for await (const one of reports) {
        rows.push(...rowsOf(one));
        shown += 1;
      }
      if (shown > 0) print(formatTable(HEADING, rows));
      else printError(`no report for ${domain ?? 'anybody'} on ${day}`);
    }
    return shown > 0 ? EXIT.done : EXIT.no;
  },
};

const HEADING = ['domain', 'policy', 'successful', 'failed', 'failure'];

async function* reportsAlone(reports: AsyncIterable<Report>): AsyncGenerator<Report['report']> {
  for await (const { report } of reports) yield report;
}

/** The reports of a day, asked for page by page as they are taken. */
async function* reportsOf(
  dataDir: string,
  day: string,
  domain: string | undefined,
): AsyncGenerator<Report> {
  let after: string | undefined;
  do {
    const query = new URLSearchParams({ limit: String(MAX_REPORTS) });
    if (domain !== undefined) query.set('domain', domain);
    if (after !== undefined) query.set('after', after);
    const path = `/api/v1/tlsrpt/days/${day}?${query}`;
    const answer = await askRelay(dataDir, { method: 'GET', path, timeoutMs: TIMEOUT_MS });
    const page: Page = readAnswer(answer, pageSchema);
    yield* page.reports;
    after = page.next;
  } while (after !== undefined);
}

function rowsOf({ domain, report }: Report): readonly (readonly string[])[] {
  return report.policies.flatMap(({ policy, summary, 'failure-details': details }) => [
    [
      ...[domain, policy['policy-type']],
      String(summary['total-successful-session-count']),
      String(summary['total-failure-session-count']),
      '',
    ],
    ...details.map((one) => {
      const { 'receiving-mx-hostname': host = '', 'failure-reason-code': reason = '' } = one;
      const where = [host, reason].filter(Boolean).join(': ');
      const what = `${one['failed-session-count']} ${one['result-type']}`;
      return [domain, policy['policy-type'], '', '', where === '' ? what : `${what} (${where})`];
    }),
  ]);
}

function parseDay(text: string): string {
  if (z.iso.date().safeParse(text).success) return text;
  throw new InvalidArgumentError('It is a day such as 2026-03-14.');
}
