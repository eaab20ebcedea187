/**
 * The scripted MX host plays each part it can be given, and records what came octet for octet.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { createCa, type IssuedCertificate } from '../support/ca.ts';
import { type MxHost, type MxHostOptions, startMxHost } from '../support/mx-host.ts';
import { ConnectionLost, connect, type SmtpClient } from '../support/smtp-client.ts';
import { waitFor } from '../support/wait-for.ts';

const NAME = 'mx1.example.test';
const OLD_TLS: ConnectionOptions = {
  minVersion: 'TLSv1.1',
  maxVersion: 'TLSv1.1',
  ciphers: 'DEFAULT@SECLEVEL=0',
};
const MESSAGE = { from: 'a@b.test', to: ['c@d.test'], data: 'Subject: x\r\n\r\nhello\r\n' };

describe('test MX host', () => {
  let certificate: IssuedCertificate;
  const hosts: MxHost[] = [];
  before(async () => {
    certificate = await (await createCa()).issueKind('good', NAME);
  });
  after(() => Promise.all(hosts.map((host) => host.close())));

  const start = async (options: Partial<MxHostOptions> = {}): Promise<MxHost> => {
    const host = await startMxHost({ name: NAME, certificate, ...options });
    hosts.push(host);
    return host;
  };
  const greet = async (host: MxHost): Promise<SmtpClient> => {
    const client = await connect({ port: host.port });
    await client.send('EHLO client.test');
    return client;
  };
  const secure = async (host: MxHost, options: ConnectionOptions = {}): Promise<SmtpClient> => {
    const client = await greet(host);
    await client.starttls({ servername: NAME, ...options });
    await client.send('EHLO client.test');
    return client;
  };

  test('a message over STARTTLS is recorded octet for octet', async () => {
    const host = await start();
    const client = await secure(host);
    const data = Buffer.concat([
      Buffer.from('Subject: dots\r\n\r\n.\r\n..two\r\n'),
      Buffer.from([0xff, 0xfe, 0x00, 0x80]),
      Buffer.from('\r\n.end\r\n'),
    ]);
    const sent = await client.deliver({ ...MESSAGE, data, mailParams: 'BODY=8BITMIME RET=HDRS' });
    assert.equal(sent.id, 'T1-1');
    await client.quit();
    const [message] = await host.waitForMessages(1);
    assert.deepEqual(message?.data, data);
    assert.deepEqual(message?.mailFrom, {
      address: 'a@b.test',
      params: ['BODY=8BITMIME', 'RET=HDRS'],
    });
    assert.deepEqual(message?.recipients, [{ address: 'c@d.test', params: [] }]);
    assert.equal(message?.helo, 'client.test');
    assert.equal(message?.tls?.serverName, NAME);
    assert.equal(message?.tls?.version, 'TLSv1.3');
    const [session] = await host.waitForSessions(1);
    assert.deepEqual(session?.violations, []);
    assert.equal(session?.octets.contentClear, 0);
    assert.ok((session?.octets.contentEncrypted ?? 0) > data.length);
    assert.deepEqual(
      session?.commands.map(({ verb, overTls }) => `${verb}${overTls ? '/tls' : ''}`),
      ['EHLO', 'STARTTLS', 'EHLO/tls', 'MAIL/tls', 'RCPT/tls', 'DATA/tls', 'QUIT/tls'],
    );
  });

  test('an empty message, and a large one in pieces', async () => {
    const host = await start({ certificate: undefined as never, startTls: 'off' });
    const client = await greet(host);
    await client.deliver({ ...MESSAGE, data: '' });
    const data = Buffer.from(`Subject: large\r\n\r\n${'.x'.repeat(35)}\r\n`.repeat(20_000));
    await client.deliver({ ...MESSAGE, data });
    const [empty, large] = await host.waitForMessages(2);
    assert.equal(empty?.data.length, 0);
    assert.ok(large?.data.equals(data));
    assert.equal(large?.tls, undefined);
    client.close();
  });

  test('TLS 1.1 only: refuses TLS 1.2, works with TLS 1.1', async () => {
    const host = await start({ minTls: 'TLSv1.1', maxTls: 'TLSv1.1' });
    await assert.rejects(secure(host, { minVersion: 'TLSv1.2' }), { code: /PROTOCOL_VERSION/ });
    const [failed] = await host.waitForSessions(1);
    assert.match(failed?.tlsError ?? '', /protocol/);
    const client = await secure(host, OLD_TLS);
    assert.equal(host.sessions[1]?.tls?.version, 'TLSv1.1');
    client.close();
  });

  test('a good host refuses TLS 1.1', async () => {
    const host = await start();
    await assert.rejects(secure(host, OLD_TLS));
  });

  test('implicit TLS', async () => {
    const host = await start({ implicitTls: true });
    const client = await connect({ port: host.port, tls: { servername: NAME } });
    assert.equal(client.banner.code, 220);
    assert.ok(!(await client.send('EHLO x')).lines.includes('STARTTLS'));
    assert.equal(host.sessions[0]?.octets.clear, 0);
    client.close();
  });

  const offers = async (client: SmtpClient) =>
    (await client.send('EHLO client.test')).lines.includes('STARTTLS');

  test('STARTTLS hidden, off, refused', async () => {
    const hidden = await greet(await start({ startTls: 'hidden' }));
    assert.ok(!(await offers(hidden)));
    assert.equal((await hidden.starttls()).code, 220);
    const off = await greet(await start({ startTls: 'off' }));
    assert.ok(!(await offers(off)));
    assert.equal((await off.starttls()).code, 502);
    const refused = await greet(await start({ startTls: 'refused' }));
    assert.ok(await offers(refused));
    assert.equal((await refused.starttls()).code, 454);
    assert.equal((await refused.deliver(MESSAGE)).accepted, true);
    for (const client of [hidden, off, refused]) client.close();
  });

  test('STARTTLS reset, garbage, hang', async () => {
    const reset = await greet(await start({ startTls: 'reset' }));
    await assert.rejects(reset.starttls(), ConnectionLost);
    const garbage = await greet(await start({ startTls: 'garbage' }));
    await assert.rejects(garbage.starttls(), { code: 'ERR_SSL_WRONG_VERSION_NUMBER' });
    const host = await start({ startTls: 'hang' });
    const hang = await greet(host);
    assert.equal((await hang.send('STARTTLS')).code, 220);
    hang.close();
    await host.waitForSessions(1);
  });

  test('octets behind the 220 of STARTTLS arrive in clear with it', async () => {
    const host = await start({ injectAfterStartTls: '250 injected\r\n' });
    const client = await greet(host);
    assert.equal((await client.send('STARTTLS')).code, 220);
    assert.deepEqual((await client.read()).lines, ['injected']);
    client.close();
  });

  test('octets the client puts behind STARTTLS are a violation', async () => {
    const host = await start();
    const client = await greet(host);
    client.write('STARTTLS\r\nNOOP\r\n');
    assert.equal((await client.read()).code, 220);
    assert.match(host.sessions[0]?.violations[0] ?? '', /behind STARTTLS/);
    client.close();
  });

  test('scripts: replies, endings and delays at any point', async () => {
    const host = await start({
      script: (session, { verb, argument }) => {
        if (verb === 'CONNECT') return '220-two\r\n220 lines';
        if (argument === 'TO:<no@d.test>') return '550 5.1.1 Nobody here';
        if (verb === '.' && session.messages.length === 1) return { delayMs: 60 };
        if (verb === '.') return { ending: 'reset' };
        return undefined;
      },
    });
    const client = await greet(host);
    assert.deepEqual(client.banner.lines, ['two', 'lines']);
    const start_ = performance.now();
    const sent = await client.deliver({ ...MESSAGE, to: ['no@d.test', 'yes@d.test'] });
    assert.ok(performance.now() - start_ >= 55);
    assert.deepEqual(
      sent.rcptReplies.map(({ code }) => code),
      [550, 250],
    );
    assert.deepEqual(
      host.messages[0]?.recipients.map(({ address }) => address),
      ['yes@d.test'],
    );
    await assert.rejects(client.deliver(MESSAGE), ConnectionLost);
    assert.equal(host.messages.length, 1);
    assert.equal(host.received.length, 2);
    assert.equal(host.received[1]?.reply, undefined);
  });

  test('a reply before the connection ends', async () => {
    const host = await start({
      script: (_, { verb }) =>
        verb === 'CONNECT' ? { reply: '421 4.3.2 Going down', ending: 'close' } : undefined,
    });
    const client = await connect({ port: host.port });
    assert.equal(client.banner.code, 421);
    await client.waitForClose();
  });

  test('endings during the content', async () => {
    const data = 'x'.repeat(70_000);
    for (const ending of ['close', 'reset'] as const) {
      const host = await start({ duringContent: { afterOctets: 1000, ending } });
      const client = await secure(host);
      await assert.rejects(client.deliver({ ...MESSAGE, data }), ConnectionLost);
      assert.equal(host.received.length, 0);
    }
    const host = await start({ duringContent: { afterOctets: 1000, ending: 'hang' } });
    const client = await greet(host);
    let isOver = false;
    const delivering = client.deliver({ ...MESSAGE, data }).finally(() => {
      isOver = true;
    });
    const lost = assert.rejects(delivering, ConnectionLost);
    await waitFor('content', () => (host.sessions[0]?.octets.contentClear ?? 0) >= 1000);
    await sleep(100); // no answer comes
    assert.equal(isOver, false);
    client.close();
    await lost;
  });

  test('the rules are watched: parameters, pipelining, bare LF, order', async () => {
    const host = await start({ keywords: ['8BITMIME'] });
    const client = await greet(host);
    assert.equal((await client.send('MAIL FROM:<a@b.test> SIZE=5')).code, 555);
    assert.equal((await client.send('RCPT TO:<c@d.test>')).code, 503);
    client.write('NOOP\r\nNOOP\r\n');
    await client.read();
    await client.read();
    client.write('NO\nOP\r\n');
    assert.equal((await client.read()).code, 500);
    await client.deliver({ ...MESSAGE, data: 'bare\nLF\r\n' });
    const violations = host.sessions[0]?.violations.join('\n') ?? '';
    for (const expected of [/SIZE=5/, /pipelined/, /bare CR, LF/, /bare LF in content/]) {
      assert.match(violations, expected);
    }
    client.close();
  });

  test('AUTH PLAIN', async () => {
    const host = await start({ auth: { user: 'u', password: 'p' } });
    const client = await secure(host);
    assert.equal((await client.send('MAIL FROM:<a@b.test>')).code, 530);
    const wrong = Buffer.from('\0u\0wrong').toString('base64');
    assert.equal((await client.send(`AUTH PLAIN ${wrong}`)).code, 535);
    assert.equal((await client.send('AUTH PLAIN')).code, 334);
    assert.equal((await client.send(Buffer.from('\0u\0p').toString('base64'))).code, 235);
    assert.equal((await client.deliver(MESSAGE)).accepted, true);
    client.close();
  });

  test('TLS sessions can be resumed', async () => {
    const host = await start({ maxTls: 'TLSv1.2' });
    const first = await greet(host);
    await first.starttls({ servername: NAME });
    const ticket = (first.socket as TLSSocket).getSession();
    first.close();
    const second = await secure(host, { ...(ticket === undefined ? {} : { session: ticket }) });
    assert.equal(host.sessions[1]?.tls?.resumed, true);
    second.close();
  });

  test('change, stop and start', async () => {
    const host = await start({ startTls: 'off' });
    const client = await greet(host);
    host.change({ startTls: 'offered' });
    assert.ok(await offers(client));
    await host.stop();
    await client.waitForClose();
    await assert.rejects(connect({ port: host.port }), /ECONNREFUSED/);
    await host.start();
    (await greet(host)).close();
  });
});
