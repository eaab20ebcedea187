/** DSNs as their receivers read them: structure, fields, and nothing of a stranger's making. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Envelope } from '../../src/mail/envelope.ts';
import { type MessageId, newMessageId } from '../../src/mail/message-id.ts';
import { buildDsn, type DsnMessage } from '../../src/outcome/dsn-message.ts';
import type { AttemptRecord, RecordedFailure } from '../../src/spool/message-state.ts';
import { tempDir } from '../support/temp-dir.ts';
import { findCommand } from '../support/tied-child.ts';
import { parseReport, type Report } from './report-parser.ts';
import { attempt, FAILURE, octets, RECEIVED_AT, sampleEnvelope } from './sample-mail.ts';

const DSN: MessageId = newMessageId(RECEIVED_AT);
const HEADER = 'Received: from x by y\r\nSubject: hi\r\nX-Long: a\r\n b\r\n';
const ORIGINAL = `${HEADER}\r\nSecret body.\r\n.\r\n--not a boundary\r\n`;
const failed = (...indexes: number[]) => indexes.map((index) => ({ index, failure: FAILURE }));
const failure = (change: Partial<RecordedFailure>) => [
  { index: 0, failure: { ...FAILURE, ...change } },
];

interface Case {
  readonly envelope?: Partial<Envelope>;
  readonly record?: Partial<AttemptRecord>;
  readonly body?: string | Buffer;
  readonly openBody?: () => Promise<Readable>;
}

async function build({ envelope, record, body = ORIGINAL, openBody }: Case): Promise<DsnMessage> {
  const content = Buffer.from(body as string);
  return buildDsn({
    dsnId: DSN,
    original: { envelope: sampleEnvelope(envelope), sizeBytes: content.length, records: [] },
    record: attempt(record ?? { bounced: failed(0) }),
    attempts: 7,
    hostname: 'relay.example.net',
    openBody:
      openBody ?? (async () => Readable.from([content.subarray(0, 30), content.subarray(30)])),
  });
}

async function report(what: Case = {}): Promise<Report> {
  return parseReport(await octets((await build(what)).body));
}

const types = ({ parts }: Report) => parts.map(({ type }) => type);
const human = ({ parts }: Report) => parts[0]?.content.toString('utf8') ?? '';
const third = ({ parts }: Report) => parts[2]?.content.toString('latin1');

describe('a DSN', () => {
  test('goes from the null reverse-path to the sender, who wants to hear of it no more', async () => {
    const { envelope, failed: count, relayed } = await build({});
    assert.deepEqual(envelope, {
      id: DSN,
      reversePath: '',
      recipients: [{ address: 'ann@sender.example', notify: ['NEVER'] }],
      receivedAtMs: RECEIVED_AT + 1000,
      eightBitMime: false,
      smtpUtf8: false,
    });
    assert.deepEqual([count, relayed], [1, 0]);
  });

  test('has the header of a report', async () => {
    const { fields } = await report();
    assert.match(
      fields.get('content-type') ?? '',
      /^multipart\/report; report-type=delivery-status; boundary="/,
    );
    assert.equal(fields.get('from'), 'Mail Delivery System <MAILER-DAEMON@relay.example.net>');
    assert.equal(fields.get('to'), 'ann@sender.example');
    assert.equal(fields.get('auto-submitted'), 'auto-replied');
    assert.equal(fields.get('mime-version'), '1.0');
    assert.equal(fields.get('message-id'), `<${DSN}@relay.example.net>`);
    assert.equal(fields.get('date'), 'Thu, 15 Jan 2026 12:00:01 +0000');
    assert.equal(fields.get('subject'), 'Your message was not delivered');
  });

  test('has three parts, with fields for machines in the second', async () => {
    const read = await report({
      envelope: {
        envid: 'QQ+314 =x',
        recipients: [{ address: 'bob@dest.example', orcpt: 'rfc822;Bob@Old.example' }],
      },
    });
    assert.deepEqual(types(read), ['text/plain', 'message/delivery-status', 'text/rfc822-headers']);
    assert.deepEqual(Object.fromEntries(read.perMessage), {
      'reporting-mta': 'dns; relay.example.net',
      'original-envelope-id': 'QQ+314 =x',
      'arrival-date': 'Thu, 15 Jan 2026 12:00:00 +0000',
    });
    const [block, ...more] = read.recipients;
    assert.deepEqual(more, []);
    const { 'final-log-id': logId, ...fields } = Object.fromEntries(block ?? []);
    assert.match(String(logId), /^[0-9A-Z]{16}$/);
    assert.deepEqual(fields, {
      'original-recipient': 'rfc822; Bob@Old.example',
      'final-recipient': 'rfc822; bob@dest.example',
      action: 'failed',
      status: '5.1.1',
      'remote-mta': 'dns; mx.dest.example',
      'diagnostic-code': 'smtp; 550 5.1.1 no such user',
      'last-attempt-date': 'Thu, 15 Jan 2026 12:00:01 +0000',
    });
  });

  test('leaves out what nobody gave', async () => {
    const { perMessage, recipients } = await report();
    assert.equal(perMessage.has('original-envelope-id'), false);
    assert.equal(recipients[0]?.has('original-recipient'), false);
    assert.equal(recipients[0]?.has('will-retry-until'), false);
  });

  test('says smtp only for a real reply (RFC 3464 §2.3.6)', async () => {
    const local = failure({
      source: 'local',
      cause: 'certificate-expired',
      text: 'expired',
      status: '4.7.5',
    });
    const { recipients } = await report({ record: { bounced: local } });
    assert.equal(recipients[0]?.get('diagnostic-code'), 'x-stsrelay; expired');
    assert.equal(recipients[0]?.has('remote-mta'), false);
  });

  test('gives a host without a name as an address literal', async () => {
    const { host: _none, ...nameless } = FAILURE;
    for (const [address, literal] of [
      ['192.0.2.9', '[192.0.2.9]'],
      ['2001:db8::1', '[IPv6:2001:db8::1]'],
    ] as const) {
      const bounced = [{ index: 0, failure: { ...nameless, address } }];
      const relayed = [{ index: 0, host: address, reply: '250 ok' }];
      const notify = {
        recipients: [{ address: 'b@x.example', notify: ['SUCCESS', 'FAILURE'] as const }],
      };
      for (const record of [{ bounced }, { relayed }]) {
        const { recipients } = await report({ record, envelope: notify });
        assert.equal(recipients[0]?.get('remote-mta'), `dns; ${literal}`);
      }
    }
  });

  test('tells about relayed and failed recipients, each in a block, the others in none', async () => {
    const recipients = ['a', 'b', 'c', 'd', 'e'].map((name, index) => ({
      address: `${name}@dest.example`,
      notify: index === 3 ? (['NEVER'] as const) : (['SUCCESS', 'FAILURE'] as const),
    }));
    const record = {
      delivered: [0, 1],
      relayed: [{ index: 0, host: 'mx.dest.example', reply: '250 ok' }],
      bounced: failed(2, 3),
      deferred: failed(4),
    };
    const read = await report({ envelope: { recipients, ret: 'HDRS' }, record });
    assert.deepEqual(
      read.recipients.map((block) => [
        block.get('final-recipient'),
        block.get('action'),
        block.get('status'),
      ]),
      [
        ['rfc822; a@dest.example', 'relayed', '2.0.0'],
        ['rfc822; c@dest.example', 'failed', '5.1.1'],
      ],
    );
    assert.equal(read.recipients[0]?.has('diagnostic-code'), false);
    const { failed: bad, relayed } = await build({ envelope: { recipients }, record });
    assert.deepEqual([bad, relayed], [1, 1]);
    assert.match(human(read), /<a@dest\.example>[\s\S]*mx\.dest\.example/);
    assert.match(
      human(read),
      /<c@dest\.example>\r\n {4}mx\.dest\.example answered:\r\n {6}550 5\.1\.1/,
    );
  });

  test('explains an expired message: reason, demand, how often, since when', async () => {
    const bounced = failure({
      source: 'local',
      cause: 'certificate-host-mismatch',
      text: 'certificate names other.example, not mx.dest.example',
      status: '4.7.5',
      causeClass: 'tlsPolicy',
      demand: 'The MTA-STS policy of dest.example asks for TLS.',
      expired: true,
    });
    const text = human(await report({ record: { bounced } })).replace(/\s+/g, ' ');
    assert.match(text, /Mail server: mx\.dest\.example/);
    assert.match(text, /certificate names other\.example, not mx\.dest\.example/);
    assert.match(text, /The MTA-STS policy of dest\.example asks for TLS\./);
    assert.match(text, /Tried 7 times since Thu, 15 Jan 2026 12:00:00 GMT/);
  });
});

describe('the returned message', () => {
  test('is its header, unless the whole was asked for', async () => {
    for (const ret of ['HDRS', undefined] as const) {
      const read = await report(ret ? { envelope: { ret } } : {});
      assert.equal(third(read), HEADER);
    }
  });

  test('is whole with RET=FULL, octet for octet', async () => {
    const read = await report({ envelope: { ret: 'FULL' } });
    assert.equal(types(read)[2], 'message/rfc822');
    assert.equal(third(read), ORIGINAL);
  });

  test('is never whole in a report about success alone (RFC 3461 §4.3)', async () => {
    const read = await report({
      envelope: { ret: 'FULL', recipients: [{ address: 'a@b.example', notify: ['SUCCESS'] }] },
      record: { delivered: [0], relayed: [{ index: 0, host: 'mx.b.example', reply: '250 ok' }] },
    });
    assert.equal(types(read)[2], 'text/rfc822-headers');
    assert.equal(read.fields.get('subject'), 'Your message was relayed');
  });

  test('is its header when it is larger than a megabyte', async () => {
    const body = `${HEADER}\r\n${'x'.repeat(1000)}\r\n`.padEnd(1024 * 1024 + 1, 'y');
    assert.equal(third(await report({ envelope: { ret: 'FULL' }, body })), HEADER);
    const fits = body.slice(0, 1024 * 1024);
    assert.equal(third(await report({ envelope: { ret: 'FULL' }, body: fits })), fits);
  });

  test('8-bit content makes the report 8-bit, and only then', async () => {
    const body = Buffer.concat([Buffer.from(ORIGINAL), Buffer.from([0xe9, 0x0d, 0x0a])]);
    const { envelope } = await build({ envelope: { ret: 'FULL', eightBitMime: true }, body });
    assert.equal(envelope.eightBitMime, true);
    const read = await report({ envelope: { ret: 'FULL', eightBitMime: true }, body });
    assert.deepEqual(read.parts[2]?.content, body);
    assert.equal(read.fields.get('content-transfer-encoding'), '8bit');
    const plain = await build({ envelope: { ret: 'FULL', eightBitMime: true } });
    assert.equal(plain.envelope.eightBitMime, false);
  });

  test('8-bit octets in a header come back as they were, in a report of 7 bits', async () => {
    const header = Buffer.concat([Buffer.from('Subject: '), Buffer.from([0xe9, 0xff, 0x0d, 0x0a])]);
    const body = Buffer.concat([header, Buffer.from('\r\nbody')]);
    const { envelope } = await build({ body });
    assert.equal(envelope.eightBitMime, false);
    assert.deepEqual((await report({ body })).parts[2]?.content, header);
  });

  test('a header without end is cut', async () => {
    const read = await report({ body: `X: ${'y'.repeat(300_000)}` });
    assert.ok((read.parts[2]?.content.length ?? 0) <= 64 * 1024);
  });

  test('that the spool cannot give any more is left out; the report is made all the same', async () => {
    const breaksOff = new Readable({
      read() {
        this.push('Subject: ');
        this.destroy(new Error('EIO'));
      },
    });
    for (const openBody of [
      () => Promise.reject(new Error('ENOENT')),
      () => Promise.resolve(breaksOff),
    ]) {
      const read = await report({ openBody, envelope: { ret: 'FULL' } });
      assert.deepEqual(types(read), ['text/plain', 'message/delivery-status']);
    }
  });
});

describe('addresses that are not ASCII (RFC 6533)', () => {
  const smtpUtf8 = { smtpUtf8: true, recipients: [{ address: '用户@dest.example' }] };

  test('make the report an international one', async () => {
    const read = await report({ envelope: smtpUtf8 });
    assert.deepEqual(types(read), [
      'text/plain',
      'message/global-delivery-status',
      'message/global-headers',
    ]);
    assert.equal(read.recipients[0]?.get('final-recipient'), 'utf-8; 用户@dest.example');
    assert.match(human(read), /<用户@dest\.example>/);
    const { envelope } = await build({ envelope: smtpUtf8 });
    assert.deepEqual([envelope.smtpUtf8, envelope.eightBitMime], [true, true]);
    const whole = await report({ envelope: { ...smtpUtf8, ret: 'FULL' } });
    assert.equal(types(whole)[2], 'message/global');
  });

  test('of the sender, too', async () => {
    const { envelope } = await build({
      envelope: { smtpUtf8: true, reversePath: 'émile@sender.example' },
    });
    assert.equal(envelope.smtpUtf8, true);
    assert.equal(envelope.recipients[0]?.address, 'émile@sender.example');
  });

  test('SMTPUTF8 alone does not: the sender’s host may not take it', async () => {
    const { envelope } = await build({ envelope: { smtpUtf8: true } });
    assert.equal(envelope.smtpUtf8, false);
  });

  test('elsewhere they are escaped: an ASCII report holds ASCII', async () => {
    const read = await report({
      envelope: { recipients: [{ address: 'b@dest.example', orcpt: 'utf-8;bøb@dest.example' }] },
      record: { bounced: failure({ text: '550 5.1.1 unbekannter Empfänger 😀' }) },
    });
    const [block] = read.recipients;
    assert.equal(block?.get('original-recipient'), 'utf-8; b\\x{F8}b@dest.example');
    assert.equal(
      block?.get('diagnostic-code'),
      'smtp; 550 5.1.1 unbekannter Empf\\x{E4}nger \\x{1F600}',
    );
  });
});

describe('strangers’ texts', () => {
  const hostile = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string({
      unit: fc.constantFrom('\r', '\n', ':', ' ', 'a', '-', '\u2028', '\0', 'é', '<', ','),
    }),
    fc.constantFrom(
      'x\r\nBcc: victim@x.example',
      '\r\n\r\n--',
      'a\r\n.\r\nQUIT',
      '"\r\n"@x',
      'x'.repeat(5000),
    ),
  );
  const NAMES = new Set(
    'original-recipient final-recipient action status remote-mta diagnostic-code last-attempt-date final-log-id'.split(
      ' ',
    ),
  );

  test('cannot add a field, a line, a block or a part', async () => {
    const cases = fc.record({
      text: hostile,
      host: hostile,
      address: hostile,
      reversePath: hostile.map((text) => text.slice(0, 254)), // no path is longer
      envid: hostile,
      orcpt: hostile,
      smtpUtf8: fc.boolean(),
      remote: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(
        cases,
        async ({ text, host, address, reversePath, envid, orcpt, smtpUtf8, remote }) => {
          const { body } = await build({
            envelope: { reversePath, envid, smtpUtf8, recipients: [{ address, orcpt }] },
            record: { bounced: failure({ text, host, source: remote ? 'remote' : 'local' }) },
          });
          const message = await octets(body);
          const read = parseReport(message);
          assert.equal(read.parts.length, 3);
          assert.equal(read.recipients.length, 1);
          assert.deepEqual([...read.perMessage.keys()].length, 3);
          for (const name of read.recipients[0]?.keys() ?? []) assert.ok(NAMES.has(name), name);
          const top = [
            'from',
            'to',
            'subject',
            'date',
            'message-id',
            'auto-submitted',
            'mime-version',
            'content-transfer-encoding',
            'content-type',
          ];
          for (const name of read.fields.keys()) assert.ok(top.includes(name), name);
          for (const line of message.toString('latin1').split('\r\n'))
            assert.ok(line.length <= 998);
        },
      ),
      { numRuns: 150 },
    );
  });
});

const python = findCommand('python3');

test('Python’s email package reads it the same', {
  skip: !python && 'python3 is not installed',
}, async () => {
  using dir = tempDir();
  const script = `
import email, email.policy, json, sys
out = []
for path in sys.argv[1:]:
    message = email.message_from_binary_file(open(path, 'rb'), policy=email.policy.default)
    parts = [part.get_content_type() for part in message.iter_parts()]
    status = message.get_payload()[1]
    blocks = [dict(block.items()) for block in status.get_payload()]
    defects = [str(d) for part in message.walk() for d in part.defects]
    out.append({'type': message.get_content_type(), 'report': message.get_param('report-type'), 'to': str(message['To']),
                'parts': parts, 'blocks': blocks, 'defects': defects, 'human': message.get_payload()[0].get_content()})
print(json.dumps(out))`;
  const cases: Case[] = [
    { envelope: { envid: 'e1', ret: 'FULL' } },
    { envelope: { reversePath: '"two words, one comma"@sender.example' } },
    {
      envelope: {
        recipients: [
          { address: 'a@dest.example', notify: ['SUCCESS'] },
          { address: 'b@dest.example' },
        ],
      },
      record: {
        delivered: [0],
        relayed: [{ index: 0, host: 'mx.dest.example', reply: '250 ok' }],
        bounced: failed(1),
      },
    },
  ];
  const files = cases.map((_, n) => dir.file(`${n}.eml`));
  for (const [n, one] of cases.entries()) {
    writeFileSync(files[n] ?? '', await octets((await build(one)).body));
  }
  const output = execFileSync(python ?? '', ['-c', script, ...files], { encoding: 'utf8' });
  const read = JSON.parse(output) as {
    type: string;
    report: string;
    to: string;
    parts: string[];
    blocks: Record<string, string>[];
    defects: string[];
    human: string;
  }[];
  assert.equal(read.length, cases.length);
  for (const [n, one] of read.entries()) {
    const ours = parseReport(readFileSync(files[n] ?? ''));
    assert.deepEqual([one.type, one.report], ['multipart/report', 'delivery-status']);
    assert.deepEqual(one.defects, []);
    assert.deepEqual(one.parts, types(ours));
    const lower = one.blocks.map((block) =>
      Object.fromEntries(Object.entries(block).map(([name, value]) => [name.toLowerCase(), value])),
    );
    const expected = [ours.perMessage, ...ours.recipients].map((block) =>
      Object.fromEntries(block),
    );
    assert.deepEqual(lower, expected);
    assert.equal(one.to, ours.fields.get('to')?.replace(/^<|>$/g, ''));
    assert.equal(one.human.replaceAll('\n', '\r\n').trim(), human(ours).trim());
  }
  assert.deepEqual(
    read[2]?.blocks.slice(1).map((block) => block['Action']),
    ['relayed', 'failed'],
  );
});
