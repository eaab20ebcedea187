/** By which names the HTTP endpoints may be called: over loopback not by those that DNS may have bent there. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { request as secureRequest } from 'node:https';
import { connect } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
import { after, before, describe, test } from 'node:test';
import { createHttpServer, type HttpOptions, type HttpServer } from '../../src/admin/http.ts';
import { createCa } from '../support/ca.ts';

function serve(options: Partial<HttpOptions> = {}) {
  return createHttpServer({
    ...{ address: '127.0.0.1', port: 0, ready: async () => ({ ready: true, parts: {} }) },
    metrics: async () => ({ contentType: 'text/plain', text: 'x 1\n' }),
    api: { kind: 'closed', reason: 'not here', page: 'no-token' },
    hostname: () => 'relay.example.net',
    ...options,
  });
}

async function ask(port: number, host: string, address = '127.0.0.1', path = '/metrics') {
  const asking = request({ host: address, port, path, agent: false, headers: { host } }).end();
  const [response] = (await once(asking, 'response')) as [IncomingMessage];
  let body = '';
  for await (const part of response) body += String(part);
  return { status: response.statusCode ?? 0, body };
}

describe('over loopback', () => {
  let http: HttpServer;
  before(async () => {
    http = await serve();
  });
  after(() => http.close());
  const good = [
    ...['127.0.0.1', '127.0.0.1:9125', '[::1]:9125', '192.0.2.1', 'localhost', 'LOCALHOST:1'],
    ...['localhost.', 'a.localhost', 'relay', 'relay.example.net', 'Relay.Example.NET.:9125'],
    ...[hostname(), ''],
  ];
  for (const host of good) {
    test(`taken: ${host}`, async () => {
      assert.equal((await ask(http.port, host)).status, 200);
    });
  }
  const bad = [
    ...['rebound.evil.example', 'evil.example:9125', 'relay.example.net.evil.example'],
    ...['127.0.0.1.evil.example', 'localhost.evil.example:80', '127.1.evil.example.', '0x7f.1'],
  ];
  for (const host of bad) {
    test(`refused: ${host}`, async () => {
      for (const path of ['/metrics', '/healthz', '/', '/api/v1/session', '/nowhere']) {
        const { status, body } = await ask(http.port, host, '127.0.0.1', path);
        assert.equal(status, 421, path);
        assert.match(
          (JSON.parse(body) as { error: string }).error,
          /is not called ".*by localhost/,
        );
      }
    });
  }
});

const [outside] = Object.values(networkInterfaces())
  .flatMap((found) => found ?? [])
  .filter(({ internal, family }) => !internal && family === 'IPv4');

test('over another address every name is taken', {
  skip: outside ? false : 'this machine has loopback alone',
}, async () => {
  const http = await serve({ address: '0.0.0.0' });
  assert.equal((await ask(http.port, 'relay.svc.example', outside?.address)).status, 200);
  assert.equal((await ask(http.port, 'relay.svc.example')).status, 421);
  await http.close();
});

test('over TLS every name is taken: the certificate says which are right', async () => {
  const ca = await createCa();
  const { certPem: cert, keyPem: key } = await ca.issue({ names: ['other.example'] });
  const http = await serve({ tls: { cert, key } });
  const asking = secureRequest({
    ...{ host: '127.0.0.1', port: http.port, path: '/healthz', agent: false, ca: ca.certPem },
    ...{ servername: 'other.example', headers: { host: 'other.example' } },
  }).end();
  const [response] = (await once(asking, 'response')) as [IncomingMessage];
  response.resume();
  assert.equal(response.statusCode, 200);
  await http.close();
});

test('several Host fields are refused (RFC 9112 §3.2)', async () => {
  const http = await serve();
  try {
    const socket = connect(http.port, '127.0.0.1');
    socket.end(
      'GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n',
    );
    let answer = '';
    for await (const part of socket) answer += String(part);
    assert.match(answer, /^HTTP\/1\.1 400 .*several Host fields/s);
  } finally {
    await http.close();
  }
});
