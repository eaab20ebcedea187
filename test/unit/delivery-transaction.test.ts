import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { asReply, formatOrcpt } from '../../src/delivery/transaction.ts';
import { parsePathCommand } from '../../src/intake/path-command.ts';

describe('formatOrcpt', () => {
  const cases: readonly (readonly [orcpt: string, sent: string, why: string])[] = [
    ['rfc822;bob@example.org', 'rfc822;bob@example.org', 'nothing to encode'],
    ['rfc822;bob+tag=1@x', 'rfc822;bob+2Btag+3D1@x', 'the two that xtext keeps for itself'],
    ['rfc822;"a b\\\\"@x', 'rfc822;"a+20b\\\\"@x', 'a blank; a backslash is nothing special'],
    ['x400;c=de;a=y', 'x400;c+3Dde;a+3Dy', 'a semicolon in the address'],
    ['utf-8;jörg@bücher.example', 'utf-8;j\\x{F6}rg@b\\x{FC}cher.example', 'not ASCII'],
    ['UTF-8;\u{10400}@x', 'UTF-8;\\x{10400}@x', 'beyond the first plane'],
    ['utf-8;\\x{FC}@x', 'utf-8;\\x{FC}@x', 'encoded already'],
    [
      'utf-8;a\\b+c=d e@x',
      'utf-8;a\\x{5C}b\\x{2B}c\\x{3D}d\\x{20}e@x',
      'what stands for itself nowhere',
    ],
  ];
  for (const [orcpt, sent, why] of cases) {
    test(`${why}: ${orcpt}`, () => assert.equal(formatOrcpt(orcpt), sent));
  }

  test('is one word of ASCII, and comes back as it was', () => {
    const address = fc.string({ unit: fc.constantFrom(...'aZ9@.+=\\;{} !~"'), minLength: 1 });
    fc.assert(
      fc.property(address, (text) => {
        const sent = formatOrcpt(`rfc822;${text}`);
        assert.match(sent, /^[!-~]+$/);
        const read = parsePathCommand('RCPT', `RCPT TO:<> ORCPT=${sent}`);
        assert.equal(read.kind === 'parsed' && read.parameters['ORCPT'], `rfc822;${text}`);
      }),
    );
  });

  test('an address that is not ASCII is taken by a host like us', () => {
    const international = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(international, (text) => {
        const sent = formatOrcpt(`utf-8;${text}`);
        assert.match(sent, /^utf-8;[!-~]+$/);
        assert.equal(parsePathCommand('RCPT', `RCPT TO:<> ORCPT=${sent}`).kind, 'parsed');
        assert.equal(formatOrcpt(sent), sent);
      }),
    );
  });
});

describe('asReply', () => {
  test('takes a reply of no known form by its first digit', () => {
    assert.equal(asReply('250 2.0.0 ok')?.enhanced, '2.0.0');
    assert.equal(asReply('2')?.code, 200);
    assert.equal(asReply('5x')?.code, 500);
    assert.equal(asReply('hello'), undefined);
    assert.equal(asReply('199 x'), undefined);
  });
});
