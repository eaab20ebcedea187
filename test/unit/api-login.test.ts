/** The login of the admin page: what its cookie is worth, when it ends, and requests that others sent. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { request as secureRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { addApi } from '../../src/admin/api.ts';
import { accessByToken, accessOfSocket } from '../../src/admin/api-login.ts';
import { KEEP_MS, TokenGate } from '../../src/admin/api-token.ts';
import { closeApp, newApp } from '../../src/admin/http-app.ts';
import { IDLE_MS, LONGEST_MS, Logins } from '../../src/admin/logins.ts';
import { createCa } from '../support/ca.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { tempDir } from '../support/temp-dir.ts';
import { fakeParts, serveApi } from './api-rig.ts';

const TOKEN = 'correct-horse-battery-staple!';
const PAGE = { 'x-stsrelay-page': '1' };

type Fields = Readonly<Record<string, string>>;

async function serve() {
  const dir = tempDir();
  const file = dir.file('token');
  writeFileSync(file, TOKEN, { mode: 0o600 });
  const clock = new FakeClock();
  const actors: string[] = [];
  const events = { authFailed() {}, tokenUnusable() {} };
  const gate = new TokenGate({ tokenFile: file, clock, events });
  const noted: string[] = [];
  const note = (action: string) => async (actor: string) => void noted.push(`${actor} ${action}`);
  const access = accessByToken(gate, new Logins(clock), {
    ...{ loggedIn: note('in'), loggedOut: note('out') },
  });
  const api = await serveApi((app) => addApi(app, fakeParts(actors), access));
  async function ask(method: string, path: string, fields: Fields = {}, body?: object) {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const type = text === undefined ? {} : { 'content-type': 'application/json' };
    const asking = request({
      ...{ host: '127.0.0.1', port: api.port, agent: false, method, path: `/api/v1${path}` },
      headers: { ...type, ...fields },
    }).end(text);
    const [response] = (await once(asking, 'response')) as [IncomingMessage];
    let said = '';
    for await (const part of response.setEncoding('utf8')) said += String(part);
    const { statusCode: status = 0, headers } = response;
    return { status, headers, json: JSON.parse(said) as Record<string, unknown> };
  }
  return {
    ...{ clock, actors, noted, ask, file, port: api.port },
    /** The cookie, as a browser sends it. */
    async logIn(name = 'ann'): Promise<Fields> {
      const made = await ask('POST', '/session', PAGE, { token: TOKEN, name });
      assert.equal(made.status, 200, JSON.stringify(made.json));
      return { cookie: made.headers['set-cookie']?.[0]?.split(';')[0] ?? '' };
    },
    async [Symbol.asyncDispose]() {
      await api.close();
      dir.remove();
    },
  };
}

const OVERRIDE = '/overrides/a.example';

test('the cookie: for this host alone, unseen by scripts, not sent from other sites', async () => {
  await using http = await serve();
  const made = await http.ask('POST', '/session', PAGE, { token: TOKEN, name: 'ann' });
  const [cookie = ''] = made.headers['set-cookie'] ?? [];
  assert.match(cookie, /^stsrelay_login=[0-9a-f]{64}; Path=\/; HttpOnly; SameSite=Strict$/);
  assert.deepEqual([made.json['signedIn'], made.json['by']], [true, 'login']);
  assert.doesNotMatch(JSON.stringify(made.json), /[0-9a-f]{64}/);
});

test('a login: in, its changes under its name, until it logs out', async () => {
  await using http = await serve();
  assert.equal((await http.ask('GET', '/session')).json['signedIn'], false);
  const cookie = await http.logIn();
  assert.equal((await http.ask('GET', '/status', cookie)).status, 200);
  assert.equal((await http.ask('DELETE', OVERRIDE, { ...cookie, ...PAGE })).status, 200);
  assert.deepEqual(http.actors, ['ann (page) from 127.0.0.1']);
  assert.equal((await http.ask('DELETE', '/session', { ...cookie, ...PAGE })).status, 200);
  const after = await http.ask('GET', '/status', cookie);
  assert.deepEqual([after.status, after.json['error']], [401, 'the login is over: log in again']);
  assert.deepEqual(http.noted, ['ann (page) from 127.0.0.1 in', 'ann (page) from 127.0.0.1 out']);
});

test('a proxy that asks for a password of its own does not stand in the way of a login', async () => {
  await using http = await serve();
  const cookie = await http.logIn();
  const basic = { authorization: 'Basic eDp5' };
  assert.equal((await http.ask('GET', '/status', { ...cookie, ...basic })).status, 200);
});

describe('a login ends', () => {
  test('after an hour in which nothing was asked', async () => {
    await using http = await serve();
    const cookie = await http.logIn();
    http.clock.advance(IDLE_MS - 1);
    assert.equal((await http.ask('GET', '/status', cookie)).status, 200);
    http.clock.advance(IDLE_MS - 1);
    assert.equal((await http.ask('GET', '/status', cookie)).status, 200);
    http.clock.advance(IDLE_MS);
    assert.equal((await http.ask('GET', '/status', cookie)).status, 401);
  });

  test('after twelve hours, whatever was asked', async () => {
    await using http = await serve();
    const cookie = await http.logIn();
    for (let atMs = 0; atMs < LONGEST_MS - 1; atMs += IDLE_MS / 2) {
      assert.equal((await http.ask('GET', '/status', cookie)).status, 200);
      http.clock.advance(IDLE_MS / 2);
    }
    assert.equal((await http.ask('GET', '/status', cookie)).status, 401);
  });

  test('with the token that it began with', async () => {
    await using http = await serve();
    const cookie = await http.logIn();
    writeFileSync(http.file, `${TOKEN}-another`);
    assert.equal((await http.ask('GET', '/status', cookie)).status, 401);
    writeFileSync(http.file, TOKEN);
    assert.equal((await http.ask('GET', '/status', cookie)).status, 401, 'and stays so');
  });
});

test('a login waits for a token file that cannot be used, and is there again with it', async () => {
  await using http = await serve();
  const cookie = await http.logIn();
  writeFileSync(http.file, '');
  assert.equal((await http.ask('GET', '/status', cookie)).status, 200, 'for a moment');
  http.clock.advance(KEEP_MS);
  assert.equal((await http.ask('GET', '/status', cookie)).status, 503);
  assert.equal((await http.ask('GET', '/session', cookie)).json['signedIn'], false);
  writeFileSync(http.file, TOKEN);
  assert.equal((await http.ask('GET', '/status', cookie)).status, 200);
});

describe('with the cookie, a change is refused that', () => {
  const cases: readonly (readonly [string, Fields])[] = [
    ['has no field of the page', {}],
    ['comes from another site', { ...PAGE, 'sec-fetch-site': 'cross-site' }],
    ['comes from another host of this site', { ...PAGE, 'sec-fetch-site': 'same-site' }],
    ['names another origin', { ...PAGE, origin: 'https://evil.example' }],
    ['names no origin', { ...PAGE, origin: 'null' }],
  ];
  for (const [what, fields] of cases) {
    test(what, async () => {
      await using http = await serve();
      const cookie = await http.logIn();
      const answer = await http.ask('DELETE', OVERRIDE, { ...cookie, ...fields });
      assert.deepEqual([answer.status, http.actors], [403, []]);
      const login = await http.ask('POST', '/session', fields, { token: TOKEN });
      assert.deepEqual([login.status, login.headers['set-cookie']], [403, undefined]);
    });
  }

  for (const [what, fields] of cases.slice(1)) {
    test(`${what}: so is what only asks`, async () => {
      await using http = await serve();
      const cookie = await http.logIn();
      for (const path of ['/status', '/session']) {
        const { status, json } = await http.ask('GET', path, { ...cookie, ...fields });
        assert.deepEqual([path, status === 403 || json['signedIn'] === false], [path, true]);
      }
      assert.equal((await http.ask('GET', '/status', cookie)).status, 200, 'the login goes on');
    });
  }

  test('and taken that comes from the page, in browsers old and new', async () => {
    await using http = await serve();
    const cookie = await http.logIn();
    for (const fields of [
      { 'sec-fetch-site': 'same-origin' },
      { origin: `http://127.0.0.1:${http.port}` },
    ]) {
      const answer = await http.ask('DELETE', OVERRIDE, { ...cookie, ...PAGE, ...fields });
      assert.equal(answer.status, 200);
    }
  });
});

test('wrong tokens at the login and in the header share the wait', async () => {
  await using http = await serve();
  const wrong = await http.ask('POST', '/session', PAGE, { token: 'x' });
  assert.deepEqual([wrong.status, wrong.json['error']], [401, 'this is not the token']);
  const bearer = { authorization: `Bearer ${TOKEN}` };
  assert.equal((await http.ask('GET', '/status', bearer)).status, 429);
  const right = await http.ask('POST', '/session', PAGE, { token: TOKEN });
  assert.deepEqual([right.status, right.headers['retry-after']], [429, '1']);
  http.clock.advance(1000);
  await http.logIn();
});

test('made-up cookies let nobody in', async () => {
  await using http = await serve();
  await http.logIn();
  for (const value of ['', 'x', '0'.repeat(64), TOKEN, `${'0'.repeat(64)}0`]) {
    const cookie = `stsrelay_login=${value}`;
    assert.equal((await http.ask('GET', '/status', { cookie })).status, 401, value);
  }
});

describe('cookies of our name that others have set', () => {
  const other = (id: string) => `stsrelay_login=${id}`;
  const tossed: readonly (readonly [string, (own: string) => string])[] = [
    ['before ours', (own) => `${other('0'.repeat(64))}; ${own}`],
    ['before ours, in another form', (own) => `${other('x')};${own}`],
    ['behind it', (own) => `${own}; ${other('0'.repeat(64))}`],
    [
      'many',
      (own) =>
        `${Array(50)
          .fill(other('1'.repeat(64)))
          .join('; ')}; ${own}`,
    ],
    ['with a name that ends like ours', (own) => `x${other('0'.repeat(64))}; ${own}`],
  ];
  for (const [what, all] of tossed) {
    test(`${what}: the login works, and its end is one`, async () => {
      await using http = await serve();
      const own = (await http.logIn())['cookie'] ?? '';
      const cookie = all(own);
      assert.equal((await http.ask('GET', '/status', { cookie })).status, 200);
      assert.equal((await http.ask('DELETE', '/session', { cookie, ...PAGE })).status, 200);
      assert.equal((await http.ask('GET', '/status', { cookie: own })).status, 401);
    });
  }
});

test('over TLS the cookie is one that this host alone can set, and no other counts', async (t) => {
  const ca = await createCa();
  const { certPem: cert, keyPem: key } = await ca.issue({ names: ['relay.example'] });
  using dir = tempDir();
  const tokenFile = dir.file('token');
  writeFileSync(tokenFile, TOKEN, { mode: 0o600 });
  const clock = new FakeClock();
  const gate = new TokenGate({
    ...{ tokenFile, clock, events: { authFailed() {}, tokenUnusable() {} } },
  });
  const app = newApp({ tls: { cert, key }, tellsErrors: false });
  addApi(app, fakeParts(), accessByToken(gate, new Logins(clock)));
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  const ask = async (method: string, path: string, fields: Fields, body = '') => {
    const asking = secureRequest({
      ...{ host: '127.0.0.1', port, method, path: `/api/v1${path}`, agent: false },
      ...{ servername: 'relay.example', ca: ca.certPem },
      headers: body === '' ? fields : { 'content-type': 'application/json', ...fields },
    }).end(body);
    const [response] = (await once(asking, 'response')) as [IncomingMessage];
    response.resume();
    return response;
  };
  t.after(() => closeApp(app));
  const made = await ask('POST', '/session', PAGE, JSON.stringify({ token: TOKEN }));
  const [cookie = ''] = made.headers['set-cookie'] ?? [];
  assert.match(
    cookie,
    /^__Host-stsrelay_login=[0-9a-f]{64}; Path=\/; HttpOnly; SameSite=Strict; Secure$/,
  );
  const own = cookie.split(';')[0] ?? '';
  assert.equal((await ask('GET', '/status', { cookie: own })).statusCode, 200);
  const plain = own.replace('__Host-', '');
  assert.equal((await ask('GET', '/status', { cookie: plain })).statusCode, 401);
});

test('no more than so many logins are kept; the one used longest ago ends', async () => {
  const logins = new Logins(new FakeClock());
  const ids = Array.from({ length: 201 }, () => logins.begin({ name: '', mark: 'm' }).id);
  assert.equal(logins.use(ids[0] ?? '', 'm'), undefined);
  assert.ok(logins.use(ids[1] ?? '', 'm'));
});

describe('the control socket, through a tunnel', () => {
  const access = accessOfSocket();
  async function statusFor(headers: Fields) {
    const api = await serveApi((app) => addApi(app, fakeParts(), access));
    const asking = request({
      ...{ host: '127.0.0.1', port: api.port, agent: false, path: '/api/v1/status', headers },
    }).end();
    const [response] = (await once(asking, 'response')) as [IncomingMessage];
    response.resume();
    await api.close();
    return response.statusCode;
  }
  const good: readonly Fields[] = [
    { host: 'relay' },
    { host: 'localhost:9126' },
    { host: '127.0.0.1:9126', origin: 'http://127.0.0.1:9126' },
    { host: '[::1]:9126', 'sec-fetch-site': 'same-origin' },
    { host: 'localhost', 'sec-fetch-site': 'none' },
  ];
  for (const headers of good) {
    test(`takes ${JSON.stringify(headers)}`, async () => {
      assert.equal(await statusFor(headers), 200);
    });
  }
  const bad: readonly Fields[] = [
    { host: 'rebound.evil.example' },
    { host: 'evil.example:9126', origin: 'http://evil.example:9126' },
    { host: 'localhost:9126', origin: 'http://evil.example' },
    { host: 'localhost:9126', 'sec-fetch-site': 'cross-site' },
  ];
  for (const headers of bad) {
    test(`refuses ${JSON.stringify(headers)}`, async () => {
      assert.equal(await statusFor(headers), 403);
    });
  }
});
