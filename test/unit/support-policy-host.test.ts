/**
 * The test policy host does at each step of a request what it was told.
 */
import assert from 'node:assert/strict';
import { request } from 'node:https';
import { after, before, describe, test } from 'node:test';
import type { SecureVersion } from 'node:tls';
import { createCa, type TestCa } from '../support/ca.ts';
import { type PolicyHost, startPolicyHost } from '../support/policy-host.ts';

const HOST = 'mta-sts.example.test';

interface Got {
  readonly status?: number;
  readonly type?: string;
  readonly location?: string;
  readonly body?: string;
  readonly error?: string;
}

describe('test policy host', () => {
  let ca: TestCa;
  let host: PolicyHost;
  before(async () => {
    ca = await createCa();
    host = await startPolicyHost({ ca, address: '127.0.0.1', port: 0 });
  });
  after(() => host.close());

  const get = (options: { maxVersion?: SecureVersion; name?: string; timeoutMs?: number } = {}) =>
    new Promise<Got>((resolve) => {
      const asked = request({
        host: host.address,
        port: host.port,
        path: '/.well-known/mta-sts.txt',
        servername: options.name ?? HOST,
        headers: { host: options.name ?? HOST },
        ca: ca.certPem,
        agent: false,
        timeout: options.timeoutMs ?? 60_000,
        ...(options.maxVersion === undefined ? {} : { maxVersion: options.maxVersion }),
      });
      asked.on('timeout', () =>
        asked.destroy(Object.assign(new Error('silent'), { code: 'SILENT' })),
      );
      asked.on('error', (error: NodeJS.ErrnoException) => resolve({ error: String(error.code) }));
      asked.on('response', (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => {
          body += text;
        });
        response.on('error', (error: NodeJS.ErrnoException) =>
          resolve({ body, error: String(error.code) }),
        );
        response.on('end', () =>
          resolve({
            body,
            status: response.statusCode ?? 0,
            type: response.headers['content-type'] ?? '',
            location: response.headers.location ?? '',
          }),
        );
      });
      asked.end();
    });

  test('a plain policy, logged', async () => {
    await host.serve(HOST, { body: 'version: STSv1\r\n' });
    const got = await get();
    assert.deepEqual(got, {
      status: 200,
      type: 'text/plain',
      location: '',
      body: 'version: STSv1\r\n',
    });
    const logged = host.requestsFor(HOST).at(-1);
    assert.equal(logged?.path, '/.well-known/mta-sts.txt');
    assert.equal(logged?.hostHeader, HOST);
    assert.equal(logged?.tlsVersion, 'TLSv1.3');
  });

  test('status, headers, redirect', async () => {
    await host.serve(HOST, { status: 404, headers: { 'content-type': 'text/html' } });
    assert.equal((await get()).status, 404);
    assert.equal((await get()).type, 'text/html');
    await host.serve(HOST, { redirect: 'https://elsewhere.test/' });
    const got = await get();
    assert.deepEqual([got.status, got.location], [301, 'https://elsewhere.test/']);
  });

  test('chunks, drip and delay', async () => {
    await host.serve(HOST, { chunks: ['a', 'b', 'c'], drip: { everyMs: 40 }, delayMs: 40 });
    const start = performance.now();
    assert.equal((await get()).body, 'abc');
    assert.ok(performance.now() - start >= 115);
  });

  test('an endless body ends when the client goes', async () => {
    function* endless() {
      for (;;) yield 'x'.repeat(1000);
    }
    await host.serve(HOST, { chunks: endless() });
    await new Promise<void>((resolve) => {
      const asked = request({
        host: host.address,
        port: host.port,
        servername: HOST,
        ca: ca.certPem,
        agent: false,
      });
      asked.on('error', () => {});
      asked.on('response', (response) => {
        response.on('error', () => {});
        response.once('data', () => asked.destroy());
        response.on('close', resolve);
      });
      asked.end();
    });
  });

  test('bad certificates', async () => {
    await host.serve(HOST, { certificate: 'expired' });
    assert.equal((await get()).error, 'CERT_HAS_EXPIRED');
    await host.serve(HOST, { certificate: 'self-signed' });
    assert.equal((await get()).error, 'DEPTH_ZERO_SELF_SIGNED_CERT');
    await host.serve(HOST, { certificate: 'wrong-host' });
    assert.equal((await get()).error, 'ERR_TLS_CERT_ALTNAME_INVALID');
  });

  test('TLS versions are kept to, per name', async () => {
    await host.serve(HOST, { maxTls: 'TLSv1.1', minTls: 'TLSv1.1' });
    assert.equal((await get()).error, 'EPROTO');
    await host.serve('other.example.test', { maxTls: 'TLSv1.2', body: 'x' });
    assert.equal((await get({ name: 'other.example.test' })).status, 200);
    assert.equal(host.requestsFor('other.example.test').at(-1)?.tlsVersion, 'TLSv1.2');
  });

  test('hangs', async () => {
    for (const step of ['handshake', 'response', 'body'] as const) {
      await host.serve(HOST, { hang: step });
      assert.equal((await get({ timeoutMs: 150 })).error, 'SILENT', step);
    }
  });

  test('resets', async () => {
    for (const step of ['handshake', 'response', 'body'] as const) {
      await host.serve(HOST, { reset: step });
      assert.match(String((await get()).error), /ECONNRESET/, step);
    }
  });

  test('raw octets, unknown names, stop and start', async () => {
    await host.serve(HOST, { raw: 'not HTTP at all\r\n\r\n' });
    assert.match(String((await get()).error), /^HPE_/);
    assert.equal((await get({ name: 'unknown.test' })).error, 'ECONNRESET');
    await host.serve(HOST, { body: 'back' });
    await host.stop();
    assert.equal((await get()).error, 'ECONNREFUSED');
    await host.start();
    assert.equal((await get()).body, 'back');
  });
});
