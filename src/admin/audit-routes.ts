/**
 * The audit log over the API:
 *
 *   GET /api/v1/audit?limit=N   the last N actions, the newest first: { entries: [...] }
 */
import { z } from 'zod';
import { type Api, answer, refusals, timeStamp, wholeNumber } from './api-form.ts';
import type { AuditLog } from './audit.ts';

export const MOST_ENTRIES = 10_000;

const entry = z
  .object({
    at: timeStamp,
    actor: z.string().describe('A user of this machine, or how they came in.'),
    action: z.string().describe('For example `override.add`.'),
    target: z.string().describe('What it was done to, for example a domain.'),
    facts: z.record(z.string(), z.unknown()).optional(),
  })
  .meta({ id: 'AuditEntry' });

/** Add the route to `api`. */
export function addAuditRoutes(api: Api, audit: Pick<AuditLog, 'last'>): void {
  const schema = {
    operationId: 'listAudit',
    tags: ['audit'],
    summary: 'Who changed what, and when',
    description: 'Changes that were asked of the running relay, the newest first.',
    querystring: z.strictObject({ limit: wholeNumber(1, MOST_ENTRIES).default(100) }),
    response: {
      200: answer('The last entries.', z.object({ entries: z.array(entry).readonly() })),
      ...refusals(400),
    },
  };
  api.get('/audit', { schema }, async ({ query }) => ({ entries: await audit.last(query.limit) }));
}
