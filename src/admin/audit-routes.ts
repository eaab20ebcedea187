/**
 * The audit log over the API:
 *
 *   GET /api/v1/audit?limit=N   the last N actions, the newest first: { entries: [...] }
 */
import { z } from 'zod';
import type { AuditLog } from './audit.ts';
import type { HttpApp } from './http-app.ts';

export const MOST_ENTRIES = 10_000;

const query = z.object({ limit: z.coerce.number().int().min(1).max(MOST_ENTRIES).default(100) });

/** Add the route to `app`. */
export function addAuditRoutes(app: HttpApp, audit: Pick<AuditLog, 'last'>): void {
  app.get('/api/v1/audit', async (request, reply) => {
    const read = query.safeParse(request.query);
    if (!read.success) {
      const error = `limit: a whole number from 1 to ${MOST_ENTRIES}`;
      return reply.code(400).send({ error });
    }
    return { entries: await audit.last(read.data.limit) };
  });
}
