/**
 * `stsrelay tlsrpt list | show | send`: the TLS reports (RFC 8460) of the days, as the running relay has counted,
 * made and sent them.
 */
import { InvalidArgumentError, Option } from 'commander';
import { z } from 'zod';
import { MAX_REPORTS, MAX_SENT } from '../admin/tlsrpt-routes.ts';
import { EXIT_CODES, readAnswer, requireDomain, TIMEOUT_MS } from './answers.ts';
import { type CliCommand, EXIT } from './command.ts';
import { requireDataDir } from './configuration.ts';
import { askRelay } from './control-client.ts';
import { formatTable } from './table.ts';
import { print, printable, printError, printJson, printJsonList } from './terminal.ts';

const count = z.number();
const sums = z.looseObject({ successful: count, failed: count });
const listSchema = z.object({
  days: z.array(
    sums.extend({
      ...{ day: z.string(), domains: count, other: sums },
      targets: z.record(z.string(), count),
    }),
  ),
  suspended: z.array(
    z.looseObject({
      domain: z.string(),
      rua: z.string(),
      failures: count,
      reason: z.string(),
      until: z.string(),
    }),
  ),
});
const sendingSchema = z.looseObject({
  outcome: z.string(),
  node: z.string(),
  reason: z.string().optional(),
  targets: z.array(
    z.looseObject({ rua: z.string(), state: z.string(), reason: z.string().optional() }),
  ),
});
type Sending = z.infer<typeof sendingSchema>;
const sentSchema = z.object({
  reports: z.array(
    z.looseObject({
      ...{ domain: z.string(), sends: z.boolean() },
      ...{ sending: sendingSchema.optional(), error: z.string().optional() },
    }),
  ),
  unfinished: z.boolean(),
  next: z.string().optional(),
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
  summary: 'the days: domains, sessions that succeeded and failed, and what became of the reports',
  notes: `
Below the days: the rua of which domains keep failing, and until when they are left alone.
${EXIT_CODES}`,
  async run(invocation) {
    const path = '/api/v1/tlsrpt/days';
    const dataDir = requireDataDir(invocation);
    const answer = await askRelay(dataDir, { method: 'GET', path, timeoutMs: TIMEOUT_MS });
    const { days, suspended } = readAnswer(answer, listSchema);
    if (invocation.json) printJson({ days, suspended });
    else if (days.length === 0) printError('nothing is counted yet');
    else {
      const rows = days.map(({ day, domains, successful, failed, other, targets }) => [
        ...[day, String(domains), String(successful), String(failed)],
        String(other.successful + other.failed),
        Object.entries(targets)
          .map(([state, number]) => `${number} ${state}`)
          .join(', '),
      ]);
      print(formatTable(DAYS_HEADING, rows));
      const places = suspended.map(({ domain, rua, until, failures, reason }) => [
        ...[domain, printable(rua), until, String(failures), printable(reason)],
      ]);
      if (places.length > 0) print(formatTable(SUSPENDED_HEADING, places));
    }
    return EXIT.done;
  },
};

export const tlsReportShow: CliCommand = {
  usage: 'show [domain]',
  summary:
    'the reports of a day: by domain and policy, sessions that succeeded and failed, and how',
  options: [
    new Option(
      '--day <day>',
      'which, in UTC: 2026-03-14, yesterday, or today, as without',
    ).argParser(parseDay),
  ],
  notes: `
Of today: what it comes to so far. A line for each policy, and one for each kind of failure, with how
many sessions, at which host, and why. Whether a domain asks for its report is looked up when it is sent. --json
gives the whole reports, as RFC 8460 has them.

  stsrelay tlsrpt show example.org --day 2026-03-14 --json

Exit codes:
  0  shown
  1  there is none
  2  wrong usage or configuration
  3  the relay cannot be reached`,
  async run(invocation) {
    const { args, options, json } = invocation;
    const day = (options['day'] as string | undefined) ?? parseDay('today');
    const domain = args[0] === undefined ? undefined : requireDomain(args[0]);
    const reports = reportsOf(requireDataDir(invocation), day, domain);
    let shown = 0;
    if (json) shown = await printJsonList(reportsAlone(reports));
    else {
      const rows: (readonly string[])[] = [];
      for await (const one of reports) {
        rows.push(...rowsOf(one, process.stdout.isTTY === true));
        shown += 1;
      }
      if (shown > 0) print(formatTable(HEADING, rows));
      else printError(`no report for ${domain ?? 'anybody'} on ${day}`);
    }
    return shown > 0 ? EXIT.done : EXIT.no;
  },
};

const DAYS_HEADING = ['DAY', 'DOMAINS', 'SUCCESSFUL', 'FAILED', 'BEYOND', 'REPORTS'];
const SUSPENDED_HEADING = ['DOMAIN', 'SUSPENDED', 'UNTIL', 'FAILURES', 'WHY'];
const HEADING = ['DOMAIN', 'POLICY', 'SUCCESSFUL', 'FAILED', 'FAILURE'];

export const tlsReportSend: CliCommand = {
  usage: 'send [domain]',
  summary: 'send the reports of an ended day that have not gone, whatever their time',
  options: [
    new Option('--day <day>', 'which, in UTC: 2026-03-14, yesterday, or with --dry-run today')
      .argParser(parseDay)
      .makeOptionMandatory(),
    new Option('--dry-run', 'say what would be sent, and change nothing'),
  ],
  notes: `
What failed, was suspended or could not leave by mail is tried again. What has gone is not repeated. A line for
each place: the domain, what became of the report there, and why. With --dry-run --json has the whole reports, too,
and the day may be one that is not over yet: what it would give so far.

Exit codes:
  0  what was left to send was sent, or is tried again, or with --dry-run would be sent; of the day that is
     not over yet: there is a report
  1  nothing was left to send, or the day's reports cannot be sent (now)
  2  wrong usage or configuration
  3  the relay cannot be reached`,
  async run(invocation) {
    const { args, options, json } = invocation;
    const dryRun = options['dryRun'] === true;
    const domain = args[0] === undefined ? undefined : requireDomain(args[0]);
    const day = String(options['day']);
    const path = `/api/v1/tlsrpt/days/${day}/send`;
    const dataDir = requireDataDir(invocation);
    const reports: z.infer<typeof sentSchema>['reports'] = [];
    let after: string | undefined;
    let isUnfinished = false;
    do {
      const body = {
        dryRun,
        limit: MAX_SENT,
        ...(domain ? { domain } : {}),
        ...(after ? { after } : {}),
      };
      const asked = { method: 'POST', path, body, timeoutMs: SEND_TIMEOUT_MS } as const;
      const page: z.infer<typeof sentSchema> = readAnswer(
        await askRelay(dataDir, asked),
        sentSchema,
      );
      reports.push(...page.reports);
      after = page.next;
      isUnfinished = page.unfinished;
    } while (after !== undefined);
    const isAnything = reports.some(({ sends }) => sends || isUnfinished);
    if (json) printJson({ dryRun, reports });
    else if (reports.length === 0) printError(`no report for ${domain ?? 'anybody'} on ${day}`);
    else print(formatTable(['DOMAIN', 'RUA', 'STATE', 'WHY'], reports.flatMap(sentRows(dryRun))));
    if (!json && reports.length > 0 && !isAnything) printError('nothing is left that can be sent');
    return isAnything ? EXIT.done : EXIT.no;
  },
};

/** POSTs have their time. */
const SEND_TIMEOUT_MS = 600_000;

function sentRows(dryRun: boolean) {
  return ({ domain, sending, error }: z.infer<typeof sentSchema>['reports'][number]) => {
    const failed = error === undefined ? [] : [[domain, '', 'tried again', printable(error)]];
    if (!sending && error !== undefined) return failed;
    if (!sending) return [[domain, '', 'elsewhere', 'another node is sending it']];
    const rows = sendingRows(domain, sending);
    if (!dryRun) return [...rows, ...failed];
    return rows.map(([name = '', rua = '', state = '', why = '']) => [
      ...[name, rua, state === 'waiting' ? 'would be sent' : state, why],
    ]);
  };
}

function sendingRows(domain: string, { outcome, node, reason = '', targets }: Sending) {
  const own = outcome === 'elsewhere' ? `sent by ${node}` : printable(reason);
  if (targets.length === 0) return [[domain, '', outcome, own]];
  return targets.map(({ rua, state, reason: why = '' }) => [
    ...[domain, printable(rua), state, printable(why)],
  ]);
}

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

/** A row for each policy, and one for each kind of failure; on a screen the first failure stands beside its policy. */
export function rowsOf(
  { domain, report }: Report,
  isScreen: boolean,
): readonly (readonly string[])[] {
  return report.policies.flatMap(({ policy, summary, 'failure-details': details }) => {
    const failures = details.map(describeFailure);
    const own = [
      ...[domain, policy['policy-type']],
      String(summary['total-successful-session-count']),
      String(summary['total-failure-session-count']),
    ];
    if (!isScreen) {
      const rows = failures.map((failure) => [domain, policy['policy-type'], '', '', failure]);
      return [[...own, ''], ...rows];
    }
    const [first = '', ...others] = failures;
    return [[...own, first], ...others.map((failure) => ['', '', '', '', failure])];
  });
}

function describeFailure(
  detail: Report['report']['policies'][number]['failure-details'][number],
): string {
  const { 'receiving-mx-hostname': host = '', 'failure-reason-code': reason = '' } = detail;
  const where = [host, reason].filter(Boolean).join(': ');
  const what = `${detail['failed-session-count']} ${detail['result-type']}`;
  return where === '' ? what : `${what} (${where})`;
}

function parseDay(text: string): string {
  const daysAgo = ['today', 'yesterday'].indexOf(text);
  if (daysAgo >= 0) return new Date(Date.now() - daysAgo * 86_400_000).toISOString().slice(0, 10);
  if (z.iso.date().safeParse(text).success) return text;
  throw new InvalidArgumentError('It is a day such as 2026-03-14, today or yesterday.');
}
