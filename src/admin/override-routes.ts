/**
 * Overrides over the API:
 *
 *   GET    /api/v1/overrides            all in force: { overrides: [...] }
 *   PUT    /api/v1/overrides/DOMAIN     { tls, owner, reason, expires }: 200 with what was done
 *   DELETE /api/v1/overrides/DOMAIN     200, 404 where there is none
 *
 * 400 for what is not understood, 409 for a domain whose override stands in the configuration file,
 * 422 for one that cannot be.
 */
import { z } from 'zod';
import { LONGEST_TEXT } from '../policy/override-store.ts';
import type { HttpApp } from './http-app.ts';
import type { OverrideAdmin } from './overrides.ts';
import { actorOf, answerChange, bodyOf, type DomainRoute, domainOf } from './requests.ts';

const wish = z.strictObject({
  tls: z.enum(['none', 'opportunistic', 'encrypt', 'verify']),
  owner: z.string().max(LONGEST_TEXT).default(''),
  reason: z.string().trim().min(1, 'a reason is wanted').max(LONGEST_TEXT),
  expires: z.iso.datetime({ offset: true }).transform((text) => Date.parse(text)),
});

/** Add the routes to `app`. */
export function addOverrideRoutes(app: HttpApp, overrides: OverrideAdmin): void {
  app.get('/api/v1/overrides', () => ({ overrides: overrides.list() }));
  app.put<DomainRoute>('/api/v1/overrides/:domain', async (request, reply) => {
    const domain = domainOf(request);
    const made = await overrides.add({ domain, ...bodyOf(request, wish) }, actorOf(request));
    return answerChange(reply, domain, made);
  });
  app.delete<DomainRoute>('/api/v1/overrides/:domain', async (request, reply) => {
    const domain = domainOf(request);
    return answerChange(reply, domain, await overrides.remove(domain, actorOf(request)));
  });
}
