/** From MX answers to candidates: order, chance, null MX, the relay itself, and names that are none. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { LookupResult, MxRecord } from '../../src/platform/resolver.ts';
import { type DomainName, parseDomain } from '../../src/protocol/domain.ts';
import { decideMx, type MxDecision } from '../../src/routing/mx.ts';

function domain(text: string): DomainName {
  const parsed = parseDomain(text);
  assert.ok(parsed !== undefined);
  return parsed;
}
function found(...records: readonly (readonly [number, string])[]): LookupResult<MxRecord> {
  return {
    kind: 'found',
    records: records.map(([preference, exchange]) => ({ preference, exchange })),
    ttlSeconds: 60,
    authenticated: false,
    canonicalName: 'example.test',
  };
}
function absent(nameExists: boolean): LookupResult<MxRecord> {
  return { kind: 'absent', nameExists, ttlSeconds: 60, authenticated: false };
}
function decide(
  answer: LookupResult<MxRecord>,
  { own = '', random = Math.random }: { own?: string; random?: () => number } = {},
): MxDecision {
  const isOwn = (host: string) => host === own;
  return decideMx({ domain: domain('example.test'), answer, isOwn, port: 2525, random });
}
function hosts(decision: MxDecision): readonly string[] {
  assert.ok(decision.kind === 'candidates', JSON.stringify(decision));
  return decision.candidates.map(({ host }) => host ?? '');
}
function cause(decision: MxDecision): string {
  assert.ok(decision.kind === 'failed', JSON.stringify(decision));
  return decision.failure.cause;
}

describe('answers without records', () => {
  test('failed is failed: no look at the addresses', () => {
    const decision = decide({ kind: 'failed', reason: 'SERVFAIL from 127.0.0.1:53' });
    assert.equal(cause(decision), 'dns-failed');
    assert.match(decision.kind === 'failed' ? decision.failure.detail : '', /SERVFAIL/);
  });
  test('no such domain', () => assert.equal(cause(decide(absent(false))), 'domain-not-found'));
  test('no MX: the domain itself, at the configured port', () => {
    assert.deepEqual(decide(absent(true)), {
      kind: 'candidates',
      implicit: true,
      candidates: [{ host: 'example.test', preference: 0, port: 2525 }],
    });
  });
  test('no MX, and the domain is this relay', () => {
    assert.equal(cause(decide(absent(true), { own: 'example.test' })), 'mail-loops-back');
  });
});

describe('null MX', () => {
  for (const records of [
    [[0, '']],
    [[10, '']],
    [
      [0, ''],
      [10, ''],
    ],
  ] as const) {
    test(JSON.stringify(records), () => assert.equal(cause(decide(found(...records))), 'null-mx'));
  }
  test('beside a host it is passed over', () => {
    assert.deepEqual(hosts(decide(found([0, ''], [10, 'mx.test']))), ['mx.test']);
  });
});

describe('hosts', () => {
  test('lower preference first, as A-labels in lower case', () => {
    const answer = found([30, 'C.test'], [10, 'a.test.'], [20, 'xn--bcher-kva.test']);
    assert.deepEqual(hosts(decide(answer)), ['a.test', 'xn--bcher-kva.test', 'c.test']);
  });

  test('the same host twice counts at its best preference', () => {
    const answer = found([20, 'a.test'], [10, 'b.test'], [5, 'A.test'], [5, 'a.test']);
    assert.deepEqual(hosts(decide(answer)), ['a.test', 'b.test']);
  });

  const impossible = [
    '192.0.2.1',
    'a..test',
    'a b.test',
    '-a.test',
    'b\u00fccher.test',
    'a\0.test',
  ];
  for (const name of impossible) {
    test(`no host: ${JSON.stringify(name)}`, () => {
      assert.equal(cause(decide(found([10, name]))), 'no-usable-mx');
      assert.deepEqual(hosts(decide(found([10, name], [20, 'mx.test']))), ['mx.test']);
    });
  }

  test('an underscore is let through', () => {
    assert.deepEqual(hosts(decide(found([10, 'mx_1.test']))), ['mx_1.test']);
  });

  test('no more than twenty, the best ones', () => {
    const records = Array.from({ length: 100 }, (_, i) => [100 - i, `mx${100 - i}.test`] as const);
    const kept = hosts(decide(found(...records)));
    assert.equal(kept.length, 20);
    assert.equal(kept[0], 'mx1.test');
    assert.equal(kept[19], 'mx20.test');
  });
});

describe('this relay among them', () => {
  const answer = found([10, 'a.test'], [20, 'us.test'], [20, 'b.test'], [30, 'c.test']);
  test('it, its equals and the worse ones are dropped', () => {
    assert.deepEqual(hosts(decide(answer, { own: 'us.test' })), ['a.test']);
  });
  test('nothing left', () => {
    assert.equal(cause(decide(answer, { own: 'a.test' })), 'mail-loops-back');
  });
  test('it is found among more hosts than are tried', () => {
    const records = Array.from({ length: 30 }, (_, i) => [10, `mx${i}.test`] as const);
    const loops = decide(found(...records, [10, 'us.test']), { own: 'us.test' });
    assert.equal(cause(loops), 'mail-loops-back');
  });
});

describe('chance', () => {
  const equals = found([10, 'a.test'], [10, 'b.test'], [10, 'c.test'], [5, 'first.test']);

  test('equals are shuffled evenly, preferences never mixed', () => {
    const counts = new Map<string, number>();
    for (let i = 0; i < 6000; i++) {
      const [first, ...rest] = hosts(decide(equals));
      assert.equal(first, 'first.test');
      counts.set(rest.join(), (counts.get(rest.join()) ?? 0) + 1);
    }
    assert.equal(counts.size, 6);
    for (const [order, count] of counts)
      assert.ok(count > 800 && count < 1200, `${order}: ${count}`);
  });

  test('it is the chance that was handed in', () => {
    const first = hosts(decide(equals, { random: () => 0 }));
    assert.deepEqual(hosts(decide(equals, { random: () => 0 })), first);
    assert.notDeepEqual(hosts(decide(equals, { random: () => 0.99999 })), first);
  });

  test('whatever the records, hosts come once each and in order', () => {
    const record = fc.tuple(
      fc.nat(65535),
      fc.constantFrom('', 'a.test', 'b.test', 'C.test', '1.2.3.4'),
    );
    fc.assert(
      fc.property(fc.array(record, { minLength: 1, maxLength: 40 }), (records) => {
        const decision = decide(found(...records));
        if (decision.kind === 'failed') {
          return ['null-mx', 'no-usable-mx'].includes(decision.failure.cause);
        }
        const preferences = decision.candidates.map(({ preference }) => preference);
        assert.deepEqual(
          preferences,
          preferences.toSorted((a, b) => a - b),
        );
        assert.equal(new Set(hosts(decision)).size, decision.candidates.length);
        return decision.candidates.length > 0;
      }),
    );
  });
});

describe('what DNSSEC vouches for (RFC 7672 §2.2.1)', () => {
  const secured = (answer: LookupResult<MxRecord>) => {
    const decision = decide(answer);
    return decision.kind === 'candidates' ? decision.securedNames : undefined;
  };
  const mx = found([10, 'mx.test']) as LookupResult<MxRecord> & { kind: 'found' };

  test('nothing without AD', () => assert.equal(secured(mx), undefined));
  test('the domain, with MX records or without', () => {
    assert.deepEqual(secured({ ...mx, authenticated: true }), ['example.test']);
    const none = { ...absent(true), authenticated: true } as LookupResult<MxRecord>;
    assert.deepEqual(secured(none), ['example.test']);
  });
  test('and the name it is an alias of', () => {
    const alias = { ...mx, authenticated: true, canonicalName: 'far.test' };
    assert.deepEqual(secured(alias), ['example.test', 'far.test']);
  });
});
