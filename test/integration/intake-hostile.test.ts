/**
 * Clients that mean no good, or too many of them: the front door stays open, for others too.
 */
import assert from 'node:assert/strict';
import { connect as netConnect } from 'node:net';
import { describe, test } from 'node:test';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import fc from 'fast-check';
import { FakeClock } from '../support/fake-clock.ts';
import { type FrontDoor, openDoor } from '../support/front-door.ts';
import { SmtpClient } from '../support/smtp-client.ts';
import { DEFAULT_TIMEOUT_MS, waitFor } from '../support/wait-for.ts';

const MESSAGE = 'Subject: x\r\n\r\nbody\r\n';
const raw = async (client: SmtpClient, line: string) => (await client.send(line)).raw;

/** Send `octets` right after connecting, end our side, and give all that comes back. */
function converse(
  door: FrontDoor,
  octets: string | Buffer,
  localAddress = '127.0.0.1',
): Promise<string> {
  return new Promise((resolve) => {
    const socket = netConnect({ port: door.listener.port, host: '127.0.0.1', localAddress });
    let answer = '';
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1');
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(answer));
    socket.end(octets);
  });
}

async function stillServes(door: FrontDoor): Promise<void> {
  using client = await door.session({ localAddress: '127.0.0.8' });
  const { accepted } = await client.deliver({ from: '', to: 'b@example.org', data: MESSAGE });
  assert.ok(accepted);
}

describe('STARTTLS injection', () => {
  for (const [what, injected] of [
    ['whole lines', 'NOOP\r\nVRFY inject\r\nMAIL FROM:<evil@example.com>\r\n'],
    ['a partial line', 'NOOP x\r\nVRFY inject'],
    ['the start of a MAIL', 'MAIL FROM:<evil@attacker.example> X='],
    ['more lines than are run at once', 'NOOP\r\n'.repeat(500)],
    ['EHLO and MAIL', 'EHLO evil\r\nMAIL FROM:<evil@example.com>\r\n'],
  ] as const) {
    test(`${what} in clear behind STARTTLS never run inside TLS`, async () => {
      await using door = await openDoor();
      const plainClient = await door.session();
      const socket = plainClient.socket;
      socket.removeAllListeners('data');
      socket.write(`STARTTLS\r\n${injected}`);
      const [greeting] = (await new Promise((resolve) =>
        socket.once('data', (...chunk) => resolve(chunk)),
      )) as [Buffer];
      assert.equal(greeting.toString(), '220 2.0.0 Ready to start TLS\r\n');
      const secure: TLSSocket = tlsConnect({ socket, rejectUnauthorized: false });
      await new Promise((resolve, reject) => {
        secure.once('secureConnect', resolve);
        secure.once('error', reject);
      });
      using client = new SmtpClient(secure, DEFAULT_TIMEOUT_MS, socket);
      assert.match(await raw(client, 'EHLO b'), /^250-relay\.example\.net\r\n/);
      assert.match(await raw(client, 'RCPT TO:<b@example.org>'), /^503 5\.5\.1 Error: need MAIL/);
      await stillServes(door);
    });
  }
});

describe('early talkers', () => {
  test('a client that talks before the greeting is sent away', async () => {
    await using door = await openDoor();
    const answer = await converse(door, 'EHLO spammer\r\nMAIL FROM:<a@example.com>\r\n');
    assert.equal(answer, '421 4.7.0 relay.example.net You talk too soon\r\n');
    await stillServes(door);
  });
  test('one that waits is greeted at once', async () => {
    await using door = await openDoor();
    let quickestMs = Infinity;
    for (let i = 0; i < 50; i += 1) {
      const started = performance.now();
      (await door.connect()).close();
      quickestMs = Math.min(quickestMs, performance.now() - started);
    }
    assert.ok(quickestMs < 90, `no 100 ms before the greeting: ${quickestMs} ms`);
  });
});

describe('lines', () => {
  test('too long, not UTF-8, or with control characters', async () => {
    await using door = await openDoor();
    using client = await door.session();
    assert.equal(
      await raw(client, `NOOP ${'x'.repeat(4092)}`),
      '500 5.5.2 Command line too long\r\n',
    );
    assert.match(await raw(client, `NOOP ${'x'.repeat(4000)}`), /^250 /);
    client.write(Buffer.from('MAIL FROM:<\xff@example.com> SMTPUTF8\r\n', 'latin1'));
    assert.match((await client.read()).raw, /^500 5\.5\.2 Invalid character/);
    assert.match(
      await raw(client, 'MAIL FROM:<a@example.com>\rRCPT TO:<b@example.org>'),
      /^500 5\.5\.2 /,
    );
    assert.match(await raw(client, 'MAIL FROM:<a\u202e@example.com>'), /^553 5\.6\.7 /);
    client.write('x'.repeat(13_000));
    assert.match((await client.read()).raw, /^421 4\.7\.0 /);
    await client.waitForClose();
  });
  test('ten that are no commands end the session', async () => {
    await using door = await openDoor();
    using client = await door.session();
    for (let i = 0; i < 4; i += 1) assert.match(await raw(client, 'BLAH'), /^500 5\.5\.1 /);
    for (let i = 0; i < 5; i += 1) assert.match(await raw(client, 'A\x01'), /^500 5\.5\.2 /);
    assert.equal(await raw(client, 'A\x01'), '421 4.7.0 Too many bad commands\r\n');
    await client.waitForClose();
  });
  test('an HTTP request is sent away', async () => {
    await using door = await openDoor();
    using client = await door.connect();
    assert.match(await raw(client, 'POST / HTTP/1.1'), /^421 4\.7\.0 /);
  });
  test('a command cut off by the end of the connection is not run', async () => {
    await using door = await openDoor();
    const client = await door.session();
    client.socket.end('MAIL FROM:<evil@other.example> X=1');
    await client.waitForClose();
    await stillServes(door);
    assert.deepEqual(door.events('intake.refused'), []);
  });
});

describe('connections', () => {
  test('beyond the limit per client: 421, and others still come in', async () => {
    await using door = await openDoor({ limits: { connectionsPerClient: 2 } });
    using first = await door.session();
    using second = await door.session();
    using third = await door.connect();
    assert.equal(third.banner.raw, '421 4.7.0 Too many connections\r\n');
    await third.waitForClose();
    using other = await door.session({ localAddress: '127.0.0.9' });
    assert.match(await raw(other, 'NOOP'), /^250/);
    assert.match(await raw(second, 'NOOP'), /^250/);
    await first.quit();
    await waitFor('room', async () => {
      using again = await door.connect();
      return again.banner.code === 220;
    });
    assert.equal(door.events('intake.refused')[0]?.['reason'], 'too-many-connections');
  });
  for (const tls of ['starttls', 'implicit'] as const) {
    test(`beyond the limit for all, ${tls}; a place is given back however a session ends`, async () => {
      await using door = await openDoor({ listener: { tls }, limits: { connections: 1 } });
      const options = tls === 'implicit' ? { tls: {} } : {};
      for (const end of ['close', 'reset', 'quit'] as const) {
        const client = await waitFor('a place', async () => {
          const tried = await door.connect(options);
          if (tried.banner.code === 220) return tried;
          assert.match(tried.banner.raw, /^421 4\.7\.0 /);
          tried.close();
          return undefined;
        });
        await client.send('EHLO c');
        if (tls === 'starttls') await client.starttls();
        using second = await door.connect(options);
        assert.equal(second.banner.raw, '421 4.7.0 Too many connections\r\n');
        await client[end]();
      }
      await waitFor('the last to be gone', () => door.listener.connections() === 0);
    });
  }
  test('far beyond it they are dropped without a word', async () => {
    await using door = await openDoor({ limits: { connectionsPerClient: 1 } });
    using _first = await door.session();
    const sockets = Array.from({ length: 30 }, () =>
      netConnect({ port: door.listener.port, host: '127.0.0.1', allowHalfOpen: true }),
    );
    const answers = await Promise.all(
      sockets.map(
        (socket) =>
          new Promise<string>((resolve) => {
            let text = '';
            socket.on('data', (chunk) => {
              text += chunk;
            });
            socket.on('error', () => resolve(text));
            socket.on('end', () => resolve(text));
          }),
      ),
    );
    assert.equal(answers.filter((text) => text.startsWith('421 4.7.0 ')).length, 10);
    assert.equal(answers.filter((text) => text === '').length, 20);
    for (const socket of sockets) socket.destroy();
  });
  test('a handshake that never ends is cut after 30 seconds', async () => {
    const clock = new FakeClock();
    for (const tls of ['starttls', 'implicit'] as const) {
      await using door = await openDoor({ clock, listener: { tls } });
      const socket = netConnect({ port: door.listener.port, host: '127.0.0.1' });
      socket.on('error', () => {});
      const closed = new Promise((resolve) => socket.once('close', resolve));
      if (tls === 'starttls') {
        await new Promise((resolve) => socket.once('data', resolve));
        socket.write('EHLO c\r\nSTARTTLS\r\n');
      }
      socket.resume();
      await waitFor('the handshake to begin', () => clock.nextIn === 30_000);
      clock.advance(30_000);
      await closed;
      await waitFor('it to be gone', () => door.listener.connections() === 0);
    }
  });
});

describe('stopping', () => {
  test('idle sessions go with 421, a message in transit is finished, new ones are refused', async () => {
    const door = await openDoor();
    using idle = await door.session();
    using secure = await door.secureSession();
    using between = await door.session();
    await between.send('MAIL FROM:<a@example.com>');
    using busy = await door.session();
    await busy.send('MAIL FROM:<a@example.com>');
    await busy.send('RCPT TO:<b@example.org>');
    await busy.send('DATA');
    busy.write('Subject: x\r\n');
    let closed = false;
    const closing = door.listener.close(20_000).then(() => {
      closed = true;
    });
    for (const client of [idle, secure, between]) {
      assert.equal(
        (await client.read()).raw,
        '421 4.3.2 relay.example.net Service shutting down\r\n',
      );
      await client.waitForClose();
    }
    await assert.rejects(door.connect(), /ECONNREFUSED/);
    assert.equal(closed, false, 'the message is waited for');
    busy.write('\r\nbody\r\n.\r\n');
    assert.match((await busy.read()).raw, /^250 2\.0\.0 Ok: queued as /);
    assert.match((await busy.read()).raw, /^421 4\.3\.2 /);
    await closing;
    assert.deepEqual(door.queue.states, ['committed']);
    assert.equal(door.listener.connections(), 0);
  });
  test('after the grace they are cut, and their drafts are gone when it resolves', async () => {
    const clock = new FakeClock();
    for (const tls of ['starttls', 'implicit'] as const) {
      const door = await openDoor({ clock, listener: { tls } });
      using busy = await door.session(tls === 'implicit' ? { tls: {} } : {});
      if (tls === 'starttls') await busy.starttls();
      await busy.send('EHLO c');
      await busy.send('MAIL FROM:<a@example.com>');
      await busy.send('RCPT TO:<b@example.org>');
      await busy.send('DATA');
      busy.write('half a mess');
      const closing = door.listener.close(30_000);
      await clock.advanceAsync(30_000);
      await closing;
      await busy.waitForClose();
      assert.deepEqual(door.queue.states, ['discarded']);
    }
  });
  test('a commit that outlives its connection is waited for', async () => {
    const clock = new FakeClock();
    const door = await openDoor({ clock });
    let release = () => {};
    door.queue.hold = new Promise((resolve) => {
      release = resolve;
    });
    using client = await door.session();
    await client.send('MAIL FROM:<a@example.com>');
    await client.send('RCPT TO:<b@example.org>');
    await client.send('DATA');
    client.write(`${MESSAGE}.\r\n`);
    await door.queue.drafts.until(
      'the end of the content',
      ([draft]) => draft?.isComplete || undefined,
    );
    let closed = false;
    const closing = door.listener.close(1000).then(() => {
      closed = true;
    });
    await clock.advanceAsync(1000);
    await client.waitForClose();
    assert.equal(closed, false);
    release();
    await closing;
    assert.deepEqual(door.queue.states, ['committed']);
  });
});

test('nothing a client sends breaks the door', async () => {
  await using door = await openDoor({ limits: { messageSize: 2000, recipientsPerMessage: 3 } });
  const piece = fc.oneof(
    fc
      .constantFrom(
        'EHLO a\r\n',
        'HELO b\r\n',
        'MAIL FROM:<a@example.com>\r\n',
        'MAIL FROM:<> SMTPUTF8 BODY=8BITMIME\r\n',
        'RCPT TO:<b@example.org>\r\n',
        'RCPT TO:<postmaster>\r\n',
        'DATA\r\n',
        'x\r\n.\r\n',
        '.\r\n',
        '\r\n',
        'RSET\r\n',
        'STARTTLS\r\n',
        'AUTH PLAIN AGEAYg==\r\n',
        'AUTH LOGIN\r\n',
        'QUIT\r\n',
        '\0',
        '\n',
        '\r',
        '..',
        `${'long '.repeat(500)}\r\n`,
      )
      .map((text) => Buffer.from(text)),
    fc.uint8Array({ maxLength: 200 }).map((octets) => Buffer.from(octets)),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 20 }), async (pieces) => {
      const client = await door.connect();
      client.write(Buffer.concat(pieces));
      client.socket.end();
      await client.waitForClose();
    }),
    { numRuns: 300 },
  );
  await stillServes(door);
  assert.ok(door.queue.states.every((state) => state !== 'open'));
  const bugs = door
    .events('intake.session_error')
    .filter(({ error }) => !/EPIPE|ECONNRESET|hang up|closed/.test(String(error)));
  assert.deepEqual(bugs, []);
});
