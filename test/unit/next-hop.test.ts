/** What a configured next hop says, and which route is for whom. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseNextHop } from '../../src/mail/next-hop.ts';
import { parseAddressLiteral } from '../../src/routing/address-literal.ts';
import {
  type ConfiguredHop,
  type ConfiguredRoute,
  createRouteTable,
} from '../../src/routing/route-table.ts';

describe('next hops', () => {
  const good: readonly [string, Record<string, unknown>][] = [
    ['mx.branch.internal:25', { kind: 'host', host: 'mx.branch.internal', port: 25 }],
    ['Relay.Example:587', { kind: 'host', host: 'relay.example', port: 587 }],
    ['relay.example', { kind: 'host', host: 'relay.example', port: undefined }],
    ['mx:25', { kind: 'host', host: 'mx', port: 25 }],
    ['192.0.2.1:25', { kind: 'address', address: '192.0.2.1', port: 25 }],
    ['[192.0.2.1]:25', { kind: 'address', address: '192.0.2.1', port: 25 }],
    ['[2001:db8::1]:465', { kind: 'address', address: '2001:db8::1', port: 465 }],
    ['[IPv6:2001:db8::1]', { kind: 'address', address: '2001:db8::1', port: undefined }],
    ['mx:Example.Net', { kind: 'mx', domain: 'example.net' }],
    ['mx:b\u00fccher.example', { kind: 'mx', domain: 'xn--bcher-kva.example' }],
  ];
  for (const [text, expected] of good) {
    test(text, () => assert.deepEqual(parseNextHop(text), expected));
  }
  const bad = [
    '',
    ':25',
    'relay.example:',
    'relay.example:0',
    'relay.example:65536',
    'relay.example:smtp',
    'relay example:25',
    'smtp://relay.example',
    '2001:db8::1',
    '[relay.example]:25',
    '[::1',
    'mx:',
    'mx:192.0.2.1',
    'mx:example.net:25',
  ];
  for (const text of bad) {
    test(`not: ${JSON.stringify(text)}`, () => assert.equal(parseNextHop(text), undefined));
  }
});

describe('the route table', () => {
  const port = (hop: ConfiguredHop | undefined) =>
    hop?.nextHop.kind === 'host' ? hop.nextHop.port : undefined;

  test('its own entry, else *, the first of several', () => {
    const table = createRouteTable([
      { domain: '*', nextHop: 'a.test:1' },
      { domain: 'Example.test.', nextHop: 'a.test:2' },
      { domain: 'example.test', nextHop: 'a.test:3' },
    ]);
    assert.equal(port(table('example.test')), 2);
    assert.equal(port(table('sub.example.test')), 1);
    assert.equal(port(table('[192.0.2.1]')), 1);
  });

  test('what a route says of its smart host, and nothing where it says nothing', () => {
    const smartHostOf = (more: Partial<ConfiguredRoute>) =>
      createRouteTable([{ domain: '*', nextHop: 'a.test', ...more }])('b.test')?.smartHost;
    assert.equal(smartHostOf({ wrapper: 'starttls', user: '', passwordFile: '' }), undefined);
    assert.deepEqual(smartHostOf({ wrapper: 'implicit' }), { implicitTls: true });
    assert.deepEqual(smartHostOf({ user: 'u', passwordFile: '/p' }), {
      implicitTls: false,
      login: { user: 'u', passwordFile: '/p' },
    });
  });

  test('none at all', () => assert.equal(createRouteTable([])('example.test'), undefined));

  test('entries that cannot be read', () => {
    assert.throws(() => createRouteTable([{ domain: '*.test', nextHop: 'a.test' }]), /\*\.test/);
    assert.throws(() => createRouteTable([{ domain: '*', nextHop: 'a test' }]), /a test/);
  });
});

describe('address literals', () => {
  const cases: readonly [string, string | undefined][] = [
    ['[192.0.2.1]', '192.0.2.1'],
    ['[IPv6:2001:db8::1]', '2001:db8::1'],
    ['[ipv6:::1]', '::1'],
    ['[2001:db8::1]', undefined],
    ['[192.0.2.333]', undefined],
    ['[192.0.2.01]', undefined],
    ['[IPv6:192.0.2.1]', undefined],
    ['[IPv6:fe80::1%eth0]', undefined],
    ['[x-tag:abc]', undefined],
    ['[]', undefined],
    ['[192.0.2.1', undefined],
    ['[192.0.2.1]]', undefined],
    [`[IPv6:${'0'.repeat(100)}::1]`, undefined],
  ];
  for (const [text, expected] of cases) {
    test(text.slice(0, 40), () => assert.equal(parseAddressLiteral(text), expected));
  }
});
