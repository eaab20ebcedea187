/**
 * The OpenAPI document of the API, and that the relay keeps to it: it is valid, it has every route, and
 * real answers are as it says, since they are not checked when they are sent.
 */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import fc from 'fast-check';
import { z } from 'zod';
import { serveApi } from './api-rig.ts';

const WISH = { tls: 'encrypt', owner: 'ann', reason: 'why', expires: '2027-01-31T12:00:00Z' };

const RETRY = { schedule: [1], lifetime: 1, bounceLifetime: 1, classes: {}, domains: [] };

/** What is asked, and what comes: every route, and every status it has a body of its own for. */
const EXCHANGES: readonly (readonly [string, string, number, object?])[] = [
  ['GET', '/status', 200],
  ['GET', '/session', 200],
  ['POST', '/session', 200, { token: 'x', name: 'ann' }],
  ['POST', '/session', 400, { token: 'x', name: '<b>' }],
  ['DELETE', '/session', 200],
  ['GET', '/overview', 200],
  ['GET', '/flow', 200],
  ['GET', '/flow?after=2026-01-10T12:00:00.000Z', 200],
  ['POST', '/reload', 422],
  ['GET', '/openapi.json', 200],
  ['GET', '/policies', 200],
  ['GET', '/policies?limit=1&mode=enforce', 200],
  ['GET', '/policies?domain=*.EXAMPLE', 200],
  ['GET', '/policies?after=b%20b', 400],
  ['GET', '/policies/a.example', 200],
  ['GET', '/policies/c.example', 404],
  ['GET', '/policies/b%20b', 400],
  ['POST', '/policies/a.example/refresh', 200],
  ['POST', '/policies/b.example/refresh', 422],
  ['DELETE', '/policies/a.example', 200],
  ['DELETE', '/policies/c.example', 404],
  ['GET', '/overrides', 200],
  ['GET', '/overrides?limit=1&domain=*.example&expiringWithin=7d', 200],
  ['GET', '/overrides?after=a.example', 200],
  ['GET', '/overrides?expiringWithin=soon', 400],
  ['PUT', '/overrides/a.example', 200, WISH],
  ['PUT', '/overrides/a.example', 400, { ...WISH, tls: 'maybe' }],
  ['DELETE', '/overrides/a.example', 200],
  ['DELETE', '/overrides/c.example', 404],
  ['GET', '/pauses', 200],
  ['GET', '/pauses?limit=1&domain=a.example&after=0', 200],
  ['GET', '/pauses?domain=a_b%20c', 400],
  ['PUT', '/domains/a.example/pause', 200, { reason: 'moving' }],
  ['PUT', '/domains/a.example/pause', 413, { reason: 'x'.repeat(9000) }],
  ['DELETE', '/domains/a.example/pause', 200],
  ['DELETE', '/domains/c.example/pause', 404],
  ['GET', '/checks', 200],
  ['GET', '/domains/a.example/check', 200],
  ['GET', '/domains/c.example/check', 404],
  ['GET', '/domains/b%20b/check', 400],
  ['POST', '/domains/a.example/check', 202, {}],
  ['POST', '/domains/a.example/check', 409, { connect: false }],
  ['POST', '/domains/a.example/check', 400, { timeout: 1e9 }],
  ['POST', '/domains/c.example/check', 503, {}],
  ['GET', '/queue', 200],
  ['GET', '/queue?limit=1&state=deferred&olderThan=2h&sender=*@b.example&domain=a.example', 200],
  ['GET', '/queue?user=eve&client=10.*', 200],
  ['GET', '/queue?state=odd', 400],
  ['GET', '/queue?olderThan=soon', 400],
  ['GET', '/queue/summary', 200],
  ['GET', '/queue/summary?limit=1&domain=*&state=deferred&after=0', 200],
  ['GET', '/queue/summary?state=odd', 400],
  ['GET', '/queue/holds', 200],
  ['GET', '/queue/holds?limit=1&text=ann&after=0', 200],
  ['GET', '/queue/messages/0123456789abcdef', 200],
  ['GET', '/queue/messages/0123456789ABCDEG', 404],
  ['GET', '/queue/messages/x', 400],
  ['POST', '/queue/retry', 200, { all: true }],
  ['POST', '/queue/retry', 400, { all: true, ids: ['0123456789ABCDEF'] }],
  ['POST', '/queue/hold', 200, { filter: { sender: '<>' }, reason: 'why', onlyQueued: true }],
  ['POST', '/queue/hold', 422, { all: true, expires: '2026-01-01T00:00:00Z' }],
  ['POST', '/queue/release', 200, { ids: ['0123456789ABCDEF'], dryRun: true }],
  ['POST', '/queue/release', 400, { filter: {} }],
  ['POST', '/queue/bounce', 200, { filter: { recipient: '*@a.example' }, reason: 'why' }],
  ['POST', '/queue/drop', 200, { filter: { olderThan: '7d' } }],
  ['GET', '/retry', 200],
  ['POST', '/retry/preview', 200, { retry: RETRY }],
  ['POST', '/retry/preview', 200, { retry: { schedule: ['5m', 60_000], lifetime: '3d' } }],
  ['POST', '/retry/preview', 400, { retry: { ...RETRY, schedule: [] } }],
  ['GET', '/tlsrpt/days', 200],
  ['GET', '/tlsrpt/days/2026-01-10', 200],
  ['GET', '/tlsrpt/days/2026-01-10?limit=1&after=a&domain=b.example', 200],
  ['GET', '/tlsrpt/days/2026-01-09', 200],
  ['GET', '/tlsrpt/days/yesterday', 400],
  ['POST', '/tlsrpt/days/2026-01-10/send', 200, { dryRun: true }],
  ['POST', '/tlsrpt/days/2026-01-10/send', 200, { limit: 1 }],
  ['POST', '/tlsrpt/days/2026-01-10/send', 400, { dry: true }],
  ['POST', '/tlsrpt/days/2026-01-10/send', 503, { domain: 'b.example' }],
  ['POST', '/tlsrpt/days/2026-01-11/send', 422, {}],
  ['GET', '/audit', 200],
  ['GET', '/audit?limit=1&actor=ann*&action=override.*&target=*&since=7d&before=9', 200],
  ['GET', '/audit?since=2026-01-10&until=2026-01-11', 200],
  ['GET', '/audit?since=2026-02-31', 400],
  ['GET', '/audit?limit=0', 400],
];

type JsonSchema = Parameters<typeof z.fromJSONSchema>[0];
type Operation = {
  readonly operationId: string;
  readonly summary: string;
  readonly tags: readonly string[];
  readonly parameters?: readonly object[];
  readonly requestBody?: Pick<Answer, 'content'>;
  readonly responses: Readonly<Record<string, Answer>>;
};
type Answer = {
  readonly description: string;
  readonly content: { readonly 'application/json': { readonly schema: JsonSchema } };
};
interface Document {
  readonly openapi: string;
  readonly tags: readonly { readonly name: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
}

const { routes, ask: askAnything, close } = await serveApi();
const ask = (method: string, path: string, payload?: object) =>
  askAnything(method, `/api/v1${path}`, payload && JSON.stringify(payload));
after(close);
const served = await ask('GET', '/openapi.json');
const document = JSON.parse(served.body) as Document;
/** A copy: who reads it may change it. */
const asRecord = () => JSON.parse(served.body) as Record<string, unknown>;
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
);

/** What the path of a route is in the document. */
const templateOf = (url: string) => url.replace(/:(\w+)/g, '{$1}');

describe('the OpenAPI document', () => {
  test('is valid OpenAPI 3.1', async () => {
    assert.match(served.type, /^application\/json/);
    const { valid, errors } = await new Validator().validate(asRecord());
    assert.ok(valid, JSON.stringify(errors, null, 1));
    assert.match(document.openapi, /^3\.1\./);
  });

  test('has every route of the API, and no other', () => {
    const inApp = routes
      .flatMap(({ method, url }) => [method].flat().map((one) => `${one} ${templateOf(url)}`))
      // A HEAD comes with every GET, and is as HTTP has it.
      .filter((name) => !name.startsWith('HEAD ') && !/\*| \/api\/v1$/.test(name));
    const inDocument = operations.map(({ method, path }) => `${method.toUpperCase()} ${path}`);
    assert.deepEqual(inDocument.sort(), inApp.sort());
  });

  test('says of every operation what it is', () => {
    const tags = document.tags.map(({ name }) => name);
    for (const { path, operation } of operations) {
      assert.match(operation.summary, /^[A-Z].{10,80}[^.]$/, path);
      assert.equal(operation.tags.length, 1, path);
      assert.ok(tags.includes(operation.tags[0] ?? ''), path);
      for (const [status, { description }] of Object.entries(operation.responses)) {
        assert.match(description, /^[A-Z].*\.$/, `${path} ${status}`);
      }
    }
    const ids = operations.map(({ operation }) => operation.operationId);
    assert.equal(new Set(ids).size, ids.length);
  });

  test('names no schema that is not there, and has none that nobody names', () => {
    const named = [...served.body.matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(([, n]) => n);
    assert.deepEqual([...new Set(named)].sort(), Object.keys(document.components.schemas).sort());
  });

  test('has parameters with their bounds, and bodies that are closed', () => {
    const limit = { name: 'limit', in: 'query', required: false };
    const schema = { type: 'integer', minimum: 1, maximum: 1000, default: 100 };
    const audit = document.paths['/api/v1/audit']?.['get'];
    const parameters = audit?.parameters as readonly { readonly name: string }[];
    assert.deepEqual(
      parameters.find(({ name }) => name === 'limit'),
      { ...limit, schema },
    );
    const put = document.paths['/api/v1/overrides/{domain}']?.['put'];
    const body = put?.requestBody?.content['application/json'].schema as Record<string, unknown>;
    assert.equal(body['additionalProperties'], false);
    assert.deepEqual(body['required'], ['tls', 'reason', 'expires']);
  });
});

describe('real answers', () => {
  const resolved = new Validator();
  const parsers = new Map<string, z.ZodType>();
  /** What the document, and it alone, says about an answer. */
  async function documented(name: string, path: string, status: number): Promise<z.ZodType> {
    const key = `${name} ${path} ${status}`;
    if (parsers.size === 0) await resolved.validate(asRecord());
    const whole = resolved.resolveRefs() as unknown as Document;
    const answers = whole.paths[path]?.[name.toLowerCase()]?.responses ?? {};
    const one = answers[status] ?? answers[`${Math.floor(status / 100)}XX`];
    assert.ok(one, `${key} is not in the document`);
    const parser = parsers.get(key) ?? z.fromJSONSchema(one.content['application/json'].schema);
    parsers.set(key, parser);
    return parser;
  }
  const routeOf = (method: string, path: string) =>
    routes.find(
      (route) =>
        route.method === method &&
        new RegExp(`^${route.url.replace(/:\w+/, '[^/]+')}$`).test(
          `/api/v1${path.replace(/\?.*/, '')}`,
        ),
    );

  for (const [method, path, status, payload] of EXCHANGES) {
    test(`${method} ${path}: ${status}, as documented`, async () => {
      const fresh = await serveApi();
      const sent = payload && JSON.stringify(payload);
      const answer = await fresh.ask(method, `/api/v1${path}`, sent);
      await fresh.close();
      assert.equal(answer.status, status, answer.body);
      const body: unknown = JSON.parse(answer.body);
      const route = routeOf(method, path);
      assert.ok(route);
      const { url, schema } = route;
      const parser = await documented(method, templateOf(url), status);
      assert.deepEqual(parser.safeParse(body).error, undefined);
      // No field that is not declared: those are left out by the schemas of the code.
      const declared = (schema?.response ?? {}) as Record<
        string,
        { content: { 'application/json': { schema: z.ZodType } } }
      >;
      const one = declared[status] ?? declared[`${Math.floor(status / 100)}xx`];
      assert.deepEqual(one?.content['application/json'].schema.parse(body), body);
    });
  }

  test('every operation is among them', () => {
    const asked = new Set(EXCHANGES.map(([method, path]) => routeOf(method, path)));
    assert.equal(asked.size, operations.length);
  });
});

describe('what is not declared is refused, with its name', () => {
  /** Request, what is said. */
  const cases: readonly (readonly [string, string, object | undefined, string])[] = [
    ['GET', '/status?verbose=1', undefined, 'the query string: none is taken here'],
    ['GET', '/audit?lim=1', undefined, 'Unrecognized key: "lim"'],
    ['GET', '/audit?limit=1.5', undefined, 'limit: a whole number from 1 to 1000'],
    [
      'POST',
      '/retry/preview',
      { retry: { schedul: ['5m'] } },
      'retry: Unrecognized key: "schedul"',
    ],
    [
      'POST',
      '/retry/preview',
      { retry: { lifetime: '5 days' } },
      'retry.lifetime: a duration such as "10m", or milliseconds',
    ],
    [
      'POST',
      '/queue/drop',
      { all: true, filter: { sender: '<>' } },
      'ids, filter and all exclude each other',
    ],
    ['POST', '/reload', { now: true }, 'body: none is taken here'],
    ['DELETE', '/overrides/a.example', { why: 'x' }, 'body: none is taken here'],
    ['PUT', '/overrides/a.example', { ...WISH, tsl: 1 }, 'Unrecognized key: "tsl"'],
    [
      'PUT',
      '/overrides/a.example',
      { ...WISH, expires: 'soon' },
      'expires: a time such as 2027-01-31T12:00:00Z',
    ],
    ['PUT', '/overrides/a.example', { ...WISH, reason: ' ' }, 'reason: a reason is wanted'],
    [
      'PUT',
      '/domains/a%20b/pause',
      {},
      '"a b" is no domain: letters, digits and hyphens between dots',
    ],
    ['PUT', '/domains/a.example/pause', [], 'body: Invalid input: expected object, received array'],
    ['PUT', '/domains/a.example/pause', undefined, 'body: Invalid input: expected object, '],
  ];
  for (const [method, path, payload, error] of cases) {
    test(`${method} ${path} ${JSON.stringify(payload) ?? ''}`, async () => {
      const answer = await ask(method, path, payload);
      assert.equal(answer.status, 400, answer.body);
      const { error: said } = JSON.parse(answer.body) as { error: string };
      assert.equal(said.slice(0, error.length), error);
    });
  }

  test('a body with thousands of mistakes is told in a few words', async () => {
    const body = Object.fromEntries(Array.from({ length: 600 }, (_, i) => [`k${i}`, i]));
    const answer = await ask('PUT', '/domains/a.example/pause', body);
    assert.equal(answer.status, 400);
    assert.ok(answer.body.length < 4100, `${answer.body.length}`);
  });
});

test('no request gets a 5xx, and every refusal says why', async () => {
  const word = fc.oneof(
    fc.constantFrom('api', 'v1', 'status', 'policies', 'overrides', 'domains', 'pause', 'refresh'),
    fc.constantFrom('a.example', '%C3%BC.example', '%00', '%ff', '..', '.', '', '__proto__', '%2f'),
    fc.string({ maxLength: 20 }).map(encodeURIComponent),
  );
  const path = fc.oneof(
    fc.array(word, { maxLength: 6 }).map((words) => `/${words.join('/')}`),
    fc.array(word, { maxLength: 3 }).map((words) => `/api/v1/${words.join('/')}`),
    fc.constantFrom(...operations.map((one) => one.path.replace('{domain}', 'a.example'))),
  );
  const query = fc.oneof(
    fc.constant(''),
    fc
      .array(fc.tuple(fc.constantFrom('limit', 'after', 'mode', 'x', '__proto__', ''), word), {
        maxLength: 3,
      })
      .map((pairs) => `?${pairs.map(([name, value]) => `${name}=${value}`).join('&')}`),
  );
  const text = fc.oneof(
    fc.constant(undefined),
    fc.json({ maxDepth: 3 }),
    fc.string({ maxLength: 100 }),
    fc.constantFrom('{"__proto__":{}}', '{"constructor":{"prototype":1}}', '[', 'null', '""'),
    fc
      .record(
        {
          tls: fc.oneof(fc.constantFrom('none', 'verify'), fc.jsonValue()),
          reason: fc.oneof(fc.string(), fc.jsonValue()),
          owner: fc.jsonValue(),
          expires: fc.oneof(fc.constant('2027-01-31T12:00:00Z'), fc.jsonValue()),
        },
        { requiredKeys: [] },
      )
      .map((body) => JSON.stringify(body)),
  );
  const method = fc.constantFrom('GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS');
  const type = fc.constantFrom('application/json', 'text/plain', 'application/xml', 'x');
  await fc.assert(
    fc.asyncProperty(method, path, query, text, type, async (how, where, asked, payload, what) => {
      const answer = await askAnything(how, where + asked, payload, what);
      assert.ok(answer.status < 500, `${answer.status} ${answer.body}`);
      if (answer.status < 400 || how === 'HEAD') return;
      const { error, problems, ok } = JSON.parse(answer.body) as Record<string, unknown>;
      assert.ok(typeof error === 'string' || Array.isArray(problems) || ok === false, answer.body);
    }),
    { numRuns: 500 },
  );
});
