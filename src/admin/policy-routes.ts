/**
 * The policy cache over the API:
 *
 *   GET    /api/v1/policies?domain&mode&limit&after          a page of the list, without the texts
 *   GET    /api/v1/policies/DOMAIN                           all that is known about one
 *   POST   /api/v1/policies/DOMAIN/refresh                   200 done, 422 it failed and why
 *   DELETE /api/v1/policies/DOMAIN                           forget it
 *
 * DOMAIN in A-labels or U-labels. 400 for what is none, 404 where nothing is known about it. A page
 * is bounded in number, in octets and in what is looked at for it: it may hold less than `limit`,
 * even nothing. Only one without `next` is the last; `next` is the `after` of the following one.
 */
import { z } from 'zod';
import { DOWNGRADE_SIGNALS } from '../mail/downgrade-signal.ts';
import type { DomainName } from '../protocol/domain.ts';
import { addressMatcher } from '../queue/mail-pattern.ts';
import {
  type Api,
  answer,
  domainName,
  domainParams,
  Refusal,
  refusals,
  sendJson,
  timeStamp,
  wholeNumber,
} from './api-form.ts';
import { domainPattern, next } from './api-page.ts';
import { listingOf, type PolicyAdmin } from './policies.ts';

/** Longer than the longest `security.mtaSts.fetchTimeout` (10 min) and the DNS look-ups with it. */
export const REFRESH_TIMEOUT_MS = 11 * 60_000;
/** The most policies of one page. */
export const MAX_PAGE = 500;

const MAX_PAGE_OCTETS = 1024 * 1024;
const MAX_LOOKED_AT = 2000;

const tags = ['policies'];
const mode = z.enum(['enforce', 'testing', 'none']);

const facts = z.object({
  id: z.string().describe('Of the TXT record that led to the fetch.'),
  mode,
  mx: z.array(z.string()).readonly(),
  maxAgeSeconds: z.number().int(),
  fetchedAt: timeStamp,
  expiresAt: timeStamp,
  inForce: z.boolean().describe('Not past its max_age.'),
  source: z.enum(['fetch', 'refresh', 'shared']),
});

const lastFailure = z
  .object({
    kind: z.enum(['fetch', 'refresh', 'dns']),
    at: timeStamp,
    since: timeStamp.optional().describe('The first one since the last that went well.'),
    count: z.number().int().optional().describe('How many since then.'),
    id: z.string().optional().describe('The id that the TXT record showed.'),
    resultType: z.string().optional().describe('RFC 8460 §4.3.2.2.'),
    reason: z.string(),
  })
  .describe('The latest of those that nothing has put right since.');

const suspicion = z.object({
  signal: z.enum(DOWNGRADE_SIGNALS),
  firstAt: timeStamp,
  lastAt: timeStamp,
  count: z.number().int(),
  detail: z.string().describe('Of the last time.'),
});

const listing = z
  .object({
    domain: z.string(),
    policy: facts.optional().describe('Absent: none is kept, there are troubles alone.'),
    nextRefreshAt: timeStamp.optional(),
    lastUsedAt: timeStamp.optional(),
    lastFailure: lastFailure.optional(),
    suspicions: z.array(suspicion).readonly().describe('The latest first.'),
  })
  .meta({ id: 'PolicyListing' });

const view = listing
  .extend({
    policy: facts
      .extend({ text: z.string().describe('As published.') })
      .optional()
      .describe('Absent: none is kept, there are troubles alone.'),
  })
  .meta({ id: 'Policy' });

const refreshed = z
  .object({
    ok: z.boolean().describe('The policy that is published now is kept.'),
    text: z.string().describe('What came of it, in a line.'),
    changed: z.boolean().describe('Another policy is kept than before.'),
    view: view.optional().describe('What is known afterwards.'),
  })
  .meta({ id: 'PolicyRefresh' });

const forgotten = z.object({ domain: z.string(), forgotten: z.literal(true) });

const pageQuery = z.strictObject({
  after: domainName.optional().describe('`next` of the page before.'),
  limit: wholeNumber(1, MAX_PAGE).default(MAX_PAGE),
  domain: domainPattern.optional(),
  mode: mode.optional(),
});

const list = {
  operationId: 'listPolicies',
  tags,
  summary: 'The MTA-STS policies that are kept, page by page',
  description:
    'By domain, without the texts of the policies. A page may hold less than `limit`, even nothing: only one without `next` is the last.',
  querystring: pageQuery,
  response: {
    200: answer(
      'A page.',
      z.object({
        policies: z.array(listing).readonly(),
        next,
      }),
    ),
    ...refusals(400),
  },
};

const show = {
  operationId: 'getPolicy',
  tags,
  summary: 'All that is known about one domain',
  params: domainParams,
  response: { 200: answer('All of it.', view), ...refusals(400, 404) },
};

const forget = {
  operationId: 'forgetPolicy',
  tags,
  summary: 'Forget what is known about a domain',
  description: 'A policy in force is looked up anew at the next delivery.',
  params: domainParams,
  response: { 200: answer('It is forgotten.', forgotten), ...refusals(400, 404) },
};

const refresh = {
  operationId: 'refreshPolicy',
  tags,
  summary: 'Look up and fetch a policy now',
  description: 'Whatever failed just before. May take minutes; a failure loses nothing.',
  params: domainParams,
  response: {
    200: answer('What is published now is kept.', refreshed),
    422: answer('It failed, and why.', refreshed),
    ...refusals(400),
  },
};

/** Add the routes to `api`. */
export function addPolicyRoutes(api: Api, policies: PolicyAdmin): void {
  api.get('/policies', { schema: list }, async ({ query }, reply) =>
    sendJson(reply, await pageOf(policies, query)),
  );
  api.get('/policies/:domain', { schema: show }, async ({ params: { domain } }) => {
    const found = await policies.show(domain);
    if (found === undefined) throw nothingKnown(domain);
    return found;
  });
  api.delete('/policies/:domain', { schema: forget }, async ({ params: { domain }, actor }) => {
    if (!(await policies.forget(domain, actor))) throw nothingKnown(domain);
    return { domain, forgotten: true as const };
  });
  const slow = { schema: refresh, handlerTimeout: REFRESH_TIMEOUT_MS };
  api.post('/policies/:domain/refresh', slow, async (request, reply) => {
    // Nothing is said on the connection meanwhile, for longer than others may be silent.
    request.socket.setTimeout(REFRESH_TIMEOUT_MS);
    const made = await policies.refresh(request.params.domain, request.actor, request.signal);
    reply.code(made.ok ? 200 : 422);
    return made;
  });
}

function nothingKnown(domain: DomainName): Refusal {
  return new Refusal(404, `nothing is known about ${domain}`);
}

/** One page as JSON. Written view by view: never more than one text of a policy at a time. */
async function pageOf(
  policies: PolicyAdmin,
  { after, limit, mode, domain = '*' }: z.infer<typeof pageQuery>,
): Promise<string> {
  const page: string[] = [];
  let [octets, lookedAt] = [0, 0];
  let behind: DomainName | undefined;
  for await (const view of policies.list(after, addressMatcher(domain))) {
    lookedAt += 1;
    if (mode === undefined || view.policy?.mode === mode) {
      const json = JSON.stringify(listingOf(view));
      page.push(json);
      octets += Buffer.byteLength(json);
    }
    if (page.length < limit && octets < MAX_PAGE_OCTETS && lookedAt < MAX_LOOKED_AT) continue;
    behind = view.domain;
    break;
  }
  const end = behind === undefined ? '' : `,"next":${JSON.stringify(behind)}`;
  return `{"policies":[${page.join(',')}]${end}}`;
}
