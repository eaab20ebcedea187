/**
 * The form in which the routes of the API are written. What a route declares is what is checked, what
 * its function gets, and what the OpenAPI document says, so the three cannot differ; a function that
 * returns something else than its schema does not compile. Paths are below /api/v1.
 *
 *   const pause = {
 *     operationId: 'pauseDomain',
 *     tags: ['domains'], // one of those in api-document.ts
 *     summary: 'Stop delivery to a destination',
 *     params: domainParams, // `:domain` as a DomainName
 *     querystring: z.strictObject({ limit: wholeNumber(1, 500).default(500) }),
 *     body: z.strictObject({ reason: z.string() }),
 *     response: { 200: answer('It is paused.', domainChange), ...refusals(400, 422) },
 *   };
 *
 *   export function addDomainRoutes(api: Api, domains: DomainAdmin): void {
 *     const options = { schema: pause, bodyLimit: 65_536 }; // octets; 8 KiB without
 *     api.put('/domains/:domain/pause', options, async ({ params, query, body, actor }) => {
 *       const { domain } = params;
 *       return { domain, result: granted(await domains.pause({ domain, ...body }, actor)) };
 *     });
 *   }
 *
 * api.ts adds the groups. What needs no body or query string leaves `body` or `querystring` out, and
 * gets none. A route refuses by throwing a Refusal. Answers are not checked again when they are sent
 * (long lists would cost time): test/unit/api-document.test.ts checks real ones, of every route. A named
 * schema (`.meta({ id })`) is a component of the document. `sendJson` sends what is JSON already, or a
 * stream of it.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import type { FastifyBaseLogger, FastifyInstance, FastifyReply } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { parseDomain } from '../protocol/domain.ts';
import { quoted } from '../protocol/quote.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Who asks, for the audit log. */
    actor: string;
  }
  interface FastifyContextConfig {
    /** Everybody may ask: it is how one is let in. */
    isOpen?: boolean;
  }
}

/** What routes are added to. */
export type Api = FastifyInstance<
  Server,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

/** A request that cannot be granted: thrown by a route, answered as `{ error }`. */
export class Refusal extends Error {
  readonly statusCode: number;

  constructor(statusCode: number, message: string) {
    super(message);
    this.statusCode = statusCode;
  }
}

/** What became of a change that was asked for. */
export type Change =
  | { readonly ok: true; readonly result: string }
  | { readonly ok: false; readonly status: 404 | 409 | 422; readonly error: string };

/** What was done. Throws a Refusal with why it was not. */
export function granted(made: Change): string {
  if (made.ok) return made.result;
  throw new Refusal(made.status, made.error);
}

/** Answer with JSON that is written already, or is being written. */
export async function sendJson(
  reply: { readonly send: (payload: never) => unknown },
  json: string | Readable,
): Promise<void> {
  // The type of the answer is in the schema; that text has this form is for tests to show.
  const open = reply as unknown as FastifyReply;
  await open.type('application/json; charset=utf-8').send(json);
}

const errorBody = z
  .object({ error: z.string().describe('What is wrong, and what was expected, in a sentence.') })
  .meta({ id: 'Error' });

/** One answer of a route: `description` is a sentence. */
export function answer<S extends z.ZodType>(description: string, schema: S) {
  return { description, content: { 'application/json': { schema } } };
}

const REFUSALS = {
  400: 'The request is not understood.',
  404: 'There is nothing of this name.',
  409: 'It contradicts what is there.',
  413: 'The body is too large.',
  422: 'It is understood, and impossible.',
  503: 'Not now.',
} as const;

/** Answers of `{ error }`: those of every route, and these. */
export function refusals<S extends keyof typeof REFUSALS = never>(...statuses: readonly S[]) {
  const some = statuses.map((status) => [status, answer(REFUSALS[status], errorBody)]);
  return {
    ...(Object.fromEntries(some) as Record<S, ReturnType<typeof answer<typeof errorBody>>>),
    401: answer('The token is missing or wrong (over HTTP).', errorBody),
    429: answer(
      'Wrong tokens came from this address; Retry-After says how long to wait.',
      errorBody,
    ),
    '4xx': answer('Any other request that is refused.', errorBody),
    '5xx': answer('Something went wrong inside the relay.', errorBody),
  };
}

/** A domain in A-labels or U-labels. */
export const domainName = z
  .string()
  .transform(
    (text, context) =>
      parseDomain(text) ??
      refuse(context, `${quoted(text)} is no domain: letters, digits and hyphens between dots`),
  )
  .describe('A domain, in A-labels or U-labels.');

/** Of a path with `:domain`. */
export const domainParams = z.object({ domain: domainName });

/** In a query string. */
export function wholeNumber(least: number, most: number) {
  const wanted = `a whole number from ${least} to ${most}`;
  return z.coerce.number(wanted).int(wanted).min(least, wanted).max(most, wanted);
}

/** A time to come or past, as milliseconds since the epoch. */
export const instant = z.iso
  .datetime({ offset: true, error: 'a time such as 2027-01-31T12:00:00Z' })
  .transform((text) => Date.parse(text));

/** A time in an answer. */
export const timeStamp = z.string().meta({ format: 'date-time', description: 'RFC 3339, UTC.' });

/** What was done to a domain. */
export const domainChange = z
  .object({ domain: z.string(), result: z.string().describe('One word or two, for people.') })
  .meta({ id: 'DomainChange' });

/** What a transform of a schema returns for a value that is none. */
export function refuse(context: z.RefinementCtx, message: string): never {
  context.addIssue({ code: 'custom', message });
  return z.NEVER;
}
