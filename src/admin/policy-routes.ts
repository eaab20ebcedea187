/**
 * The policy cache over the API:
 *
 *   GET    /api/v1/policies?after=DOMAIN&limit=N&mode=MODE   a page of the list, without the texts
 *   GET    /api/v1/policies/DOMAIN                           all that is known about one
 *   POST   /api/v1/policies/DOMAIN/refresh                   200 done, 422 it failed and why
 *   DELETE /api/v1/policies/DOMAIN                           forget it
 *
 * DOMAIN in A-labels or U-labels. 400 for what is none, 404 where nothing is known about it. A page
 * is bounded in number, in octets and in what is looked at for it: it may hold less than `limit`,
 * even nothing. Only one without `next` is the last; `next` is the `after` of the following one.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { type DomainName, parseDomain } from '../protocol/domain.ts';
import { quoted } from '../protocol/quote.ts';
import type { HttpApp } from './http-app.ts';
import { listingOf, type PolicyAdmin } from './policies.ts';

/** Longer than the longest `security.mtaSts.fetchTimeout` (10 min) and the DNS look-ups with it. */
export const REFRESH_TIMEOUT_MS = 11 * 60_000;
/** The most policies of one page. */
export const MAX_PAGE = 500;

const MAX_PAGE_OCTETS = 1024 * 1024;
const MAX_LOOKED_AT = 2000;

const pageQuery = z.object({
  after: z
    .string()
    .transform(
      (text, context) => parseDomain(text) ?? refuse(context, `no domain: ${quoted(text)}`),
    )
    .optional(),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(MAX_PAGE),
  mode: z.enum(['enforce', 'testing', 'none']).optional(),
});
type PageQuery = z.infer<typeof pageQuery>;

interface DomainRoute {
  readonly Params: { readonly domain: string };
}

/** Add the routes to `app`. */
export function addPolicyRoutes(app: HttpApp, policies: PolicyAdmin): void {
  app.get('/api/v1/policies', async (request, reply) => {
    const query = pageQuery.safeParse(request.query);
    if (!query.success) return reply.code(400).send({ error: problemsOf(query.error) });
    return reply.type('application/json').send(await pageOf(policies, query.data));
  });
  app.get<DomainRoute>('/api/v1/policies/:domain', (request, reply) =>
    answer(request, reply, async (domain) => policies.show(domain)),
  );
  app.delete<DomainRoute>('/api/v1/policies/:domain', (request, reply) =>
    answer(request, reply, async (domain) =>
      (await policies.forget(domain)) ? { domain, forgotten: true } : undefined,
    ),
  );
  const handlerTimeout = REFRESH_TIMEOUT_MS;
  app.post<DomainRoute>('/api/v1/policies/:domain/refresh', { handlerTimeout }, (request, reply) =>
    answer(request, reply, async (domain) => {
      // Nothing is said on the connection meanwhile, for longer than others may be silent.
      request.socket.setTimeout(REFRESH_TIMEOUT_MS);
      const refreshed = await policies.refresh(domain, request.signal);
      reply.code(refreshed.ok ? 200 : 422);
      return refreshed;
    }),
  );
}

/** Answer with what `ask` says about the domain of the path; 404 when that is nothing. */
async function answer<T>(
  request: FastifyRequest<DomainRoute>,
  reply: FastifyReply,
  ask: (domain: DomainName) => Promise<T | undefined>,
): Promise<T | FastifyReply> {
  const text = request.params.domain;
  const domain = parseDomain(text);
  if (domain === undefined) {
    const error = `${quoted(text)} is no domain: letters, digits and hyphens between dots`;
    return reply.code(400).send({ error });
  }
  const found = await ask(domain);
  return found ?? reply.code(404).send({ error: `nothing is known about ${domain}` });
}

/** One page as JSON. Written view by view: never more than one text of a policy at a time. */
async function pageOf(policies: PolicyAdmin, { after, limit, mode }: PageQuery): Promise<string> {
  const page: string[] = [];
  let [octets, lookedAt] = [0, 0];
  let next: DomainName | undefined;
  for await (const view of policies.list(after)) {
    lookedAt += 1;
    if (mode === undefined || view.policy?.mode === mode) {
      const json = JSON.stringify(listingOf(view));
      page.push(json);
      octets += Buffer.byteLength(json);
    }
    if (page.length < limit && octets < MAX_PAGE_OCTETS && lookedAt < MAX_LOOKED_AT) continue;
    next = view.domain;
    break;
  }
  const end = next === undefined ? '' : `,"next":${JSON.stringify(next)}`;
  return `{"policies":[${page.join(',')}]${end}}`;
}

function refuse(context: z.RefinementCtx, message: string): never {
  context.addIssue({ code: 'custom', message });
  return z.NEVER;
}

function problemsOf({ issues }: z.ZodError): string {
  return issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
}
