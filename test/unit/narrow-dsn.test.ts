/** A report that returned 8-bit mail whole, made anew for a host that takes ASCII alone. */
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { newMessageId } from '../../src/mail/message-id.ts';
import { dsnEntries } from '../../src/outcome/dsn-entries.ts';
import { buildDsn } from '../../src/outcome/dsn-message.ts';
import { narrowDsn, withHeaderOnly } from '../../src/outcome/narrow-dsn.ts';
import { parseReport } from './report-parser.ts';
import { attempt, FAILURE, octets, RECEIVED_AT, sampleEnvelope } from './sample-mail.ts';

const HEADER = 'Received: from x by y\r\nSubject: hi\r\nX-Long: a\r\n b\r\n';
const BODY = 'Grüße\r\n--not a boundary\r\n';

/** The report about a message that is returned whole. */
async function wideReport(content: Buffer, requireTls?: true) {
  const change = { ret: 'FULL' as const, eightBitMime: true };
  const record = attempt({ bounced: [{ index: 0, failure: FAILURE }] });
  const original = { envelope: sampleEnvelope(change), sizeBytes: content.length, records: [] };
  const { envelope, body } = await buildDsn({
    dsnId: newMessageId(RECEIVED_AT),
    ...{ original, entries: dsnEntries(original, record), atMs: record.atMs },
    hostname: 'relay.example.net',
    openBody: async () => Readable.from([content]),
  });
  const asked = requireTls ? { requireTls } : {};
  return { envelope: { ...envelope, ...asked }, wide: await octets(body) };
}

describe('a report made anew', () => {
  test('has the header of what was returned, and all else as it was', async () => {
    const { envelope, wide } = await wideReport(Buffer.from(`${HEADER}\r\n${BODY}`), true);
    assert.equal(envelope.eightBitMime, true);
    const dsnId = newMessageId(RECEIVED_AT + 5);
    const openBody = async () => Readable.from([wide.subarray(0, 99), wide.subarray(99)]);
    const made = await narrowDsn({ dsnId, envelope, atMs: RECEIVED_AT + 5, openBody });
    assert.ok(made);
    assert.deepEqual(made.envelope, {
      ...{ id: dsnId, reversePath: '', recipients: envelope.recipients },
      ...{ receivedAtMs: RECEIVED_AT + 5, eightBitMime: false, smtpUtf8: false, requireTls: true },
    });
    const [before, now] = [parseReport(wide), parseReport(await octets(made.body))];
    assert.deepEqual(now.parts.slice(0, 2), before.parts.slice(0, 2));
    assert.deepEqual(
      [now.parts.length, now.parts[2]?.type, now.parts[2]?.content.toString()],
      [3, 'text/rfc822-headers', HEADER],
    );
    const { 'content-transfer-encoding': encoding, ...fields } = Object.fromEntries(before.fields);
    assert.equal(encoding, '8bit');
    assert.deepEqual(Object.fromEntries(now.fields), fields);
  });

  test('whatever was returned: ASCII throughout, its header octet for octet', async () => {
    const lines = fc.array(fc.string({ unit: 'binary', maxLength: 40 }), { maxLength: 6 });
    const clean = (line: string) => line.replace(/[\r\n]/g, ' ');
    await fc.assert(
      fc.asyncProperty(lines, lines, async (fields, texts) => {
        const header = fields.map((one, n) => `X-${n}: ${clean(one)}\r\n`).join('');
        const body = [...texts.map(clean), 'é', '------x--'].join('\r\n');
        const content = Buffer.from(`${HEADER}${header}\r\n${body}`);
        const { wide } = await wideReport(content);
        const narrow = withHeaderOnly(wide);
        assert.ok(narrow);
        assert.ok(narrow.every((octet) => octet < 0x80));
        const third = parseReport(narrow).parts[2];
        assert.equal(third?.type, 'text/rfc822-headers');
        assert.deepEqual(third?.content, Buffer.from(HEADER + header));
      }),
      { numRuns: 200 },
    );
  });

  test('of anything else there is none', async () => {
    const { envelope, wide } = await wideReport(Buffer.from(`${HEADER}\r\n${BODY}`));
    const ask = (openBody: () => Promise<Buffer>) =>
      narrowDsn({ dsnId: envelope.id, envelope, atMs: RECEIVED_AT, openBody });
    assert.equal(await ask(() => Promise.reject(new Error('unreadable'))), undefined);
    assert.equal(await ask(async () => Buffer.from(`${HEADER}\r\n${BODY}`)), undefined);
    fc.assert(
      fc.property(fc.nat(wide.length), fc.nat(255), fc.nat(wide.length), (at, octet, length) => {
        const broken = Buffer.from(wide.subarray(0, length));
        if (at < broken.length) broken[at] = octet;
        const made = withHeaderOnly(broken);
        assert.ok(made === undefined || made.every((one) => one < 0x80));
        if (length < wide.length - 4) assert.equal(made, undefined, 'it is cut off');
      }),
      { numRuns: 500 },
    );
  });
});
