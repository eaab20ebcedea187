/**
 * The HTTPS port against TLS listeners on loopback: what it verifies, what it refuses, where it
 * stops. Policy hosts come from test/support; what those cannot do is written out here.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import {
  type AddressInfo,
  createServer as createTcpServer,
  type Server,
  type Socket,
} from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { brotliCompressSync, constants, deflateSync, gzipSync } from 'node:zlib';
import { createAddressGuard } from '../../src/platform/address-guard.ts';
import type { HttpsConnectOptions } from '../../src/platform/https-connect.ts';
import {
  createHttpsGet,
  type HttpsGetRequest,
  type HttpsGetResult,
} from '../../src/platform/https-get.ts';
import type { LookupResult, Resolver } from '../../src/platform/resolver.ts';
import { type DomainName, parseDomain } from '../../src/protocol/domain.ts';
import { type CertificateKind, createCa, type TestCa } from '../support/ca.ts';
import { freePort } from '../support/free-port.ts';
import { type PolicyAnswer, type PolicyHost, startPolicyHost } from '../support/policy-host.ts';

const LIMIT = 64 * 1024;
const QUALITY = constants.BROTLI_PARAM_QUALITY;
const ADDRESS = '127.0.0.21';
const MODULE_URL = new URL('../../src/platform/https-get.ts', import.meta.url).href;

function domain(text: string): DomainName {
  const parsed = parseDomain(text);
  assert.ok(parsed !== undefined);
  return parsed;
}
const HOST = domain('mta-sts.example.test');

type Addresses = readonly string[] | 'failed' | 'absent';

/** A resolver that knows the addresses of every host by family. */
function resolverOf(byFamily: Readonly<Record<4 | 6, Addresses>>): Resolver {
  const answer = (addresses: Addresses): LookupResult<string> => {
    if (addresses === 'failed') return { kind: 'failed', reason: 'SERVFAIL from nowhere' };
    const common = { ttlSeconds: 60, authenticated: false };
    if (addresses === 'absent') return { kind: 'absent', nameExists: true, ...common };
    return { kind: 'found', records: addresses, canonicalName: HOST, ...common };
  };
  return {
    lookupAddress: async (_name, family) => answer(byFamily[family]),
    lookupMx: () => Promise.reject(new Error('not asked')),
    lookupTxt: () => Promise.reject(new Error('not asked')),
    lookupTlsa: () => Promise.reject(new Error('not asked')),
    lookupCname: () => Promise.reject(new Error('not asked')),
  };
}

describe('HTTPS GET', () => {
  let ca: TestCa;
  let policyHost: PolicyHost;
  before(async () => {
    ca = await createCa();
    policyHost = await startPolicyHost({ ca, address: ADDRESS, port: 0 });
  });
  after(() => policyHost.close());
  beforeEach(() => policyHost.serve(HOST, { body: 'hello' }));

  function get(
    request: Partial<HttpsGetRequest> = {},
    options: Partial<HttpsConnectOptions> = {},
  ): Promise<HttpsGetResult> {
    const httpsGet = createHttpsGet({
      resolver: resolverOf({ 4: [ADDRESS], 6: 'absent' }),
      guard: createAddressGuard(['127.0.0.0/8']),
      ipFamilies: ['ipv6', 'ipv4'],
      systemRoots: false,
      ca: [ca.certPem],
      ...options,
    });
    return httpsGet({
      host: HOST,
      port: policyHost.port,
      path: '/.well-known/mta-sts.txt',
      maxBytes: LIMIT,
      signal: AbortSignal.timeout(120_000),
      ...request,
    });
  }

  async function served(answer: PolicyAnswer, request: Partial<HttpsGetRequest> = {}) {
    await policyHost.serve(HOST, answer);
    return get(request);
  }

  function assertFailed(result: HttpsGetResult, stage: string, cause: string, detail = /./): void {
    assert.ok(result.kind === 'failed', JSON.stringify(result));
    assert.deepEqual([result.stage, result.cause], [stage, cause], result.detail);
    assert.match(result.detail, detail);
  }

  function assertBody(result: HttpsGetResult, body: string | Buffer): void {
    assert.ok(result.kind === 'response', JSON.stringify(result));
    assert.equal(result.status, 200);
    assert.deepEqual(result.body, Buffer.from(body as string));
  }

  describe('a good exchange', () => {
    test('status, type and body; asked politely', async () => {
      const seen = policyHost.requests.length;
      const result = await get();
      assertBody(result, 'hello');
      assert.equal(result.kind === 'response' && result.contentType, 'text/plain');
      const request = policyHost.requests[seen];
      assert.equal(request?.host, HOST, 'SNI');
      assert.equal(request?.hostHeader, `${HOST}:${policyHost.port}`);
      assert.equal(request?.path, '/.well-known/mta-sts.txt');
      assert.equal(request?.headers['accept-encoding'], 'identity');
      assert.equal(request?.headers['connection'], 'close');
    });

    test('a chunked body', async () => {
      assertBody(await served({ chunks: ['he', 'll', 'o'] }), 'hello');
    });

    test('TLS 1.2 is enough', async () => {
      assertBody(await served({ body: 'hello', maxTls: 'TLSv1.2' }), 'hello');
    });

    test('no content type', async () => {
      const result = await served({ headers: { 'content-type': null }, body: 'hello' });
      assert.equal(result.kind === 'response' && result.contentType, undefined);
    });

    for (const status of [204, 301, 302, 304, 404, 500]) {
      test(`status ${status} is handed on, nothing is followed`, async () => {
        const seen = policyHost.connections.length;
        const redirect = `https://${HOST}:${policyHost.port}/elsewhere`;
        const result = await served({
          status,
          redirect,
          body: status === 404 ? 'x'.repeat(LIMIT * 2) : '',
        });
        assert.ok(result.kind === 'response', JSON.stringify(result));
        assert.equal(result.status, status);
        assert.equal(result.body.length, 0);
        assert.equal(policyHost.connections.length, seen + 1);
      });
    }

    test('every request has a connection and a full handshake of its own', async () => {
      const httpsGet = createHttpsGet({
        resolver: resolverOf({ 4: [ADDRESS], 6: 'absent' }),
        guard: createAddressGuard(true),
        ipFamilies: ['ipv4'],
        systemRoots: false,
        ca: [ca.certPem],
      });
      const request = { host: HOST, port: policyHost.port, path: '/', maxBytes: LIMIT };
      const signal = AbortSignal.timeout(120_000);
      assertBody(await httpsGet({ ...request, signal }), 'hello');
      await policyHost.serve(HOST, { body: 'hello', certificate: 'expired' });
      assertFailed(await httpsGet({ ...request, signal }), 'tls', 'certificate');
    });
  });

  describe('certificates', () => {
    const good: readonly CertificateKind[] = ['good', 'good-rsa', 'with-intermediate', 'wildcard'];
    for (const certificate of good) {
      test(`good: ${certificate}`, async () => {
        assertBody(await served({ body: 'hello', certificate }), 'hello');
      });
    }
    const bad: readonly [CertificateKind, RegExp][] = [
      ['expired', /expired/],
      ['not-yet-valid', /not yet valid/],
      ['self-signed', /self-signed/],
      ['untrusted', /unable to (verify|get)/],
      ['missing-intermediate', /unable to (verify|get)/],
      ['wrong-host', /certificate is for "somebody-else\.test", not for mta-sts\.example\.test/],
      ['cn-only', /certificate is for no DNS name/],
      ['partial-wildcard', /certificate is for/],
      ['ip-only', /certificate is for no DNS name/],
      ['client-only', /purpose/],
    ];
    for (const [certificate, detail] of bad) {
      test(`bad: ${certificate}`, async () => {
        const seen = policyHost.requests.length;
        assertFailed(await served({ certificate }), 'tls', 'certificate', detail);
        assert.equal(policyHost.requests.length, seen, 'nothing was asked');
      });
    }

    test('with no roots at all nothing is trusted', async () => {
      assertFailed(await get({}, { ca: [] }), 'tls', 'certificate');
    });

    test('the system roots do not vouch for a test CA, and do not replace it', async () => {
      assertFailed(await get({}, { ca: [], systemRoots: true }), 'tls', 'certificate');
      assertBody(await get({}, { systemRoots: true }), 'hello');
    });
  });

  describe('handshakes that fail', () => {
    test('TLS 1.1 at most', async () => {
      assertFailed(await served({ maxTls: 'TLSv1.1' }), 'tls', 'handshake');
    });
    test('reset', async () => {
      assertFailed(await served({ reset: 'handshake' }), 'tls', 'handshake');
    });
    test('silence', async () => {
      await policyHost.serve(HOST, { hang: 'handshake' });
      assertFailed(await get({}, { stepTimeoutMs: 100 }), 'tls', 'timeout', /0\.1 s/);
    });
    test('not TLS at all', async (t) => {
      const server = createTcpServer((socket) => {
        socket.on('error', () => {});
        socket.end('220 hello\r\n');
      }).listen(0, ADDRESS);
      t.after(() => server.close());
      await once(server, 'listening');
      const { port } = server.address() as AddressInfo;
      assertFailed(await get({ port }), 'tls', 'handshake');
    });
  });

  describe('addresses', () => {
    test('DNS failed', async () => {
      const resolver = resolverOf({ 4: 'failed', 6: 'absent' });
      assertFailed(await get({}, { resolver }), 'dns', 'dns-failed', /SERVFAIL/);
    });
    test('no address', async () => {
      const resolver = resolverOf({ 4: 'absent', 6: 'absent' });
      assertFailed(await get({}, { resolver }), 'dns', 'no-address');
    });
    test('refused by the guard, nothing is connected to', async () => {
      const seen = policyHost.connections.length;
      const guard = createAddressGuard(false);
      assertFailed(await get({}, { guard }), 'address', 'address-refused', /loopback/);
      assert.equal(policyHost.connections.length, seen);
    });
    test('one refused, the other one is used', async () => {
      const resolver = resolverOf({ 4: ['10.0.0.1', ADDRESS], 6: 'failed' });
      assertBody(await get({}, { resolver }), 'hello');
    });
    test('a family that is not configured is not asked for', async () => {
      const resolver = resolverOf({ 4: [ADDRESS], 6: 'absent' });
      assertFailed(await get({}, { resolver, ipFamilies: ['ipv6'] }), 'dns', 'no-address');
    });
    test('nobody listens at the first ones', async () => {
      const resolver = resolverOf({ 4: ['127.0.0.22', '127.0.0.23', ADDRESS], 6: 'absent' });
      assertBody(await get({}, { resolver }), 'hello');
    });
    test('nobody listens', async () => {
      const port = await freePort(ADDRESS);
      assertFailed(await get({ port }), 'connect', 'connect-refused');
    });
    test('a bad certificate at the first does not keep the second from being asked', async () => {
      const { port } = policyHost;
      const second = await startPolicyHost({ ca, address: '127.0.0.24', port });
      await second.serve(HOST, { body: 'from the second' });
      await policyHost.serve(HOST, { certificate: 'expired' });
      const resolver = resolverOf({ 4: [ADDRESS, '127.0.0.24'], 6: 'absent' });
      assertBody(await get({}, { resolver }), 'from the second');
      await second.close();
      assertFailed(await get({}, { resolver }), 'tls', 'certificate', /expired/);
    });
  });

  describe('bodies', () => {
    const full = 'x'.repeat(LIMIT);
    test('64 KiB are let in, one octet more is not', async () => {
      assertBody(await served({ body: full }), full);
      assertFailed(await served({ body: `${full}x` }), 'too-large', 'too-large', /65536/);
      assertBody(await served({ chunks: [full] }), full);
      assertFailed(await served({ chunks: [full, 'x'] }), 'too-large', 'too-large');
    });

    test('an endless one', async () => {
      function* endless() {
        for (;;) yield 'x'.repeat(10_000);
      }
      assertFailed(await served({ chunks: endless() }), 'too-large', 'too-large');
    });

    const codings: readonly [string, (body: string) => Buffer][] = [
      ['gzip', gzipSync],
      ['x-gzip', gzipSync],
      ['GZIP', gzipSync],
      ['deflate', deflateSync],
      ['br', brotliCompressSync],
    ];
    for (const [coding, compress] of codings) {
      test(`${coding}: decompressed, within the limit`, async () => {
        const headers = { 'content-encoding': coding };
        assertBody(await served({ headers, body: compress('hello') }), 'hello');
        assertBody(await served({ headers, body: compress(full) }), full);
        assertFailed(
          await served({ headers, body: compress(`${full}x`) }),
          'too-large',
          'too-large',
        );
      });
      test(`${coding}: cut or broken`, async () => {
        const headers = { 'content-encoding': coding };
        const body = compress('hello hello hello').subarray(0, -3);
        assertFailed(await served({ headers, body }), 'http', 'bad-response');
        assertFailed(await served({ headers, body: 'not compressed' }), 'http', 'bad-response');
      });
    }

    const bombs: readonly [string, (body: string) => Buffer][] = [
      ['gzip', gzipSync],
      ['deflate', deflateSync],
      ['br', (body) => brotliCompressSync(body, { params: { [QUALITY]: 1 } })],
    ];
    for (const [coding, compress] of bombs) {
      test(`${coding}: a bomb`, async () => {
        const body = compress('x'.repeat(50 * 1024 * 1024));
        const before = process.memoryUsage.rss();
        const headers = { 'content-encoding': coding };
        assertFailed(await served({ headers, body }), 'too-large', 'too-large');
        assert.ok(process.memoryUsage.rss() - before < 40 * 1024 * 1024);
      });
    }

    test('gzip that decompresses to nothing for ever', async () => {
      const empty = gzipSync('');
      function* endless() {
        for (;;) yield empty;
      }
      const headers = { 'content-encoding': 'gzip' };
      assertFailed(await served({ headers, chunks: endless() }), 'too-large', 'too-large');
    });

    test('an unknown coding', async () => {
      for (const coding of ['zstd', 'gzip, gzip', 'aes128gcm']) {
        const headers = { 'content-encoding': coding };
        assertFailed(await served({ headers, body: 'hello' }), 'http', 'bad-response', /coding/);
      }
    });

    test('cut by the server', async () => {
      assertFailed(await served({ reset: 'body' }), 'http', 'bad-response');
      const raw = 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello\n';
      assertFailed(await served({ raw }), 'http', 'bad-response');
      const chunked = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n';
      assertFailed(await served({ raw: chunked }), 'http', 'bad-response');
    });

    test('ended by the connection: between lines, not within one', async () => {
      assertBody(await served({ raw: 'HTTP/1.0 200 OK\r\n\r\nhello\n' }), 'hello\n');
      const cut = 'HTTP/1.0 200 OK\r\n\r\nmax_age: 6';
      assertFailed(await served({ raw: cut }), 'http', 'bad-response', /middle of a line/);
      // Codings that mark no end: RFC 9112 §6.3.
      for (const coding of ['gzip', 'chunked, gzip', 'chunked\xa0', 'xchunked']) {
        const unmarked = `HTTP/1.1 200 OK\r\ntransfer-encoding: ${coding}\r\n\r\nmax_age: 6`;
        assertFailed(await served({ raw: unmarked }), 'http', 'bad-response', /middle of a line/);
      }
    });
  });

  describe('responses that are none', () => {
    const raws: readonly [string, string][] = [
      ['nothing', ''],
      ['not HTTP', '220 hello\r\n'],
      ['an endless header', `HTTP/1.1 200 OK\r\nx: ${'x'.repeat(20_000)}\r\n\r\n`],
      ['many headers', `HTTP/1.1 200 OK\r\n${'a: b\r\n'.repeat(5000)}\r\n`],
      [
        'both lengths',
        'HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
      ],
      ['another protocol', 'HTTP/1.1 101 OK\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'],
    ];
    for (const [what, raw] of raws) {
      test(what, async () => assertFailed(await served({ raw }), 'http', 'bad-response'));
    }
    test('reset', async () => {
      assertFailed(await served({ reset: 'response' }), 'http', 'bad-response');
    });
    test('a 100 before the 200 is fine', async () => {
      const raw = 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello';
      assertBody(await served({ raw }), 'hello');
    });
  });

  describe('the deadline ends it all', () => {
    test('a slow drip', async () => {
      function* endless() {
        for (;;) yield 'x';
      }
      const signal = AbortSignal.timeout(300);
      const result = await served({ chunks: endless(), drip: { everyMs: 20 } }, { signal });
      assertFailed(result, 'timeout', 'timeout');
    });
    test('interim responses: a few are passed over, without end they end it', async () => {
      const answer = 'HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello\n';
      const interim = 'HTTP/1.1 102 Processing\r\n\r\n';
      assertBody(await served({ raw: interim.repeat(3) + answer }), 'hello\n');
      const endless = await served({ raw: interim.repeat(5000) + answer });
      assertFailed(endless, 'http', 'bad-response', /too many interim/);
    });
    for (const hang of ['handshake', 'response', 'body'] as const) {
      test(`silence instead of the ${hang}`, async () => {
        const result = await served({ hang }, { signal: AbortSignal.timeout(200) });
        assertFailed(result, 'timeout', 'timeout');
      });
    }
    test('the caller gives up', async () => {
      const controller = new AbortController();
      await policyHost.serve(HOST, { hang: 'response' });
      const seen = policyHost.requestsFor(HOST).length;
      const result = get({ signal: controller.signal });
      await policyHost.waitForRequests(HOST, seen + 1);
      controller.abort(new Error('stopping'));
      assertFailed(await result, 'timeout', 'aborted', /stopping/);
    });
    test('it was over before', async () => {
      assertFailed(await get({ signal: AbortSignal.abort() }), 'timeout', 'aborted');
    });
  });

  describe('a proxy in the environment', () => {
    let proxy: Server;
    const proxied: Socket[] = [];
    before(async () => {
      proxy = createTcpServer((socket) => {
        socket.on('error', () => {});
        proxied.push(socket);
        socket.destroy();
      }).listen(0, '127.0.0.1');
      await once(proxy, 'listening');
    });
    after(() => proxy.close());

    /** Run `script` in a process whose environment names the proxy in every way there is. */
    async function runBehindProxy(script: string): Promise<string> {
      const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
      const named = Object.fromEntries(
        ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY'].flatMap((name) => [
          [name, url],
          [name.toLowerCase(), url],
        ]),
      );
      const env = { ...process.env, ...named, NODE_USE_ENV_PROXY: '1', NO_PROXY: '', no_proxy: '' };
      const args = ['--input-type=module', '--eval', script];
      const { stdout } = await promisify(execFile)(process.execPath, args, {
        env: { ...env, MODULE: MODULE_URL, CA: ca.certPem },
      });
      return stdout.trim();
    }

    test('is not used', async () => {
      const output = await runBehindProxy(`
        const { createHttpsGet } = await import(process.env.MODULE);
        const found = { kind: 'found', records: ['${ADDRESS}'], ttlSeconds: 1, authenticated: false };
        const get = createHttpsGet({
          resolver: { lookupAddress: async () => found },
          guard: { check: () => ({ ok: true }) },
          ipFamilies: ['ipv4'], systemRoots: false, ca: [process.env.CA],
        });
        const signal = AbortSignal.timeout(120_000);
        const request = { host: '${HOST}', port: ${policyHost.port}, path: '/', maxBytes: 99 };
        const result = await get({ ...request, signal });
        console.log(JSON.stringify([result.kind, result.status]));
      `);
      assert.equal(output, '["response",200]');
      assert.equal(proxied.length, 0);
    });

    test('would be used by Node itself', async () => {
      await runBehindProxy(`await fetch('https://${HOST}:${policyHost.port}/').catch(() => {});`);
      assert.ok(proxied.length > 0);
    });
  });
});
