/** Who is let in to the API over HTTP: the token, its file, guessing, and ways around it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { accessByToken } from '../../src/admin/api-login.ts';
import { KEEP_MS, TokenGate } from '../../src/admin/api-token.ts';
import { createHttpServer } from '../../src/admin/http.ts';
import { Logins } from '../../src/admin/logins.ts';
import { bearerOf, parseToken } from '../../src/protocol/bearer-token.ts';
import { formatMetrics } from '../../src/telemetry/merge-metrics.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { tempDir } from '../support/temp-dir.ts';
import { fakeParts } from './api-rig.ts';

const TOKEN = 'correct-horse-battery-staple!';

describe('the text of a token file', () => {
  const good: readonly string[] = [TOKEN, `${TOKEN}\n`, ` ${TOKEN} \r\n\n`, 'x'.repeat(16)];
  for (const text of good) {
    test(JSON.stringify(text), () => {
      assert.deepEqual(parseToken(text), { ok: true, secret: text.trim() });
    });
  }
  /** Text, what is wrong with it. */
  const bad: readonly (readonly [string, RegExp])[] = [
    ['', /^is empty$/],
    [' \n', /^is empty$/],
    ['x'.repeat(15), /^holds 15 characters, and a token has 16 or more/],
    [`${TOKEN}\n${TOKEN}`, /^holds more than one line$/],
    [`${TOKEN} ${TOKEN}`, /^holds blanks/],
    [`${TOKEN}ü`, /^holds blanks, or characters that are not ASCII$/],
    [`${TOKEN}\0`, /^holds blanks/],
  ];
  for (const [text, why] of bad) {
    test(JSON.stringify(text.slice(0, 40)), () => {
      const parsed = parseToken(text);
      assert.match(parsed.ok ? '' : parsed.why, why);
      assert.doesNotMatch(JSON.stringify(parsed), /horse|xx/);
    });
  }
});

test('the header field: the scheme in any case, the token as it is', () => {
  for (const text of [`Bearer ${TOKEN}`, `bearer ${TOKEN}`, `BEARER   ${TOKEN} `]) {
    assert.equal(bearerOf(text), TOKEN);
  }
  for (const text of ['', TOKEN, 'Bearer', 'Bearer ', `Basic ${TOKEN}`, `Bearer a b`, 'Bearerx']) {
    assert.equal(bearerOf(text), undefined, text);
  }
  fc.assert(
    fc.property(fc.string(), (text) => {
      const token = bearerOf(text);
      assert.ok(token === undefined || /^[!-~]+$/.test(token));
    }),
  );
});

interface Asked {
  readonly token?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly localAddress?: string;
}

/** The HTTP listener with the API behind a token. */
async function serve(text = `${TOKEN}\n`) {
  const dir = tempDir();
  const file = dir.file('token');
  writeFileSync(file, text, { mode: 0o600 });
  const clock = new FakeClock();
  const actors: string[] = [];
  const failed: string[] = [];
  const unusable: string[] = [];
  const kept: string[] = [];
  const events = {
    authFailed: ({ client }: { client: string }) => void failed.push(client),
    tokenUnusable: ({ reason }: { reason: string }) => void unusable.push(reason),
    tokenKept: ({ reason, seconds }: { reason: string; seconds: number }) =>
      void kept.push(`${reason}, ${seconds} s`),
  };
  const server = await createHttpServer({
    address: '127.0.0.1',
    port: 0,
    metrics: (accept) => formatMetrics(createMetrics(), [], accept),
    ready: async () => ({ ready: true, parts: {} }),
    api: {
      kind: 'open',
      parts: fakeParts(actors),
      access: accessByToken(new TokenGate({ tokenFile: file, clock, events }), new Logins(clock)),
    },
  });
  return {
    ...{ dir, file, clock, actors, failed, unusable, kept },
    port: server.port,
    /** The path goes out as it is. */
    async ask(path: string, { token, method = 'GET', headers = {}, localAddress }: Asked = {}) {
      const auth = token === undefined ? {} : { authorization: `Bearer ${token}` };
      const asking = request({
        ...{ host: '127.0.0.1', port: server.port, path, method, agent: false, localAddress },
        headers: { ...headers, ...auth },
      }).end();
      const [response] = (await once(asking, 'response')) as [IncomingMessage];
      let body = '';
      for await (const part of response) body += String(part);
      return { status: response.statusCode ?? 0, headers: response.headers, body };
    },
    async [Symbol.asyncDispose]() {
      await server.close();
      dir.remove();
    },
  };
}

describe('the token', () => {
  test('none: 401 that says what to send, and is no guess', async () => {
    await using http = await serve();
    for (let i = 0; i < 5; i += 1) {
      const { status, headers, body } = await http.ask('/api/v1/status');
      assert.equal(status, 401);
      assert.equal(headers['www-authenticate'], 'Bearer realm="stsrelay"');
      assert.match(JSON.parse(body).error, /Authorization: Bearer/);
    }
    assert.deepEqual(http.failed, []);
  });

  test('right: in, with who it was for the audit log, whatever a header says', async () => {
    await using http = await serve();
    const status = await http.ask('/api/v1/status', { token: TOKEN });
    assert.equal(status.status, 200);
    assert.equal(status.headers['cache-control'], 'no-store');
    const headers = { 'x-stsrelay-actor': 'root uid 0', 'x-forwarded-for': '192.0.2.1' };
    const path = '/api/v1/overrides/a.example';
    const made = await http.ask(path, { token: TOKEN, method: 'DELETE', headers });
    assert.equal(made.status, 200, made.body);
    assert.deepEqual(http.actors, ['http token from 127.0.0.1']);
    assert.deepEqual(http.failed, []);
  });

  test('wrong: 401, told, and for a while nothing from this address is looked at', async () => {
    await using http = await serve();
    const wrong = await http.ask('/api/v1/status', { token: `${TOKEN}x` });
    assert.equal(wrong.status, 401);
    assert.match(wrong.headers['www-authenticate'] ?? '', /^Bearer .*error="invalid_token"$/);
    assert.deepEqual(http.failed, ['127.0.0.1']);
    const waits: number[] = [];
    for (let i = 0; i < 8; i += 1) {
      const held = await http.ask('/api/v1/status', { token: i % 2 === 0 ? TOKEN : 'guess' });
      assert.equal(held.status, 429);
      const seconds = Number(held.headers['retry-after']);
      assert.match(JSON.parse(held.body).error, new RegExp(`try again in ${seconds} s$`));
      waits.push(seconds);
      http.clock.advance(seconds * 1000);
      assert.equal((await http.ask('/api/v1/status', { token: 'guess' })).status, 401);
    }
    assert.deepEqual(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
    http.clock.advance(30_000);
    assert.equal((await http.ask('/api/v1/status', { token: TOKEN })).status, 200);
    // Metrics and health are for everybody, also for who guesses.
    assert.equal((await http.ask('/healthz', { token: 'guess' })).status, 200);
  });

  test('wrong from one address of loopback: all of them wait', async () => {
    await using http = await serve();
    const localAddress = '127.45.6.7';
    const wrong = await http.ask('/api/v1/status', { token: 'guess', localAddress });
    assert.deepEqual([wrong.status, http.failed], [401, [localAddress]]);
    for (const other of ['127.0.0.1', '127.0.0.2', '127.45.6.7']) {
      const held = await http.ask('/api/v1/status', { token: TOKEN, localAddress: other });
      assert.equal(held.status, 429, other);
    }
  });

  test('what is no bearer token is no guess, and holds nobody up', async () => {
    await using http = await serve();
    for (const authorization of ['Basic eDp5', 'Negotiate x', 'Bearer', 'Bearer a b', TOKEN]) {
      const { status, body } = await http.ask('/api/v1/status', { headers: { authorization } });
      assert.equal(status, 401, authorization);
      assert.match(JSON.parse(body).error, /Authorization: Bearer/);
    }
    assert.deepEqual(http.failed, []);
    assert.equal((await http.ask('/api/v1/status', { token: TOKEN })).status, 200);
  });

  test('many guesses at once are one', async () => {
    await using http = await serve();
    const asked = Array.from({ length: 20 }, (_, i) =>
      http.ask('/api/v1/status', { token: `guess-${i}` }),
    );
    const statuses = (await Promise.all(asked)).map(({ status }) => status).sort();
    assert.deepEqual(statuses, [401, ...Array.from({ length: 19 }, () => 429)]);
  });

  test('changed in the file: the new one counts at once', async () => {
    await using http = await serve();
    const other = 'another-token-of-today';
    assert.equal((await http.ask('/api/v1/status', { token: TOKEN })).status, 200);
    writeFileSync(http.file, other);
    assert.equal((await http.ask('/api/v1/status', { token: other })).status, 200);
    assert.equal((await http.ask('/api/v1/status', { token: TOKEN })).status, 401);
  });

  for (const [what, spoil] of [
    ['gone', (file: string) => writeFileSync(file, '')],
    ['too short', (file: string) => writeFileSync(file, 'short')],
    ['too large', (file: string) => writeFileSync(file, 'x'.repeat(5000))],
  ] as const) {
    test(`a file that is ${what} lets nobody in, and is told once a minute`, async () => {
      await using http = await serve();
      spoil(http.file);
      for (const token of [TOKEN, 'x', 'short', 'x'.repeat(5000)]) {
        const { status, body } = await http.ask('/api/v1/status', { token });
        assert.equal(status, 503, token.slice(0, 9));
        assert.ok(!body.includes(http.file), 'paths are not for strangers');
      }
      assert.equal(http.unusable.length, 1);
      assert.ok(http.unusable[0]?.startsWith(http.file));
      http.clock.advance(60_000);
      await http.ask('/api/v1/status', { token: TOKEN });
      assert.equal(http.unusable.length, 2);
      writeFileSync(http.file, TOKEN);
      assert.equal((await http.ask('/api/v1/status', { token: TOKEN })).status, 200);
    });
  }

  test('in a file that cannot be used for a moment: it counts on, for a while', async () => {
    await using http = await serve();
    const status = async (token = TOKEN) => (await http.ask('/api/v1/status', { token })).status;
    assert.equal(await status(), 200);
    writeFileSync(http.file, '');
    http.clock.advance(KEEP_MS - 1);
    assert.deepEqual([await status(), await status()], [200, 200]);
    assert.deepEqual([http.unusable, http.kept.length], [[], 1]);
    assert.match(http.kept[0] ?? '', /is empty, 1 s$/);
    http.clock.advance(1);
    assert.equal(await status(), 503, 'it was read last that long ago');
    assert.equal(http.unusable.length, 1);
    http.clock.set(http.clock.now() - 10 * KEEP_MS);
    assert.equal(await status(), 503, 'and stays so, also where the clock is set back');
    writeFileSync(http.file, 'another-token-of-today');
    assert.equal(await status(), 401);
  });

  test('a directory, a file nobody may read', async () => {
    await using http = await serve();
    mkdirSync(http.dir.file('d'));
    const events = { authFailed() {}, tokenUnusable() {} };
    const clock = new FakeClock();
    const gate = new TokenGate({ tokenFile: http.dir.file('d'), clock, events });
    assert.equal((await gate.show('192.0.2.1', TOKEN)).kind, 'unusable');
    chmodSync(http.file, 0o000);
    const { status } = await http.ask('/api/v1/status', { token: TOKEN });
    assert.ok(status === 503 || process.getuid?.() === 0);
  });
});

describe('ways around the token', () => {
  const PATHS = [
    '/api/v1',
    '/api/v1/',
    '/api/v1/status',
    '/api/v1/status/',
    '/api/v1/status?x=1',
    '/api/v1/status;x=1',
    '/api/v1//status',
    '//api/v1/status',
    '/api//v1/status',
    '/api/v1/./status',
    '/api/v1/../v1/status',
    '/metrics/../api/v1/status',
    '/api/v1/../../metrics',
    '/api%2fv1%2fstatus',
    '/api/v1%2fstatus',
    '/%61pi/v1/status',
    '/api/v1/%73tatus',
    '/api/v1/status%00',
    '/api/v1/status%20',
    '/API/V1/STATUS',
    '/api/V1/status',
    '/api/v1/openapi.json',
    '/api/v1/nothing',
    '/api/v1/policies/a.example',
    '/api/v1\\status',
    'http://127.0.0.1/api/v1/status',
    '*',
  ];
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'DELETE', 'PATCH', 'TRACE']) {
    test(`${method}: no path gives anything`, async () => {
      await using http = await serve();
      for (const path of PATHS) {
        const { status, body, headers } = await http.ask(path, { method });
        // `*` is the admin page, which everybody may see.
        const isPage = path === '*' && status === 200;
        assert.ok(isPage || [400, 401, 404].includes(status), `${path}: ${status}`);
        assert.doesNotMatch(body, /uptimeSeconds|openapi|maxAgeSeconds/);
        for (const name of Object.keys(headers)) {
          assert.doesNotMatch(name, /^access-control-|^set-cookie$/);
        }
      }
      assert.deepEqual(http.actors, []);
    });
  }

  test('a path spelled otherwise is the same route, with the same lock and key', async () => {
    await using http = await serve();
    for (const path of ['/%61pi/v1/status', '/api/v1/%73tatus']) {
      assert.equal((await http.ask(path)).status, 401);
      assert.equal((await http.ask(path, { token: TOKEN })).status, 200);
    }
    assert.equal((await http.ask('/api/v1/nothing', { token: TOKEN })).status, 404);
  });

  test('cookies, parameters and other schemes are no token', async () => {
    await using http = await serve();
    const basic = `Basic ${Buffer.from(`x:${TOKEN}`).toString('base64')}`;
    for (const headers of [
      { cookie: `token=${TOKEN}` },
      { 'x-api-key': TOKEN },
      { 'proxy-authorization': `Bearer ${TOKEN}` },
      { authorization: basic },
      { authorization: TOKEN },
    ]) {
      http.clock.advance(60_000);
      const path = `/api/v1/status?access_token=${TOKEN}`;
      const { status } = await http.ask(path, { headers });
      assert.equal(status, 401, JSON.stringify(headers));
    }
  });

  test('another HEAD than the GET there is none', async () => {
    await using http = await serve();
    const { status, body } = await http.ask('/api/v1/status', { method: 'HEAD', token: TOKEN });
    assert.deepEqual([status, body], [200, '']);
    const options = await http.ask('/api/v1/status', { method: 'OPTIONS', token: TOKEN });
    assert.equal(options.status, 404);
  });

  test('oversized header fields and long tokens', async () => {
    await using http = await serve();
    const long = await http.ask('/api/v1/status', { token: 'x'.repeat(10_000) });
    assert.equal(long.status, 431);
    assert.equal((await http.ask('/api/v1/status', { token: 'x'.repeat(6000) })).status, 401);
  });

  test('two Authorization fields: the first counts', async () => {
    await using http = await serve();
    const socket = connect(http.port, '127.0.0.1');
    socket.on('error', () => {});
    const fields = ['guess', TOKEN].map((token) => `Authorization: Bearer ${token}\r\n`).join('');
    socket.write(`GET /api/v1/status HTTP/1.1\r\nHost: a\r\n${fields}Connection: close\r\n\r\n`);
    let text = '';
    for await (const part of socket.setEncoding('utf8')) text += String(part);
    assert.match(text, /^HTTP\/1\.1 4\d\d /);
  });
});

test('a closed API gives the reason, whatever is asked', async () => {
  const server = await createHttpServer({
    address: '127.0.0.1',
    port: 0,
    metrics: (accept) => formatMetrics(createMetrics(), [], accept),
    ready: async () => ({ ready: true, parts: {} }),
    api: { kind: 'closed', reason: 'set http.tokenFile', page: 'no-token' },
  });
  for (const path of ['', '/', '/status', '/openapi.json', '/a/b/c']) {
    for (const method of ['GET', 'POST', 'OPTIONS']) {
      const url = `http://127.0.0.1:${server.port}/api/v1${path}`;
      const answer = await fetch(url, { method, headers: { authorization: `Bearer ${TOKEN}` } });
      assert.deepEqual(
        [answer.status, await answer.json()],
        [404, { error: 'set http.tokenFile' }],
      );
    }
  }
  assert.equal((await fetch(`http://127.0.0.1:${server.port}/healthz`)).status, 200);
  await server.close();
});
