/** What queued mail is chosen by: destination, sender, recipient. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { addressMatcher, describePattern, matcherOf } from '../../src/queue/mail-pattern.ts';

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
  };
  assert.equal(matches(mail), true);
  assert.equal(matches({ ...mail, destination: 'other.test' }), false);
  assert.equal(matches({ ...mail, sender: '' }), false);
  assert.equal(matches({ ...mail, recipients: ['a@b'] }), false);
  assert.equal(matches({ ...mail, recipients: undefined }), 'unknown');
  assert.equal(matches({ ...mail, sender: '', recipients: undefined }), false);
  assert.equal(matcherOf({})(mail), true);
});

test('patterns in words', () => {
  assert.equal(describePattern({}), 'all mail');
  assert.equal(
    describePattern({ domain: 'd.test', sender: '<>', recipient: '*@d.test' }),
    'mail from <> to *@d.test for d.test',
  );
});
