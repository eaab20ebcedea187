import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { compileAccess, userMaySend } from '../../src/intake/access.ts';
import { clientKey } from '../../src/intake/client-key.ts';

describe('trusted networks', () => {
  const trusts = (networks: string[], address: string) =>
    compileAccess({ trustedNetworks: networks, allowedSenderDomains: [] }).trusts(address);

  const rows: [networks: string[], address: string, trusted: boolean][] = [
    [['127.0.0.0/8'], '127.3.2.1', true],
    [['127.0.0.0/8'], '::ffff:127.0.0.1', true],
    [['127.0.0.0/8'], '128.0.0.1', false],
    [['::ffff:10.0.0.0/104'], '10.1.2.3', true],
    [['::ffff:10.0.0.0/104'], '11.1.2.3', false],
    [['10.0.0.7'], '10.0.0.7', true],
    [['10.0.0.7'], '10.0.0.8', false],
    [['::1/128'], '::1', true],
    [['::1/128'], '127.0.0.1', false],
    [['2001:db8::/32'], '2001:db8:1::5', true],
    [['2001:db8::/32'], '2001:db9::5', false],
    [['0.0.0.0/0'], '2001:db8::1', false],
    [['::/0'], '192.0.2.1', false],
    [[], '127.0.0.1', false],
    [['127.0.0.0/8'], '', false],
    [['127.0.0.0/8'], 'localhost', false],
  ];
  for (const [networks, address, trusted] of rows) {
    test(`${address || '(none)'} in [${networks}]: ${trusted}`, () =>
      assert.equal(trusts(networks, address), trusted));
  }
});

describe('senders', () => {
  const allows = (domains: string[], sender: string) =>
    compileAccess({ trustedNetworks: [], allowedSenderDomains: domains }).allowsSender(sender);
  const may = (patterns: string[], sender: string) =>
    userMaySend({ name: 'u', allowedSenders: patterns }, sender);

  const rows: [allowed: boolean, expected: boolean, what: string][] = [
    [allows([], 'a@any.example'), true, 'an empty list allows any'],
    [allows(['example.com'], 'a@Example.COM'), true, 'case of domains'],
    [allows(['example.com'], 'a@sub.example.com'), false, 'not the domains below'],
    [allows(['example.com'], 'a@notexample.com'), false, 'not a longer name'],
    [allows(['bücher.example'], 'a@xn--bcher-kva.example'), true, 'A-labels and U-labels'],
    [allows(['example.com'], ''), true, 'the null reverse-path'],
    [allows(['example.com'], 'a@[192.0.2.1]'), false, 'an address literal'],
    [may(['*'], 'x@y.example'), true, 'any'],
    [may(['alice@example.com'], 'Alice@example.com'), true, 'case of local parts'],
    [may(['alice@example.com'], 'bob@example.com'), false, 'another local part'],
    [may(['alice@example.com'], 'alice@example.org'), false, 'another domain'],
    [may(['*@example.com'], 'bob@example.com'), true, 'any at a domain'],
    [may(['@example.com'], 'bob@example.com'), true, 'the same, shorter'],
    [may(['example.com'], 'bob@example.com'), true, 'the same, shortest'],
    [may(['*.example.com'], 'bob@a.b.example.com'), true, 'below a domain'],
    [may(['*.example.com'], 'bob@example.com'), false, 'below does not include it'],
    [may(['*.example.com'], 'bob@badexample.com'), false, 'labels count'],
    [may(['nonsense@@'], 'bob@example.com'), false, 'a pattern that is none'],
    [may(['alice@example.com'], ''), true, 'a user may bounce'],
    [may([], 'bob@example.com'), false, 'a user without senders has none'],
  ];
  for (const [allowed, expected, what] of rows) test(what, () => assert.equal(allowed, expected));
});

test('clients are counted per IPv4 address and per /64', () => {
  assert.equal(clientKey('::ffff:192.0.2.1'), clientKey('192.0.2.1'));
  assert.equal(clientKey('2001:db8::1'), clientKey('2001:db8::ffff:1'));
  assert.notEqual(clientKey('2001:db8::1'), clientKey('2001:db8:0:1::1'));
  assert.equal(clientKey(''), '');
});
