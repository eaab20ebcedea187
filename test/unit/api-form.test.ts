/** What a group of routes may count on: large bodies, long answers, refusals, and a document of it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { Readable } from 'node:stream';
import { describe, test } from 'node:test';
import { z } from 'zod';
import { mountApi } from '../../src/admin/api.ts';
import {
  type Api,
  answer,
  domainParams,
  granted,
  Refusal,
  refusals,
  sendJson,
  wholeNumber,
} from '../../src/admin/api-form.ts';
import { serveApi } from './api-rig.ts';

const MIB = 1024 * 1024;
const rows = z.object({ rows: z.array(z.object({ id: z.string() })).readonly() });
const about = { tags: ['relay'], summary: 'A route of a test' };

/** Routes that use all of the form. */
function addRoutes(api: Api): void {
  const take = {
    ...about,
    operationId: 'take',
    params: domainParams,
    querystring: z.strictObject({ limit: wholeNumber(1, 9).default(5) }),
    body: z.strictObject({ ids: z.array(z.string().max(16)).max(200_000) }),
    response: { 200: answer('Taken.', z.object({ said: z.string() })), ...refusals(400, 409) },
  };
  api.post('/take/:domain', { schema: take, bodyLimit: 4 * MIB }, async (request) => {
    const { params, query, body, actor } = request;
    if (body.ids.length === 0) granted({ ok: false, status: 409, error: 'nothing to take' });
    return { said: `${body.ids.length} ${params.domain} ${query.limit} ${actor}` };
  });
  const list = { ...about, operationId: 'list', response: { 200: answer('Rows.', rows) } };
  api.get('/rows', { schema: list }, async (_request, reply) => {
    const ids = Array.from({ length: 50_000 }, (_, i) => JSON.stringify({ id: `${i}` }));
    const parts = ids.map((json, i) => (i === 0 ? `{"rows":[${json}` : `,${json}`));
    return sendJson(reply, Readable.from([...parts, ']}']));
  });
  const fail = { ...about, operationId: 'fail', response: { 200: answer('Never.', rows) } };
  api.get('/fail', { schema: fail }, async () => {
    throw new Error('a disk is full');
  });
  const refuse = { ...about, operationId: 'refuse', response: { 200: answer('Never.', rows) } };
  api.get('/refuse', { schema: refuse }, async () => {
    throw new Refusal(404, 'no such row');
  });
}

async function serve() {
  const api = await serveApi((app) =>
    mountApi(
      app,
      async (request) => {
        request.actor = 'ann';
      },
      addRoutes,
    ),
  );
  return { ...api, [Symbol.asyncDispose]: api.close };
}

describe('a group of routes', () => {
  test('gets what it declared, as its types', async () => {
    await using api = await serve();
    const body = JSON.stringify({ ids: ['a', 'b'] });
    const taken = await api.ask('POST', '/api/v1/take/%C3%BC.Example?limit=7', body);
    assert.deepEqual(JSON.parse(taken.body), { said: '2 xn--tda.example 7 ann' });
    const none = await api.ask('POST', '/api/v1/take/a.example', '{"ids":[]}');
    assert.deepEqual([none.status, JSON.parse(none.body)], [409, { error: 'nothing to take' }]);
  });

  test('takes bodies up to the limit it has set, and no further', async () => {
    await using api = await serve();
    const ids = Array.from({ length: 200_000 }, (_, i) => `message-${i}`);
    const large = await api.ask('POST', '/api/v1/take/a.example', JSON.stringify({ ids }));
    assert.equal(large.status, 200, large.body);
    const wrong = JSON.stringify({ ids: ids.map((_, i) => i) });
    const bad = await api.ask('POST', '/api/v1/take/a.example', wrong);
    assert.equal(bad.status, 400);
    assert.match(bad.body, /"ids\.0: Invalid input: expected string/);
    assert.ok(bad.body.length < 2100);
    // Announced alone: what is sent to who has hung up comes back as an error.
    const socket = connect(api.port, '127.0.0.1');
    socket.on('error', () => {});
    const fields = `Host: a\r\nContent-Type: application/json\r\nContent-Length: ${4 * MIB + 1}`;
    socket.write(`POST /api/v1/take/a.example HTTP/1.1\r\n${fields}\r\n\r\n`);
    const [said] = (await once(socket, 'data')) as [Buffer];
    assert.match(said.toString(), /^HTTP\/1\.1 413 /);
    socket.destroy();
  });

  test('sends a long list piece by piece', async () => {
    await using api = await serve();
    const { status, type, body } = await api.ask('GET', '/api/v1/rows');
    assert.deepEqual([status, type], [200, 'application/json; charset=utf-8']);
    assert.equal(rows.parse(JSON.parse(body)).rows.length, 50_000);
  });

  test('refuses, or fails and says so: nobody but an administrator asks', async () => {
    await using api = await serve();
    const refused = await api.ask('GET', '/api/v1/refuse');
    assert.deepEqual([refused.status, JSON.parse(refused.body)], [404, { error: 'no such row' }]);
    const failed = await api.ask('GET', '/api/v1/fail');
    assert.deepEqual([failed.status, JSON.parse(failed.body)], [500, { error: 'a disk is full' }]);
  });

  test('is in the document', async () => {
    await using api = await serve();
    const { body } = await api.ask('GET', '/api/v1/openapi.json');
    const { paths } = JSON.parse(body) as { paths: object };
    const expected = ['take/{domain}', 'rows', 'fail', 'refuse', 'openapi.json'];
    assert.deepEqual(
      Object.keys(paths),
      expected.map((path) => `/api/v1/${path}`),
    );
  });
});
