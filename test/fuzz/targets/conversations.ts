/**
 * Whole conversations with a hostile peer, over a connection in memory: a policy host's HTTP
 * response, an MX host's SMTP replies.
 */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { gzipSync } from 'node:zlib';
import type { TransactionReplies, WireMessage } from '../../../src/delivery/transaction.ts';
import { Wire } from '../../../src/delivery/wire.ts';
import { exchangeHttp, type HttpExchangeResult } from '../../../src/platform/http-exchange.ts';
import { pipe, speak } from '../engine/pipe.ts';
import { chunksOf, type FuzzTarget } from '../engine/target.ts';

const MAX_BODY = 2000;
const POLICY = 'version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 604800\n';

function response(head: readonly string[], body: string | Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), Buffer.from(body as string)]);
}

async function exchange(chunks: readonly Buffer[]): Promise<HttpExchangeResult> {
  const { ours, peer } = pipe();
  peer.resume();
  const socket = ours as TLSSocket;
  const options = {
    authority: 'mta-sts.example',
    path: '/.well-known/mta-sts.txt',
    maxBytes: MAX_BODY,
  };
  const { signal } = new AbortController();
  const result = exchangeHttp({ socket, ...options, signal });
  for (const chunk of chunks) peer.write(chunk);
  peer.end();
  const settled = await result;
  ours.destroy();
  peer.destroy();
  return settled;
}

const OK = ['HTTP/1.1 200 OK', 'Content-Type: text/plain'];
const http: FuzzTarget = {
  name: 'http-response',
  seeds: [
    response([...OK, `Content-Length: ${POLICY.length}`], POLICY),
    response(
      [...OK, 'Transfer-Encoding: chunked'],
      `${POLICY.length.toString(16)}\r\n${POLICY}\r\n0\r\n\r\n`,
    ),
    response([...OK, 'Connection: close'], POLICY),
    response([...OK, 'Content-Encoding: gzip', 'Connection: close'], gzipSync(POLICY)),
    response(
      [...OK, 'Content-Encoding: gzip', 'Connection: close'],
      gzipSync(Buffer.alloc(100_000)),
    ),
    response(['HTTP/1.1 301 Moved', 'Location: https://evil.example/'], ''),
    response(['HTTP/1.1 100 Continue', '', ...OK], POLICY),
    response(['HTTP/1.1 101 Switching', 'Upgrade: x', 'Connection: Upgrade'], 'x'),
  ],
  tokens: [
    ...[
      'HTTP/1.1 200 OK\r\n',
      '\r\n',
      '\r\n\r\n',
      '\n',
      ': ',
      'Content-Length: 5\r\n',
      'Transfer-Encoding: chunked\r\n',
    ],
    ...[
      'Content-Encoding: br\r\n',
      'deflate',
      'identity',
      'text/html',
      '0\r\n\r\n',
      'ffffffff\r\n',
      '\0',
      'Set-Cookie: a\r\n',
    ],
  ],
  async run(input) {
    const whole = await exchange([input]);
    if (whole.kind !== 'response') {
      assert.ok(whole.detail.length > 0);
      return whole.kind;
    }
    const { status, body } = whole;
    assert.ok(Number.isInteger(status) && body.length <= MAX_BODY);
    if (status !== 200) assert.equal(body.length, 0);
    // How it comes in pieces changes nothing.
    for (const chunks of chunksOf(input).slice(0, 1 + (input.length % 2))) {
      assert.deepEqual(await exchange(chunks), whole);
    }
    // Node does not read `chunked` with a TAB behind it as that, and then tells us it was.
    if (/chunked[ ]*\t/i.test(input.toString('latin1'))) return 'chunked and a TAB';
    // A response that was cut gives nothing, or what is left are whole lines.
    const cut = await exchange([input.subarray(0, input.length - 1 - (input.length % 30))]);
    if (cut.kind === 'response' && cut.status === 200 && status === 200 && !cut.body.equals(body)) {
      assert.equal(cut.body.at(-1), 0x0a);
      assert.ok(body.subarray(0, cut.body.length).equals(cut.body));
    }
    return status === 200 ? `200 ${body.length > 0 ? 'body' : 'empty'}` : 'another status';
  },
};

const CONTENT = Buffer.from('Subject: x\r\n\r\n.hidden\r\n');
const MESSAGE: WireMessage = {
  reversePath: 'a@example.com',
  recipients: [
    {
      address: 'b@example.org',
      dsn: { address: 'b@example.org', notify: ['FAILURE'], orcpt: 'rfc822;b@x' },
    },
    { address: '"c>d"@example.org', dsn: { address: '"c>d"@example.org' } },
  ],
  sizeBytes: CONTENT.length,
  eightBitMime: false,
  smtpUtf8: false,
};
const LONG = 600_000;
const TIMEOUTS = {
  ...{ greeting: LONG, helo: LONG, mail: LONG, rcpt: LONG },
  ...{ dataInit: LONG, dataBlock: LONG, dataDone: LONG, tls: LONG },
};

interface Spoken {
  /** All that we said. */
  readonly said: string;
  /** Undefined when it did not come to a transaction. */
  readonly replies: TransactionReplies | undefined;
}

async function deliver(input: Buffer, startTls: 'required' | 'never'): Promise<Spoken> {
  const { ours, peer } = pipe();
  const said: Buffer[] = [];
  peer.on('data', (chunk: Buffer) => said.push(chunk));
  const wire = new Wire({
    socket: ours as Socket,
    address: '192.0.2.1',
    onSecured: () => assert.fail('TLS with nobody'),
    heloName: 'relay.example.net',
    timeouts: TIMEOUTS,
    startTls,
    tls: {},
  });
  const turns = input
    .toString('latin1')
    .split('\x1e')
    .map((text) => Buffer.from(text, 'latin1'));
  const spoken = speak(peer, turns);
  const { signal } = new AbortController();
  const isWhole = input.length % 2 === 1;
  const isOpen = await wire.open(signal).then(
    () => true,
    () => false,
  );
  const replies = isOpen
    ? await wire.transact(MESSAGE, isWhole ? CONTENT : Readable.from([CONTENT]), signal)
    : undefined;
  wire.finish();
  await spoken;
  ours.destroy();
  peer.destroy();
  return { said: Buffer.concat(said).toString('latin1'), replies };
}

const EHLO = '250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-DSN\r\n250 STARTTLS\r\n';
const dialog = (...turns: readonly string[]) => Buffer.from(turns.join('\x1e'));

/** Replies of an MX host; each part is said a moment after the one before. */
const replies: FuzzTarget = {
  name: 'mx-replies',
  seeds: [
    dialog(
      '220 mx\r\n',
      EHLO,
      '250 ok\r\n250 ok\r\n550 no\r\n',
      '354 go\r\n',
      '250 queued\r\n',
      '221 bye\r\n',
    ),
    dialog(
      '220 mx\r\n',
      '250 mx.example\r\n',
      '250 ok\r\n',
      '250 ok\r\n',
      '250 ok\r\n',
      '354 go\r\n',
      '250 2.0.0 done\r\n',
    ),
    dialog(
      '220 mx\r\n',
      '250-mx.example\r\n250 STARTTLS\r\n',
      '220 go\r\n250-mx\r\n250 SIZE\r\n',
      '250 ok\r\n',
    ),
    dialog('220 mx\r\n', '502 no\r\n', '250 helo\r\n', '451 later\r\n'),
    dialog('554 go away\r\n'),
    dialog('220 mx\r\n', EHLO, '250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 early\r\n'),
    dialog('220 mx\r\n', EHLO, '421 4.7.0 closing\r\n'),
  ],
  tokens: [
    '\x1e',
    '220 ',
    '250 ok\r\n',
    '250-',
    '354 go\r\n',
    '550 5.1.1 no\r\n',
    '421 bye\r\n',
    '\r\n',
    '\n',
    '\r',
    'STARTTLS',
    '8BITMIME',
    'SIZE 1',
    '\x16\x03\x01',
    '\0',
    '999 ',
    'ok\r\n',
  ],
  maxOctets: 2048,
  async run(input) {
    const guarded = await deliver(input, 'required');
    // Nothing about the message goes where no TLS was reached.
    assert.equal(guarded.replies, undefined);
    assert.doesNotMatch(guarded.said, /MAIL|RCPT|DATA|example\.(?:com|org)|hidden/);
    const { said, replies: got } = await deliver(input, 'never');
    if (got === undefined) {
      assert.doesNotMatch(said, /MAIL|RCPT|hidden/);
      return 'not opened';
    }
    assert.ok(got.rcpt.length <= 2);
    for (const reply of [got.mail, ...got.rcpt, got.data, got.final]) {
      if (reply) assert.ok(reply.code >= 200 && reply.code < 600);
    }
    // What counts as accepted was sent to its end before it was.
    if (got.final && got.final.code < 300 && got.messageSent) {
      assert.ok(said.includes('\r\n\r\n..hidden\r\n.\r\n'));
      assert.equal(Math.floor((got.data?.code ?? 0) / 100), 3);
      assert.ok(got.rcpt.some((reply) => reply && reply.code < 300));
    }
    if (got.final === undefined) assert.ok(got.error);
    return `opened, ${said.includes('hidden') ? 'content' : 'no content'}, ${got.final?.code ?? 'no end'}`.slice(
      0,
      30,
    );
  },
};

export const conversationTargets: readonly FuzzTarget[] = [http, replies];
