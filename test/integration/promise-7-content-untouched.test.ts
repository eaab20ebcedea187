/**
 * Promise 7: content is untouched. Behind our own Received field a message leaves with the
 * octets it came with, and what its envelope asks for is honoured by the next hop or answered
 * with the right failure.
 */
import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, sign, verify } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import type { MxHost, ReceivedMessage } from '../support/mx-host.ts';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import { dsnAbout, NO_RETRY, openSession } from '../support/relay-mail.ts';
import { type RelayProcess, startRelay } from '../support/relay-process.ts';
import type { SmtpClient } from '../support/smtp-client.ts';
import { parseReport } from '../unit/report-parser.ts';

const HEADER = 'From: a@sender.test\r\nTo: b@plain.test\r\nSubject: untouched\r\n\r\n';

let net: PretendInternet;
let relay: RelayProcess;
let client: SmtpClient;
let mx: MxHost;
let senderMx: MxHost;

before(async () => {
  net = await startPretendInternet();
  mx = await net.mxHost({ host: 'mx.plain.test', certificate: null });
  await net.domain('plain.test', { mx: [{ host: mx.name }] });
  await net.domain('secure.test', { sts: {} });
  senderMx = await net.mxHost({ host: 'mx.sender.test', certificate: null });
  await net.domain('sender.test', { mx: [{ host: senderMx.name }] });
  relay = await startRelay({ settings: [net.relaySettings(), NO_RETRY] });
  client = await openSession({ port: relay.smtpPort });
});
after(async () => {
  client?.close();
  await relay?.close();
  await net?.close();
});

/** Send `content` through the relay; the message as the MX host got it. */
async function through(
  content: string | Buffer,
  { to = 'b@plain.test', host = mx, mailParams = '' } = {},
): Promise<ReceivedMessage> {
  const result = await client.deliver({
    from: 'a@sender.test',
    to,
    data: content,
    ...(mailParams === '' ? {} : { mailParams }),
  });
  assert.ok(result.accepted, result.reply.raw);
  const id = result.id ?? '';
  const message = await host.waitUntil(`message ${id}`, (sessions) =>
    sessions
      .flatMap(({ messages }) => messages)
      .find(({ data, reply }) => data.includes(id) && reply?.startsWith('2')),
  );
  assert.deepEqual(message.session.violations, []);
  assert.match(receivedField(message), new RegExp(`^Received: from client\\.test \\(.*${id}`, 's'));
  return message;
}

/** Our field, up to the CRLF behind its date: content may begin with a blank. */
function receivedField({ data }: ReceivedMessage): string {
  const text = data.subarray(0, 4096).toString('latin1');
  return /^Received: [^;]*;\r\n\t[^\r\n]*\r\n/.exec(text)?.[0] ?? '';
}

/** Everything behind our Received field. */
function rest(message: ReceivedMessage): Buffer {
  return message.data.subarray(receivedField(message).length);
}

function assertSame(message: ReceivedMessage, content: string | Buffer): void {
  const sent = Buffer.from(content);
  const got = rest(message);
  if (got.equals(sent)) return;
  const at = sent.findIndex((octet, i) => got[i] !== octet);
  const around = (octets: Buffer) =>
    JSON.stringify(octets.subarray(Math.max(0, at - 40), at + 40).toString('latin1'));
  assert.fail(
    `${sent.length} octets went in, ${got.length} came out; they differ at ${at}:\n` +
      `in:  ${around(sent)}\nout: ${around(got)}`,
  );
}

describe('the octets', () => {
  const samples: readonly (readonly [string, string | Buffer])[] = [
    ['an ordinary message', `${HEADER}hello\r\n`],
    ['a line of 2,000 octets', `${HEADER}${'x'.repeat(2000)}\r\n`],
    ['a line of 100,000 octets', `${HEADER}${'long '.repeat(20_000)}\r\n`],
    ['a header line of 20,000 octets', `X-Long: ${'y'.repeat(20_000)}\r\n${HEADER}\r\n`],
    ['8-bit text in UTF-8', `${HEADER}Grüße, 世界 🎉\r\n`],
    ['all octets but NUL, CR and LF', Buffer.concat([Buffer.from(HEADER), allOctets()])],
    ['8-bit octets in the header', Buffer.from('Subject: \xe9\xff\r\n\r\nx\r\n', 'latin1')],
    ['no Subject, no From, no Date', 'X-Only: this\r\n\r\nbody\r\n'],
    ['no body, no empty line', 'Subject: header alone\r\n'],
    ['an empty body', HEADER],
    ['no header: an empty line first', '\r\nbody\r\n'],
    ['no header at all', 'this is no header field\r\nand neither is this\r\n'],
    ['nothing', ''],
    ['one empty line', '\r\n'],
    ['many empty lines at the end', `${HEADER}x\r\n\r\n\r\n\r\n`],
    ['dots at line starts', `${HEADER}.\r\n..\r\n...\r\n.x\r\n. \r\n..x\r\nx.\r\n`],
    ['a dot line alone', '.\r\n'],
    ['a dot line as the first of the body', `${HEADER}.\r\nQUIT\r\n`],
    ['a dot line as the last', `${HEADER}x\r\n.\r\n`],
    ['dots in the header', '.Subject: odd\r\n..X: y\r\n\r\n.\r\n'],
    [
      'blanks and tabs everywhere',
      'Subject:\t \r\n \r\nX-Y :z\r\n\t\r\n  folded\r\n\r\n \r\n\t \r\nx \r\n',
    ],
    ['a folded line first', '\tfolded\r\n folded, too\r\n\r\nx\r\n'],
    ['bare folding and odd names', 'A:\r\nB : \r\n: nameless\r\n folded: x\r\n\r\ny\r\n'],
    [
      'Received and Return-Path of others',
      `Return-Path: <x@y>\r\nReceived: from a by b\r\n${HEADER}\r\n`,
    ],
    [
      'boundary-like lines',
      `${HEADER}--=_b\r\n--=_b--\r\n--\r\n-- \r\n--=_b\r\n\r\nFrom x\r\n>From x\r\n`,
    ],
    ['form feeds, escapes and DEL', `${HEADER}a\x0bb\x0cc\x1b[31md\x7f\x08\r\n`],
  ];
  for (const [what, content] of samples) {
    test(what, async () => assertSame(await through(content), content));
  }

  test('a last line without CRLF is ended, as SMTP ends every line', async () => {
    assertSame(await through(`${HEADER}no line end`), `${HEADER}no line end\r\n`);
  });

  test('5 MiB of random text', async () => {
    const content = Buffer.concat([Buffer.from(HEADER), randomText(5 * 1024 * 1024)]);
    assertSame(await through(content), content);
  });

  test('over TLS to a verified host', async () => {
    const content = `${HEADER}.\r\n${'ü'.repeat(3000)}\r\n..\r\n`;
    const host = await net.mxHost({ host: 'mx.secure.test' });
    const message = await through(content, { to: 'b@secure.test', host });
    assert.ok(message.tls);
    assertSame(message, content);
  });

  test('any CRLF lines whatever', async () => {
    const line = fc.oneof(
      { weight: 3, arbitrary: fc.uint8Array({ maxLength: 80 }) },
      { weight: 1, arbitrary: fc.uint8Array({ minLength: 900, maxLength: 1200 }) },
      {
        weight: 2,
        arbitrary: fc
          .array(fc.constantFrom('.', ' ', '\t', '-', ':', 'Z'), { maxLength: 4 })
          .map((signs) => Buffer.from(signs.join(''))),
      },
    );
    const allowed = (octets: Uint8Array) => octets.filter((octet) => ![0, 10, 13].includes(octet));
    const lines = fc.array(line, { maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(lines, async (parts) => {
        const crlf = Buffer.from('\r\n');
        const content = Buffer.concat(parts.flatMap((part) => [allowed(part), crlf]));
        assertSame(await through(content), content);
      }),
      { numRuns: 60 },
    );
  });

  test('a DKIM signature still verifies', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    const body = 'signed  with \t blanks \r\n.dot\r\n\r\nlast\r\n';
    const bodyHash = createHash('sha256').update(body).digest('base64');
    const fields = 'From: a@sender.test\r\nSubject:  two  blanks\r\n';
    // RFC 6376 §3.7, canonicalization simple/simple; b= is empty while it is signed.
    const unsigned =
      'DKIM-Signature: v=1; a=ed25519-sha256; c=simple/simple; d=sender.test; s=x;\r\n' +
      `\th=From:Subject; bh=${bodyHash}; b=`;
    const digest = (text: string) => createHash('sha256').update(text).digest();
    const signature = sign(null, digest(fields + unsigned), privateKey).toString('base64');
    const message = await through(`${unsigned}${signature}\r\n${fields}\r\n${body}`);

    const [header = '', ...parts] = rest(message).toString('latin1').split('\r\n\r\n');
    const gotBody = parts.join('\r\n\r\n');
    const [, signed = '', b = '', others = ''] = /^(.*; b=)(\S+)\r\n(.*)$/s.exec(header) ?? [];
    assert.equal(createHash('sha256').update(gotBody).digest('base64'), bodyHash);
    const input = digest(`${others}\r\n${signed}`);
    assert.ok(verify(null, input, publicKey, Buffer.from(b, 'base64')));
  });

  test('the same octets on every attempt', async () => {
    const host: MxHost = await net.mxHost({
      host: 'mx.twice.test',
      certificate: null,
      script: (_session, { verb }) =>
        verb === '.' && host.received.length === 1 ? '451 4.3.0 once more' : undefined,
    });
    await net.domain('twice.test', { mx: [{ host: host.name }] });
    relay.changeSettings({ retry: { schedule: ['50ms'] } });
    relay.reload();
    await relay.waitForEvent('config.reloaded');
    const content = `${HEADER}.\r\n${'8-bit ü '.repeat(2000)}\r\n`;
    assertSame(await through(content, { to: 'b@twice.test', host }), content);
    const [first, second] = host.received;
    assert.ok(first && second && first.data.equals(second.data));
    relay.changeSettings(NO_RETRY);
    relay.reload();
  });
});

describe('the Received field', () => {
  test('one, on top, ASCII, with id, protocol and recipient', async () => {
    const message = await through(`${HEADER}x\r\n`);
    const field = receivedField(message);
    assert.match(field, /^Received: from client\.test \(\[127\.0\.0\.1\]\)\r\n/);
    assert.match(field, /\r\n\tby relay\.example\.net with ESMTP id [0-9A-Z]{16}\r\n/);
    assert.match(field, /\r\n\tfor <b@plain\.test>;\r\n\t\w{3}, \d{1,2} \w{3} \d{4} .*\r\n$/);
    assert.equal(message.data.toString('latin1').split('Received:').length, 2);
  });

  test('no recipients in it when there are several', async () => {
    const to = ['b@plain.test', 'c@plain.test'];
    await client.deliver({ from: 'a@sender.test', to, data: HEADER });
    const message = await mx.waitUntil('a message for two', (sessions) =>
      sessions.flatMap(({ messages }) => messages).find((one) => one.recipients.length === 2),
    );
    assert.doesNotMatch(receivedField(message), /for </);
  });
});

describe('what the envelope asks for', () => {
  const bounced = async (id: string | undefined) =>
    relay.waitForEvent('outcome.bounced', (line) => line.id === id);
  const hostWithout = async (name: string, ...missing: readonly string[]) => {
    const all = ['PIPELINING', 'SIZE 52428800', '8BITMIME', 'SMTPUTF8', 'DSN'];
    const keywords = all.filter((keyword) => !missing.includes(keyword));
    const host = await net.mxHost({ host: `mx.${name}`, certificate: null, keywords });
    await net.domain(name, { mx: [{ host: host.name }] });
    return host;
  };
  /** No message came, nor was one begun. */
  const assertSpared = (host: MxHost) => {
    const verbs = host.sessions.flatMap(({ commands }) => commands.map(({ verb }) => verb));
    assert.ok(!verbs.includes('DATA'), verbs.join(' '));
  };

  test('BODY=8BITMIME and SIZE are passed on', async () => {
    const content = `${HEADER}Grüße\r\n`;
    for (const mailParams of ['BODY=8BITMIME', '']) {
      const { mailFrom, data } = await through(content, { mailParams });
      assert.ok(mailFrom.params.includes('BODY=8BITMIME'), mailFrom.params.join(' '));
      assert.ok(mailFrom.params.includes(`SIZE=${data.length}`), mailFrom.params.join(' '));
    }
    const { mailFrom } = await through(`${HEADER}7bit\r\n`);
    assert.ok(!mailFrom.params.includes('BODY=8BITMIME'));
  });

  // RFC 6152 §3 leaves a conversion to 7bit or a bounce; a conversion would break signatures.
  test('8-bit content to a host without 8BITMIME bounces with 5.6.3', async () => {
    const host = await hostWithout('sevenbit.test', '8BITMIME');
    const to = 'b@sevenbit.test';
    const { id } = await client.deliver({ from: 'a@sender.test', to, data: `${HEADER}ü\r\n` });
    assert.equal((await bounced(id))['status'], '5.6.3');
    assert.match(await dsnAbout(senderMx, to), /^Status: 5\.6\.3\r$/m);
    assertSpared(host);
    assertSame(await through(`${HEADER}u\r\n`, { to, host }), `${HEADER}u\r\n`);
  });

  test('SMTPUTF8 is passed on, or bounces with 5.6.7', async () => {
    const from = 'ä@sender.test';
    const to = 'ü@plain.test';
    const data = 'Subject: Grüße\r\n\r\nx\r\n';
    await client.deliver({ from, to, data, mailParams: 'SMTPUTF8' });
    const message = await mx.waitUntil('the international message', (sessions) =>
      sessions
        .flatMap(({ messages }) => messages)
        .find(({ recipients }) => recipients.some(({ address }) => address === to)),
    );
    assert.ok(message.mailFrom.params.includes('SMTPUTF8'));
    assert.equal(message.mailFrom.address, from);

    const host = await hostWithout('ascii.test', 'SMTPUTF8');
    const refused = { from: 'a@sender.test', to: 'ü@ascii.test', data, mailParams: 'SMTPUTF8' };
    const { id } = await client.deliver(refused);
    assert.equal((await bounced(id))['status'], '5.6.7');
    assertSpared(host);
    const dsn = await senderMx.waitUntil('a DSN about an international address', (sessions) =>
      sessions
        .flatMap(({ messages }) => messages.map((one) => parseReport(one.data)))
        .find(({ recipients }) =>
          recipients.some((one) => one.get('final-recipient')?.endsWith('@ascii.test')),
        ),
    );
    assert.equal(dsn.recipients[0]?.get('final-recipient'), 'utf-8; ü@ascii.test');
  });

  test('DSN parameters go on to a host that offers DSN, each with its recipient', async () => {
    await client.send('MAIL FROM:<a@sender.test> RET=HDRS ENVID=a+2Bb+3Dc');
    await client.send(
      'RCPT TO:<one@plain.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;first+2B1@x.test',
    );
    await client.send('RCPT TO:<two@plain.test> NOTIFY=NEVER');
    await client.send('RCPT TO:<three@plain.test>');
    await client.send('DATA');
    const reply = await client.send(`${HEADER}x\r\n.`);
    assert.equal(reply.code, 250, reply.raw);
    const message = await mx.waitUntil('the message for three', (sessions) =>
      sessions.flatMap(({ messages }) => messages).find((one) => one.recipients.length === 3),
    );
    const params = (list: readonly string[]) =>
      list.filter((param) => !/^(?:SIZE|BODY)=/.test(param)).sort();
    assert.deepEqual(params(message.mailFrom.params), ['ENVID=a+2Bb+3Dc', 'RET=HDRS']);
    assert.deepEqual(
      message.recipients.map((one) => [one.address, ...params(one.params)]),
      [
        ['one@plain.test', 'NOTIFY=SUCCESS,DELAY', 'ORCPT=rfc822;first+2B1@x.test'],
        ['two@plain.test', 'NOTIFY=NEVER'],
        ['three@plain.test'],
      ],
    );
  });

  test('to a host without DSN they stay here, and we say "relayed" in its place', async () => {
    const host = await hostWithout('silent.test', 'DSN');
    await client.send('MAIL FROM:<a@sender.test> RET=FULL ENVID=Q1');
    await client.send('RCPT TO:<b@silent.test> NOTIFY=SUCCESS ORCPT=rfc822;orig@silent.test');
    await client.send('DATA');
    await client.send(`${HEADER}x\r\n.`);
    const dsn = await dsnAbout(senderMx, 'b@silent.test');
    assert.match(dsn, /^Action: relayed\r$/m);
    assert.match(dsn, /^Original-Envelope-Id: Q1\r$/m);
    assert.match(dsn, /^Original-Recipient: rfc822; ?orig@silent\.test\r$/m);
    const [message] = host.messages;
    const all = [...(message?.mailFrom.params ?? []), ...(message?.recipients[0]?.params ?? [])];
    assert.deepEqual(
      all.filter((param) => /^(?:RET|ENVID|NOTIFY|ORCPT)=/.test(param)),
      [],
    );
  });

  test('larger than the host takes: bounces with 5.3.4, nothing of it is sent', async () => {
    const host = await net.mxHost({
      host: 'mx.small.test',
      certificate: null,
      keywords: ['SIZE 1000'],
    });
    await net.domain('small.test', { mx: [{ host: host.name }] });
    const data = `${HEADER}${'x'.repeat(70)}\r\n`.repeat(20);
    const { id } = await client.deliver({ from: 'a@sender.test', to: 'b@small.test', data });
    assert.equal((await bounced(id))['status'], '5.3.4');
    assertSpared(host);
    assert.match(await dsnAbout(senderMx, 'b@small.test'), /^Status: 5\.3\.4\r$/m);
  });

  test('SIZE 0 and SIZE without a number set no limit', async () => {
    for (const [i, size] of ['SIZE 0', 'SIZE'].entries()) {
      const host = await net.mxHost({
        host: `mx.size${i}.test`,
        certificate: null,
        keywords: [size],
      });
      await net.domain(`size${i}.test`, { mx: [{ host: host.name }] });
      await through(`${HEADER}x\r\n`, { to: `b@size${i}.test`, host });
    }
  });
});

/** Lines that hold each octet a message may hold. */
function allOctets(): Buffer {
  const octets = Array.from({ length: 255 }, (_, i) => i + 1).filter(
    (octet) => ![10, 13].includes(octet),
  );
  return Buffer.from([...octets, 13, 10, ...octets.toReversed(), 13, 10]);
}

/** Text of random words and line lengths; the same on each run. */
function randomText(octets: number): Buffer {
  const text = Buffer.alloc(octets);
  let state = 2463534242;
  let column = 0;
  for (let i = 0; i < octets - 2; i += 1) {
    // xorshift32: fast, and it needs no seed from outside.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    column += 1;
    const ends = column > 60 && (state & 31) === 0 && i < octets - 4;
    if (ends) text.write('\r\n', i++);
    else text[i] = column === 1 && (state & 7) === 0 ? 0x2e : 0x20 + ((state >>> 8) % 95);
    if (ends) column = 0;
  }
  text.write('\r\n', octets - 2);
  return text;
}
