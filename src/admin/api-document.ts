/**
 * The OpenAPI 3.1 document of the API, made from the schemas that its routes declare and check requests by
 * (zod, by way of JSON Schema), when it is first asked for.
 *
 *   GET /api/v1/openapi.json
 */
import swagger from '@fastify/swagger';
import type { FastifyInstance } from 'fastify';
import {
  createJsonSchemaTransform,
  createJsonSchemaTransformObject,
} from 'fastify-type-provider-zod';
import { z } from 'zod';
import { VERSION } from '../version.ts';
import { type Api, answer, refusals, sendJson } from './api-form.ts';
import { COOKIE, PAGE_FIELD } from './api-login.ts';

const INFO = {
  title: 'stsrelay',
  version: VERSION,
  description:
    'The API of a running relay. Over HTTP it needs the token of `http.tokenFile`, or the cookie of a login with it; on the control socket (`control.sock` below `dataDir`) it needs none.',
  license: { name: 'MIT', identifier: 'MIT' },
};

const TAGS = [
  { name: 'relay', description: 'The relay as a whole.' },
  { name: 'policies', description: 'The MTA-STS policies that are kept (RFC 8461).' },
  { name: 'overrides', description: 'Overrides of the TLS policy of single domains.' },
  { name: 'domains', description: 'Destinations.' },
  { name: 'queue', description: 'What is queued, why it waits, and what is done about it.' },
  { name: 'tlsrpt', description: 'What the TLS reports of the days come to (RFC 8460).' },
  { name: 'audit', description: 'Who changed what.' },
];

const LOGIN = {
  type: 'apiKey',
  in: 'cookie',
  name: COOKIE,
  description: `From \`POST /session\`, for browsers; over TLS its name begins with \`__Host-\`. What changes something needs the field \`${PAGE_FIELD}\`, too.`,
} as const;

type Override = NonNullable<Parameters<typeof z.toJSONSchema>[1]>['override'];

/** What JSON Schema would say and does not help: clients may meet more fields in a later version. */
const plain: Override = ({ zodSchema, jsonSchema }) => {
  const { def } = zodSchema._zod;
  if (def.type === 'object' && def.catchall === undefined) delete jsonSchema.additionalProperties;
  if (def.type === 'readonly') delete jsonSchema.readOnly;
  if (jsonSchema.format === 'date-time') delete jsonSchema.pattern;
  if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
  if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
};

const form = { zodToJsonConfig: { override: plain } };
const withComponents = createJsonSchemaTransformObject(form);

/** Take note of the routes that are added from now on. */
export async function documentRoutes(api: Api): Promise<void> {
  await (api as unknown as FastifyInstance).register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: INFO,
      tags: TAGS,
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' }, login: LOGIN } },
      security: [{ token: [] }, { login: [] }],
    },
    convertConstToEnum: false,
    transform: createJsonSchemaTransform(form),
    transformObject: (document) => withoutUnused(withComponents(document)),
  });
}

/** Add the route that serves the document. */
export function addApiDocument(api: Api): void {
  const schema = {
    operationId: 'getOpenApi',
    tags: ['relay'],
    summary: 'This document',
    response: { 200: answer('OpenAPI 3.1.', z.record(z.string(), z.unknown())), ...refusals() },
  };
  let text: string | undefined;
  api.get('/openapi.json', { schema }, async (_request, reply) => {
    text ??= JSON.stringify(api.swagger());
    return sendJson(reply, text);
  });
}

type Document = ReturnType<typeof withComponents>;

/** Each named schema comes in two forms, for requests and for answers: those nobody points to go. */
function withoutUnused(document: Document): Document {
  const schemas = new Map(
    Object.entries((document as { components?: { schemas?: object } }).components?.schemas ?? {}),
  );
  for (;;) {
    const components = { ...(document as object as { components: object }).components };
    const kept = {
      ...document,
      components: { ...components, schemas: Object.fromEntries(schemas) },
    };
    const text = JSON.stringify(kept);
    const unused = [...schemas.keys()].filter(
      (name) => !text.includes(`"#/components/schemas/${name}"`),
    );
    if (unused.length === 0) return kept as Document;
    for (const name of unused) schemas.delete(name);
  }
}
