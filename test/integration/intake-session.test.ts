/**
 * The front door over real sockets: what it says, word for word, and whom it lets relay.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeClock } from '../support/fake-clock.ts';
import { type DoorOptions, openDoor, plain } from '../support/front-door.ts';
import type { SmtpClient } from '../support/smtp-client.ts';
import { waitFor } from '../support/wait-for.ts';

const USERS = { alice: 'secret' };
const raw = async (client: SmtpClient, line: string) => (await client.send(line)).raw;

test('a whole session, word for word', async () => {
  await using door = await openDoor();
  using client = await door.connect();
  assert.equal(client.banner.raw, '220 relay.example.net ESMTP\r\n');
  const dialog: [command: string, reply: string][] = [
    ['MAIL FROM:<a@example.com>', '503 5.5.1 Error: send HELO/EHLO first\r\n'],
    [
      'EHLO client.example',
      '250-relay.example.net\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250-STARTTLS\r\n250 SIZE 1000000\r\n',
    ],
    ['HELO client.example', '250 relay.example.net\r\n'],
    ['NOOP', '250 2.0.0 OK\r\n'],
    ['VRFY a', '252 2.0.0 Cannot verify, but will take mail and try to deliver it\r\n'],
    ['EXPN a', '502 5.5.1 Command not implemented\r\n'],
    ['HELP', '502 5.5.1 Command not implemented\r\n'],
    ['WIZ x', '500 5.5.1 Error: command not recognized\r\n'],
    ['SHELL', '500 5.5.1 Error: command not recognized\r\n'],
    ['KILL', '500 5.5.1 Error: command not recognized\r\n'],
    ['XCLIENT ADDR=192.0.2.1', '500 5.5.1 Error: command not recognized\r\n'],
    ['BDAT 1 LAST', '500 5.5.1 Error: command not recognized\r\n'],
    ['RCPT TO:<b@example.org>', '503 5.5.1 Error: need MAIL command\r\n'],
    ['DATA', '503 5.5.1 Error: need RCPT command\r\n'],
    ['MAIL FROM:<a@example.com', '501 5.1.7 Error: Bad sender address syntax\r\n'],
    ['MAIL FROM:<a@example.com> SIZE=1000001', '552 5.3.4 Message too large\r\n'],
    ['MAIL FROM:<a@example.com> SIZE=1M', '501 5.5.4 Error: Bad message size syntax\r\n'],
    ['MAIL FROM:<a@example.com> REQUIRETLS', '530 5.7.0 REQUIRETLS needs a TLS session\r\n'],
    [
      'MAIL FROM:<a@example.com> BODY=BINARYMIME',
      '501 5.5.4 Invalid BODY parameter value. Must be 7BIT or 8BITMIME\r\n',
    ],
    ['MAIL FROM:<root>', '553 5.1.7 Bad sender mailbox address\r\n'],
    ['MAIL FROM:<ä@example.com>', '553 5.6.7 Non-ASCII address without the SMTPUTF8 parameter\r\n'],
    ['MAIL FROM:<a@example.com> SIZE=100', '250 2.1.0 Accepted\r\n'],
    ['MAIL FROM:<a@example.com>', '503 5.5.1 Error: nested MAIL command\r\n'],
    ['RCPT TO:<b@example.org', '501 5.1.3 Error: Bad recipient address syntax\r\n'],
    ['RCPT TO:<>', '501 5.1.3 Error: Bad recipient address syntax\r\n'],
    ['RCPT TO:<b@-.org>', '553 5.1.3 Bad recipient mailbox address\r\n'],
    [
      'RCPT TO:<b@bücher.example>',
      '553 5.6.7 Non-ASCII address without the SMTPUTF8 parameter\r\n',
    ],
    [
      'RCPT TO:<b@example.org> NOTIFY=NEVER,DELAY',
      '501 5.5.4 Error: NOTIFY=NEVER cannot be combined with other values\r\n',
    ],
    ['RCPT TO:<b@example.org> ORCPT=rfc822;a+2', '501 5.5.4 Bad parameter value\r\n'],
    ['RCPT TO:<postmaster>', '550 5.1.1 No postmaster is configured here\r\n'],
    ['RCPT TO:<b@example.org>', '250 2.1.5 Accepted\r\n'],
    ['DATA', '354 End data with <CR><LF>.<CR><LF>\r\n'],
  ];
  for (const [command, reply] of dialog) assert.equal(await raw(client, command), reply, command);
  const done = await raw(client, 'Subject: x\r\n\r\nbody\r\n.');
  assert.match(done, /^250 2\.0\.0 Ok: queued as [0-9A-Z]{16}\r\n$/);
  assert.equal(door.queue.last.envelope.id, done.slice(-18, -2));
  assert.equal(await raw(client, 'RSET'), '250 2.0.0 Flushed\r\n');
  assert.equal(await raw(client, 'QUIT'), '221 2.0.0 Bye\r\n');
  await client.waitForClose();
});

test('REQUIRETLS is offered and taken over TLS, and has no value', async () => {
  for (const implicit of [false, true]) {
    await using door = await openDoor(implicit ? { listener: { tls: 'implicit' } } : {});
    using client = implicit
      ? await door.connect({ tls: { rejectUnauthorized: false } })
      : await door.secureSession();
    assert.match(await raw(client, 'EHLO client.example'), /^250[- ]REQUIRETLS\r$/m);
    assert.match(await raw(client, 'MAIL FROM:<a@example.com> REQUIRETLS=1'), /^501 5\.5\.4 /);
    assert.match(await raw(client, 'MAIL FROM:<a@example.com> REQUIRETLS REQUIRETLS'), /^501 /);
    assert.match(await raw(client, 'MAIL FROM:<a@example.com> REQUIRETLS'), /^250 /);
    assert.match(await raw(client, 'RCPT TO:<b@example.org> REQUIRETLS'), /^555 5\.5\.4 /);
  }
});

test('REQUIRETLS in clear text is refused, told and counted; the session goes on', async () => {
  await using door = await openDoor();
  using client = await door.session();
  for (const parameter of ['REQUIRETLS', 'requiretls=1']) {
    const reply = await raw(client, `MAIL FROM:<a@example.com> ${parameter}`);
    assert.equal(reply, '530 5.7.0 REQUIRETLS needs a TLS session\r\n');
  }
  assert.equal(door.events('intake.refused').length, 2);
  assert.match(await raw(client, 'MAIL FROM:<a@example.com>'), /^250 /);
});

describe('who may relay', () => {
  interface Row {
    readonly trusted: boolean;
    readonly auth: 'none' | 'optional' | 'required';
    readonly login: 'none' | 'right' | 'wrong';
    readonly mail: RegExp;
    readonly rcpt?: RegExp;
  }
  const ok = /^250 /;
  const denied = /^554 5\.7\.1 Relay access denied\r\n$/;
  const required = /^530 5\.7\.0 Authentication required\r\n$/;
  const rows: Row[] = [
    { trusted: true, auth: 'none', login: 'none', mail: ok, rcpt: ok },
    { trusted: true, auth: 'optional', login: 'none', mail: ok, rcpt: ok },
    { trusted: true, auth: 'optional', login: 'right', mail: ok, rcpt: ok },
    { trusted: true, auth: 'required', login: 'none', mail: required },
    { trusted: true, auth: 'required', login: 'right', mail: ok, rcpt: ok },
    { trusted: false, auth: 'none', login: 'none', mail: ok, rcpt: denied },
    { trusted: false, auth: 'optional', login: 'none', mail: ok, rcpt: denied },
    { trusted: false, auth: 'optional', login: 'wrong', mail: ok, rcpt: denied },
    { trusted: false, auth: 'optional', login: 'right', mail: ok, rcpt: ok },
    { trusted: false, auth: 'required', login: 'none', mail: required },
    { trusted: false, auth: 'required', login: 'wrong', mail: required },
    { trusted: false, auth: 'required', login: 'right', mail: ok, rcpt: ok },
  ];
  for (const { trusted, auth, login, mail, rcpt } of rows) {
    test(`trusted: ${trusted}, auth ${auth}, login ${login}`, async () => {
      await using door = await openDoor({
        listener: { auth },
        users: USERS,
        access: { trustedNetworks: trusted ? ['127.0.0.0/8'] : [] },
      });
      using client = await door.secureSession();
      if (login !== 'none') {
        const reply = await raw(
          client,
          `AUTH PLAIN ${plain('alice', login === 'right' ? 'secret' : 'x')}`,
        );
        assert.equal(
          reply,
          login === 'right'
            ? '235 2.7.0 Authentication successful\r\n'
            : '535 5.7.8 Authentication credentials invalid\r\n',
        );
      }
      assert.match(await raw(client, 'MAIL FROM:<a@example.com>'), mail);
      const answer = await raw(client, 'RCPT TO:<b@example.org>');
      assert.match(answer, rcpt ?? /^530 5\.7\.0 /);
      if (rcpt !== ok) {
        assert.match(await raw(client, 'DATA'), /^5/);
        assert.deepEqual(door.queue.states, []);
      }
    });
  }

  test('forms of address that old relays fell for', async () => {
    await using door = await openDoor({ access: { trustedNetworks: [] } });
    using client = await door.session();
    await client.send('MAIL FROM:<postmaster@relay.example.net>');
    for (const path of [
      'b@example.org',
      'b%example.org@relay.example.net',
      '@relay.example.net:b@example.org',
      '"b@example.org"@relay.example.net',
      '"b@example.org"',
      'example.org!b@relay.example.net',
      'b@[127.0.0.1]',
      'b@relay.example.net',
      'b',
      'postmaster@other.example',
    ]) {
      assert.match(await raw(client, `RCPT TO:<${path}>`), /^554 5\.7\.1 /, path);
    }
    assert.deepEqual(
      door.events('intake.refused').map(({ reason }) => reason),
      Array(10).fill('relay-denied'),
    );
  });

  test('our postmaster can be written to by anybody, when there is one', async () => {
    await using door = await openDoor({
      access: { trustedNetworks: [] },
      postmaster: 'ops@example.net',
    });
    using client = await door.session();
    const { accepted } = await client.deliver({
      from: 'stranger@example.com',
      to: ['postmaster', 'PostMaster@RELAY.example.net'],
      data: 'Subject: x\r\n\r\n',
    });
    assert.ok(accepted);
    assert.deepEqual(door.queue.last.envelope.recipients, [{ address: 'ops@example.net' }]);
  });

  test('senders: by domain, by user, and never the null reverse-path', async () => {
    await using door = await openDoor({
      users: USERS,
      allowedSenders: ['*@team.example.com', 'boss@example.com'],
      access: { allowedSenderDomains: ['example.com', 'team.example.com'] },
    });
    const refused = '553 5.7.1 Sender address not allowed\r\n';
    using client = await door.secureSession();
    assert.equal(await raw(client, 'MAIL FROM:<x@other.example>'), refused);
    assert.match(await raw(client, 'MAIL FROM:<x@example.com>'), /^250/);
    await client.send('RSET');
    await client.send(`AUTH PLAIN ${plain('alice', 'secret')}`);
    assert.equal(await raw(client, 'MAIL FROM:<x@example.com>'), refused);
    assert.match(await raw(client, 'MAIL FROM:<x@team.example.com>'), /^250/);
    await client.send('RSET');
    assert.match(await raw(client, 'MAIL FROM:<>'), /^250/);
  });

  test('other rules at once for open sessions', async () => {
    await using door = await openDoor();
    using client = await door.session();
    assert.match(await raw(client, 'MAIL FROM:<a@example.com>'), /^250/);
    door.listener.update({
      hostname: 'new.example.net',
      postmaster: '',
      access: { trusts: () => false, allowsSender: () => true },
      messageSize: 5000,
      recipientsPerMessage: 1,
      receivedHops: 1,
    });
    assert.match(await raw(client, 'RCPT TO:<b@example.org>'), /^554 5\.7\.1/);
    assert.match(await raw(client, 'EHLO c'), /SIZE 5000/);
    using later = await door.connect();
    assert.match(later.banner.raw, /^220 new\.example\.net /);
  });
});

describe('AUTH', () => {
  test('only under TLS', async () => {
    await using door = await openDoor({ users: USERS, listener: { auth: 'required' } });
    using client = await door.connect();
    assert.doesNotMatch(await raw(client, 'EHLO c'), /AUTH/);
    assert.match(await raw(client, `AUTH PLAIN ${plain('alice', 'secret')}`), /^538 5\.7\.11 /);
    assert.match(await raw(client, 'AUTH LOGIN'), /^538 5\.7\.11 /);
    assert.equal(
      await raw(client, 'MAIL FROM:<a@example.com>'),
      '530 5.7.0 Must issue a STARTTLS command first\r\n',
    );
    await client.starttls();
    assert.match(await raw(client, 'EHLO c'), /^250[ -]AUTH PLAIN LOGIN\r$/m);
    assert.match(
      await raw(client, 'MAIL FROM:<a@example.com>'),
      /^530 5\.7\.0 Authentication required/,
    );
    assert.equal(await raw(client, 'AUTH LOGIN'), '334 VXNlcm5hbWU6\r\n');
    assert.equal(
      await raw(client, Buffer.from('alice').toString('base64')),
      '334 UGFzc3dvcmQ6\r\n',
    );
    assert.match(await raw(client, Buffer.from('secret').toString('base64')), /^235 2\.7\.0 /);
    assert.match(await raw(client, `AUTH PLAIN ${plain('alice', 'secret')}`), /^503 5\.5\.1 /);
  });
  test('not where it is off', async () => {
    await using door = await openDoor({ users: USERS, listener: { auth: 'none' } });
    using client = await door.secureSession();
    assert.doesNotMatch(await raw(client, 'EHLO c'), /AUTH/);
    assert.match(await raw(client, `AUTH PLAIN ${plain('alice', 'secret')}`), /^502 5\.5\.1 /);
  });
  test('not inside a transaction, not as somebody else, not with another mechanism', async () => {
    await using door = await openDoor({ users: USERS });
    using client = await door.secureSession();
    assert.match(await raw(client, 'AUTH CRAM-MD5'), /^504 5\.5\.4 /);
    assert.match(await raw(client, 'AUTH XOAUTH2 x'), /^504 5\.5\.4 /);
    await client.send('MAIL FROM:<a@example.com>');
    assert.match(await raw(client, `AUTH PLAIN ${plain('alice', 'secret')}`), /^503 5\.5\.1 /);
    await client.send('RSET');
    assert.match(
      await raw(client, `AUTH PLAIN ${plain('alice', 'secret', 'bob')}`),
      /^535 5\.7\.8 /,
    );
    assert.match(await raw(client, `AUTH PLAIN ${plain('alice', 'secret', 'alice')}`), /^235 /);
  });
  test('passwords that cannot be checked are a temporary failure, and never in the log', async () => {
    await using door = await openDoor({ verify: () => Promise.reject(new Error('disk')) });
    using client = await door.secureSession();
    assert.match(await raw(client, `AUTH PLAIN ${plain('alice', 'sesame')}`), /^454 4\.7\.0 /);
    assert.equal(door.events('intake.session_error').length, 1);
    assert.doesNotMatch(JSON.stringify(door.log.entries), /sesame/);
  });
  test('wrong passwords: each answer later, the third ends the session, all counted', async () => {
    const clock = new FakeClock();
    await using door = await openDoor({ users: USERS, clock });
    using client = await door.secureSession();
    const attempt = async (delayMs: number) => {
      const answer = raw(client, `AUTH PLAIN ${plain('alice', 'wrong')}`);
      await waitFor(`a wait of ${delayMs} ms`, () => clock.nextIn === delayMs);
      await clock.advanceAsync(delayMs - 1);
      assert.equal(clock.nextIn, 1, 'still waiting');
      await clock.advanceAsync(1);
      return answer;
    };
    assert.equal(await attempt(1000), '535 5.7.8 Authentication credentials invalid\r\n');
    assert.equal(await attempt(2000), '535 5.7.8 Authentication credentials invalid\r\n');
    assert.equal(await attempt(4000), '421 4.7.0 Too many failed authentications\r\n');
    await client.waitForClose();
    assert.equal(door.events('intake.auth_failed').length, 3);

    // The next connection of the same address is not faster, and the right password works at once.
    using second = await door.secureSession();
    assert.match(await raw(second, `AUTH PLAIN ${plain('alice', 'secret')}`), /^235 /);
    using third = await door.secureSession();
    const answer = raw(third, `AUTH PLAIN ${plain('alice', 'wrong')}`);
    await waitFor('a wait of 8 s', () => clock.nextIn === 8000);
    // Meanwhile not even the right password is looked at before the wait is over.
    using fourth = await door.secureSession();
    const held = raw(fourth, `AUTH PLAIN ${plain('alice', 'secret')}`);
    await waitFor('two waits', () => clock.pending === 2);
    await clock.advanceAsync(8000);
    assert.match(await answer, /^535 /);
    assert.match(await held, /^235 /);
  });
});

describe('TLS modes', () => {
  test('implicit: TLS from the first octet, and no STARTTLS in it', async () => {
    await using door = await openDoor({ listener: { tls: 'implicit' } });
    using client = await door.connect({ tls: {} });
    assert.equal(client.banner.raw, '220 relay.example.net ESMTP\r\n');
    assert.doesNotMatch(await raw(client, 'EHLO c'), /STARTTLS/);
    assert.match(await raw(client, 'STARTTLS'), /^500 5\.5\.1 /);
    assert.ok((await client.deliver({ from: '', to: 'b@example.org', data: 'x\r\n' })).accepted);
    assert.match(
      door.queue.last.trace,
      /with ESMTPS id [0-9A-Z]+\r\n\tfor <b@example\.org>\r\n\ttls TLS_AES_\w+ \(TLSv1\.3\);/,
    );
  });
  test('none: nothing offered', async () => {
    await using door = await openDoor({ listener: { tls: 'none' } });
    using client = await door.connect();
    assert.doesNotMatch(await raw(client, 'EHLO c'), /STARTTLS|AUTH/);
    assert.match(await raw(client, 'STARTTLS'), /^500 5\.5\.1 /);
    assert.match(await raw(client, `AUTH PLAIN ${plain('a', 'b')}`), /^538 /);
  });
  test('TLS 1.1 is refused, and the listener goes on', async () => {
    await using door = await openDoor({ listener: { tls: 'implicit' } });
    const old = {
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.1',
      ciphers: 'DEFAULT@SECLEVEL=0',
    } as const;
    await assert.rejects(door.connect({ tls: old }));
    await door.log.until('the event', () => door.events('intake.refused')[0]);
    assert.equal(door.events('intake.refused')[0]?.['reason'], 'tls-failed');
    using client = await door.connect({ tls: {} });
    assert.equal(client.banner.code, 220);
  });
  test('a new certificate for handshakes from now on', async () => {
    await using door = await openDoor({ listener: { tls: 'implicit' } });
    const serial = async () => {
      using client = await door.connect({ tls: {} });
      return (client.socket as import('node:tls').TLSSocket).getPeerCertificate().serialNumber;
    };
    const before = await serial();
    const { createCa } = await import('../support/ca.ts');
    const { certPem, keyPem } = await (await createCa()).issueKind('good', 'relay.example.net');
    door.listener.updateTls({ cert: certPem, key: keyPem });
    assert.notEqual(await serial(), before);
  });
  test('STARTTLS forgets what was said before it', async () => {
    await using door = await openDoor();
    using client = await door.session();
    await client.send('MAIL FROM:<a@example.com>');
    await client.starttls();
    assert.match(await raw(client, 'RCPT TO:<b@example.org>'), /^503 /);
    assert.match(await raw(client, 'MAIL FROM:<a@example.com>'), /^503 5\.5\.1 Error: send HELO/);
  });
  test('a port in use is an error of opening', async () => {
    await using door = await openDoor();
    const again: DoorOptions = { listener: { port: door.listener.port } };
    await assert.rejects(openDoor(again), { code: 'EADDRINUSE' });
  });
});
