import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parsePathCommand } from '../../src/intake/path-command.ts';

describe('paths', () => {
  const good: [line: string, path: string, why: string][] = [
    ['MAIL FROM:<a@example.com>', 'a@example.com', 'plain'],
    ['mail from:<a@example.com>', 'a@example.com', 'verbs have no case'],
    ['MAIL FROM: <a@example.com>', 'a@example.com', 'a blank after the colon is common'],
    ['MAIL FROM:<>', '', 'the null reverse-path'],
    ['MAIL FROM:<a@xn--bcher-kva.example>', 'a@xn--bcher-kva.example', 'A-labels stay A-labels'],
    ['MAIL FROM:<a@bücher.example>', 'a@bücher.example', 'U-labels stay U-labels'],
    ['MAIL FROM:<"a b"@example.com>', '"a b"@example.com', 'a blank in quotes'],
    ['MAIL FROM:<"a>b"@example.com>', '"a>b"@example.com', 'a bracket in quotes'],
    ['MAIL FROM:<"a\\"> b"@example.com>', '"a\\"> b"@example.com', 'a quoted quote'],
    ['MAIL FROM:<"a@b"@example.com>', '"a@b"@example.com', 'an @ in quotes'],
    [
      'MAIL FROM:<@one.example,@two.example:a@example.com>',
      'a@example.com',
      'source route dropped',
    ],
    ['MAIL FROM:<@": ">', '@": "', 'a quoted string begins, and no source route ends, at a quote'],
    ['MAIL FROM:<a@[192.0.2.1]>', 'a@[192.0.2.1]', 'address literal'],
    ['MAIL FROM:<A.B@Example.COM>', 'A.B@Example.COM', 'case is kept'],
  ];
  for (const [line, path, why] of good) {
    test(`${why}: ${line}`, () => {
      const parsed = parsePathCommand('MAIL', line);
      assert.deepEqual(parsed, { kind: 'parsed', path, parameters: {} });
    });
  }

  const malformed: [line: string, why: string][] = [
    ['MAIL FROM:a@example.com', 'no brackets'],
    ['MAIL FROM:<a@example.com', 'not closed'],
    ['MAIL FROM:<"a@example.com>', 'quote not closed'],
    ['MAIL FROM:<a@example.com>SIZE=1', 'no blank before the parameter'],
    ['MAIL FROM:<<a@example.com>>', 'nested brackets'],
    ['MAIL FROM:<a b@example.com>', 'a blank outside quotes'],
    ['MAIL FROM', 'nothing'],
    ['MAIL <a@example.com>', 'no FROM'],
    ['RCPT TO:<a@example.com>', 'another command'],
    ['MAIL FROM:<a@example.com> =1', 'a value without a keyword'],
    ['MAIL FROM:<a@example.com> SIZE=', 'an empty value'],
  ];
  for (const [line, why] of malformed) {
    test(`refused, ${why}: ${line}`, () => {
      assert.deepEqual(parsePathCommand('MAIL', line), { kind: 'malformed' });
    });
  }
});

describe('parameters', () => {
  const parameters = (verb: 'MAIL' | 'RCPT', text: string) => {
    const result = parsePathCommand(
      verb,
      `${verb === 'MAIL' ? 'MAIL FROM' : 'RCPT TO'}:<a@b> ${text}`,
    );
    return result.kind === 'parsed'
      ? result.parameters
      : result.kind === 'refusal'
        ? result.code
        : 0;
  };

  test('keywords in any case, values as they are', () => {
    assert.deepEqual(parameters('MAIL', 'size=12  BODY=8bitmime SMTPUTF8'), {
      SIZE: '12',
      BODY: '8bitmime',
      SMTPUTF8: true,
    });
  });
  test('xtext is decoded once', () => {
    assert.deepEqual(parameters('MAIL', 'ENVID=a+2B41+3Db'), { ENVID: 'a+41=b' });
    assert.deepEqual(parameters('RCPT', 'ORCPT=rfc822;bob+2Btag@example.com'), {
      ORCPT: 'rfc822;bob+tag@example.com',
    });
  });
  test('what is not xtext is not decoded', () => {
    assert.deepEqual(parameters('MAIL', 'AUTH=a+2Bb'), { AUTH: 'a+2Bb' });
  });
  for (const [text, why] of [
    ['ENVID=a+0D+0Ab', 'line ends'],
    ['ENVID=a+2b', 'small hexadecimal digits'],
    ['ENVID=a+zz', 'no digits'],
    ['ENVID=a+', 'cut off'],
    ['ENVID=a=b', 'an equals sign that should be +3D'],
    ['ENVID=a+C3+A9', 'not ASCII'],
    ['ENVID=é', 'not ASCII either'],
    [`ENVID=${'x'.repeat(101)}`, 'too long'],
  ] as const) {
    test(`ENVID refused: ${why}`, () => assert.equal(parameters('MAIL', text), 501));
  }
  test('a UTF-8 address in ORCPT only with its type', () => {
    assert.deepEqual(parameters('RCPT', 'ORCPT=utf-8;jörg@bücher.example'), {
      ORCPT: 'utf-8;jörg@bücher.example',
    });
    assert.equal(parameters('RCPT', 'ORCPT=rfc822;jörg@bücher.example'), 501);
    assert.equal(parameters('RCPT', `ORCPT=rfc822;${'x'.repeat(500)}`), 501);
  });
  for (const text of ['HOLDFOR=10', 'BY=1;R', 'MT-PRIORITY=3', 'NOTIFY=NEVER', 'X=1']) {
    test(`not offered for MAIL: ${text}`, () => assert.equal(parameters('MAIL', text), 555));
  }
  test('not offered for RCPT: SIZE', () => assert.equal(parameters('RCPT', 'SIZE=1'), 555));
  test('given twice', () => {
    const twice = parsePathCommand('MAIL', 'MAIL FROM:<a@b> SIZE=1 size=2');
    assert.equal(twice.kind === 'parsed' && twice.duplicate, 'SIZE');
  });
});

test('any line gives an answer, and paths never hold a bracket outside quotes', () => {
  const pieces = fc.constantFrom(
    'MAIL FROM:',
    '<',
    '>',
    '"',
    '\\',
    ' ',
    '@',
    'a',
    '=',
    '+',
    'SIZE=1',
    'é',
    ':',
  );
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 30 }), (parts) => {
      const parsed = parsePathCommand('MAIL', parts.join(''));
      if (parsed.kind === 'parsed') {
        assert.doesNotMatch(parsed.path.replace(/"(?:[^"\\]|\\.)*"/g, ''), /[<> ]/);
      }
    }),
  );
});
