/**
 * Pauses of destinations over the API:
 *
 *   GET    /api/v1/pauses                 { pauses: [...] }
 *   PUT    /api/v1/domains/DOMAIN/pause   { reason, expires }: 200
 *   DELETE /api/v1/domains/DOMAIN/pause   200, 404 where it is not paused
 */
import { z } from 'zod';
import { LONGEST_REASON } from '../queue/pauses.ts';
import type { DomainAdmin } from './domains.ts';
import type { HttpApp } from './http-app.ts';
import { actorOf, answerChange, bodyOf, type DomainRoute, domainOf } from './requests.ts';

const wish = z.strictObject({
  reason: z.string().trim().max(LONGEST_REASON).default(''),
  expires: z.iso
    .datetime({ offset: true })
    .transform((text) => Date.parse(text))
    .optional(),
});

/** Add the routes to `app`. */
export function addDomainRoutes(app: HttpApp, domains: DomainAdmin): void {
  app.get('/api/v1/pauses', () => ({ pauses: domains.list() }));
  app.put<DomainRoute>('/api/v1/domains/:domain/pause', async (request, reply) => {
    const domain = domainOf(request);
    const made = await domains.pause({ domain, ...bodyOf(request, wish) }, actorOf(request));
    return answerChange(reply, domain, made);
  });
  app.delete<DomainRoute>('/api/v1/domains/:domain/pause', async (request, reply) => {
    const domain = domainOf(request);
    return answerChange(reply, domain, await domains.resume(domain, actorOf(request)));
  });
}
