/**
 * TLS reports over the API:
 *
 *   GET  /api/v1/tlsrpt/days                                    the days that something is counted of
 *   GET  /api/v1/tlsrpt/days/DAY?domain=D&after=DOMAIN&limit=N  a page of the whole reports of one
 *   POST /api/v1/tlsrpt/days/DAY/send  { dryRun, domain, after, limit }: send what has not gone, or show it
 *
 * DAY as 2026-03-14, in UTC; the day that is not over yet, too. 400 for what is none. A day that nothing
 * is counted of has no reports. A page is bounded in number and in octets; only one without `next`
 * is the last. 422 for a day whose reports cannot be sent, 503 where disk or Redis do not work.
 */
import { z } from 'zod';
import { RESULT_TYPES } from '../protocol/tlsrpt/result-type.ts';
import { type ReportState, TARGET_STATES } from '../reporting/report-state.ts';
import type { DomainReport } from '../reporting/reports.ts';
import {
  type Api,
  answer,
  domainName,
  Refusal,
  refusals,
  timeStamp,
  wholeNumber,
} from './api-form.ts';
import { MAX_PAGE_OCTETS, type TlsReportAdmin } from './tlsrpt.ts';

/** The most reports of one page. */
export const MAX_REPORTS = 500;

/** The most reports that are sent by one request. */
export const MAX_SENT = 50;

const tags = ['tlsrpt'];
const count = z.number().int();
const strings = z.array(z.string()).readonly();
const day = z.iso.date('a day such as 2026-03-14').describe('A day, in UTC.');

const sums = z.object({
  successful: count.describe('Sessions with the TLS that was asked for.'),
  failed: count.describe('Sessions without.'),
});
const other = sums.describe('Of domains that there was no room for: they are in no report.');

const targetState = z.enum(TARGET_STATES);

const daySummary = sums
  .extend({
    day: z.string(),
    domains: count.describe('How many have a report.'),
    other,
    targets: z
      .partialRecord(targetState, count)
      .describe('How many copies of its reports are in which state.'),
  })
  .meta({ id: 'TlsReportDay' });

const policy = z.object({
  'policy-type': z.enum(['sts', 'tlsa', 'no-policy-found']),
  'policy-string': strings,
  'policy-domain': z.string(),
  'mx-host': strings,
});
const failure = z.object({
  'result-type': z.enum(RESULT_TYPES),
  'sending-mta-ip': z.string().optional(),
  'receiving-mx-hostname': z.string().optional(),
  'receiving-mx-helo': z.string().optional(),
  'receiving-ip': z.string().optional(),
  'failed-session-count': count,
  'additional-information': z.string().optional(),
  'failure-reason-code': z.string().optional(),
});
const report = z
  .object({
    'organization-name': z.string(),
    'date-range': z.object({ 'start-datetime': z.string(), 'end-datetime': z.string() }),
    'contact-info': z.string(),
    'report-id': z.string(),
    policies: z
      .array(
        z.object({
          policy,
          summary: z.object({
            'total-successful-session-count': count,
            'total-failure-session-count': count,
          }),
          'failure-details': z.array(failure).readonly(),
        }),
      )
      .readonly(),
  })
  .describe('As RFC 8460 §4.4 has it.')
  .meta({ id: 'TlsReport' });

const target = z.object({
  rua: z.string(),
  state: targetState,
  at: timeStamp,
  attempts: count,
  nextAttempt: timeStamp.optional(),
  reason: z.string().optional(),
  messageId: z.string().optional().describe('Of the mail, in this relay.'),
});
const sending = z
  .object({
    outcome: z.enum(['asking', 'nobody-asks', 'gave-up', 'sending', 'done', 'elsewhere']),
    node: z.string(),
    at: timeStamp,
    reason: z.string().optional(),
    nodes: z.array(z.string()).readonly().describe('Nodes whose counts are in it.'),
    without: z.array(z.string()).readonly().describe('Nodes that were awaited in vain.'),
    targets: z.array(target).readonly(),
  })
  .describe('What became of it; absent before its time.')
  .meta({ id: 'TlsReportSending' });

const suspension = z.object({
  domain: z.string().describe('The policy domain whose rua it is.'),
  rua: z.string(),
  failures: count.describe('Reports in a row that did not get there.'),
  reason: z.string(),
  failedAt: timeStamp,
  until: timeStamp,
});

const sent = z.object({
  reports: z
    .array(
      z.object({
        domain: z.string(),
        sends: z.boolean().describe('Something was left to send.'),
        sending: sending.optional(),
        error: z.string().optional().describe('Sending it came to nothing for now: why.'),
        report: report.optional().describe('Of a dry run: the report, as it is now.'),
      }),
    )
    .readonly(),
  unfinished: z.boolean().describe('The day is not over yet: what would be sent so far.'),
  next: z.string().optional().describe('`after` of the next request; absent in the last.'),
});

const reportPage = z.object({
  day: z.string(),
  reports: z
    .array(z.object({ domain: z.string(), report, sending: sending.optional() }))
    .readonly(),
  other,
  next: z.string().optional().describe('`after` of the next page.'),
});

const list = {
  operationId: 'listTlsReportDays',
  tags,
  summary: 'The days that TLS sessions are counted of',
  description: 'The latest first, as long as `tlsRpt.keep` says; and places that keep failing.',
  response: {
    200: answer(
      'The days.',
      z.object({
        days: z.array(daySummary).readonly(),
        suspended: z.array(suspension).readonly(),
      }),
    ),
    ...refusals(),
  },
};

const show = {
  operationId: 'getTlsReports',
  tags,
  summary: 'The whole reports of one day, page by page',
  description: 'By domain. Of the day that is not over yet: what it comes to so far.',
  params: z.object({ day }),
  querystring: z.strictObject({
    domain: domainName.optional().describe('The report for this domain alone.'),
    after: domainName.optional().describe('`next` of the page before.'),
    limit: wholeNumber(1, MAX_REPORTS).default(MAX_REPORTS),
  }),
  response: { 200: answer('A page.', reportPage), ...refusals(400) },
};

const send = {
  operationId: 'sendTlsReports',
  tags,
  summary: 'Send the reports of an ended day that have not gone',
  description:
    'Whatever their time, what failed or was suspended included. What has gone is never sent again. A dry run may be of the day that is not over yet.',
  params: z.object({ day }),
  body: z.strictObject({
    dryRun: z.boolean().default(false).describe('Say what would be sent, and change nothing.'),
    domain: domainName.optional().describe('The report for this domain alone.'),
    after: domainName.optional().describe('`next` of the request before.'),
    limit: wholeNumber(1, MAX_SENT).default(MAX_SENT),
  }),
  response: { 200: answer('What was done.', sent), ...refusals(400, 422, 503) },
};

/** Add the routes to `api`. */
export function addTlsReportRoutes(api: Api, reports: TlsReportAdmin): void {
  api.get('/tlsrpt/days', { schema: list }, async () => ({
    days: await reports.days(),
    suspended: reports
      .suspensions()
      .map(({ domain, rua, failures, reason, failedAtMs, untilMs }) => ({
        ...{ domain, rua, failures, reason, failedAt: timeOf(failedAtMs), until: timeOf(untilMs) },
      })),
  }));
  api.get('/tlsrpt/days/:day', { schema: show }, async ({ params, query }) => {
    const { domain: wanted, after, limit } = query;
    const isWanted = (domain: string) =>
      (wanted === undefined || domain === wanted) && (after === undefined || domain > after);
    const found = await reports.ofDay(params.day, isWanted);
    const shown: ReturnType<typeof viewOf>[] = [];
    let octets = 0;
    let next: string | undefined;
    for await (const made of found.reports) {
      if (shown.length >= limit || octets >= MAX_PAGE_OCTETS) {
        next = shown.at(-1)?.domain;
        break;
      }
      const one = viewOf(made);
      shown.push(one);
      octets += JSON.stringify(one).length;
    }
    const page = { day: found.day, reports: shown, other: found.other };
    return next === undefined ? page : { ...page, next };
  });
  api.post('/tlsrpt/days/:day/send', { schema: send }, async ({ params, body, actor }) => {
    const { domain: wanted, after, limit, dryRun } = body;
    const isWanted = (domain: string) =>
      (wanted === undefined || domain === wanted) && (after === undefined || domain > after);
    const made = await reports.send({ day: params.day, dryRun, isWanted, limit }, actor);
    if (!made.ok) throw new Refusal(made.status, made.error);
    const { answers, isUnfinished: unfinished, next } = made;
    return {
      reports: answers.map(({ domain, sends, state, error, report }) => ({
        ...{ domain, sends },
        ...(state ? { sending: sendingOf(state) } : {}),
        ...(error === undefined ? {} : { error }),
        ...(report === undefined ? {} : { report }),
      })),
      unfinished,
      ...(next === undefined ? {} : { next }),
    };
  });
}

function viewOf({ domain, report: made, state }: DomainReport) {
  return { domain, report: made, ...(state ? { sending: sendingOf(state) } : {}) };
}

function sendingOf({ outcome, node, atMs, reason, nodes, without, targets }: ReportState) {
  return {
    ...{ outcome, node, at: timeOf(atMs), nodes, without },
    ...(reason === undefined ? {} : { reason }),
    targets: targets.map((one) => ({
      ...{ rua: one.rua, state: one.state, at: timeOf(one.atMs), attempts: one.attempts },
      ...(one.nextAtMs === undefined ? {} : { nextAttempt: timeOf(one.nextAtMs) }),
      ...(one.reason === undefined ? {} : { reason: one.reason }),
      ...(one.messageId === undefined ? {} : { messageId: one.messageId }),
    })),
  };
}

function timeOf(atMs: number): string {
  return new Date(atMs).toISOString();
}
