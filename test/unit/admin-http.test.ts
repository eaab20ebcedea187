import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { request as secureRequest } from 'node:https';
import { connect, createServer, type Socket } from 'node:net';
import { describe, test } from 'node:test';
import { createControlServer } from '../../src/admin/control.ts';
import { createHttpServer, type HttpOptions, type Readiness } from '../../src/admin/http.ts';
import type { RelayAdmin } from '../../src/admin/relay-routes.ts';
import { shortPath } from '../../src/admin/socket-path.ts';
import type { RelayStatus } from '../../src/admin/status.ts';
import { formatMetrics } from '../../src/telemetry/merge-metrics.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { createCa } from '../support/ca.ts';
import { tempDir } from '../support/temp-dir.ts';
import { FakePolicies, NOTHING_ELSE } from './fake-policies.ts';

const READY: Readiness = { ready: true, parts: { spool: { ok: true, reason: 'writable' } } };
const STATUS: RelayStatus = {
  version: '0.0.0',
  uptimeSeconds: 1,
  node: 'a',
  listeners: [],
  queue: {},
  redis: { up: true },
  spool: { ok: true },
  lastErrors: [],
};

async function serve(options: Partial<HttpOptions> = {}) {
  const server = await createHttpServer({
    address: '127.0.0.1',
    port: 0,
    metrics: (accept) => formatMetrics(createMetrics(), [], accept),
    ready: async () => READY,
    api: { kind: 'closed', reason: 'not here', page: 'no-token' },
    ...options,
  });
  return {
    server,
    get: (path: string, init?: RequestInit) =>
      fetch(`http://127.0.0.1:${server.port}${path}`, init),
    [Symbol.asyncDispose]: () => server.close(),
  };
}

/** A connection that has sent `text`, if any. */
async function connected(port: number, text = ''): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  await once(socket, 'connect');
  socket.resume();
  if (text !== '') socket.write(text);
  return socket;
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** One request over a unix socket. */
async function ask(socketPath: string, path: string, method = 'GET'): Promise<Answer> {
  const asking = request({ socketPath, path, method, agent: false });
  asking.end();
  const [response] = (await once(asking, 'response')) as [IncomingMessage];
  let body = '';
  for await (const part of response) body += String(part);
  return { status: response.statusCode ?? 0, body };
}

describe('the HTTP endpoints', () => {
  test('/metrics is what the registry says, in its format', async () => {
    const metrics = createMetrics();
    metrics.messagesReceived.inc(3);
    await using http = await serve({ metrics: (accept) => formatMetrics(metrics, [], accept) });
    const response = await http.get('/metrics');
    assert.equal(response.status, 200);
    assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
    assert.match(await response.text(), /^stsrelay_messages_received_total 3$/m);
  });

  test('/healthz says that the process lives', async () => {
    await using http = await serve({ ready: () => Promise.reject(new Error('no')) });
    const response = await http.get('/healthz');
    assert.equal(response.status, 200);
    assert.deepEqual(await response.json(), { status: 'ok' });
  });

  test('/readyz gives a reason for each part, and 503 when one is not ready', async () => {
    let readiness = READY;
    await using http = await serve({ ready: async () => readiness });
    const good = await http.get('/readyz');
    assert.deepEqual([good.status, await good.json()], [200, READY]);
    readiness = { ready: false, parts: { redis: { ok: false, reason: 'connection refused' } } };
    const bad = await http.get('/readyz');
    assert.deepEqual([bad.status, await bad.json()], [503, readiness]);
  });

  test('a check that throws is not ready', async () => {
    await using http = await serve({ ready: () => Promise.reject(new Error('boom')) });
    const response = await http.get('/readyz');
    assert.equal(response.status, 503);
    assert.deepEqual(await response.json(), {
      ready: false,
      parts: { relay: { ok: false, reason: 'boom' } },
    });
  });

  test('a check that hangs is not ready', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const asked = Promise.withResolvers<void>();
    await using http = await serve({
      ready: () => {
        asked.resolve();
        return new Promise(() => {});
      },
    });
    const response = http.get('/readyz');
    await asked.promise;
    // The limit is set when the check has been asked.
    await new Promise((resolve) => setImmediate(resolve));
    t.mock.timers.tick(5000);
    const { status } = await response;
    t.mock.timers.reset();
    assert.equal(status, 503);
  });

  test('everything else is a 404 in JSON', async () => {
    await using http = await serve();
    for (const [path, method] of [
      ['/', 'POST'],
      ['/page/page.js', 'GET'],
      ['/metrics', 'POST'],
      ['/api/v1/status', 'GET'],
      ['/api/v1/reload', 'POST'],
      ['/metrics/../../etc/passwd', 'GET'],
      ['/%ff', 'GET'],
      ['/__proto__', 'GET'],
    ] as const) {
      const response = await http.get(path, { method });
      assert.ok([400, 404].includes(response.status), `${method} ${path}: ${response.status}`);
      assert.equal(typeof ((await response.json()) as { error: unknown }).error, 'string');
    }
  });

  test('large requests are refused', async () => {
    await using http = await serve();
    const headers = { 'x-long': 'a'.repeat(10_000) };
    assert.equal((await http.get('/healthz', { headers })).status, 431);
    const body = JSON.stringify('a'.repeat(5000));
    const posted = await http.get('/healthz', {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json' },
    });
    assert.ok([404, 413].includes(posted.status), `${posted.status}`);
  });

  test('an error inside is not told outside', async () => {
    const metrics = () => Promise.reject(new Error('geheim'));
    await using http = await serve({ metrics });
    const response = await http.get('/metrics');
    assert.equal(response.status, 500);
    assert.deepEqual(await response.json(), { error: 'internal error' });
  });

  test('a port that is taken is an error', async () => {
    await using http = await serve();
    await assert.rejects(serve({ port: http.server.port }), { code: 'EADDRINUSE' });
  });

  test('stopping does not wait for connections that are kept open', async () => {
    const http = await serve();
    const { port } = http.server;
    const silent = await connected(port);
    const half = await connected(port, 'GET /healthz HTTP/1.1\r\n');
    const idle = await connected(port, 'GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n');
    await once(idle, 'data');
    const gone = [silent, half, idle].map((socket) => once(socket, 'close'));
    const before = performance.now();
    await http.server.close();
    await Promise.all(gone);
    assert.ok(performance.now() - before < 45_000, 'they are kept open for longer');
  });

  test('over TLS, with a certificate that can be changed', async () => {
    const ca = await createCa();
    const [first, second] = [
      await ca.issue({ names: ['first.example'] }),
      await ca.issue({ names: ['second.example'] }),
    ];
    const pem = ({ certPem, keyPem }: typeof first) => ({ cert: certPem, key: keyPem });
    await using http = await serve({ tls: pem(first) });
    const statusAs = async (servername: string): Promise<number> => {
      const { port } = http.server;
      const options = { host: '127.0.0.1', port, path: '/healthz', servername, agent: false };
      const asking = secureRequest({ ...options, ca: ca.certPem });
      asking.end();
      const [response] = (await once(asking, 'response')) as [IncomingMessage];
      response.resume();
      return response.statusCode ?? 0;
    };
    assert.equal(await statusAs('first.example'), 200);
    http.server.updateTls(pem(second));
    assert.equal(await statusAs('second.example'), 200);
    await assert.rejects(statusAs('first.example'), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
  });
});

describe('the control socket', () => {
  const relay: RelayAdmin = {
    status: async () => STATUS,
    reload: async () => ({ ok: true }) as const,
  };
  const api = { ...NOTHING_ELSE, policies: new FakePolicies(), relay };

  test('status and reload, for the owner alone', async () => {
    using dir = tempDir();
    const socketPath = dir.file('control.sock');
    let problems: readonly string[] = [];
    const reload = async () =>
      problems.length === 0
        ? ({ ok: true, needRestart: ['redis'] } as const)
        : ({ ok: false, problems } as const);
    const control = await createControlServer({
      socketPath,
      api: { ...api, relay: { ...relay, reload } },
    });
    assert.equal(statSync(socketPath).mode & 0o777, 0o600);
    const status = await ask(socketPath, '/api/v1/status');
    assert.deepEqual([status.status, JSON.parse(status.body)], [200, STATUS]);
    const applied = await ask(socketPath, '/api/v1/reload', 'POST');
    assert.deepEqual(
      [applied.status, JSON.parse(applied.body)],
      [200, { ok: true, needRestart: ['redis'] }],
    );
    problems = ['line 3 is wrong'];
    const refused = await ask(socketPath, '/api/v1/reload', 'POST');
    assert.deepEqual([refused.status, JSON.parse(refused.body)], [422, { ok: false, problems }]);
    assert.equal((await ask(socketPath, '/api/v1/reload')).status, 404, 'GET changes nothing');
    await control.close();
    assert.equal(existsSync(socketPath), false);
  });

  test('a socket left behind is replaced', async () => {
    using dir = tempDir();
    const socketPath = dir.file('control.sock');
    // What SIGKILL leaves: the name of a socket nobody listens on any more.
    const dead = createServer();
    dead.listen(dir.file('dead.sock'));
    await once(dead, 'listening');
    const { linkSync } = await import('node:fs');
    linkSync(dir.file('dead.sock'), socketPath);
    dead.close();
    await once(dead, 'close');
    assert.equal(existsSync(socketPath), true);
    const control = await createControlServer({ socketPath, api });
    assert.equal((await ask(socketPath, '/api/v1/status')).status, 200);
    await control.close();
  });

  test('a file in its place is left alone', async () => {
    using dir = tempDir();
    const socketPath = dir.file('control.sock');
    writeFileSync(socketPath, 'mine');
    await assert.rejects(createControlServer({ socketPath, api }), /is in the way/);
    assert.equal(existsSync(socketPath), true);
  });

  test('a path too long for a socket is told', () => {
    assert.throws(
      () => shortPath(`/tmp/${'a'.repeat(200)}/control.sock`),
      /choose a shorter dataDir/,
    );
  });
  test('the way from here counts, where it is shorter', () => {
    assert.equal(shortPath(`${process.cwd()}/data/control.sock`), 'data/control.sock');
    assert.equal(shortPath('/x'), '/x');
  });
});
