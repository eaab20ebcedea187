/**
 * The API below /api/v1, as the control socket and the HTTP listener serve it: whoever asks is let in
 * first, then requests are checked by the schemas of their route (api-form.ts), and what is not
 * declared there, in body or query string, is refused. Errors are `{ error }`, the text naming the
 * field. GET /api/v1/openapi.json is the document, made from the same schemas (api-document.ts).
 *
 * A closed API answers every request with the reason.
 */
import type { FastifyPluginAsync, FastifyRequest } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type { z } from 'zod';
import { addApiDocument, documentRoutes } from './api-document.ts';
import { type Api, Refusal } from './api-form.ts';
import type { Access } from './api-login.ts';
import type { Admit } from './api-token.ts';
import type { AuditLog } from './audit.ts';
import { addAuditRoutes } from './audit-routes.ts';
import { addCheckRoutes } from './check-routes.ts';
import type { CheckAdmin } from './checks.ts';
import { addDomainRoutes } from './domain-routes.ts';
import type { DomainAdmin } from './domains.ts';
import { answerError, type HttpApp } from './http-app.ts';
import { addOverrideRoutes } from './override-routes.ts';
import type { OverrideAdmin } from './overrides.ts';
import { addOverviewRoutes, type OverviewAdmin } from './overview-routes.ts';
import type { PolicyAdmin } from './policies.ts';
import { addPolicyRoutes } from './policy-routes.ts';
import type { QueueAdmin } from './queue.ts';
import { addQueueRoutes } from './queue-routes.ts';
import { addRelayRoutes, type RelayAdmin } from './relay-routes.ts';
import { addRetryRoutes } from './retry-routes.ts';
import { addSessionRoutes } from './session-routes.ts';
import type { TlsReportAdmin } from './tlsrpt.ts';
import { addTlsReportRoutes } from './tlsrpt-routes.ts';

const PREFIX = '/api/v1';
/** What a relay says of its mail is kept nowhere on the way, and is never taken for a page. */
const HEADERS = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' };
/** What a body of megabytes can have wrong is told so far. */
const MOST_PROBLEMS = 10;
const LONGEST_PROBLEMS = 2000;

/** What the API speaks for, a member for each group of routes. */
export interface ApiParts {
  readonly relay: RelayAdmin;
  readonly overview: OverviewAdmin;
  readonly policies: PolicyAdmin;
  readonly overrides: OverrideAdmin;
  readonly domains: DomainAdmin;
  readonly checks: CheckAdmin;
  readonly queue: QueueAdmin;
  readonly tlsReports: TlsReportAdmin;
  readonly audit: Pick<AuditLog, 'last'>;
}

/** Serve the API to whom `access` lets in. */
export function addApi(app: HttpApp, parts: ApiParts, access: Access): void {
  mountApi(app, access.admit, (api) => {
    addSessionRoutes(api, access.door);
    addRelayRoutes(api, parts.relay);
    addOverviewRoutes(api, parts.overview);
    addPolicyRoutes(api, parts.policies);
    addOverrideRoutes(api, parts.overrides);
    addDomainRoutes(api, parts.domains);
    addCheckRoutes(api, parts.checks);
    addQueueRoutes(api, parts.queue);
    addRetryRoutes(api, parts.queue);
    addTlsReportRoutes(api, parts.tlsReports);
    addAuditRoutes(api, parts.audit);
  });
}

/** Serve what `addRoutes` adds, and its document, to whom `admit` lets in; what is open, to all. */
export function mountApi(app: HttpApp, admit: Admit, addRoutes: (api: Api) => void): void {
  app.decorateRequest('actor', 'unknown');
  const below: FastifyPluginAsync = async (scope) => {
    const api = scope.withTypeProvider<ZodTypeProvider>() as Api;
    api.addHook('onRequest', async (_request, reply) => void reply.headers(HEADERS));
    api.addHook('onRequest', async (request, reply) =>
      request.routeOptions.config.isOpen ? undefined : admit(request, reply),
    );
    api.addHook('preValidation', refuseUndeclared);
    api.setValidatorCompiler<z.ZodType>(({ schema, httpPart }) => validate(schema, httpPart));
    api.setSerializerCompiler(() => JSON.stringify);
    // Who was let in runs the relay, and is told what went wrong inside.
    api.setErrorHandler(answerError(true));
    api.setNotFoundHandler((_request, reply) => reply.code(404).send({ error: 'not found' }));
    await documentRoutes(api);
    addRoutes(api);
    addApiDocument(api);
  };
  app.register(below, { prefix: PREFIX });
}

/** Say why there is no API here, and what to do. */
export function addClosedApi(app: HttpApp, reason: string): void {
  app.register(
    (scope, _options, done) => {
      scope.setNotFoundHandler((_request, reply) => reply.code(404).send({ error: reason }));
      done();
    },
    { prefix: PREFIX },
  );
}

/** What a route does not ask for would be ignored, and somebody sent it for a reason. */
async function refuseUndeclared({ routeOptions, is404, body, query }: FastifyRequest) {
  if (is404) return;
  const { schema } = routeOptions;
  if (schema?.body === undefined && body !== undefined) {
    throw new Refusal(400, 'body: none is taken here');
  }
  const [name] = Object.keys(query as object);
  if (schema?.querystring === undefined && name !== undefined) {
    throw new Refusal(400, 'the query string: none is taken here');
  }
}

function validate(schema: z.ZodType, part: string | undefined) {
  return (value: unknown) => {
    const read = schema.safeParse(value);
    if (read.success) return { value: read.data };
    return { error: new Refusal(400, describeProblems(read.error, part)) };
  };
}

/** What is wrong, each with its field; what stands in the path names itself. */
function describeProblems({ issues }: z.ZodError, part: string | undefined): string {
  const problems = issues.slice(0, MOST_PROBLEMS).map(({ path, message, code }) => {
    if (part === 'params') return message;
    if (path.length === 0) return code === 'invalid_type' ? `body: ${message}` : message;
    return `${path.join('.')}: ${message}`;
  });
  return [...new Set(problems)].join('; ').slice(0, LONGEST_PROBLEMS);
}
