/** DSNs as their receivers read them: structure, fields, and nothing of a stranger's making. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Envelope } from '../../src/mail/envelope.ts';
import { type MessageId, newMessageId } from '../../src/mail/message-id.ts';
import { dsnEntries } from '../../src/outcome/dsn-entries.ts';
import { buildDsn, type DsnMessage } from '../../src/outcome/dsn-message.ts';
import type {
  AttemptRecord,
  RecordedFailure,
  ReportedRecord,
  SpoolRecord,
} from '../../src/spool/message-state.ts';
import { tempDir } from '../support/temp-dir.ts';
import { findCommand } from '../support/tied-child.ts';
import { parseReport, type Report } from './report-parser.ts';
import { attempt, FAILURE, octets, RECEIVED_AT, sampleEnvelope } from './sample-mail.ts';

const HOUR = 3_600_000;
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
  /** What it went through before; the record is the last of seven attempts where this is absent. */
  readonly records?: readonly SpoolRecord[];
  /** In the place of an attempt's. */
  readonly about?: ReportedRecord;
  readonly body?: string | Buffer;
  readonly openBody?: () => Promise<Readable>;
}

async function build({ envelope, body = ORIGINAL, openBody, ...one }: Case): Promise<DsnMessage> {
  const content = Buffer.from(body as string);
  const record = one.about ?? attempt(one.record ?? { bounced: failed(0) });
  const records = one.records ?? Array.from({ length: 7 }, () => attempt());
  const original = { envelope: sampleEnvelope(envelope), sizeBytes: content.length, records };
  return buildDsn({
    dsnId: DSN,
    original,
    atMs: record.atMs,
    entries: dsnEntries(original, record),
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
    const { envelope } = await build({});
    assert.deepEqual(envelope, {
      id: DSN,
      reversePath: '',
      recipients: [{ address: 'ann@sender.example', notify: ['NEVER'] }],
      receivedAtMs: RECEIVED_AT + 1000,
      eightBitMime: false,
      smtpUtf8: false,
    });
  });

  test('about a message with REQUIRETLS asks for it, too (RFC 8689 §5)', async () => {
    const { envelope } = await build({ envelope: { requireTls: true } });
    assert.equal(envelope.requireTls, true);
    // Only that: what made the original go in clear text is no wish about its report.
    const relaxed = await build({ envelope: { tlsRequiredNo: true } });
    assert.deepEqual(
      [relaxed.envelope.requireTls, relaxed.envelope.tlsRequiredNo],
      [undefined, undefined],
    );
  });

  test('about a message with REQUIRETLS never returns the whole of it (RFC 8689 §5)', async () => {
    const whole = await report({ envelope: { ret: 'FULL' } });
    assert.equal(types(whole)[2], 'message/rfc822');
    const header = await report({ envelope: { ret: 'FULL', requireTls: true } });
    assert.equal(types(header)[2], 'text/rfc822-headers');
    assert.doesNotMatch(header.parts.map(({ content }) => content).join(), /Secret/);
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

  for (const [afterMs, words] of [
    [120 * HOUR + 59_000, '5 days'],
    [123 * HOUR, '5 days and 3 hours'],
    [25 * HOUR, '1 day and 1 hour'],
    [61_000, '1 minute and 1 second'],
    [999, 'less than a second'],
  ] as const) {
    test(`says that its time is over, after ${words}`, async () => {
      const bounced = failure({ expired: true });
      const text = human(await report({ record: { bounced, atMs: RECEIVED_AT + afterMs } }));
      const over = `    Given up after ${words}: messages are kept no longer.\r\n`;
      assert.ok(text.includes(over), text);
    });
  }

  test('says nothing of its time when a host refused it', async () => {
    assert.doesNotMatch(human(await report({})), /Given up/);
  });
});

describe('a DSN about what was given up while it waited', () => {
  const GIVEN_UP: RecordedFailure = {
    text: 'an administrator of this relay gave it up: they moved',
    source: 'local',
    cause: 'bounced-by-administrator',
    status: '5.0.0',
    causeClass: 'other',
  };
  const FULL: RecordedFailure = {
    ...FAILURE,
    address: '192.0.2.7',
    text: '452 4.2.2 mailbox full',
    status: '4.2.2',
    causeClass: 'mailboxFull',
  };
  const waits = (one: RecordedFailure, atMs: number) =>
    attempt({ atMs, deferred: [{ index: 0, failure: one }], nextAttemptMs: 1 });
  /** A report about the last record of a message. */
  const givenUp = (one: RecordedFailure, ...before: readonly SpoolRecord[]) => {
    const atMs = RECEIVED_AT + 120 * HOUR;
    const about = attempt({ atMs, untried: true, bounced: [{ index: 0, failure: one }] });
    return report({ about, records: [...before, about] });
  };
  const fieldsOf = (read: Report) => {
    const [block] = read.recipients;
    const names = ['status', 'remote-mta', 'diagnostic-code', 'last-attempt-date'];
    return names.map((name) => block?.get(name));
  };

  test('without an attempt says so, and has no date of one (RFC 3464 §2.3.7)', async () => {
    const read = await givenUp(GIVEN_UP);
    const said = `x-stsrelay; ${GIVEN_UP.text}`;
    assert.deepEqual(fieldsOf(read), ['5.0.0', undefined, said, undefined]);
    assert.match(
      human(read),
      / {6}an administrator of this relay gave it up: they moved\r\n {4}Not tried; the message came at Thu, 15 Jan 2026 12:00:00 GMT\.\r\n/,
    );
    assert.doesNotMatch(human(read), /last attempt/);
  });

  test('after attempts has the date of the last one, and what the host said then', async () => {
    const first = waits({ ...FULL, text: '450 busy' }, RECEIVED_AT + 1000);
    const read = await givenUp(GIVEN_UP, first, waits(FULL, RECEIVED_AT + HOUR));
    assert.deepEqual(fieldsOf(read), [
      '5.0.0',
      'dns; mx.dest.example',
      'smtp; 452 4.2.2 mailbox full',
      'Thu, 15 Jan 2026 13:00:00 +0000',
    ]);
    assert.ok(
      human(read)
        .replaceAll('\r\n', '\n')
        .includes(`
    Reason:
      an administrator of this relay gave it up: they moved
    The last attempt ended at Thu, 15 Jan 2026 13:00:00 GMT.
    mx.dest.example (192.0.2.7) answered:
      452 4.2.2 mailbox full
    Tried 2 times since Thu, 15 Jan 2026 12:00:00 GMT.
`),
      human(read),
    );
  });

  test('quotes no host where none answered last', async () => {
    const local = { ...FULL, source: 'local' as const, cause: 'timeout', text: 'no answer' };
    const read = await givenUp(GIVEN_UP, waits(local, RECEIVED_AT + HOUR));
    assert.deepEqual(fieldsOf(read), [
      '5.0.0',
      undefined,
      `x-stsrelay; ${GIVEN_UP.text}`,
      'Thu, 15 Jan 2026 13:00:00 +0000',
    ]);
    assert.match(
      human(read),
      /The last attempt ended at [^\n]*\n[^\n]*\n {4}Reason:\r\n {6}no answer/,
    );
  });

  test('knows an attempt that was cut off, and nothing of what came later', async () => {
    const more = attempt({ atMs: RECEIVED_AT + HOUR, more: true, delivered: [1] });
    const bounced = [{ index: 0, failure: GIVEN_UP }];
    const about = attempt({ atMs: RECEIVED_AT + 2 * HOUR, untried: true, bounced });
    const later = waits(FULL, RECEIVED_AT + 3 * HOUR);
    const read = await report({ about, records: [more, about, later] });
    assert.equal(fieldsOf(read).at(-1), 'Thu, 15 Jan 2026 13:00:00 +0000');
    assert.match(human(read), /Tried once/);
  });

  test('at the end of its lifetime says both: that nothing was tried, and after how long', async () => {
    const paused = 'delivery to dest.example is paused: moving';
    const closed = { ...GIVEN_UP, text: paused, cause: 'destination-closed', status: '4.4.7' };
    const read = await givenUp({ ...closed, expired: true });
    assert.deepEqual(fieldsOf(read), ['4.4.7', undefined, `x-stsrelay; ${paused}`, undefined]);
    assert.match(human(read), /Not tried; [^\n]*\n {4}Given up after 5 days: /);
  });
});

describe('a DSN about a delay', () => {
  const about: ReportedRecord = {
    kind: 'delay',
    atMs: RECEIVED_AT + 4 * HOUR,
    waiting: [
      { destination: 'dest.example', recipients: [0, 1], untilMs: RECEIVED_AT + 120 * HOUR },
      { destination: 'other.example', recipients: [2], untilMs: RECEIVED_AT + 48 * HOUR },
    ],
    dsnId: DSN,
  };
  const envelope = {
    ret: 'FULL' as const,
    recipients: ['a@dest.example', 'b@dest.example', 'c@other.example'].map((address) => ({
      address,
    })),
  };
  const certificate: RecordedFailure = {
    text: 'certificate names other.example, not mx.dest.example',
    source: 'local',
    cause: 'certificate-host-mismatch',
    host: 'mx.dest.example',
    address: '192.0.2.7',
    status: '4.7.5',
    causeClass: 'tlsPolicy',
    demand: 'The MTA-STS policy of dest.example asks for TLS.',
  };
  const busy: RecordedFailure = { ...FAILURE, text: '552 5.5.3 too many', status: '5.5.3' };
  const records = [
    attempt({ deferred: failed(0, 1), nextAttemptMs: 1 }),
    attempt({
      atMs: RECEIVED_AT + HOUR,
      deferred: [
        { index: 0, failure: certificate },
        { index: 1, failure: busy },
      ],
      nextAttemptMs: 1,
    }),
  ];

  test('says what stood in the way, and until when it is tried', async () => {
    const read = await report({ envelope, about, records });
    assert.equal(read.fields.get('subject'), 'Your message is delayed');
    assert.equal(read.fields.get('date'), 'Thu, 15 Jan 2026 16:00:00 +0000');
    assert.equal(types(read)[2], 'text/rfc822-headers', 'no failure in it: RFC 3461 §4.3');
    const blocks = read.recipients.map((block) => {
      const { 'final-log-id': _id, 'final-recipient': to, ...fields } = Object.fromEntries(block);
      return [to, fields] as const;
    });
    assert.deepEqual(Object.fromEntries(blocks), {
      'rfc822; a@dest.example': {
        action: 'delayed',
        status: '4.7.5',
        'diagnostic-code': 'x-stsrelay; certificate names other.example, not mx.dest.example',
        'last-attempt-date': 'Thu, 15 Jan 2026 13:00:00 +0000',
        'will-retry-until': 'Tue, 20 Jan 2026 12:00:00 +0000',
      },
      'rfc822; b@dest.example': {
        action: 'delayed',
        status: '4.5.3',
        'remote-mta': 'dns; mx.dest.example',
        'diagnostic-code': 'smtp; 552 5.5.3 too many',
        'last-attempt-date': 'Thu, 15 Jan 2026 13:00:00 +0000',
        'will-retry-until': 'Tue, 20 Jan 2026 12:00:00 +0000',
      },
      'rfc822; c@other.example': {
        action: 'delayed',
        status: '4.0.0',
        'will-retry-until': 'Sat, 17 Jan 2026 12:00:00 +0000',
      },
    });
    assert.equal(
      human(read).replaceAll('\r\n', '\n'),
      `This is the mail system at relay.example.net.

Your message has not been delivered yet to the recipients below. There is
nothing you need to do, and no need to send it again: it will be tried
again. What stood in the way stands under each address.

  <a@dest.example>
    Mail server: mx.dest.example (192.0.2.7)
    Reason:
      certificate names other.example, not mx.dest.example
    The MTA-STS policy of dest.example asks for TLS. The message was
    not sent over anything less.
    Tried 2 times since Thu, 15 Jan 2026 12:00:00 GMT.
    To be tried again until Tue, 20 Jan 2026 12:00:00 GMT.

  <b@dest.example>
    mx.dest.example answered:
      552 5.5.3 too many
    Tried 2 times since Thu, 15 Jan 2026 12:00:00 GMT.
    To be tried again until Tue, 20 Jan 2026 12:00:00 GMT.

  <c@other.example>
    Waiting since Thu, 15 Jan 2026 12:00:00 GMT; not tried yet.
    To be tried again until Sat, 17 Jan 2026 12:00:00 GMT.

`,
    );
  });

  test('leaves out those who got a fate meanwhile', async () => {
    const later = [...records, attempt({ delivered: [1], bounced: failed(2) })];
    const read = await report({ envelope, about, records: later });
    const names = read.recipients.map((block) => block.get('final-recipient'));
    assert.deepEqual(names, ['rfc822; a@dest.example']);
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
    const whole = await report({ envelope: { ...smtpUtf8, ret: 'FULL' } });
    assert.equal(types(whole)[2], 'message/global');
  });

  test('reach a sender with an ASCII address by any host: the report is ASCII', async () => {
    for (const ret of ['HDRS', 'FULL'] as const) {
      const what = { envelope: { ...smtpUtf8, ret }, body: 'Subject: é\r\n\r\né\r\n' };
      const { envelope, body } = await build(what);
      assert.deepEqual([envelope.smtpUtf8, envelope.eightBitMime], [false, false]);
      const message = await octets(body);
      assert.match(message.toString('latin1'), /^[\r\n -~]*$/);
      const { parts } = parseReport(message);
      const expected = ret === 'FULL' ? what.body : 'Subject: é\r\n';
      assert.equal(parts[2]?.content.toString('utf8'), expected);
    }
  });

  test('a header that is not ASCII makes the report an international one, too', async () => {
    const body = 'Subject: é\r\n\r\nx\r\n';
    const headers = await report({ envelope: { smtpUtf8: true }, body });
    assert.equal(types(headers)[2], 'message/global-headers');
    assert.equal(headers.parts[2]?.content.toString('utf8'), 'Subject: é\r\n');
    const whole = await report({ envelope: { smtpUtf8: true, ret: 'FULL' }, body });
    assert.equal(types(whole)[2], 'message/global');
  });

  test('of the sender, too', async () => {
    const { envelope } = await build({
      envelope: { smtpUtf8: true, reversePath: 'émile@sender.example' },
    });
    assert.deepEqual([envelope.smtpUtf8, envelope.eightBitMime], [true, true]);
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
    {
      envelope: {
        client: { address: '192.0.2.3', helo: 'app.sender.example', tls: true },
        recipients: Array.from({ length: 500 }, (_, n) => ({ address: `r${n}@dest.example` })),
      },
      about: {
        kind: 'delay',
        atMs: RECEIVED_AT + 5000,
        waiting: [
          { destination: 'dest.example', recipients: [...Array(500).keys()], untilMs: 1.8e12 },
        ],
        dsnId: DSN,
      },
      records: [attempt({ deferred: failed(...Array(500).keys()), nextAttemptMs: 1 })],
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
  assert.equal(read[3]?.blocks.length, 501);
  assert.equal(read[3]?.blocks[0]?.['Received-From-MTA'], 'dns; app.sender.example');
  assert.equal(read[3]?.blocks[500]?.['Will-Retry-Until'], 'Fri, 15 Jan 2027 08:00:00 +0000');
});
