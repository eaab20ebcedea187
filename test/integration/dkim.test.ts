/**
 * DKIM through a running relay: mail of a configured domain arrives with a signature on top that another
 * implementation takes, at every attempt the same; other mail arrives octet for octet.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { rsaPair } from '../support/dkim-keys.ts';
import { dkimpyMissing, verifyDkim } from '../support/dkimpy.ts';
import type { MxHost, ReceivedMessage } from '../support/mx-host.ts';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import { dsnAbout, NO_RETRY, openSession } from '../support/relay-mail.ts';
import { type RelayProcess, startRelay } from '../support/relay-process.ts';
import type { SmtpClient } from '../support/smtp-client.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';

const pair = rsaPair(2048);
const RECORDS = {
  's1._domainkey.sender.test': pair.record,
  'r._domainkey.relay.example.net': pair.record,
};
const HEADER = 'From: A <a@sender.test>\r\nTo: b@plain.test\r\nSubject: signed\r\n\r\n';

let keys: TempDir;
let net: PretendInternet;
let relay: RelayProcess;
let client: SmtpClient;
let mx: MxHost;

before(async () => {
  keys = tempDir();
  const keyFile = keys.file('key.pem');
  writeFileSync(keyFile, pair.keyPem, { mode: 0o600 });
  net = await startPretendInternet();
  mx = await net.mxHost({ host: 'mx.plain.test', certificate: null });
  await net.domain('plain.test', { mx: [{ host: mx.name }] });
  const dkim = [
    { domain: 'sender.test', selector: 's1', keyFile },
    { domain: 'relay.example.net', selector: 'r', keyFile },
    { domain: 'keyless.test', selector: 's1', keyFile: keys.file('absent.pem') },
  ];
  relay = await startRelay({ settings: [net.relaySettings(), NO_RETRY, { dkim }] });
  client = await openSession({ port: relay.smtpPort });
});
after(async () => {
  client?.close();
  await relay?.close();
  await net?.close();
  keys?.remove();
});

/** Send `content` through the relay; the message as the MX host got it. */
async function through(
  content: string | Buffer,
  { to = 'b@plain.test', host = mx, from = 'bounces@other.test' } = {},
): Promise<ReceivedMessage> {
  const { accepted, reply, id = '' } = await client.deliver({ from, to, data: content });
  assert.ok(accepted, reply.raw);
  return host.waitUntil(`message ${id}`, (sessions) =>
    sessions
      .flatMap(({ messages }) => messages)
      .find(({ data, reply: said }) => data.includes(id) && said?.startsWith('2')),
  );
}

/** What was put on top of `content`; it is below, octet for octet. */
function topOf({ data }: ReceivedMessage, content: string | Buffer): string {
  const sent = Buffer.from(content as string);
  assert.ok(data.subarray(data.length - sent.length).equals(sent), 'the content was changed');
  return data.subarray(0, data.length - sent.length).toString('latin1');
}

const SIGNED = /^DKIM-Signature: [^:]*; d=sender\.test;.*\r\nReceived: from client\.test /s;
const UNSIGNED = /^Received: from client\.test [^\r]*\r\n(?:\t[^\r\n]*\r\n)*$/;

describe('mail of a configured domain', () => {
  const large = Array.from({ length: 20_000 }, (_, i) => `.${i} ü  \t x \r\n`).join('');
  const contents: readonly (readonly [string, string])[] = [
    ['a small message', `${HEADER}Hello\r\n`],
    ['dots, blanks, empty lines, 8-bit text', `${HEADER}.\r\n..x  \r\nGrüße \t\r\n\r\n\r\n`],
    ['a large one, which has a file of its own', HEADER + large],
    ['a line of 100,000 octets', `${HEADER}${'x'.repeat(100_000)}\r\n`],
    ['no body', HEADER],
  ];
  for (const [what, content] of contents) {
    test(`${what} is signed, and untouched below`, { skip: dkimpyMissing }, async () => {
      const message = await through(content);
      assert.match(topOf(message, content), SIGNED);
      assert.deepEqual(message.session.violations, []);
      const { params } = message.mailFrom;
      assert.ok(params.includes(`SIZE=${message.data.length}`), params.join(' '));
      const said = verifyDkim(message.data, { records: RECORDS });
      assert.deepEqual(
        said.map(({ valid, error }) => [valid, error]),
        [[true, '']],
      );
    });
  }
});

describe('other mail', () => {
  const others: readonly (readonly [string, string])[] = [
    ['another domain', HEADER.replaceAll('sender.test', 'other.test')],
    ['a domain below', HEADER.replaceAll('sender.test', 'sub.sender.test')],
    ['no From', 'Subject: nobody\r\n\r\n'],
    ['a domain whose key cannot be read', HEADER.replaceAll('sender.test', 'keyless.test')],
  ];
  for (const [what, header] of others) {
    test(`${what}: octet for octet, below our Received field`, async () => {
      const content = `${header}.\r\nx \t\r\n`;
      assert.match(topOf(await through(content, { from: 'a@sender.test' }), content), UNSIGNED);
    });
  }

  test('what the domain has signed already keeps its one signature', async () => {
    const content = `DKIM-Signature: v=1; d=sender.test; s=own; b=x\r\n${HEADER}x\r\n`;
    assert.match(topOf(await through(content), content), UNSIGNED);
  });
});

test('a key that cannot be used is told at the start and where it is missed', async () => {
  const text = JSON.stringify(relay.log.filter(({ event }) => event === 'relay.warning'));
  assert.match(text, /dkim\[2\]\.keyFile.*absent\.pem cannot be read \(ENOENT\)/);
  const failed = await relay.waitForEvent('dkim.key_failed');
  assert.equal(failed['domain'], 'keyless.test');
  await relay.waitForEvent('dkim.unsigned');
});

test('a DSN is signed for the name of the relay', { skip: dkimpyMissing }, async () => {
  const home = await net.mxHost({ host: 'mx.home.test', certificate: null });
  await net.domain('home.test', { mx: [{ host: home.name }] });
  const refusing = await net.mxHost({
    host: 'mx.refusing.test',
    certificate: null,
    script: (_session, { verb }) => (verb === 'RCPT' ? '550 5.1.1 nobody' : undefined),
  });
  await net.domain('refusing.test', { mx: [{ host: refusing.name }] });
  const data = `${HEADER}x\r\n`;
  await client.deliver({ from: 'a@home.test', to: 'b@refusing.test', data });
  const dsn = await dsnAbout(home, 'b@refusing.test');
  assert.match(dsn, /^DKIM-Signature: /);
  const said = verifyDkim(Buffer.from(dsn), { records: RECORDS });
  assert.deepEqual(
    said.map(({ valid, tags }) => [valid, tags['d']]),
    [[true, 'relay.example.net']],
  );
});

test('the same octets at every attempt, whatever became of `dkim` meanwhile', async () => {
  const host: MxHost = await net.mxHost({
    host: 'mx.twice.test',
    certificate: null,
    script: (_session, { verb }) =>
      verb === '.' && host.received.length === 1 ? '451 4.3.0 once more' : undefined,
  });
  await net.domain('twice.test', { mx: [{ host: host.name }] });
  const accepted = client.deliver({
    ...{ from: 'a@sender.test', to: 'b@twice.test', data: `${HEADER}twice\r\n` },
  });
  await relay.waitForEvent('delivery.deferred', (line) => line['recipient'] === 'b@twice.test');
  assert.ok((await accepted).accepted);
  relay.changeSettings({ dkim: [], retry: { schedule: ['50ms'] } });
  relay.reload();
  await relay.waitForEvent('config.reloaded');
  await host.waitUntil('the second attempt', () => host.received[1]);
  const [first, second] = host.received;
  assert.match(first?.data.toString('latin1') ?? '', SIGNED);
  assert.ok(first && second && first.data.equals(second.data));
  // Without `dkim` nothing is signed any more.
  const message = await through(`${HEADER}x\r\n`);
  assert.match(topOf(message, `${HEADER}x\r\n`), UNSIGNED);
});
