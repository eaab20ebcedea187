/**
 * Reports by HTTPS: against a TLS listener on loopback, what is sent, what the answers mean, and where
 * nothing is sent at all.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { createAddressGuard } from '../../src/platform/address-guard.ts';
import { systemClock } from '../../src/platform/clock.ts';
import type { HttpsConnectOptions } from '../../src/platform/https-connect.ts';
import { createHttpsPost } from '../../src/platform/https-post.ts';
import type { LookupResult, Resolver } from '../../src/platform/resolver.ts';
import { postReport, type ReportPosted } from '../../src/reporting/report-post.ts';
import { type CertificateKind, createCa, type TestCa } from '../support/ca.ts';

const HOST = 'reports.example.test';
const ADDRESS = '127.0.0.31';
const GZIP = gzipSync('{"report-id":"1"}');

interface Seen {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

type Answer = (response: ServerResponse, request: IncomingMessage) => void;

let ca: TestCa;
before(async () => {
  ca = await createCa();
});

const resolver: Resolver = {
  lookupAddress: async (name, family): Promise<LookupResult<string>> => {
    const common = { ttlSeconds: 60, authenticated: false };
    if (family === 6) return { kind: 'absent', nameExists: true, ...common };
    return { kind: 'found', records: [ADDRESS], canonicalName: name, ...common };
  },
  lookupMx: () => Promise.reject(new Error('not asked')),
  lookupTxt: () => Promise.reject(new Error('not asked')),
  lookupTlsa: () => Promise.reject(new Error('not asked')),
  lookupCname: () => Promise.reject(new Error('not asked')),
};

const poster = (options: Partial<HttpsConnectOptions> = {}) =>
  createHttpsPost({
    resolver,
    guard: createAddressGuard(['127.0.0.0/8']),
    ipFamilies: ['ipv6', 'ipv4'],
    systemRoots: false,
    ca: [ca.certPem],
    ...options,
  });

/** A place that takes reports; keeps what it saw. */
class Place implements AsyncDisposable {
  readonly seen: Seen[] = [];
  readonly #server: Server;

  constructor(server: Server) {
    this.#server = server;
  }

  static async open(answer: Answer, kind: CertificateKind = 'good'): Promise<Place> {
    const { certPem: cert, keyPem: key } = await ca.issueKind(kind, HOST);
    const server = createServer({ cert, key });
    const place = new Place(server);
    server.on('tlsClientError', () => {});
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      request.on('error', () => {});
      void place.#take(request).then(
        () => answer(response, request),
        () => {},
      );
    });
    server.listen(0, ADDRESS);
    await once(server, 'listening');
    return place;
  }

  async #take(request: IncomingMessage): Promise<void> {
    const { method, url, headers } = request;
    this.seen.push({ method, url, headers, body: Buffer.concat(await request.toArray()) });
  }

  uri(path: string): string {
    return `https://${HOST}:${(this.#server.address() as AddressInfo).port}${path}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

const status =
  (code: number): Answer =>
  (response) =>
    response.writeHead(code).end('thanks');

function send(uri: string, options: Partial<HttpsConnectOptions> = {}): Promise<ReportPosted> {
  const parts = { post: poster(options), clock: systemClock };
  return postReport({ uri, gzip: GZIP }, parts, new AbortController().signal);
}

describe('a report that is taken', () => {
  for (const code of [200, 201, 202, 204]) {
    test(`R137: ${code}`, async () => {
      await using place = await Place.open(status(code));
      assert.deepEqual(await send(place.uri('/')), { kind: 'sent', status: code });
    });
  }

  test('R138: is sent whole, as what it is, to the URI as it stands', async () => {
    await using place = await Place.open(status(200));
    const uri = place.uri('/v1/tls%2Crpt?key=a%21b');
    assert.equal((await send(`${uri}#part`)).kind, 'sent');
    const [{ method, url, headers, body } = assert.fail()] = place.seen;
    assert.deepEqual([method, url], ['POST', '/v1/tls%2Crpt?key=a%21b']);
    assert.equal(headers['content-type'], 'application/tlsrpt+gzip');
    assert.equal(headers['content-length'], String(GZIP.length));
    assert.equal(headers['content-encoding'], undefined);
    assert.equal(`https://${headers.host}/v1/tls%2Crpt?key=a%21b`, uri);
    assert.deepEqual(body, GZIP);
  });

  test('whatever else the answer says: its body is not read', async () => {
    await using place = await Place.open((response) => {
      response.writeHead(200, { 'content-encoding': 'unheard-of' });
      response.write('x'.repeat(100_000)); // and never ends
    });
    assert.equal((await send(place.uri('/'))).kind, 'sent');
  });
});

describe('a report that is not taken', () => {
  const answers: readonly (readonly [number, boolean])[] = [
    [301, true],
    [307, true],
    [400, true],
    [404, true],
    [413, true],
    [408, false],
    [429, false],
    [500, false],
    [503, false],
  ];
  for (const [code, permanent] of answers) {
    test(`R137: ${code}: ${permanent ? 'for good' : 'for now'}`, async () => {
      await using place = await Place.open((response) => {
        response.writeHead(code, { location: place.uri('/elsewhere') }).end();
      });
      const posted = await send(place.uri('/'));
      assert.ok(posted.kind === 'failed', JSON.stringify(posted));
      assert.deepEqual([posted.cause, posted.permanent], ['status', permanent]);
      assert.match(posted.detail, new RegExp(`${HOST} answered ${code}`));
      assert.equal(place.seen.length, 1, 'a redirect was followed');
    });
  }

  const certificates: readonly CertificateKind[] = ['expired', 'self-signed', 'wrong-host'];
  for (const kind of certificates) {
    test(`R139: a certificate that is ${kind}: nothing is sent`, async () => {
      await using place = await Place.open(status(200), kind);
      const posted = await send(place.uri('/'));
      assert.ok(posted.kind === 'failed' && posted.cause === 'certificate', JSON.stringify(posted));
      assert.equal(posted.permanent, false);
      assert.deepEqual(place.seen, []);
    });
  }

  test('a private address: nothing is sent', async () => {
    await using place = await Place.open(status(200));
    const posted = await send(place.uri('/'), { guard: createAddressGuard(false) });
    assert.equal(posted.kind === 'failed' && posted.cause, 'address-refused');
    assert.deepEqual(place.seen, []);
  });

  test('nobody is there', async () => {
    const place = await Place.open(status(200));
    const uri = place.uri('/');
    await place[Symbol.asyncDispose]();
    const posted = await send(uri);
    assert.equal(posted.kind === 'failed' && posted.cause, 'connect-refused');
  });

  test('no answer in time', async () => {
    await using place = await Place.open(() => {});
    const parts = { post: poster(), clock: systemClock, waitMs: 300 };
    const { signal } = new AbortController();
    const posted = await postReport({ uri: place.uri('/'), gzip: GZIP }, parts, signal);
    assert.equal(posted.kind === 'failed' && posted.cause, 'timeout');
  });

  test('the caller ends it', async () => {
    const ending = new AbortController();
    await using place = await Place.open(() => ending.abort(new Error('stopping')));
    const parts = { post: poster(), clock: systemClock };
    const posted = await postReport({ uri: place.uri('/'), gzip: GZIP }, parts, ending.signal);
    assert.equal(posted.kind === 'failed' && posted.cause, 'aborted');
  });
});

describe('URIs that nothing is sent to', () => {
  const bad: readonly (readonly [string, string])[] = [
    ['http://reports.example.test/', 'clear text'],
    ['mailto:a@b.example', 'a mailbox'],
    ['https://user@reports.example.test/', 'a user'],
    ['https://:secret@reports.example.test/', 'a password'],
    ['https://192.0.2.1/', 'an address'],
    ['https://0x7f.1/', 'an address in disguise'],
    ['https://[::1]/', 'an IPv6 address'],
    ['https://', 'no host'],
    ['reports', 'no URI'],
  ];
  for (const [uri, why] of bad) {
    test(`${why}: ${uri}`, async () => {
      const post = () => assert.fail('something was sent');
      const parts = { post, clock: systemClock };
      const posted = await postReport({ uri, gzip: GZIP }, parts, new AbortController().signal);
      assert.ok(posted.kind === 'failed');
      assert.deepEqual([posted.cause, posted.permanent], ['bad-uri', true]);
      assert.doesNotMatch(posted.detail, /secret/);
    });
  }
});
