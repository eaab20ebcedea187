/**
 * The From fields that a signature may speak for: exactly one mailbox, which all readers read alike.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseFromMailbox } from '../../src/protocol/dkim/from-mailbox.ts';

describe('one mailbox', () => {
  const good: readonly (readonly [value: string, address: string, why: string])[] = [
    ['a@b.test', 'a@b.test', 'an address'],
    [' \ta@b.test ', 'a@b.test', 'blanks around it'],
    ['<a@b.test>', 'a@b.test', 'no name'],
    ['A B<a@b.test>', 'a@b.test', 'a name'],
    ['Dr. J.R. Doe <a@b.test>', 'a@b.test', 'dots in the name'],
    ['"Doe, J. <c@d.test>" <a@b.test>', 'a@b.test', 'anything in a quoted name'],
    ['"a \\"b\\" \\\\" <a@b.test>', 'a@b.test', 'quoted pairs'],
    ['=?utf-8?q?J=C3=B6rg?= =?utf-8?b?w7Y=?= <a@b.test>', 'a@b.test', 'encoded words'],
    ['Jörg 👩‍🚒 <jörg@bücher.test>', 'jörg@bücher.test', 'UTF-8'],
    ['(x) A (y (z) \\)) < (q) a (r) @ (s) b.test > (t)', 'a@b.test', 'comments everywhere'],
    ['a@b.test (c@d.test, "not a string)', 'a@b.test', 'anything in a comment'],
    ['"a b"@c.test', '"a b"@c.test', 'a quoted local part'],
    ["x!#$%&'*+-/?=^_`{|}~.y@b.test", "x!#$%&'*+-/?=^_`{|}~.y@b.test", 'all of atext'],
  ];
  for (const [value, address, why] of good) {
    test(why, () => assert.equal(parseFromMailbox(value), address));
  }
  const bad: readonly (readonly [value: string, why: string])[] = [
    ['', 'nothing'],
    ['a', 'no domain'],
    ['ceo@a.test:app1@a.test', 'a group without a space'],
    [':ceo@a.test<app1@a.test', 'a group without a name'],
    ['CEO <ceo@a.test, x <app1@a.test>', 'a bracket that is not closed'],
    ['ceo@a.test> <<app1@a.test>[', 'brackets anywhere'],
    ['ceo@a.test <app1@a.test>', 'an address for a name'],
    ['<ceo@a.test> <app1@a.test>', 'two in brackets'],
    ['<app1@a.test> CEO', 'a name behind it'],
    ['app1@a.test CEO', 'a word behind it'],
    ['a@b.test, c@d.test', 'two mailboxes'],
    ['a@b.test,', 'a list of one'],
    ['x: a@b.test;', 'a group'],
    ['<@c.test:a@b.test>', 'a route'],
    ['. A <a@b.test>', 'a name that begins with a dot'],
    ['"A <a@b.test>', 'a quote that is not closed'],
    ['A (x <a@b.test>', 'a comment that is not closed'],
    ['a@b.test (x\\)', 'a comment whose end is quoted'],
    ['a@b.test )', 'a comment that was not opened'],
    ['a..b@c.test', 'two dots'],
    ['.a@c.test', 'a dot first'],
    ['a@b.test.', 'a dot last'],
    ['a @b. test', 'a blank in the domain'],
    ['a b@c.test', 'a blank in the local part'],
    ['"a".b@c.test', 'a local part of both kinds'],
    ['a@[192.0.2.1]', 'an address literal'],
    ['a@b@c.test', 'two @'],
    ['"ceo@d.test x"@a.test', 'an address in the local part'],
    ['=?utf-8?q?ceo=40d.test=00?=@a.test', 'an encoded word in the local part'],
    ['a@sen\x01der.test', 'a control character in the domain'],
    ['A\x00 <a@b.test>', 'a control character in the name'],
    ['A \x9f <a@b.test>', 'another'],
    ['A\n <a@b.test>', 'a line end'],
    ['a@sen\u00adder.test', 'a soft hyphen in the domain'],
    ['a\u200b@b.test', 'a space without width in the local part'],
    ['a\u00a0@b.test', 'a blank that is no blank'],
    ['a@b.test\u3000', 'a wide blank'],
    ['\ud800 <a@b.test>', 'half a character'],
    [`${'('.repeat(3000)}`, 'more than anybody reads'],
  ];
  for (const [value, why] of bad) {
    test(`not: ${why}`, () => assert.equal(parseFromMailbox(value), undefined));
  }

  const word = fc.constantFrom('A', 'x.y', '"b, c"', '=?utf-8?q?d=40?=', '"e <f@g.test>"', 'ö');
  const blank = fc.constantFrom(' ', '\t', ' (h)', ' (i (j@k.test) l) ', '(,) ');
  const address = fc.constantFrom('a@b.test', '"a b"@c.test', 'ö@bücher.test');

  test('its address is found whatever stands around it', () => {
    const name = fc.array(fc.tuple(word, blank), { maxLength: 5 });
    fc.assert(
      fc.property(name, address, blank, blank, (words, only, before, after) => {
        const named = `${words.flat().join('')}<${before}${only}${after}>`;
        for (const value of [named, `${before}${named}${after}`, `${before}${only}${after}`]) {
          assert.equal(parseFromMailbox(value), only, value);
        }
      }),
    );
  });

  test('whatever is taken has one @ and no list outside quotes and comments', () => {
    const bit = fc.constantFrom(...'<>()"\\,:;@. [', 'a', 'b.test', 'c@d.test', '<e@f.test>');
    fc.assert(
      fc.property(fc.array(bit, { maxLength: 12 }), (bits) => {
        const value = bits.join('');
        const found = parseFromMailbox(value);
        if (found === undefined) return;
        const rest = bareText(value);
        assert.match(
          rest,
          /^[^@<>,:;[()"\\]*(?:<[^@<>,:;[()"\\]*@[^@<>,:;[()"\\]*> *|@[^@<>,:;[()"\\]*)$/,
        );
        assert.ok(rest.replaceAll(' ', '').includes(bareText(found)), value);
      }),
      { numRuns: 5000 },
    );
  });
});

/** What stands outside quotes and comments. */
function bareText(value: string): string {
  let rest = '';
  let depth = 0;
  let isQuoted = false;
  for (let i = 0; i < value.length; i++) {
    const character = value[i];
    if (character === '\\' && (isQuoted || depth > 0)) i += 1;
    else if (character === '"' && depth === 0) isQuoted = !isQuoted;
    else if (character === '(' && !isQuoted) depth += 1;
    else if (character === ')' && !isQuoted && depth > 0) depth -= 1;
    else if (!isQuoted && depth === 0) rest += character;
  }
  return rest;
}
