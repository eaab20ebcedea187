/**
 * Overrides over the API:
 *
 *   GET    /api/v1/overrides?domain&expiringWithin&limit&after   those in force: { overrides, next }
 *   PUT    /api/v1/overrides/DOMAIN     { tls, owner, reason, expires }: 200 with what was done
 *   DELETE /api/v1/overrides/DOMAIN     200, 404 where there is none
 *
 * 400 for what is not understood, 409 for a domain whose override stands in the configuration file,
 * 422 for one that cannot be.
 */
import { z } from 'zod';
import { LONGEST_TEXT } from '../policy/override-store.ts';
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
import { domainPattern, duration, next, pageOf, pageQuery } from './api-page.ts';
import type { OverrideAdmin } from './overrides.ts';

const tags = ['overrides'];
const tls = z
  .enum(['none', 'opportunistic', 'encrypt', 'verify'])
  .describe('What is asked of its TLS instead of what it publishes.');

const override = z
  .object({
    domain: z.string(),
    tls,
    owner: z.string(),
    reason: z.string(),
    expires: timeStamp.optional().describe('When it ends; absent: never.'),
    source: z.enum(['file', 'added']).describe('`file`: it is changed in the configuration alone.'),
    addedAt: timeStamp.optional(),
  })
  .meta({ id: 'Override' });

const wish = z.strictObject({
  tls,
  owner: z.string().max(LONGEST_TEXT).default('').describe('Who answers for it.'),
  reason: z
    .string()
    .trim()
    .min(1, 'a reason is wanted')
    .max(LONGEST_TEXT)
    .describe('Why, for example a ticket.'),
  expires: instant.describe('When it ends.'),
});

const list = {
  operationId: 'listOverrides',
  tags,
  summary: 'The overrides in force, page by page',
  querystring: pageQuery({
    domain: domainPattern.optional(),
    expiringWithin: duration
      .meta({ description: 'They end in this time.', examples: ['7d'] })
      .optional(),
  }),
  response: {
    200: answer('By domain.', z.object({ overrides: z.array(override).readonly(), next })),
    ...refusals(400),
  },
};

const put = {
  operationId: 'putOverride',
  tags,
  summary: 'Override the TLS policy of a domain, or change what was added',
  description: 'It holds at once, is kept over restarts, and ends by itself.',
  params: domainParams,
  body: wish,
  response: { 200: answer('It holds.', domainChange), ...refusals(400, 409, 422) },
};

const remove = {
  operationId: 'removeOverride',
  tags,
  summary: 'End an override that was added',
  params: domainParams,
  response: { 200: answer('It is gone.', domainChange), ...refusals(400, 404, 409) },
};

/** Add the routes to `api`. */
export function addOverrideRoutes(api: Api, overrides: OverrideAdmin): void {
  api.get('/overrides', { schema: list }, async ({ query }) => {
    const { page, ...rest } = pageOf(overrides.list(query), ({ domain }) => domain, query);
    return { overrides: page, ...rest };
  });
  api.put('/overrides/:domain', { schema: put }, async ({ params, body, actor }) => {
    const { domain } = params;
    return { domain, result: granted(await overrides.add({ domain, ...body }, actor)) };
  });
  api.delete('/overrides/:domain', { schema: remove }, async ({ params, actor }) => {
    const { domain } = params;
    return { domain, result: granted(await overrides.remove(domain, actor)) };
  });
}
