/**
 * Pipelined replies (RFC 2920 §3.1): each has its own time, and what comes with the reply to DATA is
 * about no message.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { test } from 'node:test';
import { setTimeout as later } from 'node:timers/promises';
import type { SmtpTimeouts } from '../../src/delivery/smtp-timeouts.ts';
import type { TransactionReplies } from '../../src/delivery/transaction.ts';
import { Wire } from '../../src/delivery/wire.ts';

const PATIENT: SmtpTimeouts = {
  greeting: 5000,
  helo: 5000,
  mail: 5000,
  rcpt: 5000,
  dataInit: 5000,
  dataBlock: 5000,
  dataDone: 5000,
  tls: 5000,
};

/** One transaction with a server that answers the group of commands by `answer`. */
async function transactWith(
  answer: (say: (text: string) => void) => unknown,
  timeouts: Partial<SmtpTimeouts> = {},
): Promise<TransactionReplies> {
  const server = createServer((socket) => {
    let heard = '';
    socket.on('error', () => {});
    socket.write('220 mx.test\r\n');
    socket.on('data', (chunk: Buffer) => {
      heard += chunk.toString('latin1');
      if (heard.startsWith('EHLO') && heard.endsWith('\r\n'))
        socket.write('250-mx\r\n250 PIPELINING\r\n');
      else if (heard.endsWith('DATA\r\n')) void answer((text) => socket.write(text));
      else return;
      heard = '';
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  await once(socket, 'connect');
  const wire = new Wire({
    socket,
    address: '127.0.0.1',
    onSecured: () => {},
    heloName: 'relay.test',
    timeouts: { ...PATIENT, ...timeouts },
    startTls: 'never',
    tls: {},
  });
  const { signal } = new AbortController();
  await wire.open(signal);
  const body = Buffer.from('Subject: x\r\n\r\nhello\r\n');
  const recipient = { address: 'b@mx.test' };
  const message = {
    reversePath: 'a@relay.test',
    recipients: [{ address: recipient.address, dsn: recipient }],
    sizeBytes: body.length,
    eightBitMime: false,
    smtpUtf8: false,
  };
  try {
    return await wire.transact(message, body, signal);
  } finally {
    wire.close();
    socket.destroy();
    server.close();
  }
}

test('a 250 that comes together with the reply to DATA accepts nothing', async () => {
  const replies = await transactWith((say) => say('250 a\r\n250 b\r\n354 go\r\n250 accepted\r\n'));
  assert.equal(replies.final, undefined);
  assert.match(String(replies.error?.message), /before the end of the message/);
});

test('the replies to MAIL and RCPT have their own times, not that of DATA', async () => {
  const replies = await transactWith(
    async (say) => {
      await later(300);
      say('250 a\r\n');
      await later(300);
      say('250 b\r\n');
    },
    { dataInit: 200 },
  );
  assert.equal(replies.mail?.code, 250);
  assert.equal(replies.rcpt[0]?.code, 250);
  assert.equal(replies.error?.code, 'ETIMEDOUT', 'only the reply to DATA was late');
});
