/**
 * TLS reports over the API:
 *
 *   GET /api/v1/tlsrpt/days                                    the days that something is counted of
 *   GET /api/v1/tlsrpt/days/DAY?domain=D&after=DOMAIN&limit=N  a page of the whole reports of one
 *
 * DAY as 2026-03-14, in UTC; the day that is not over yet, too. 400 for what is none. A day that nothing
 * is counted of has no reports. A page is bounded in number and in octets; only one without `next`
 * is the last.
 */
import { z } from 'zod';
import { RESULT_TYPES } from '../protocol/tlsrpt/result-type.ts';
import type { DomainReport, Reports } from '../reporting/reports.ts';
import { type Api, answer, domainName, refusals, wholeNumber } from './api-form.ts';

/** The most reports of one page. */
export const MAX_REPORTS = 500;
const MAX_PAGE_OCTETS = 1024 * 1024;

export type TlsReportAdmin = Pick<Reports, 'days' | 'ofDay'>;

const tags = ['tlsrpt'];
const count = z.number().int();
const strings = z.array(z.string()).readonly();
const day = z.iso.date('a day such as 2026-03-14').describe('A day, in UTC.');

const sums = z.object({
  successful: count.describe('Sessions with the TLS that was asked for.'),
  failed: count.describe('Sessions without.'),
});
const other = sums.describe('Of domains that there was no room for: they are in no report.');

const daySummary = sums
  .extend({ day: z.string(), domains: count.describe('How many have a report.'), other })
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

const reportPage = z.object({
  day: z.string(),
  reports: z.array(z.object({ domain: z.string(), report })).readonly(),
  other,
  next: z.string().optional().describe('`after` of the next page.'),
});

const list = {
  operationId: 'listTlsReportDays',
  tags,
  summary: 'The days that TLS sessions are counted of',
  description: 'The latest first, as long as `tlsRpt.keep` says.',
  response: {
    200: answer('The days.', z.object({ days: z.array(daySummary).readonly() })),
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

/** Add the routes to `api`. */
export function addTlsReportRoutes(api: Api, reports: TlsReportAdmin): void {
  api.get('/tlsrpt/days', { schema: list }, async () => ({
    days: await reports.days(),
  }));
  api.get('/tlsrpt/days/:day', { schema: show }, async ({ params, query }) => {
    const { domain: wanted, after, limit } = query;
    const isWanted = (domain: string) =>
      (wanted === undefined || domain === wanted) && (after === undefined || domain > after);
    const found = await reports.ofDay(params.day, isWanted);
    const shown: DomainReport[] = [];
    let octets = 0;
    let next: string | undefined;
    for (const one of found.reports) {
      if (shown.length >= limit || octets >= MAX_PAGE_OCTETS) {
        next = shown.at(-1)?.domain;
        break;
      }
      shown.push(one);
      octets += JSON.stringify(one).length;
    }
    const page = { day: found.day, reports: shown, other: found.other };
    return next === undefined ? page : { ...page, next };
  });
}
