/** Connections to the HTTP endpoints of those who open many and say little; others, and later they, are served. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { request as secureRequest } from 'node:https';
import { connect, type Socket } from 'node:net';
import { describe, test } from 'node:test';
import { MOST, MOST_OF_ONE } from '../../src/admin/connections.ts';
import { createHttpServer, type HttpOptions } from '../../src/admin/http.ts';
import { createCa } from '../support/ca.ts';
import { waitFor } from '../support/wait-for.ts';

async function serve(options: Partial<HttpOptions> = {}) {
  const server = await createHttpServer({
    ...{ address: '127.0.0.1', port: 0, ready: async () => ({ ready: true, parts: {} }) },
    metrics: async () => ({ contentType: 'text/plain', text: 'x 1\n' }),
    api: { kind: 'closed', reason: 'not here', page: 'no-token' },
    ...options,
  });
  const sockets: Socket[] = [];
  return {
    port: server.port,
    /** Connections from `localAddress` that have sent `text`, if any. */
    async open(count: number, localAddress: string, text = ''): Promise<readonly Socket[]> {
      const made = Array.from({ length: count }, () => {
        const socket = connect({ host: '127.0.0.1', port: server.port, localAddress });
        socket.on('error', () => {});
        socket.resume();
        socket.once('connect', () => void (text && socket.write(text)));
        return socket;
      });
      sockets.push(...made);
      await Promise.all(made.map((socket) => once(socket, 'connect')));
      return made;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await server.close();
    },
  };
}

/** The status of one request on a connection of its own. */
async function scrape(port: number, localAddress: string, path = '/metrics'): Promise<number> {
  const host = '127.0.0.1';
  const asking = request({ host, port, localAddress, path, agent: false }).end();
  const [response] = (await once(asking, 'response')) as [IncomingMessage];
  response.resume();
  return response.statusCode ?? 0;
}

function openOf(sockets: readonly Socket[]): number {
  return sockets.filter(({ closed }) => !closed).length;
}

describe('connections that say', () => {
  const kinds: readonly (readonly [string, string])[] = [
    ['nothing', ''],
    ['the half of a header', 'GET /metrics HTTP/1.1\r\nHost: a\r\n'],
    [
      'a header, and not the body',
      'POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{',
    ],
    ['one request, and are kept', 'GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n'],
  ];
  for (const [what, text] of kinds) {
    test(`${what}: others are served at once, and they themselves`, async () => {
      await using http = await serve();
      const silent = await http.open(300, '127.0.0.1', text);
      await waitFor('so many are left', () => openOf(silent) <= MOST_OF_ONE);
      assert.equal(await scrape(http.port, '127.0.0.2'), 200);
      assert.equal(await scrape(http.port, '127.0.0.1'), 200);
      assert.ok(openOf(silent) >= MOST_OF_ONE - 1, 'one makes room for one');
    });
  }
});

test('from many addresses: whoever has few is served, and keeps a connection', async () => {
  await using http = await serve();
  const [kept] = await http.open(1, '127.0.0.9');
  for (let last = 1; last <= 3; last += 1) await http.open(90, `127.0.1.${last}`);
  assert.equal(await scrape(http.port, '127.0.0.2'), 200);
  assert.equal(kept?.closed, false);
});

test('connections from one port to several addresses of the relay are forgotten when they end', async () => {
  await using http = await serve({ address: '0.0.0.0' });
  const localAddress = '127.0.0.1';
  const first = connect({ host: '127.0.2.1', port: http.port, localAddress });
  await once(first, 'connect');
  const from = { port: http.port, localAddress, localPort: first.localPort ?? 0 };
  const others = Array.from({ length: 60 }, (_, i) => connect({ host: `127.0.3.${i}`, ...from }));
  await Promise.all(others.map((socket) => once(socket, 'connect')));
  const ends = [first, ...others].map((socket) => once(socket.end().resume(), 'close'));
  await Promise.all(ends);
  const kept = await http.open(60, localAddress);
  assert.equal(await scrape(http.port, localAddress), 200);
  assert.equal(openOf(kept), 60);
});

test('what waits for its answer is not closed for others; then there is no room', async () => {
  const answers: (() => void)[] = [];
  const metrics: HttpOptions['metrics'] = async () => {
    await new Promise<void>((resolve) => answers.push(resolve));
    return { contentType: 'text/plain', text: 'x 1\n' };
  };
  await using http = await serve({ metrics });
  const half = MOST / 2;
  const asked = ['127.0.0.1', '127.0.0.2'].flatMap((from) =>
    Array.from({ length: half }, () => scrape(http.port, from)),
  );
  await waitFor('all of them', () => answers.length === MOST);
  await assert.rejects(scrape(http.port, '127.0.0.3', '/healthz'), { code: 'ECONNRESET' });
  for (const answer of answers) answer();
  assert.deepEqual(new Set(await Promise.all(asked)), new Set([200]));
  assert.equal(await scrape(http.port, '127.0.0.3', '/healthz'), 200);
});

test('a silent connection ends by itself, before and after a handshake', async (t) => {
  const ca = await createCa();
  const { certPem: cert, keyPem: key } = await ca.issue({ names: ['relay.example'] });
  for (const tls of [undefined, { cert, key }]) {
    await t.test(tls ? 'over TLS' : 'in clear', async () => {
      await using http = await serve({ tls });
      const [silent] = await http.open(1, '127.0.0.1');
      assert.ok(silent);
      await once(silent, 'close', { signal: AbortSignal.timeout(100_000) });
    });
  }
});

test('over TLS, silent before the handshake: others are served', async () => {
  const ca = await createCa();
  const { certPem: cert, keyPem: key } = await ca.issue({ names: ['relay.example'] });
  await using http = await serve({ tls: { cert, key } });
  const silent = await http.open(300, '127.0.0.1');
  await waitFor('so many are left', () => openOf(silent) <= MOST_OF_ONE);
  for (const localAddress of ['127.0.0.2', '127.0.0.1']) {
    const asking = secureRequest({
      ...{ host: '127.0.0.1', port: http.port, localAddress, path: '/healthz', agent: false },
      ...{ servername: 'relay.example', ca: ca.certPem },
    }).end();
    const [response] = (await once(asking, 'response')) as [IncomingMessage];
    response.resume();
    assert.equal(response.statusCode, 200);
  }
});
