/**
 * The audit log over the API:
 *
 *   GET /api/v1/audit?actor&action&target&since&until&limit&before   a page, the newest first: { entries, next }
 */
import { z } from 'zod';
import { parseDuration } from '../config/units.ts';
import { type Api, answer, instant, refusals, refuse, timeStamp, wholeNumber } from './api-form.ts';
import { MOST_OF_PAGE, namePattern } from './api-page.ts';
import type { AuditLog } from './audit.ts';

const entry = z
  .object({
    id: z.number().int().describe('Rises from entry to entry.'),
    at: timeStamp,
    actor: z.string().describe('A user of this machine, or how they came in.'),
    action: z.string().describe('For example `override.add`.'),
    target: z.string().describe('What it was done to, for example a domain.'),
    facts: z.record(z.string(), z.unknown()).optional(),
    result: z
      .enum(['failed', 'done'])
      .optional()
      .describe(
        'Of a second entry. failed: it came to nothing, or not to all of it (`facts.error`); done: how much it was (`facts.touched`).',
      ),
  })
  .meta({ id: 'AuditEntry' });

/** The beginning of a day, a time, or how long ago. */
const when = z.string().transform((text, context) => {
  const agoMs = parseDuration(text);
  if (agoMs !== undefined) return { agoMs };
  const isDay = /^\d{4}-\d{2}-\d{2}$/.test(text);
  const at = instant.safeParse(isDay ? `${text}T00:00:00Z` : text);
  if (at.success) return { atMs: at.data };
  return refuse(context, 'a duration such as 7d, a day such as 2027-01-31, or a time');
});
const since = when.meta({
  description: 'Not older: 7d, 2027-01-31 or 2027-01-31T12:00:00Z.',
  examples: ['7d'],
});
const until = when.meta({
  description: 'Older: 1d, 2027-01-31 (the beginning of that day) or 2027-01-31T12:00:00Z.',
  examples: ['1d'],
});

const schema = {
  operationId: 'listAudit',
  tags: ['audit'],
  summary: 'Who changed what, and when, page by page',
  description: 'Changes that were asked of the running relay, the newest first.',
  querystring: z.strictObject({
    actor: namePattern('Who it was').optional(),
    action: namePattern('What they did, for example queue.*').optional(),
    target: namePattern('To what').optional(),
    since: since.optional(),
    until: until.optional(),
    limit: wholeNumber(1, MOST_OF_PAGE).default(100),
    before: wholeNumber(1, Number.MAX_SAFE_INTEGER)
      .optional()
      .describe('`next` of the page before.'),
  }),
  response: {
    200: answer(
      'The newest first.',
      z.object({
        entries: z.array(entry).readonly(),
        next: z
          .number()
          .int()
          .optional()
          .describe('`before` of the next page; absent on the last one.'),
      }),
    ),
    ...refusals(400),
  },
};

/** Add the route to `api`. */
export function addAuditRoutes(api: Api, audit: Pick<AuditLog, 'last'>): void {
  api.get('/audit', { schema }, async ({ query: { limit, ...filter } }) => {
    const found = await audit.last(limit + 1, filter);
    const entries = found.slice(0, limit);
    const next = found.length > limit ? entries.at(-1)?.id : undefined;
    return next === undefined ? { entries } : { entries, next };
  });
}
