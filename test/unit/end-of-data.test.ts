import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { DataDecoder } from '../../src/protocol/smtp/end-of-data.ts';

/** What `chunks` hold; `rest` includes the chunks behind the end. */
function decode(chunks: readonly string[]): { content: string; rest: string | undefined } {
  const decoder = new DataDecoder();
  let content = '';
  for (const [at, chunk] of chunks.entries()) {
    const decoded = decoder.decode(Buffer.from(chunk, 'latin1'));
    content += decoded.content.toString('latin1');
    if (decoded.rest === undefined) continue;
    const rest = decoded.rest.toString('latin1') + chunks.slice(at + 1).join('');
    return { content, rest };
  }
  return { content, rest: undefined };
}

/** The rules of RFC 5321 §4.1.1.4 and §4.5.2, line by line, on all of it at once. */
function expected(octets: string): { content: string; rest: string | undefined } {
  let content = '';
  let left = octets;
  for (;;) {
    if (left.startsWith('.\r\n')) return { content, rest: left.slice(3) };
    const end = left.indexOf('\r\n');
    const line = end < 0 ? left : left.slice(0, end + 2);
    content += line.startsWith('.') ? line.slice(1) : line;
    if (end < 0) return { content, rest: undefined };
    left = left.slice(line.length);
  }
}

function splitAt(octets: string, places: readonly number[]): string[] {
  const cuts = [...new Set(places.map((place) => place % (octets.length + 1)))];
  const all = [0, ...cuts.sort((a, b) => a - b), octets.length];
  return all.slice(1).map((cut, at) => octets.slice(all[at], cut));
}

describe('the end of the data', () => {
  const rows: [octets: string, content: string, rest: string | undefined][] = [
    ['.\r\n', '', ''],
    ['a\r\n.\r\nQUIT\r\n', 'a\r\n', 'QUIT\r\n'],
    ['\r\n.\r\n', '\r\n', ''],
    ['..\r\n.\r\n', '.\r\n', ''],
    ['...\r\n.\r\n', '..\r\n', ''],
    ['.a\r\n.\r\n', 'a\r\n', ''],
    ['a\r\n.b\r\n..c\r\n.\r\n', 'a\r\nb\r\n.c\r\n', ''],
    ['a\r\n.\r\n.\r\n', 'a\r\n', '.\r\n'],
    ['a\n.\n', 'a\n.\n', undefined],
    ['a\n.\r\n', 'a\n.\r\n', undefined],
    ['a\r\n.\n', 'a\r\n\n', undefined],
    ['a\r.\r', 'a\r.\r', undefined],
    ['a\r\n.\rb', 'a\r\n\rb', undefined],
    ['a\r\n.\r\r\n.\r\n', 'a\r\n\r\r\n', ''],
    ['a\r\r\n.\r\n', 'a\r\r\n', ''],
    ['', '', undefined],
  ];
  for (const [octets, content, rest] of rows) {
    test(`${JSON.stringify(octets)}, split anywhere`, () => {
      assert.deepEqual(expected(octets), { content: content + pending(octets), rest });
      for (let a = 0; a <= octets.length; a += 1) {
        for (let b = a; b <= octets.length; b += 1) {
          assert.deepEqual(decode(splitAt(octets, [a, b])), { content, rest });
        }
      }
      assert.deepEqual(decode([...octets]), { content, rest });
    });
  }
});

/** What the reference gives away at once of a line with a dot that is not complete yet. */
function pending(octets: string): string {
  return /(^|\r\n)\.\r$/.test(octets) ? '\r' : '';
}

test('any octets in any chunks: as the rules say', () => {
  const piece = fc.constantFrom(
    '\r\n.\r\n',
    '\r\n.',
    '\r\n',
    '\r',
    '\n',
    '.',
    '..',
    'a',
    'bcd\r\n',
  );
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 30 }),
      fc.array(fc.nat(200), { maxLength: 6 }),
      (pieces, places) => {
        const octets = pieces.join('');
        const wanted = expected(octets);
        const { content, rest } = decode(splitAt(octets, places));
        assert.equal(rest, wanted.rest);
        const kept = rest === undefined ? pending(octets) : '';
        assert.equal(content + kept, wanted.content);
      },
    ),
    { numRuns: 3000 },
  );
});

test('a message that is nothing but dots costs no more than its octets', () => {
  const octets = '\r\n..'.repeat(100_000);
  const { content } = decode([octets]);
  assert.equal(content, '\r\n.'.repeat(100_000));
});
