import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type ContentFault, ContentScanner } from '../../src/protocol/smtp/content.ts';
import { HeaderScanner } from '../../src/protocol/smtp/header-scan.ts';

/** `whole` cut at the given places (taken modulo its length), in order. */
function chunksOf(whole: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [...cuts.map((cut) => cut % (whole.length + 1)), 0, whole.length];
  places.sort((a, b) => a - b);
  return places.slice(1).map((end, index) => whole.subarray(places[index], end));
}

function scan(chunks: readonly Buffer[]): { fault: ContentFault | undefined; eightBit: boolean } {
  const scanner = new ContentScanner();
  for (const chunk of chunks) scanner.push(chunk);
  return { fault: scanner.end(), eightBit: scanner.sawEightBit };
}

/** The rule, written over the whole content at once. */
function naiveFault(content: string): ContentFault | undefined {
  const found = /\r(?!\n)|(?<!\r)\n|\0/.exec(content)?.[0];
  if (found === undefined) return undefined;
  return found === '\r' ? 'bare-cr' : found === '\n' ? 'bare-lf' : 'nul';
}

const cuts = fc.array(fc.nat(), { maxLength: 8 });

describe('ContentScanner', () => {
  const bad: readonly (readonly [string, ContentFault, string])[] = [
    ['a\n.\r\nMAIL FROM:<x@y>\r\n', 'bare-lf', 'LF before a dot line'],
    ['a\r\n.\nMAIL FROM:<x@y>\r\n', 'bare-lf', 'LF after a dot'],
    ['a\n.\n', 'bare-lf', 'LF on both sides of the dot'],
    ['a\r.\r', 'bare-cr', 'CR on both sides of the dot'],
    ['a\r\n.\rb\r\n', 'bare-cr', 'CR after a dot'],
    ['a\r\r\n', 'bare-cr', 'CR before CRLF'],
    ['a\r\n\n', 'bare-lf', 'LF after CRLF'],
    ['\n', 'bare-lf', 'LF as the first octet'],
    ['a\r', 'bare-cr', 'CR as the last octet'],
    ['a\r\0\n', 'bare-cr', 'NUL between CR and LF'],
    ['a\r\n.\0\r\n', 'nul', 'NUL'],
  ];
  for (const [content, fault, why] of bad) {
    test(`finds ${why}, whole and octet by octet`, () => {
      const whole = Buffer.from(content, 'latin1');
      assert.equal(scan([whole]).fault, fault);
      assert.equal(scan(chunksOf(whole, [...whole.keys()])).fault, fault);
    });
  }

  test('takes ordinary content, a missing last line end included', () => {
    for (const content of ['', '\r\n', 'a: b\r\n\r\n.\r\ntext', '\r\n'.repeat(1000)]) {
      assert.deepEqual(scan([Buffer.from(content)]), { fault: undefined, eightBit: false });
    }
  });

  test('tells at the call that brings it, and goes on telling', () => {
    const scanner = new ContentScanner();
    assert.equal(scanner.push(Buffer.from('a\r')), undefined);
    assert.equal(scanner.push(Buffer.from('b')), 'bare-cr');
    assert.equal(scanner.push(Buffer.from('\0')), 'bare-cr');
    assert.equal(scanner.end(), 'bare-cr');
  });

  test('agrees with the rule over the whole content, however it is cut', () => {
    const unit = fc.constantFrom(
      '\r',
      '\n',
      '\r\n',
      '\r\n',
      '\r\n',
      '\0',
      '.',
      'a',
      '\xe9',
      'text',
    );
    const content = fc.oneof(
      fc.string({ unit, maxLength: 30 }),
      fc.string({ unit: fc.constantFrom('\r\n', 'text', '\xff', '.'), maxLength: 30 }),
    );
    fc.assert(
      fc.property(content, cuts, (text, at) => {
        assert.deepEqual(scan(chunksOf(Buffer.from(text, 'latin1'), at)), {
          fault: naiveFault(text),
          eightBit: /[\x80-\xff]/.test(text),
        });
      }),
      { numRuns: 3000 },
    );
  });
});

describe('HeaderScanner', () => {
  function count(chunks: readonly Buffer[]): HeaderScanner {
    const scanner = new HeaderScanner();
    for (const chunk of chunks) scanner.push(chunk);
    return scanner;
  }

  /** message, Received fields, why. */
  const table: readonly (readonly [string, number, string])[] = [
    ['', 0, 'no content'],
    ['Received: a\r\n\r\n', 1, 'one'],
    ['RECEIVED:a\r\nreceived:\r\nReCeIvEd : b\r\n', 3, 'any case, blanks before the colon'],
    ['Received: a\r\n Received: b\r\n\tReceived: c\r\n\r\n', 1, 'folded lines are no fields'],
    ['Received: a\r\n\r\nReceived: b\r\n', 1, 'the body does not count'],
    ['\r\nReceived: a\r\n', 0, 'empty header'],
    ['Received: a\n\nReceived: b\n', 1, 'LF alone ends lines, too'],
    ['Received-SPF: a\r\nX-Received: b\r\nReceive: c\r\nReceivedd: d\r\n', 0, 'other names'],
    ['Received\r\n: a\r\n', 0, 'a name without colon on its line'],
    ['ÒECEIVED: a\r\n', 0, 'octets that lower-casing by one bit would confuse'],
    ['\rX\r\nReceived: a\r\n', 1, 'a line that begins with a bare CR is not empty'],
    ['Subject: Received: a\r\nReceived: b', 1, 'a value, and a line without end'],
  ];
  for (const [message, expected, why] of table) {
    test(`${why}`, () => {
      const whole = Buffer.from(message, 'latin1');
      assert.equal(count([whole]).receivedCount, expected);
      assert.equal(count(chunksOf(whole, [...whole.keys()])).receivedCount, expected);
    });
  }

  /** message, whether it asks for less, why. */
  const relaxed: readonly (readonly [string, boolean, string])[] = [
    ['TLS-Required: No\r\n\r\n', true, 'as RFC 8689 §3 has it'],
    ['Subject: x\r\ntls-REQUIRED:nO\r\nTo: y\r\n\r\n', true, 'any case, no blank'],
    ['TLS-Required:\r\n \tNo\r\n\r\n', true, 'folded'],
    ['TLS-Required: No', true, 'a message that ends in it'],
    ['TLS-Required: Yes\r\n\r\n', false, 'another value'],
    ['TLS-Required:\r\n\r\n', false, 'no value'],
    ['TLS-Required: No.\r\n\r\n', false, 'something behind it'],
    ['TLS-Required: No \r\n\r\n', false, 'a blank behind it'],
    ['TLS-Required: No\r\n (please)\r\n\r\n', false, 'a folded line behind it'],
    ['TLS-Required: (so) No\r\n\r\n', false, 'a comment'],
    ['TLS-Required: N\r\n o\r\n\r\n', false, 'folded within the word'],
    ['TLS-Required : No\r\n\r\n', false, 'a blank before the colon'],
    ['TLS-Required: No\r\nTLS-Required: No\r\n\r\n', false, 'twice'],
    ['TLS-Required: No\r\nTLS-Required : x\r\n\r\n', false, 'a second one of another form'],
    ['X-TLS-Required: No\r\nTLS-RequiredX: No\r\n\r\n', false, 'other names'],
    ['TLS\rRequired: No\r\n\r\n', false, 'an octet that lower-casing by one bit would confuse'],
    ['Subject: x\r\n TLS-Required: No\r\n\r\n', false, 'in a folded line'],
    ['Subject: x\r\n\r\nTLS-Required: No\r\n', false, 'in the body'],
    ['TLS-Required: No\r\n\r\n\tx\r\nTLS-Required: No\r\n', true, 'the body changes nothing'],
  ];
  for (const [message, expected, why] of relaxed) {
    test(`TLS-Required: ${why}`, () => {
      const whole = Buffer.from(message, 'latin1');
      assert.equal(count([whole]).end().tlsRequiredNo, expected);
      assert.equal(count(chunksOf(whole, [...whole.keys()])).end().tlsRequiredNo, expected);
    });
  }

  for (const [header, expected, why] of [
    ['Message-ID: <1@a.example>\r\n', '<1@a.example>', 'as it stands'],
    ['A: b\r\nMESSAGE-id:<1@a.example>\r\nB: c\r\n', '<1@a.example>', 'any case, no blank'],
    ['Message-ID :\t<1@a.example> \r\n', '<1@a.example>', 'obsolete syntax (RFC 5322 §4.5)'],
    ['Message-ID:\r\n <1@a.example>\r\nX: y\r\n', '<1@a.example>', 'folded (RFC 5322 §2.2.3)'],
    ['Message-ID: <1>\r\nMessage-ID: <2>\r\n 3\r\n', '<1>', 'the first'],
    ['Message-ID: <1>\r\nX: y\r\n z\r\n', '<1>', 'not the fold of another field'],
    ['Message-ID: <\u001b[31m1\u0000\u202e@a>\r\n', '< [31m1 @a>', 'nothing that is not seen'],
    [`Message-ID: ${'é'.repeat(400)}\r\n`, 'é'.repeat(300), 'so much of it'],
    [`Message-ID: ${'x'.repeat(5000)}\r\n y\r\n`, 'x'.repeat(300), 'a long one'],
    ['Message-ID: \r\n', undefined, 'empty'],
    ['Message-IDs: <1>\r\nX-Message-ID: <1>\r\n', undefined, 'other names'],
    ['A: b\r\n\r\nMessage-ID: <1>\r\n', undefined, 'the body'],
  ] as const) {
    test(`Message-ID: ${why}`, () => {
      const whole = Buffer.from(`${header}\r\nbody\r\n`);
      assert.equal(count([whole]).end().messageId, expected);
      assert.equal(count(chunksOf(whole, [...whole.keys()])).end().messageId, expected);
    });
  }

  test('says when the header is over', () => {
    assert.equal(count([Buffer.from('A: b\r\n')]).headerEnded, false);
    assert.equal(count([Buffer.from('A: b\r\n'), Buffer.from('\r\n')]).headerEnded, true);
  });

  test('agrees with splitting the whole message, however it is cut', () => {
    const unit = fc.constantFrom('Received', 'received:', ':', ' ', '\r\n', '\r\n', 'a', '\r\n ');
    fc.assert(
      fc.property(fc.string({ unit, maxLength: 30 }), cuts, (message, at) => {
        const header = /^\r\n/.test(message) ? '' : (message.split('\r\n\r\n', 1)[0] ?? '');
        const fields = header.split('\r\n').filter((line) => /^received[ \t]*:/i.test(line));
        assert.equal(count(chunksOf(Buffer.from(message), at)).receivedCount, fields.length);
      }),
      { numRuns: 3000 },
    );
  });
});
