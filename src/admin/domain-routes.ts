/**
 * Pauses of destinations over the API:
 *
 *   GET    /api/v1/pauses?domain&limit&after   { pauses, next }
 *   PUT    /api/v1/domains/DOMAIN/pause   { reason, expires }: 200
 *   DELETE /api/v1/domains/DOMAIN/pause   200, 404 where it is not paused
 */
import { z } from 'zod';
import { LONGEST_REASON } from '../queue/pauses.ts';
import {
  type Api,
  answer,
  domainChange,
  domainParams,
  granted,
  instant,
  refusals,
  timeStamp,
} from './api-form.ts';
import { domainPattern, next, pageOf, pageQuery } from './api-page.ts';
import type { DomainAdmin } from './domains.ts';

const tags = ['domains'];

const pause = z
  .object({
    domain: z.string(),
    reason: z.string(),
    pausedAt: timeStamp,
    expires: timeStamp.optional().describe('When it is over by itself; absent: never.'),
    waiting: z.number().int().describe('Deliveries that wait.'),
  })
  .meta({ id: 'Pause' });

const wish = z.strictObject({
  reason: z.string().trim().max(LONGEST_REASON).default(''),
  expires: instant.optional().describe('When it is over by itself; absent: never.'),
});

const list = {
  operationId: 'listPauses',
  tags,
  summary: 'The destinations that are paused, page by page',
  querystring: pageQuery({ domain: domainPattern.optional() }),
  response: {
    200: answer('By domain.', z.object({ pauses: z.array(pause).readonly(), next })),
    ...refusals(400),
  },
};

const put = {
  operationId: 'pauseDomain',
  tags,
  summary: 'Stop delivery to a destination',
  description:
    'Its mail waits, also what comes in later; kept over restarts. An attempt under way is finished.',
  params: domainParams,
  body: wish,
  response: { 200: answer('It is paused.', domainChange), ...refusals(400, 422) },
};

const remove = {
  operationId: 'resumeDomain',
  tags,
  summary: 'Restart delivery to a destination',
  params: domainParams,
  response: { 200: answer('It is not paused any more.', domainChange), ...refusals(400, 404) },
};

/** Add the routes to `api`. */
export function addDomainRoutes(api: Api, domains: DomainAdmin): void {
  api.get('/pauses', { schema: list }, async ({ query }) => {
    const { page, ...rest } = pageOf(domains.list(query), ({ domain }) => domain, query);
    return { pauses: page, ...rest };
  });
  api.put('/domains/:domain/pause', { schema: put }, async ({ params, body, actor }) => {
    const { domain } = params;
    return { domain, result: granted(await domains.pause({ domain, ...body }, actor)) };
  });
  api.delete('/domains/:domain/pause', { schema: remove }, async ({ params, actor }) => {
    const { domain } = params;
    return { domain, result: granted(await domains.resume(domain, actor)) };
  });
}
