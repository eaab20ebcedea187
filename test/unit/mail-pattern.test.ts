/** What queued mail is chosen by: destination, sender, recipient. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  addressMatcher,
  describePattern,
  isNoNetwork,
  type MailPattern,
  matcherOf,
} from '../../src/queue/mail-pattern.ts';

describe('an address pattern', () => {
  const CASES: readonly [pattern: string, address: string, fits: boolean][] = [
    ['ann@home.test', 'ann@home.test', true],
    ['ann@home.test', 'Ann@HOME.test', true],
    ['ann@home.test', 'joann@home.test', false],
    ['*@home.test', 'ann@home.test', true],
    ['*@home.test', 'ann@home.test.evil', false],
    ['ann@*', 'ann@home.test', true],
    ['*', '', true],
    ['*', 'anything@all', true],
    ['a*b*c', 'abc', true],
    ['a*b*c', 'acb', false],
    ['a*a', 'a', false],
    ['a*a', 'aa', true],
    ['**@x', 'y@x', true],
    ['<>', '', true],
    ['<>', 'ann@home.test', false],
    ['a.c@x', 'abc@x', false],
  ];
  for (const [pattern, address, fits] of CASES) {
    test(`${pattern} and ${address || '<>'}: ${fits}`, () => {
      assert.equal(addressMatcher(pattern)(address), fits);
    });
  }

  test('says the same as a regular expression', () => {
    const some = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 8 });
    const text = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 10 });
    fc.assert(
      fc.property(some, text, (pattern, address) => {
        const expression = new RegExp(`^${pattern.replaceAll('*', '.*')}$`);
        assert.equal(addressMatcher(pattern)(address), expression.test(address));
      }),
    );
  });

  test('many stars take no longer than few', () => {
    const pattern = `${'a*'.repeat(150)}b`;
    const began = process.cpuUsage();
    assert.equal(addressMatcher(pattern)('a'.repeat(5000)), false);
    const { user, system } = process.cpuUsage(began);
    assert.ok(user + system < 1_000_000, 'a second of CPU would be a backtracking match');
  });
});

test('all parts of a pattern have to fit, and recipients may be unknown', () => {
  const matches = matcherOf({ domain: 'dest.test', sender: '*@shop.test', recipient: 'bob@*' });
  const mail = {
    destination: 'dest.test',
    sender: 'x@shop.test',
    recipients: ['a@b', 'bob@dest.test'],
    origin: undefined,
  };
  assert.equal(matches(mail), true);
  assert.equal(matches({ ...mail, destination: 'other.test' }), false);
  assert.equal(matches({ ...mail, sender: '' }), false);
  assert.equal(matches({ ...mail, recipients: ['a@b'] }), false);
  assert.equal(matches({ ...mail, recipients: undefined }), 'unknown');
  assert.equal(matches({ ...mail, sender: '', recipients: undefined }), false);
  assert.equal(matcherOf({})(mail), true);
});

describe('who handed it over', () => {
  const ours = undefined;
  const printer = { address: '10.0.0.7' };
  const eve = { address: '203.0.113.9', user: 'Eve' };
  const v6 = { address: '2001:db8::7' };
  const local = { address: 'fe80::1%eth0' };
  const rows: readonly [MailPattern, (typeof eve | typeof printer | undefined)[]][] = [
    [{ user: 'eve' }, [eve]],
    [{ user: 'e*' }, [eve]],
    [{ user: '*' }, [eve]],
    [{ user: '<>' }, [ours, printer, v6, local]],
    [{ client: '10.0.0.*' }, [printer]],
    [{ client: '203.0.113.9' }, [eve]],
    [{ client: '*' }, [printer, v6, eve, local]],
    [{ client: '10.0.0.0/8' }, [printer]],
    [{ client: '10.9.9.9/8' }, [printer]],
    [{ client: '10.0.0.7/32' }, [printer]],
    [{ client: '10.0.0.8/32' }, []],
    [{ client: '0.0.0.0/0' }, [printer, eve]],
    [{ client: '::/0' }, [v6, local]],
    [{ client: 'fe80::/10' }, [local]],
    [{ client: 'fe80::1' }, [local]],
    [{ client: '::ffff:10.0.0.7' }, [printer]],
    [{ client: '::ffff:10.0.0.0/104' }, [printer]],
    [{ client: '::ffff:0:0/96' }, [printer, eve]],
    [{ client: '2001:DB8::/32' }, [v6]],
    [{ client: '2001:0db8:0:0::0:7' }, [v6]],
    [{ client: '2001:db8::*' }, [v6]],
    [{ client: '10.0.0.0/33' }, []],
    [{ client: '<>' }, [ours]],
    [{ client: '10.0.0.7', user: 'eve' }, []],
    [{ client: '10.0.0.7', user: '<>' }, [printer]],
  ];
  for (const [pattern, fitting] of rows) {
    test(describePattern(pattern), () => {
      const matches = matcherOf(pattern);
      const mail = { destination: 'd.test', sender: '', recipients: undefined };
      const fits = [ours, printer, v6, eve, local].filter(
        (origin) => matches({ ...mail, origin }) === true,
      );
      assert.deepEqual(fits, fitting);
    });
  }
});

test('a network is held against more clients than are remembered', () => {
  const matches = matcherOf({ client: '10.0.0.0/9' });
  for (let round = 0; round < 2; round += 1) {
    for (let i = 0; i < 256; i += 1) {
      for (let j = 0; j < 8; j += 1) {
        const origin = { address: `10.${i}.0.${j}` };
        const mail = { destination: 'd.test', sender: '', recipients: undefined, origin };
        assert.equal(matches(mail), i < 128);
      }
    }
  }
});

test('what is meant as a network and is none', () => {
  for (const pattern of [
    '10.0.0.0/33',
    '10/8',
    'printers/2',
    '::/129',
    '10.0.0.0/8/8',
    '/',
    '10.*/8',
  ]) {
    assert.equal(isNoNetwork(pattern), true, pattern);
  }
  for (const pattern of ['10.0.0.0/8', '::/0', '10.*', '<>', '*', 'fe80::1']) {
    assert.equal(isNoNetwork(pattern), false, pattern);
  }
});

test('patterns in words', () => {
  assert.equal(describePattern({}), 'all mail');
  assert.equal(
    describePattern({ domain: 'd.test', sender: '<>', recipient: '*@d.test' }),
    'mail from <> to *@d.test for d.test',
  );
  assert.equal(
    describePattern({ user: 'eve', client: '10.0.0.*' }),
    'mail by user eve of client 10.0.0.*',
  );
  assert.equal(
    describePattern({ user: '<>', client: '<>' }),
    'mail without a login of the relay itself',
  );
  assert.equal(
    describePattern({ sender: '"a to b"@home.test' }),
    'mail from "\\"a to b\\"@home.test"',
    'no other pattern has this text: rules go by it',
  );
});
