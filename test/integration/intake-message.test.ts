/**
 * Messages over real sockets: what is kept of them, and what happens to the session when one
 * is refused.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { QueueAwayError, QueueFullError } from '../../src/queue/submit-port.ts';
import { SpoolError } from '../../src/spool/store.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { openDoor, plain } from '../support/front-door.ts';
import type { SmtpClient } from '../support/smtp-client.ts';
import { stuff } from '../support/smtp-client.ts';
import { waitFor } from '../support/wait-for.ts';

const MESSAGE = 'Subject: x\r\n\r\nbody\r\n';
const simple = { from: 'a@example.com', to: 'b@example.org', data: MESSAGE };
const raw = async (client: SmtpClient, line: string) => (await client.send(line)).raw;

async function openData(client: SmtpClient): Promise<void> {
  await client.send('MAIL FROM:<a@example.com>');
  await client.send('RCPT TO:<b@example.org>');
  assert.equal((await client.send('DATA')).code, 354);
}

describe('the envelope', () => {
  test('holds what was declared, decoded once, and who sent it', async () => {
    await using door = await openDoor({ users: { alice: 'secret' } });
    using client = await door.secureSession();
    await client.send(`AUTH PLAIN ${plain('alice', 'secret')}`);
    await client.send(
      'MAIL FROM:<ä@bücher.example> SMTPUTF8 BODY=8BITMIME RET=hdrs ENVID=a+2B41 AUTH=<> SIZE=5',
    );
    await client.send(
      'RCPT TO:<B@xn--bcher-kva.example> NOTIFY=success,DELAY,SUCCESS ORCPT=rfc822;x+3Dy@z',
    );
    await client.send('RCPT TO:<b@xn--bcher-kva.example> NOTIFY=NEVER');
    await client.send('RCPT TO:<"c d"@[192.0.2.1]>');
    await client.send('DATA');
    const reply = await raw(client, `${MESSAGE}.`);
    const { id, receivedAtMs, ...envelope } = door.queue.last.envelope;
    assert.equal(reply, `250 2.0.0 Ok: queued as ${id}\r\n`);
    assert.ok(Math.abs(receivedAtMs - Date.now()) < 60_000);
    assert.deepEqual(envelope, {
      reversePath: 'ä@bücher.example',
      recipients: [
        { address: 'B@xn--bcher-kva.example', notify: ['SUCCESS', 'DELAY'], orcpt: 'rfc822;x=y@z' },
        { address: 'b@xn--bcher-kva.example', notify: ['NEVER'] },
        { address: '"c d"@[192.0.2.1]' },
      ],
      smtpUtf8: true,
      eightBitMime: true,
      sevenBit: true,
      ret: 'HDRS',
      envid: 'a+41',
      client: { address: '127.0.0.1', helo: 'client.example', tls: true, user: 'alice' },
    });
    assert.match(
      door.queue.last.trace,
      /^Received: from client\.example \(\[127\.0\.0\.1\]\)\r\n\tby relay\.example\.net with UTF8SMTPSA id /,
    );
    const [event] = door.events('intake.accepted');
    assert.equal(event?.['id'], id);
    assert.equal(event?.['size'], MESSAGE.length);
  });
  test('keeps nothing of a MAIL that was refused', async () => {
    await using door = await openDoor({ access: { allowedSenderDomains: ['example.com'] } });
    using client = await door.session();
    const refused = await raw(
      client,
      'MAIL FROM:<x@other.example> SMTPUTF8 BODY=8BITMIME RET=FULL ENVID=secret',
    );
    assert.match(refused, /^553 5\.7\.1/);
    assert.ok((await client.deliver(simple)).accepted);
    const { smtpUtf8, eightBitMime, ret, envid } = door.queue.last.envelope;
    assert.deepEqual([smtpUtf8, eightBitMime, ret, envid], [false, false, undefined, undefined]);
  });
  test('of the same mailbox twice the second stands', async () => {
    await using door = await openDoor();
    using client = await door.session();
    await client.send('MAIL FROM:<>');
    await client.send('RCPT TO:<b@example.org> NOTIFY=NEVER');
    await client.send('RCPT TO:<b@EXAMPLE.ORG>');
    await client.send('DATA');
    await client.send(`${MESSAGE}.`);
    assert.deepEqual(door.queue.last.envelope.recipients, [{ address: 'b@EXAMPLE.ORG' }]);
    assert.equal(door.queue.last.envelope.reversePath, '');
  });
  test('holds REQUIRETLS, and what the header says of TLS unless that is said (RFC 8689 §4.1)', async () => {
    await using door = await openDoor();
    using client = await door.secureSession();
    const said = async (mailParams: string, header: string) => {
      const data = `Subject: x\r\n${header}\r\nTLS-Required: No\r\n`;
      const message = { from: 'a@example.com', to: 'b@example.org', mailParams, data };
      const { accepted, reply } = await client.deliver(message);
      assert.ok(accepted, reply.raw);
      assert.equal(door.queue.last.content, data);
      const { requireTls, tlsRequiredNo } = door.queue.last.envelope;
      return [requireTls, tlsRequiredNo];
    };
    const field = 'TLS-Required: No\r\n';
    assert.deepEqual(await said('', ''), [undefined, undefined]);
    assert.deepEqual(await said('', field), [undefined, true]);
    assert.deepEqual(await said('', field + field), [undefined, undefined]);
    assert.deepEqual(await said('REQUIRETLS', ''), [true, undefined]);
    assert.deepEqual(await said('requiretls', field), [true, undefined]);
    const [first] = door.events('intake.accepted').slice(-1);
    assert.equal(first?.['requireTls'], true);
  });

  test('8-bit content without BODY=8BITMIME is recorded as what it is', async () => {
    await using door = await openDoor();
    using client = await door.session();
    assert.ok(
      (await client.deliver({ ...simple, data: Buffer.from('\r\ncaf\xe9\r\n', 'latin1') }))
        .accepted,
    );
    assert.equal(door.queue.last.envelope.eightBitMime, true);
    assert.equal(door.queue.last.content, '\r\ncaf\xe9\r\n');
    assert.equal(door.queue.last.envelope.sevenBit, undefined);
  });
  test('content that is ASCII after all is recorded as that where more was declared', async () => {
    await using door = await openDoor();
    using client = await door.session();
    const said = async (mailParams: string, data: string) => {
      assert.ok((await client.deliver({ ...simple, mailParams, data })).accepted);
      return door.queue.last.envelope.sevenBit;
    };
    assert.equal(await said('', MESSAGE), undefined);
    assert.equal(await said('BODY=7BIT', MESSAGE), undefined);
    assert.equal(await said('BODY=8BITMIME', MESSAGE), true);
    assert.equal(await said('SMTPUTF8', MESSAGE), true);
    assert.equal(await said('SMTPUTF8', 'Subject: é\r\n\r\nx\r\n'), undefined);
  });
  test('a HELO name cannot forge header fields', async () => {
    await using door = await openDoor();
    using client = await door.connect();
    assert.match(await raw(client, 'EHLO a\rX-Forged: 1'), /^500 5\.5\.2 /);
    assert.match(await raw(client, 'EHLO a\0b'), /^500 5\.5\.2 /);
    assert.match(await raw(client, 'EHLO a b'), /^501 /);
    await client.send('EHLO x(by;evil)from');
    assert.ok((await client.deliver(simple)).accepted);
    assert.match(
      door.queue.last.trace,
      /^Received: from x\?by\?evil\?from \(\[127\.0\.0\.1\]\)\r\n\tby relay/,
    );
    assert.equal(door.queue.last.content, MESSAGE);
  });
});

test('content survives dots and any cutting into chunks', async () => {
  await using door = await openDoor();
  using client = await door.session();
  const line = fc.array(fc.constantFrom('.', '..', 'a', '\r\n', '\r\n.', '\xff'), {
    maxLength: 12,
  });
  await fc.assert(
    fc.asyncProperty(line, fc.array(fc.integer({ min: 1, max: 7 })), async (parts, cuts) => {
      const content = `${parts.join('')}\r\n`;
      await openData(client);
      let rest = stuff(Buffer.from(content, 'latin1'));
      for (const cut of cuts) {
        client.write(rest.subarray(0, cut));
        rest = rest.subarray(cut);
        await new Promise((resolve) => setImmediate(resolve));
      }
      client.write(rest);
      assert.equal((await client.read()).code, 250);
      assert.equal(door.queue.last.content, content);
    }),
    { numRuns: 60 },
  );
});

test('every way to cut an end of data in two, byte for byte', async () => {
  await using door = await openDoor();
  using client = await door.session();
  const wire = '..a\r\n...\r\n\r\n.\r\n';
  for (let at = 1; at < wire.length; at += 1) {
    await openData(client);
    client.write(wire.slice(0, at));
    await new Promise((resolve) => setImmediate(resolve));
    client.write(wire.slice(at));
    assert.equal((await client.read()).code, 250);
    assert.equal(door.queue.last.content, '.a\r\n..\r\n\r\n');
  }
});

describe('refused messages: the session goes on', () => {
  test('too large', async () => {
    await using door = await openDoor({ limits: { messageSize: 1000 } });
    using client = await door.session();
    await openData(client);
    client.write(`${'x'.repeat(78)}\r\n`.repeat(100_000));
    assert.equal(await raw(client, '.'), '552 5.3.4 Message too large\r\n');
    assert.ok((await client.deliver(simple)).accepted);
    assert.deepEqual(door.queue.states, ['discarded', 'committed']);
  });
  test('declared to be too large: told and counted as one that is', async () => {
    await using door = await openDoor({ limits: { messageSize: 1000 } });
    using client = await door.session();
    const mail = 'MAIL FROM:<a@example.com> SIZE=';
    for (const size of ['1001', '99999999999999999999']) {
      assert.equal(await raw(client, mail + size), '552 5.3.4 Message too large\r\n', size);
    }
    const told = door.events('intake.refused').map(({ reason, reply, detail }) => {
      return { reason, reply, detail };
    });
    const line = { reason: 'too-large', reply: '552 5.3.4 Message too large' };
    assert.deepEqual(told, [
      { ...line, detail: `${mail}1001` },
      { ...line, detail: `${mail}99999999999999999999` },
    ]);
    assert.equal(await door.refusals('too-large'), 2);
    assert.equal((await client.send(`${mail}1000`)).code, 250);
  });
  test('smuggling, with the smuggled message never run', async () => {
    await using door = await openDoor();
    using client = await door.session();
    const smuggled =
      'MAIL FROM:<evil@example.com>\r\nRCPT TO:<v@example.org>\r\nDATA\r\nevil\r\n.\r\n';
    for (const end of [
      '\n.\n',
      '\n.\r\n',
      '\r\n.\n',
      '\r.\r',
      '\r.\r\n',
      '\r\n.\r',
      '\r\n\0.\r\n',
      '\r\r\n.\r\r\n',
    ]) {
      await openData(client);
      const content = `a${end}`;
      for (let at = 0; at <= content.length; at += 1) {
        if (at > 0) await openData(client);
        client.write(content.slice(0, at));
        await new Promise((resolve) => setImmediate(resolve));
        // What the smuggler wants run ends at the only real end of data.
        client.write(`${content.slice(at)}${smuggled}`);
        assert.match((await client.read()).raw, /^550 5\.6\.11 /, JSON.stringify(end));
      }
    }
    assert.match(await raw(client, 'NOOP'), /^250 /);
    assert.ok(door.queue.states.every((state) => state === 'discarded'));
    assert.ok(door.events('intake.refused').every(({ reason }) => reason === 'smuggling'));
  });
  test('looping', async () => {
    await using door = await openDoor({ limits: { receivedHops: 2 } });
    using client = await door.session();
    const { reply } = await client.deliver({
      ...simple,
      data: `${'Received: x\r\n'.repeat(3)}\r\n`,
    });
    assert.match(reply.raw, /^554 5\.4\.6 /);
    assert.ok((await client.deliver(simple)).accepted);
  });
  test('too many recipients: those taken stay', async () => {
    await using door = await openDoor({ limits: { recipientsPerMessage: 2 } });
    using client = await door.session();
    const to = [
      'b@example.org',
      'c@example.org',
      'd@example.org',
      'B@example.org',
      'b@example.org',
    ];
    const { rcptReplies, accepted } = await client.deliver({ ...simple, to });
    assert.deepEqual(
      rcptReplies.map(({ code }) => code),
      [250, 250, 452, 452, 250],
    );
    assert.equal(rcptReplies[2]?.raw, '452 4.5.3 Too many recipients\r\n');
    assert.ok(accepted);
    assert.equal(door.queue.last.envelope.recipients.length, 2);
  });
  test('too many messages', async () => {
    const clock = new FakeClock();
    await using door = await openDoor({
      clock,
      limits: { messagesPerClient: { count: 2, perMs: 60_000 } },
    });
    using client = await door.session();
    const codes = async () => (await client.deliver(simple)).reply.raw.slice(0, 9);
    assert.deepEqual(
      [await codes(), await codes(), await codes()],
      ['250 2.0.0', '250 2.0.0', '450 4.7.1'],
    );
    // Another connection from the same address has no allowance of its own.
    using second = await door.session();
    assert.match((await second.deliver(simple)).reply.raw, /^450 4\.7\.1 /);
    using other = await door.session({ localAddress: '127.0.0.9' });
    assert.ok((await other.deliver(simple)).accepted);
    clock.advance(30_000);
    assert.equal(await codes(), '250 2.0.0');
  });
  for (const [error, reason] of [
    [new SpoolError('full', 'x'), 'spool-full'],
    [new SpoolError('failed', 'x'), 'spool-failed'],
    [new QueueFullError(3), 'queue-full'],
    [new QueueAwayError('x'), 'queue-away'],
  ] as const) {
    test(`no room: ${reason}, before any content is sent`, async () => {
      await using door = await openDoor();
      door.queue.beginError = error;
      using client = await door.session();
      const { reply } = await client.deliver(simple);
      const told = reason === 'queue-away' ? /^451 4\.3\.2 Mail queue not / : /^452 4\.3\.1 /;
      assert.match(reply.raw, told);
      assert.equal(door.events('intake.refused')[0]?.['reason'], reason);
      door.queue.beginError = undefined;
      await client.send('RSET');
      assert.ok((await client.deliver(simple)).accepted);
    });
  }
  test('the spool fails at the very end', async () => {
    await using door = await openDoor();
    door.queue.commitError = new SpoolError('failed', 'sync');
    using client = await door.session();
    assert.match((await client.deliver(simple)).reply.raw, /^452 4\.3\.1 /);
    door.queue.commitError = new TypeError('a bug');
    assert.equal(
      (await client.deliver(simple)).reply.raw,
      '451 4.3.0 Local error in processing\r\n',
    );
    assert.match(String(door.events('intake.session_error')[0]?.['error']), /a bug/);
    assert.deepEqual(door.queue.states, ['discarded', 'discarded']);
  });
});

test('no 250 before the commit is done', async () => {
  await using door = await openDoor();
  let release = () => {};
  door.queue.hold = new Promise((resolve) => {
    release = resolve;
  });
  using client = await door.session();
  await openData(client);
  let answered = false;
  const reply = client.send(`${MESSAGE}.`).finally(() => {
    answered = true;
  });
  using other = await door.session(); // a round trip, so that an early 250 would be here
  await other.send('NOOP');
  assert.equal(answered, false);
  assert.deepEqual(door.queue.states, ['open']);
  release();
  assert.equal((await reply).code, 250);
  assert.deepEqual(door.queue.states, ['committed']);
});

test('a client that leaves in the middle leaves no draft', async () => {
  await using door = await openDoor();
  for (const leave of [
    (client: SmtpClient) => client.close(),
    (client: SmtpClient) => client.reset(),
  ]) {
    const client = await door.session();
    await openData(client);
    client.write('Subject: x\r\n\r\nhalf of');
    leave(client);
  }
  await door.queue.drafts.until('both discarded', (drafts) =>
    drafts.every(({ state }) => state === 'discarded') ? true : undefined,
  );
  assert.equal(door.queue.states.length, 2);
});

test('a client that leaves while room is made leaves no draft either', async () => {
  await using door = await openDoor();
  let release = () => {};
  door.queue.holdBegin = new Promise((resolve) => {
    release = resolve;
  });
  const client = await door.session();
  await client.send('MAIL FROM:<a@example.com>');
  await client.send('RCPT TO:<b@example.org>');
  client.write('DATA\r\n');
  client.close();
  await waitFor('the session to end', () => door.listener.connections() === 0);
  const closing = door.listener.close(1000);
  release();
  await closing;
  assert.deepEqual(door.queue.states, ['discarded']);
});

test('pipelined transactions are answered in order', async () => {
  await using door = await openDoor();
  using client = await door.session();
  client.write(
    'MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@-.org>\r\nDATA\r\n',
  );
  const codes = [];
  for (let i = 0; i < 4; i += 1) codes.push((await client.read()).code);
  // The end of data and the next group in one write (RFC 2920 §3.1).
  client.write(`${MESSAGE}.\r\nMAIL FROM:<>\r\nRCPT TO:<d@example.org>\r\nNOOP\r\n`);
  for (let i = 0; i < 4; i += 1) codes.push((await client.read()).code);
  assert.deepEqual(codes, [250, 250, 553, 354, 250, 250, 250, 250]);
});
