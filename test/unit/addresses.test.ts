/** The addresses of a candidate: order, guard, and what is said when there is none. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { MxCandidate } from '../../src/mail/route.ts';
import { createAddressGuard } from '../../src/platform/address-guard.ts';
import type { LookupResult, Resolver } from '../../src/platform/resolver.ts';
import { mxHostName } from '../../src/protocol/domain.ts';
import {
  type CandidateAddresses,
  type CandidateLookup,
  decideAddresses,
  resolveCandidate,
} from '../../src/routing/addresses.ts';
import { FakeClock } from '../support/fake-clock.ts';

type Addresses = readonly string[] | 'failed' | 'absent' | 'late';

function answer(addresses: Addresses): LookupResult<string> {
  if (addresses === 'failed') return { kind: 'failed', reason: 'SERVFAIL' };
  const common = { ttlSeconds: 60, authenticated: false };
  if (typeof addresses === 'string') return { kind: 'absent', nameExists: true, ...common };
  return { kind: 'found', records: addresses, canonicalName: 'mx.test', ...common };
}

/** Answers by family; `late` answers only when its caller gives up. */
function resolverOf(v4: Addresses, v6: Addresses): Resolver & { readonly asked: number[] } {
  const asked: number[] = [];
  return {
    asked,
    async lookupAddress(_host, family, signal) {
      asked.push(family);
      const addresses = family === 4 ? v4 : v6;
      if (addresses !== 'late') return answer(addresses);
      return new Promise((resolve) => {
        signal.addEventListener('abort', () => {
          resolve({ kind: 'failed', reason: (signal.reason as Error).message });
        });
      });
    },
    lookupMx: () => Promise.reject(new Error('not asked')),
    lookupTxt: () => Promise.reject(new Error('not asked')),
    lookupTlsa: () => Promise.reject(new Error('not asked')),
    lookupCname: () => Promise.reject(new Error('not asked')),
  };
}

const CANDIDATE: MxCandidate = { host: mxHostName('mx.test'), preference: 10, port: 25 };

function resolve(
  resolver: Resolver,
  lookup: Partial<CandidateLookup> = {},
  candidate: MxCandidate = CANDIDATE,
): Promise<CandidateAddresses> {
  return resolveCandidate(candidate, {
    resolver,
    families: ['ipv6', 'ipv4'],
    guard: createAddressGuard(false),
    signal: new AbortController().signal,
    ...lookup,
  });
}
function assertFailed(result: CandidateAddresses, cause: string, detail = /mx\.test/): void {
  assert.ok(result.kind === 'failed', JSON.stringify(result));
  assert.equal(result.failure.cause, cause);
  assert.match(result.failure.detail, detail);
}
const named = { secure: false, canonicalName: 'mx.test' };
const addresses = (...list: string[]) => ({ kind: 'addresses', addresses: list, named });
const unnamed = (...list: string[]) => ({ kind: 'addresses', addresses: list });

describe('found', () => {
  const both = resolverOf(['8.8.8.8', '8.8.4.4'], ['2606:4700::2', '2606:4700::1']);

  test('families as configured, within one as the resolver said', async () => {
    const v6 = ['2606:4700::2', '2606:4700::1'];
    const v4 = ['8.8.8.8', '8.8.4.4'];
    assert.deepEqual(await resolve(both), addresses(...v6, ...v4));
    assert.deepEqual(await resolve(both, { families: ['ipv4', 'ipv6'] }), addresses(...v4, ...v6));
  });

  test('a family that is not configured is not asked for', async () => {
    const resolver = resolverOf(['8.8.8.8'], ['2606:4700::1']);
    assert.deepEqual(await resolve(resolver, { families: ['ipv4'] }), addresses('8.8.8.8'));
    assert.deepEqual(resolver.asked, [4]);
  });

  test('one family failed: the other is used', async () => {
    assert.deepEqual(await resolve(resolverOf(['8.8.8.8'], 'failed')), addresses('8.8.8.8'));
  });

  test('one family lags: after two seconds the other is used', async () => {
    const clock = new FakeClock();
    const result = resolve(resolverOf(['8.8.8.8'], 'late'), { clock });
    await clock.advanceAsync(2000);
    assert.deepEqual(await result, addresses('8.8.8.8'));
    assert.equal(clock.pending, 0);
  });

  test('refused ones are left out, and so are repetitions', async () => {
    const resolver = resolverOf(['10.0.0.1', '8.8.8.8', '8.8.8.8', '127.0.0.1'], ['::1']);
    assert.deepEqual(await resolve(resolver), addresses('8.8.8.8'));
  });

  test('not without bound', async () => {
    const many = Array.from({ length: 200 }, (_, i) => `8.8.8.${i}`);
    const result = await resolve(resolverOf(many, 'absent'));
    assert.equal(result.kind === 'addresses' && result.addresses.length, 10);
  });
});

describe('not found', () => {
  test('absent in both families', async () => {
    assertFailed(await resolve(resolverOf('absent', 'absent')), 'no-usable-mx');
  });
  test('one failed, the other absent: unknown', async () => {
    assertFailed(await resolve(resolverOf('absent', 'failed')), 'dns-failed', /SERVFAIL/);
  });
  test('one failed, the other refused: unknown', async () => {
    assertFailed(await resolve(resolverOf(['10.0.0.1'], 'failed')), 'dns-failed');
  });
  test('all refused', async () => {
    assertFailed(
      await resolve(resolverOf(['10.0.0.1'], ['::1'])),
      'address-refused',
      /10\.0\.0\.1/,
    );
  });
});

describe('exceptions', () => {
  const inside = resolverOf(['10.0.0.1'], 'absent');

  test('the guard may name the host or the destination', async () => {
    const guard = createAddressGuard(['partner.test']);
    assertFailed(await resolve(inside, { guard, destination: 'example.test' }), 'address-refused');
    assert.deepEqual(
      await resolve(inside, { guard, destination: 'partner.test' }),
      addresses('10.0.0.1'),
    );
    const byHost = createAddressGuard(['mx.test']);
    assert.deepEqual(await resolve(inside, { guard: byHost }), addresses('10.0.0.1'));
  });

  test('a route is not held up by the guard, and its DNS trouble passes', async () => {
    const trusted: MxCandidate = { ...CANDIDATE, trusted: true };
    assert.deepEqual(await resolve(inside, {}, trusted), addresses('10.0.0.1'));
    assertFailed(await resolve(resolverOf('absent', 'absent'), {}, trusted), 'dns-failed');
  });

  test('an address literal is guarded and not looked up', async () => {
    const nobody = resolverOf('failed', 'failed');
    const literal = (address: string) => ({ host: undefined, preference: 0, port: 25, address });
    assert.deepEqual(await resolve(nobody, {}, literal('8.8.8.8')), unnamed('8.8.8.8'));
    assertFailed(await resolve(nobody, {}, literal('10.0.0.1')), 'address-refused', /10\.0\.0\.1/);
    assert.deepEqual(
      await resolve(nobody, {}, { ...literal('10.0.0.1'), trusted: true }),
      unnamed('10.0.0.1'),
    );
    assert.deepEqual(nobody.asked, []);
  });
});

describe('what DNS says about the name (RFC 7672 §2.2.2)', () => {
  const found = (authenticated: boolean, canonicalName = 'mx.test'): LookupResult<string> => ({
    ...{ kind: 'found', records: ['8.8.8.8'], ttlSeconds: 60 },
    ...{ authenticated, canonicalName },
  });
  const absent: LookupResult<string> = {
    ...{ kind: 'absent', nameExists: true, ttlSeconds: 60, authenticated: false },
  };
  const nameIn = (...answers: readonly LookupResult<string>[]) => {
    const parts = { guard: createAddressGuard(false) };
    const decided = decideAddresses(CANDIDATE, answers, parts);
    return decided.kind === 'addresses' ? decided.named : undefined;
  };

  test('is secure with the answer that has the addresses, whatever the other family says', () => {
    const alias = { secure: true, canonicalName: 'far.test' };
    assert.deepEqual(nameIn(found(true, 'far.test'), absent), alias);
    assert.deepEqual(
      nameIn({ kind: 'failed', reason: 'SERVFAIL' }, found(true, 'far.test')),
      alias,
    );
    assert.deepEqual(nameIn(found(false), found(true, 'far.test')), alias);
  });

  test('is not where no address is', () => {
    assert.deepEqual(nameIn(found(false), { ...absent, authenticated: true }), named);
  });

  test('is asked for besides an address that is known from the last transaction', async () => {
    const at = { ...CANDIDATE, address: '8.8.4.4' };
    const resolver = resolverOf(['8.8.8.8'], 'absent');
    assert.deepEqual(await resolve(resolver, {}, at), addresses('8.8.4.4'));
    assert.deepEqual(await resolve(resolverOf('failed', 'failed'), {}, at), unnamed('8.8.4.4'));
  });
});
