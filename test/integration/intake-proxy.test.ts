/**
 * Clients behind a proxy (`listeners[].proxyProtocol`), over real sockets: who may connect, who counts as
 * the client, and what does not come in.
 */
import assert from 'node:assert/strict';
import { connect as netConnect, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { describe, test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { FakeClock } from '../support/fake-clock.ts';
import { type DoorOptions, type FrontDoor, openDoor, plain } from '../support/front-door.ts';
import { v1, v2 } from '../support/proxy-headers.ts';
import { connect, SmtpClient } from '../support/smtp-client.ts';
import { waitFor } from '../support/wait-for.ts';

const CLIENT = '203.0.113.7';
const LOCAL = v2({ command: 0x20, family: 0, addresses: Buffer.alloc(0) });
const UNKNOWN = 'PROXY UNKNOWN\r\n';
const USERS = { alice: 'secret' };
const MAIL = { from: 'a@example.com', to: 'b@example.org', data: 'Subject: x\r\n\r\nbody\r\n' };

/** Behind proxies on loopback, which `trustedNetworks` trusts, too; CLIENT is not trusted unless said. */
function openProxied(options: DoorOptions = {}): Promise<FrontDoor> {
  const { listener, ...others } = options;
  return openDoor({ listener: { proxyProtocol: ['127.0.0.0/8'], ...listener }, ...others });
}

const trusting = (...networks: string[]): DoorOptions => ({
  access: { trustedNetworks: networks },
});

/** A connection on which nothing is read or written by itself. */
async function dial(door: FrontDoor, localAddress = '127.0.0.1'): Promise<Socket> {
  const socket = netConnect({ port: door.listener.port, host: '127.0.0.1', localAddress });
  socket.setNoDelay(true).on('error', () => {});
  await new Promise<void>((resolve) => socket.once('connect', resolve));
  return socket;
}

/** All that was said until the other side closed, or reset since it did not read everything. */
async function untilClosed(socket: Socket): Promise<string> {
  let said = '';
  try {
    for await (const chunk of socket) said += chunk.toString('latin1');
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ECONNRESET');
  }
  return said;
}

const refusals = (door: FrontDoor) =>
  door.events('intake.refused').map(({ reason, client, detail }) => [reason, client, detail]);

describe('the client is who the header says', () => {
  const headers: readonly (readonly [string | Buffer, string, string])[] = [
    [v1(CLIENT), CLIENT, 'v1'],
    [v2({ source: CLIENT, sum: 0 }), CLIENT, 'v2'],
    [v1('2001:db8::7'), '2001:db8::7', 'v1, IPv6'],
    [v1(`::ffff:0:${CLIENT}`), '::ffff:0:cb00:7107', 'v1, almost IPv4-mapped'],
    [v1(`::ffff:${CLIENT}`), CLIENT, 'v1, IPv4-mapped'],
    [v2({ source: '0:0:0:0:0:ffff:cb00:7107' }), CLIENT, 'v2, IPv4-mapped'],
  ];
  for (const [preamble, address, name] of headers) {
    for (const tls of ['starttls', 'implicit'] as const) {
      test(`${name}, ${tls}: may relay, and is in Received, envelope and log`, async () => {
        await using door = await openProxied({ listener: { tls }, ...trusting(address) });
        using client =
          tls === 'implicit'
            ? await door.session({ preamble, tls: {} })
            : await door.secureSession({ preamble });
        const { reply } = await client.deliver(MAIL);
        assert.equal(reply.code, 250, reply.raw);
        const { envelope, trace } = door.queue.last;
        assert.equal(envelope.client?.address, address);
        const literal = address.includes(':') ? `IPv6:${address}` : address;
        assert.ok(trace.includes(`([${literal}])`) || trace.includes(`[${literal}]`), trace);
        assert.doesNotMatch(trace, /127\.0\.0\.1/);
        assert.equal(door.events('intake.accepted')[0]?.['client'], address);
      });
    }
    test(`${name}: may not relay where it is not trusted, though its proxy is`, async () => {
      await using door = await openProxied();
      using client = await door.session({ preamble });
      assert.equal((await client.deliver(MAIL)).reply.raw, '554 5.7.1 Relay access denied\r\n');
      const [refused] = door.events('intake.refused');
      assert.deepEqual([refused?.['reason'], refused?.['client']], ['relay-denied', address]);
    });
  }

  test('it may log in, and a wrong password is its own', async () => {
    await using door = await openProxied({ users: USERS });
    using client = await door.secureSession({ preamble: v1(CLIENT) });
    assert.equal((await client.send(`AUTH PLAIN ${plain('alice', 'wrong')}`)).code, 535);
    assert.equal(door.events('intake.auth_failed')[0]?.['client'], CLIENT);
    assert.equal((await client.send(`AUTH PLAIN ${plain('alice', 'secret')}`)).code, 235);
    assert.equal((await client.deliver(MAIL)).reply.code, 250);
  });

  test('a handshake that fails is told as its', async () => {
    await using door = await openProxied({ listener: { tls: 'implicit' } });
    const socket = await dial(door);
    socket.write(`${v1(CLIENT)}EHLO client.example\r\n`);
    await untilClosed(socket);
    await door.log.until('the refusal', () => refusals(door)[0]);
    assert.deepEqual(refusals(door)[0]?.slice(0, 2), ['tls-failed', CLIENT]);
  });

  test('intake.listening says whose proxies', async () => {
    await using door = await openProxied();
    assert.deepEqual(door.events('intake.listening')[0]?.['proxyProtocol'], ['127.0.0.0/8']);
  });
});

describe('the header comes as it may', () => {
  for (const [name, preamble] of [
    ['v1', Buffer.from(v1(CLIENT))],
    ['v2', v2({ source: CLIENT })],
  ] as const) {
    test(`${name}, octet by octet`, async () => {
      await using door = await openProxied();
      const socket = await dial(door);
      using client = new SmtpClient(socket, 30_000);
      for (const octet of preamble) {
        await new Promise((resolve) => socket.write(Buffer.of(octet), resolve));
        await new Promise((resolve) => setImmediate(resolve));
      }
      assert.equal((await client.read()).code, 220);
      assert.equal((await client.send('EHLO client.example')).code, 250);
    });

    test(`${name}, in one segment with the ClientHello, or cut within it`, async () => {
      await using door = await openProxied({
        listener: { tls: 'implicit' },
        ...trusting(CLIENT),
      });
      for (const first of [0, 5]) {
        const socket = await dial(door);
        using client = await joinHello(socket, preamble, first);
        assert.equal((await client.send('EHLO client.example')).code, 250);
        assert.equal((await client.deliver(MAIL)).reply.code, 250);
      }
    });

    test(`${name}, in one segment with EHLO: nothing is lost, and it spoke too soon`, async () => {
      await using door = await openProxied();
      const socket = await dial(door);
      socket.write(Buffer.concat([preamble, Buffer.from('EHLO client.example\r\n')]));
      assert.match(await untilClosed(socket), /^421 .*talk too soon/i);
    });
  }
});

/**
 * A TLS session whose ClientHello follows the header in one write, or begins `first` octets
 * within the write before.
 */
async function joinHello(socket: Socket, preamble: Buffer, first: number): Promise<SmtpClient> {
  const write = socket.write.bind(socket);
  let hello: Buffer | undefined;
  // TLS on a Duplex writes to it as to any stream: the first write is the ClientHello.
  const wire = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      if (hello) {
        write(chunk, () => done());
        return;
      }
      hello = chunk;
      const cut = preamble.length + (first || chunk.length);
      const all = Buffer.concat([preamble, chunk]);
      write(all.subarray(0, cut), () => {
        setImmediate(() => write(all.subarray(cut), () => done()));
      });
    },
  });
  socket.on('data', (chunk) => wire.push(chunk)).on('end', () => wire.push(null));
  const secure = tlsConnect({ socket: wire, rejectUnauthorized: false });
  await new Promise<void>((resolve, reject) => {
    secure.once('secureConnect', resolve).once('error', reject);
  });
  const client = new SmtpClient(secure, 30_000, socket);
  assert.equal((await client.read()).code, 220);
  return client;
}

describe('what does not come in', () => {
  const bad: readonly (readonly [string, string | Buffer, RegExp])[] = [
    ['no header', 'EHLO client.example\r\n', /does not begin with one/],
    ['garbage', '\0\xff\0\xff', /does not begin with one/],
    ['a header like smtp-server takes', `PROXY TCP4 ${CLIENT}\r\n`, /two addresses/],
    ['a line without end', `PROXY UNKNOWN ${'x'.repeat(2000)}`, /107 octets/],
    ['v2 that is too long', v2({ tlvs: Buffer.alloc(5000) }), /4096 octets/],
    ['a wrong checksum', v2({ sum: 1 }), /checksum/],
    ['UDP', v2({ family: 0x12 }), /not a stream/],
  ];
  for (const [name, octets, detail] of bad) {
    for (const tls of ['starttls', 'implicit'] as const) {
      test(`${name}, ${tls}: closed without a word, told and counted`, async () => {
        await using door = await openProxied({ listener: { tls } });
        const socket = await dial(door);
        socket.write(Buffer.from(octets as string, 'latin1'));
        assert.equal(await untilClosed(socket), '');
        const [refused, ...others] = refusals(door);
        assert.deepEqual(refused?.slice(0, 2), ['proxy-protocol', '127.0.0.1']);
        assert.match(String(refused?.[2]), detail);
        assert.equal(others.length, 0);
        await waitFor('the end', () => door.listener.connections() === 0);
      });
    }
  }

  test('a good header from an address that is not on the list', async () => {
    await using door = await openProxied({ listener: { proxyProtocol: ['127.0.0.9', '::1'] } });
    const stranger = await dial(door, '127.0.0.8');
    stranger.write(v1(CLIENT));
    assert.equal(await untilClosed(stranger), '');
    const detail = 'not one of the proxies of this listener';
    assert.deepEqual(refusals(door), [['proxy-protocol', '127.0.0.8', detail]]);
    using client = await door.session({ localAddress: '127.0.0.9', preamble: v1(CLIENT) });
    assert.equal((await client.send('NOOP')).code, 250);
  });

  for (const part of ['', 'PROXY TCP4 ']) {
    test(`a header that does not come to its end in time: "${part}"`, async () => {
      const clock = new FakeClock();
      await using door = await openProxied({ clock });
      const socket = await dial(door);
      socket.write(part);
      await waitFor('the connection', () => door.listener.connections() === 1 && clock.pending > 0);
      clock.advance(9_999);
      assert.equal(refusals(door).length, 0);
      clock.advance(1);
      assert.equal(await untilClosed(socket), '');
      assert.equal(refusals(door)[0]?.[2], 'no PROXY header within 10 s');
    });
  }

  test('one that leaves within the header is told, one that said nothing is not', async () => {
    await using door = await openProxied();
    const probe = await dial(door);
    await waitFor('the probe', () => door.listener.connections() === 1);
    probe.end();
    assert.equal(await untilClosed(probe), '');
    await waitFor('its end', () => door.listener.connections() === 0);
    const cut = await dial(door);
    cut.end('PROXY TC');
    assert.equal(await untilClosed(cut), '');
    await door.log.until('the refusal', () => refusals(door)[0]);
    const detail = 'the connection ended within the PROXY header';
    assert.deepEqual(refusals(door), [['proxy-protocol', '127.0.0.1', detail]]);
  });

  test('one that resets within the header', async () => {
    await using door = await openProxied();
    const cut = await dial(door);
    cut.write('PROXY TC');
    await waitFor('the connection', () => door.listener.connections() === 1);
    cut.resetAndDestroy();
    await waitFor('its end', () => door.listener.connections() === 0);
    using client = await door.session({ preamble: v1(CLIENT) });
    assert.equal((await client.send('NOOP')).code, 250);
  });

  test('a stop does not wait for a header, and tells nothing', async () => {
    const door = await openProxied();
    const sockets = [await dial(door), await dial(door)];
    sockets[1]?.write('PROXY TC');
    // When this one is greeted, what was sent before has been read.
    using _later = await door.session({ preamble: v1(CLIENT) });
    assert.equal(door.listener.connections(), 3);
    await door.listener.close(60_000);
    for (const socket of sockets) assert.equal(await untilClosed(socket), '');
    assert.deepEqual(refusals(door), []);
  });
});

describe('a proxy that names nobody', () => {
  for (const [name, preamble] of [
    ['LOCAL', LOCAL],
    ['UNKNOWN', UNKNOWN],
    ['UNSPEC', v2({ family: 0, addresses: Buffer.alloc(0) })],
    ['UNIX', v2({ family: 0x31, addresses: Buffer.alloc(216) })],
  ] as const) {
    for (const auth of ['optional', 'required', 'none'] as const) {
      test(`${name}, auth ${auth}: is greeted, and never relayed`, async () => {
        const postmaster = 'admin@example.com';
        await using door = await openProxied({ listener: { auth }, users: USERS, postmaster });
        using client = await door.secureSession({ preamble });
        assert.equal((await client.send('NOOP')).code, 250);
        assert.doesNotMatch((await client.send('EHLO client.example')).raw, /AUTH/);
        const login = await client.send(`AUTH PLAIN ${plain('alice', 'secret')}`);
        assert.equal(login.code, 502, login.raw);
        assert.match((await client.deliver(MAIL)).reply.raw, /^554 5\.7\.1 /);
        await client.send('RSET');
        const toPostmaster = await client.deliver({ ...MAIL, to: 'postmaster' });
        if (auth === 'required') assert.match(toPostmaster.reply.raw, /^554 5\.7\.1 /);
        else {
          assert.equal(toPostmaster.reply.code, 250);
          assert.equal(door.queue.last.envelope.client?.address, '127.0.0.1');
        }
        assert.equal((await client.quit()).code, 221);
      });
    }
  }

  test('over implicit TLS, too', async () => {
    await using door = await openProxied({ listener: { tls: 'implicit' } });
    using client = await door.session({ preamble: LOCAL, tls: {} });
    assert.match((await client.deliver(MAIL)).reply.raw, /^554 5\.7\.1 /);
  });
});

describe('limits', () => {
  test('connectionsPerClient counts for the client, not for its proxy', async () => {
    await using door = await openProxied({ limits: { connectionsPerClient: 1 } });
    using _first = await door.session({ preamble: v1('203.0.113.1') });
    using _second = await door.session({ preamble: v1('203.0.113.2') });
    using _check = await door.session({ preamble: LOCAL });
    using _another = await door.session({ preamble: LOCAL });
    using refused = await door.connect({ preamble: v1('203.0.113.1') });
    assert.equal(refused.banner.code, 421);
    assert.deepEqual(refusals(door)[0]?.slice(0, 2), ['too-many-connections', '203.0.113.1']);
    _first.close();
    await waitFor('its end', () => door.listener.connections() <= 4);
    await waitFor('its place', async () => {
      using again = await door.connect({ preamble: v1('203.0.113.1') });
      return again.banner.code === 220;
    });
  });

  test('far beyond it a connection is dropped without a reply', async () => {
    await using door = await openProxied({ limits: { connectionsPerClient: 1 } });
    const hold = { preamble: v1(CLIENT) };
    const sockets = await Promise.all(
      Array.from({ length: 15 }, async () => {
        const socket = await dial(door);
        socket.write(hold.preamble);
        return socket;
      }),
    );
    await door.log.until('a drop', () =>
      refusals(door).find(([, , detail]) => detail === 'dropped without a reply'),
    );
    for (const socket of sockets) socket.destroy();
    for (const [reason, client] of refusals(door)) {
      assert.deepEqual([reason, client], ['too-many-connections', CLIENT]);
    }
  });

  test('connections without a header count among all', async () => {
    await using door = await openProxied({ limits: { connections: 1 } });
    const silent = await dial(door);
    await waitFor('the connection', () => door.listener.connections() === 1);
    using refused = await door.connect({ preamble: v1(CLIENT) });
    assert.equal(refused.banner.code, 421);
    silent.destroy();
  });

  test('messagesPerClient is for the client', async () => {
    const limits = { messagesPerClient: { count: 1, perMs: 3_600_000 } };
    await using door = await openProxied({ limits, ...trusting('203.0.113.0/24') });
    for (const [source, code] of [
      ['203.0.113.1', 250],
      ['203.0.113.1', 450],
      ['203.0.113.2', 250],
    ] as const) {
      using client = await door.session({ preamble: v1(source) });
      assert.equal((await client.deliver(MAIL)).reply.code, code, source);
    }
  });
});

test('a listener without proxyProtocol takes no header', async () => {
  await using door = await openDoor();
  using client = await connect({ port: door.listener.port, preamble: v1('127.0.0.1') });
  assert.equal(client.banner.code, 421);
});
