/** The router: what comes first, whose policy binds, loops by address, and routes that are broken. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { LookupResult, MxRecord, Resolver } from '../../src/platform/resolver.ts';
import { createRouter, type RouteResult, type RouterOptions } from '../../src/routing/route.ts';
import { FakeClock } from '../support/fake-clock.ts';

const MX: Readonly<Record<string, readonly [number, string][]>> = {
  'example.test': [
    [10, 'a.mx.test'],
    [20, 'b.mx.test'],
    [30, 'c.mx.test'],
  ],
  'hop.test': [[10, 'mx.hop.test']],
  'null.test': [[0, '']],
  'us.test': [[10, 'relay.us.test']],
  'slow.test': [[10, 'slow.mx.test']],
};
const ADDRESSES: Readonly<Record<string, string>> = {
  'a.mx.test': '192.0.2.1',
  'b.mx.test': '192.0.2.2',
  'implicit.test': '192.0.2.9',
};

function resolver(): Resolver & { readonly asked: string[] } {
  const asked: string[] = [];
  const absent = (nameExists: boolean): LookupResult<never> => ({
    kind: 'absent',
    nameExists,
    ttlSeconds: 60,
    authenticated: false,
  });
  const found = <T>(records: readonly T[], name: string): LookupResult<T> => ({
    kind: 'found',
    records,
    ttlSeconds: 60,
    authenticated: false,
    canonicalName: name,
  });
  return {
    asked,
    async lookupMx(name): Promise<LookupResult<MxRecord>> {
      asked.push(`MX ${name}`);
      if (name === 'broken.test') return { kind: 'failed', reason: 'SERVFAIL' };
      const records = MX[name];
      if (records === undefined) return absent(name === 'implicit.test');
      // The name was an alias: what binds the policy must not be this.
      return found(
        records.map(([preference, exchange]) => ({ preference, exchange })),
        'canonical.test',
      );
    },
    async lookupAddress(name, family, signal) {
      asked.push(`${family} ${name}`);
      if (name === 'slow.mx.test') {
        return new Promise((resolve) => {
          const late = { kind: 'failed', reason: 'late' } as const;
          signal.addEventListener('abort', () => resolve(late));
        });
      }
      const address = ADDRESSES[name];
      return family === 4 && address !== undefined ? found([address], name) : absent(true);
    },
    lookupTxt: () => Promise.reject(new Error('not asked')),
    lookupTlsa: () => Promise.reject(new Error('not asked')),
    lookupCname: () => Promise.reject(new Error('not asked')),
  };
}

function find(destination: string, options: Partial<RouterOptions> = {}): Promise<RouteResult> {
  const router = createRouter({
    resolver: resolver(),
    port: 25,
    ownNames: ['relay.us.test', 'US.example.'],
    ...options,
  });
  return router.findRoute(destination, new AbortController().signal);
}
async function route(destination: string, options: Partial<RouterOptions> = {}) {
  const result = await find(destination, options);
  assert.ok(result.kind === 'route', JSON.stringify(result));
  return result.route;
}
async function failure(destination: string, options: Partial<RouterOptions> = {}) {
  const result = await find(destination, options);
  assert.ok(result.kind === 'failed', JSON.stringify(result));
  return result.failure;
}

describe('by MX', () => {
  test('candidates in order; the policy domain is the recipient domain, not the alias target', async () => {
    assert.deepEqual(await route('Example.TEST.'), {
      destination: 'example.test',
      policyDomain: 'example.test',
      kind: 'mx',
      candidates: [
        { host: 'a.mx.test', preference: 10, port: 25 },
        { host: 'b.mx.test', preference: 20, port: 25 },
        { host: 'c.mx.test', preference: 30, port: 25 },
      ],
    });
  });
  test('implicit', async () => {
    const { kind, candidates } = await route('implicit.test', { port: 2525 });
    assert.equal(kind, 'implicit-mx');
    assert.deepEqual(candidates, [{ host: 'implicit.test', preference: 0, port: 2525 }]);
  });
  test('failures by their names', async () => {
    assert.equal((await failure('gone.test')).cause, 'domain-not-found');
    assert.equal((await failure('broken.test')).cause, 'dns-failed');
    assert.equal((await failure('null.test')).cause, 'null-mx');
    assert.equal((await failure('us.test')).cause, 'mail-loops-back');
  });
  for (const destination of ['', 'a..test', 'a b.test', '192.0.2.1', `${'a'.repeat(64)}.test`]) {
    test(`no domain: ${JSON.stringify(destination.slice(0, 20))}`, async () => {
      assert.equal((await failure(destination)).cause, 'malformed-address');
    });
  }
});

describe('loops by address', () => {
  test('no address of ours, no lookups', async () => {
    const dns = resolver();
    await route('example.test', { resolver: dns });
    assert.deepEqual(dns.asked, ['MX example.test']);
  });
  test('the host with our address and all after it are dropped', async () => {
    const { candidates } = await route('example.test', { ownAddresses: ['192.0.2.2'] });
    assert.deepEqual(
      candidates.map(({ host }) => host),
      ['a.mx.test'],
    );
  });
  test('nothing left', async () => {
    const ownAddresses = ['::ffff:192.0.2.1', '192.0.2.9'];
    assert.equal((await failure('implicit.test', { ownAddresses })).cause, 'mail-loops-back');
    assert.equal((await failure('[192.0.2.9]', { ownAddresses })).cause, 'mail-loops-back');
  });
  test('a host whose DNS hangs is not waited for', async () => {
    const clock = new FakeClock();
    const result = route('slow.test', { ownAddresses: ['192.0.2.2'], clock });
    await clock.advanceAsync(3000);
    assert.equal((await result).candidates.length, 1);
    assert.equal(clock.pending, 0);
  });
});

describe('address literals', () => {
  test('straight to the address, no DNS, no policy domain', async () => {
    const dns = resolver();
    assert.deepEqual(await route('[IPv6:2001:db8::1]', { resolver: dns }), {
      destination: '[IPv6:2001:db8::1]',
      policyDomain: undefined,
      kind: 'literal',
      candidates: [{ host: undefined, preference: 0, address: '2001:db8::1', port: 25 }],
    });
    assert.deepEqual(dns.asked, []);
  });
  test('malformed', async () => {
    assert.equal((await failure('[192.0.2.333]')).cause, 'malformed-address');
  });
});

describe("administrators' routes", () => {
  const routes = [
    { domain: 'example.test', nextHop: 'smart.hop.test:587' },
    { domain: 'implicit.test', nextHop: 'mx:hop.test' },
    { domain: 'us.test', nextHop: '[192.0.2.77]:26' },
    { domain: 'null.test', nextHop: 'mx:gone.test' },
    { domain: 'slow.test', nextHop: 'mx:null.test' },
  ];
  const all = [...routes, { domain: '*', nextHop: 'smart.hop.test' }];

  test('a host: trusted, at its port; it is the policy domain', async () => {
    const dns = resolver();
    assert.deepEqual(await route('example.test', { routes, resolver: dns }), {
      destination: 'example.test',
      policyDomain: 'smart.hop.test',
      kind: 'configured',
      securedNames: ['smart.hop.test'],
      candidates: [{ host: 'smart.hop.test', preference: 0, port: 587, trusted: true }],
    });
    assert.deepEqual(dns.asked, []);
  });
  test("a domain's MX", async () => {
    const { policyDomain, kind, candidates } = await route('implicit.test', { routes });
    assert.equal(policyDomain, 'hop.test');
    assert.equal(kind, 'configured');
    assert.deepEqual(candidates, [
      { host: 'mx.hop.test', preference: 10, port: 25, trusted: true },
    ]);
  });
  test('TLS from the first octet: port 465 where none is named (RFC 8314 §3.3)', async () => {
    const ports = async (nextHop: string) => {
      const routes = [{ domain: '*', nextHop, wrapper: 'implicit' as const }];
      const { candidates, smartHost } = await route('example.test', { routes, port: 2525 });
      assert.deepEqual(smartHost, { implicitTls: true });
      return candidates.map(({ port }) => port);
    };
    assert.deepEqual(await ports('hop.test'), [465]);
    assert.deepEqual(await ports('hop.test:1465'), [1465]);
    assert.deepEqual(await ports('192.0.2.1'), [465]);
    assert.deepEqual(await ports('mx:hop.test'), [465]);
  });
  test('an address has no policy domain', async () => {
    const { policyDomain, candidates } = await route('us.test', { routes });
    assert.equal(policyDomain, undefined);
    assert.deepEqual(candidates, [
      { host: undefined, address: '192.0.2.77', preference: 0, port: 26, trusted: true },
    ]);
  });
  test('* is for everybody else, literals included', async () => {
    for (const destination of ['gone.test', 'sub.example.test', '[192.0.2.1]']) {
      const { destination: to, candidates } = await route(destination, { routes: all });
      assert.equal(to, destination);
      assert.equal(candidates[0]?.host, 'smart.hop.test');
      assert.equal(candidates[0]?.port, 25);
    }
    assert.equal((await route('example.test', { routes: all })).candidates[0]?.port, 587);
  });
  test('what is wrong with the next hop never bounces the mail', async () => {
    for (const destination of ['null.test', 'slow.test']) {
      const { cause, detail } = await failure(destination, { routes });
      assert.equal(cause, 'dns-failed');
      assert.match(detail, /configured route/);
    }
  });
  test('a destination that is none is not routed', async () => {
    assert.equal((await failure('a..test', { routes: all })).cause, 'malformed-address');
  });
});
