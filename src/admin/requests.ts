/**
 * What the routes of the API have in common: the domain in a path, who asks, and what is said about a
 * request that is not understood.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { type DomainName, parseDomain } from '../protocol/domain.ts';
import { quoted } from '../protocol/quote.ts';

/** A route with `:domain` in its path. */
export interface DomainRoute {
  readonly Params: { readonly domain: string };
}

/** What became of a change that was asked for. */
export type Change =
  | { readonly ok: true; readonly result: string }
  | { readonly ok: false; readonly status: 404 | 409 | 422; readonly error: string };

/** The domain of the path. Throws a 400. */
export function domainOf({ params }: FastifyRequest<DomainRoute>): DomainName {
  const domain = parseDomain(params.domain);
  if (domain === undefined) throw badRequest(`${quoted(params.domain)} is no domain`);
  return domain;
}

/** The body as `schema` wants it. Throws a 400 that says what is wrong. */
export function bodyOf<T>({ body }: FastifyRequest, schema: z.ZodType<T>): T {
  const read = schema.safeParse(body);
  if (read.success) return read.data;
  const problems = read.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  throw badRequest(problems.join('; '));
}

/** Who asks, for the audit log: whoever may open the control socket may say who they are. */
export function actorOf({ headers }: FastifyRequest): string {
  const said = headers['x-stsrelay-actor'];
  return typeof said === 'string' && /^[\w.@ -]{1,100}$/.test(said) ? said : 'unknown';
}

/** Answer with what became of a change. */
export function answerChange(reply: FastifyReply, domain: DomainName, made: Change): FastifyReply {
  if (made.ok) return reply.send({ domain, result: made.result });
  return reply.code(made.status).send({ error: made.error });
}

function badRequest(message: string): Error {
  return Object.assign(new Error(message), { statusCode: 400 });
}
