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
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { LONGEST_TEXT } from '../policy/override-store.ts';
import { type DomainName, parseDomain } from '../protocol/domain.ts';
import { quoted } from '../protocol/quote.ts';
import type { HttpApp } from './http-app.ts';
import type { Change, OverrideAdmin } from './overrides.ts';

const body = z.strictObject({
  tls: z.enum(['none', 'opportunistic', 'encrypt', 'verify']),
  owner: z.string().max(LONGEST_TEXT).default(''),
  reason: z.string().trim().min(1, 'a reason is wanted').max(LONGEST_TEXT),
  expires: z.iso.datetime({ offset: true }).transform((text) => Date.parse(text)),
});

interface DomainRoute {
  readonly Params: { readonly domain: string };
}

/** Add the routes to `app`. */
export function addOverrideRoutes(app: HttpApp, overrides: OverrideAdmin): void {
  app.get('/api/v1/overrides', () => ({ overrides: overrides.list() }));
  app.put<DomainRoute>('/api/v1/overrides/:domain', (request, reply) =>
    change(request, reply, (domain) => {
      const read = body.safeParse(request.body);
      if (!read.success) throw badRequest(problemsOf(read.error));
      return overrides.add({ domain, ...read.data }, actorOf(request));
    }),
  );
  app.delete<DomainRoute>('/api/v1/overrides/:domain', (request, reply) =>
    change(request, reply, (domain) => overrides.remove(domain, actorOf(request))),
  );
}

async function change(
  request: FastifyRequest<DomainRoute>,
  reply: FastifyReply,
  make: (domain: DomainName) => Promise<Change>,
): Promise<FastifyReply> {
  const domain = parseDomain(request.params.domain);
  if (domain === undefined) throw badRequest(`${quoted(request.params.domain)} is no domain`);
  const made = await make(domain);
  if (made.ok) return reply.send({ domain, result: made.result });
  return reply.code(made.status).send({ error: made.error });
}

/** Whoever may open the control socket may say who they are. */
function actorOf({ headers }: FastifyRequest): string {
  const said = headers['x-stsrelay-actor'];
  return typeof said === 'string' && /^[\w.@ -]{1,100}$/.test(said) ? said : 'unknown';
}

function badRequest(message: string): Error {
  return Object.assign(new Error(message), { statusCode: 400 });
}

function problemsOf({ issues }: z.ZodError): string {
  return issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
}
