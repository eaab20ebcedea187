/** The content in one piece is what nodemailer's stream makes of it. */
import assert from 'node:assert/strict';
import { buffer } from 'node:stream/consumers';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import DataStream from 'nodemailer/lib/smtp-connection/data-stream';
import { ContentStream, wholeContent } from '../../src/delivery/content.ts';

async function streamed(body: Buffer): Promise<string> {
  return piecesThrough(new DataStream(), [body]);
}

async function piecesThrough(stream: DataStream, pieces: readonly Buffer[]): Promise<string> {
  for (const piece of pieces) if (piece.length > 0) stream.write(piece);
  stream.end();
  return (await buffer(stream)).toString('latin1');
}

describe('wholeContent', () => {
  const table: readonly (readonly [body: string, content: string | undefined, why: string])[] = [
    ['a\r\n', 'a\r\n.\r\n', 'a line'],
    ['', '\r\n.\r\n', 'nothing'],
    ['a', 'a\r\n.\r\n', 'a last line without an end'],
    ['.\r\n', '..\r\n.\r\n', 'a dot alone'],
    ['.a\r\n..\r\n.', '..a\r\n...\r\n..\r\n.\r\n', 'dots that begin lines'],
    ['a.\r\n', 'a.\r\n.\r\n', 'one that does not'],
    ['\xff\xfe\r\n', '\xff\xfe\r\n.\r\n', 'octets of any kind'],
    ['a\rb\r\n', undefined, 'a CR alone'],
    ['a\n', undefined, 'an LF alone'],
    ['a\r\r\n', undefined, 'a CR too many'],
    ['a\r\n\n', undefined, 'an LF too many'],
    ['a\r', undefined, 'a CR at the end'],
    ['\n.\r\n', undefined, 'what ends a message for a careless host'],
  ];
  for (const [body, content, why] of table) {
    test(`${why}: ${JSON.stringify(body)}`, () => {
      assert.equal(wholeContent(Buffer.from(body, 'latin1'))?.toString('latin1'), content);
    });
  }

  test('is what nodemailer makes of it, or nothing', async () => {
    const texts = fc.string({
      unit: fc.constantFrom('\r\n', '\r\n', '.', 'a', '\xfc', '\r', '\n'),
    });
    await fc.assert(
      fc.asyncProperty(texts, async (text) => {
        const body = Buffer.from(text, 'latin1');
        const content = wholeContent(body)?.toString('latin1');
        const isClean = !/[\r\n]/.test(text.replaceAll('\r\n', ''));
        assert.equal(content !== undefined, isClean);
        if (content !== undefined) assert.equal(content, await streamed(body));
      }),
    );
  });
});

test('ContentStream makes what nodemailer makes, of any octets in any pieces', async () => {
  const piece = fc.string({
    unit: fc.constantFrom('\r\n', '\r\n', '\r\n.', '.', 'a', '\xfc', '\r', '\n', '\0'),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 8 }), async (texts) => {
      const pieces = texts.map((text) => Buffer.from(text, 'latin1'));
      const ours = new ContentStream();
      const theirs = new DataStream();
      assert.equal(await piecesThrough(ours, pieces), await piecesThrough(theirs, pieces));
      assert.equal(ours.outByteCount, theirs.outByteCount);
      assert.equal(ours.inByteCount, theirs.inByteCount);
    }),
    { numRuns: 500 },
  );
});
