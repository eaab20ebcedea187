/**
 * The relay among programs that are not ours: clients that hand mail over (swaks, Python's
 * smtplib, nodemailer, Postfix with `relayhost`), and a Postfix that is the MX of a domain with
 * an enforced policy.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import nodemailer from 'nodemailer';
import { runStsrelay } from '../support/cli.ts';
import type { MxHost } from '../support/mx-host.ts';
import { type Postfix, postfixMissing, startPostfix } from '../support/postfix.ts';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import { NO_RETRY, openSession, waitForLogin } from '../support/relay-mail.ts';
import { type RelayProcess, startRelay } from '../support/relay-process.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { findCommand, spawnTied } from '../support/tied-child.ts';
import { DEFAULT_TIMEOUT_MS, waitFor } from '../support/wait-for.ts';

const swaksMissing = findCommand('swaks') === undefined && 'swaks is not installed';
const swaksWithoutTls =
  swaksMissing ||
  (!/^=== TLS supported/m.test(
    spawnSync('swaks', ['--support'], { encoding: 'utf8' }).stdout ?? '',
  ) &&
    'swaks has no TLS here');
const pythonMissing = findCommand('python3') === undefined && 'python3 is not installed';

let net: PretendInternet;
let dir: TempDir;
let relay: RelayProcess;
let mx: MxHost;

before(async () => {
  net = await startPretendInternet();
  await net.domain('good.test', { sts: {} });
  mx = await net.mxHost({ host: 'mx.good.test' });
  dir = tempDir();
  // A certificate that clients can check: for its name and for the address they dial.
  const certificate = await net.ca.issue({ names: ['relay.example.net'], ips: ['127.0.0.1'] });
  writeFileSync(dir.file('tls.crt'), certificate.certPem);
  writeFileSync(dir.file('tls.key'), certificate.keyPem, { mode: 0o600 });
  relay = await startRelay({
    settings: [
      net.relaySettings(),
      NO_RETRY,
      {
        tls: { certFile: dir.file('tls.crt'), keyFile: dir.file('tls.key') },
        access: { usersFile: dir.file('users.yaml') },
      },
    ],
  });
  const alice = ['alice', '--sender', '*@sender.test', '--password-stdin'];
  const { code, stderr } = await runStsrelay(
    ['user', 'add', ...alice, '--config', relay.configFile],
    'a long password\n',
  );
  assert.equal(code, 0, stderr);
  const login = { name: 'alice', password: 'a long password', code: 235 };
  await waitForLogin(relay.smtpPort, login);
});
after(async () => {
  await relay?.close();
  dir?.remove();
  await net?.close();
});

/** The message with this text in it, once the MX host has it. */
function arrived(text: string, host = mx) {
  return waitFor(`the message with ${text}`, () =>
    host.messages.find(({ data }) => data.includes(text)),
  );
}

/** Run a program to its end; throws, with what it said, unless it exits 0. */
async function run(command: string, args: readonly string[], input = ''): Promise<string> {
  const child = spawnTied(command, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: DEFAULT_TIMEOUT_MS,
  });
  let said = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  child.stdin?.on('error', () => {});
  child.stdin?.end(input);
  const [code] = (await once(child, 'close')) as [number | null];
  assert.equal(code, 0, `${command}: ${said}`);
  return said;
}

describe('swaks', { skip: swaksMissing }, () => {
  const swaks = (...args: string[]) =>
    run('swaks', [
      ...['--server', '127.0.0.1', '--port', String(relay.smtpPort), '--ehlo', 'swaks.test'],
      ...['--from', 'a@sender.test', '--to', 'b@good.test,c@good.test'],
      ...args,
    ]);

  test('in clear, with an attachment', async () => {
    const said = await swaks('--attach', '@/proc/version', '--body', 'swaks in clear');
    assert.match(said, /250 2\.0\.0 Ok: queued as \S+/);
    const message = await arrived('swaks in clear');
    assert.deepEqual(
      message.recipients.map(({ address }) => address),
      ['b@good.test', 'c@good.test'],
    );
    assert.match(message.data.toString(), /^Received: from swaks\.test .*? with ESMTP id /s);
  });

  test('pipelined', async () => {
    await swaks('--pipeline', '--body', 'swaks pipelined');
    await arrived('swaks pipelined');
  });

  test('over STARTTLS, logged in, our certificate checked', { skip: swaksWithoutTls }, async () => {
    for (const mechanism of ['PLAIN', 'LOGIN']) {
      const login = [
        '--auth',
        mechanism,
        '--auth-user',
        'alice',
        '--auth-password',
        'a long password',
      ];
      const trust = ['--tls', '--tls-verify', '--tls-ca-path', net.caFile];
      await swaks(...trust, ...login, '--body', `swaks over TLS by ${mechanism}`);
      const { data } = await arrived(`swaks over TLS by ${mechanism}`);
      assert.match(data.toString(), / with ESMTPSA id .*\r\n\ttls TLS_/s);
    }
  });
});

describe('Python’s smtplib', { skip: pythonMissing }, () => {
  const SCRIPT = `
import smtplib, ssl, sys
from email.message import EmailMessage
port, ca = int(sys.argv[1]), sys.argv[2]
with smtplib.SMTP('127.0.0.1', port, timeout=120) as client:
    client.starttls(context=ssl.create_default_context(cafile=ca))
    client.login('alice', 'a long password')
    for i in range(3):
        m = EmailMessage()
        m['From'], m['To'], m['Subject'] = 'a@sender.test', 'b@good.test', 'Grüße %d' % i
        m.set_content('smtplib message %d\\n.\\n..dots\\nÄÖÜ\\n' % i)
        client.send_message(m)
    refused = client.sendmail('a@sender.test', ['b@good.test', 'not an address'], b'Subject: some\\r\\n\\r\\nsmtplib partly\\r\\n')
    assert list(refused) == ['not an address'], refused
    try:
        client.sendmail('someone@else.test', ['b@good.test'], b'Subject: x\\r\\n\\r\\nx\\r\\n')
        sys.exit('a sender of somebody else was taken')
    except smtplib.SMTPSenderRefused as e:
        assert e.smtp_code == 553, e
try:
    with smtplib.SMTP('127.0.0.1', port, timeout=120) as client:
        client.starttls(context=ssl.create_default_context(cafile=ca))
        client.login('alice', 'a wrong password')
    sys.exit('a wrong password was taken')
except smtplib.SMTPAuthenticationError as e:
    assert e.smtp_code == 535, e
`;
  test('over STARTTLS, logged in, several messages, refusals understood', async () => {
    await run('python3', ['-c', SCRIPT, String(relay.smtpPort), net.caFile]);
    for (let i = 0; i < 3; i += 1) await arrived(`smtplib message ${i}`);
    const { recipients } = await arrived('smtplib partly');
    assert.equal(recipients.length, 1);
  });
});

test('nodemailer with a pool of connections: every message once', async () => {
  const transport = nodemailer.createTransport({
    host: '127.0.0.1',
    port: relay.smtpPort,
    pool: true,
    maxConnections: 4,
    requireTLS: true,
    auth: { user: 'alice', pass: 'a long password' },
    tls: { ca: net.ca.certPem, servername: 'relay.example.net' },
  });
  const sent = await Promise.all(
    Array.from({ length: 30 }, (_, i) =>
      transport.sendMail({
        from: 'a@sender.test',
        to: 'b@good.test',
        subject: `pooled ${i}`,
        text: `nodemailer number ${i} of them`,
      }),
    ),
  );
  transport.close();
  for (const { response } of sent) assert.match(response, /^250 2\.0\.0 Ok: queued as/);
  for (let i = 0; i < 30; i += 1) await arrived(`nodemailer number ${i} of`);
  assert.equal(mx.messages.filter(({ data }) => data.includes('nodemailer number')).length, 30);
});

describe('Postfix', { skip: postfixMissing }, () => {
  test('hands its mail over to the relay (relayhost), over TLS, and gets bounces back', async () => {
    const bounces = await net.mxHost({ host: 'mx.sender.test', certificate: null });
    await net.domain('sender.test', { mx: [{ host: bounces.name }] });
    await using postfix = await startPostfix({
      hostname: 'postfix.example.net',
      mainCf: {
        relayhost: `[127.0.0.1]:${relay.smtpPort}`,
        smtpd_relay_restrictions: 'permit_mynetworks, reject',
        smtp_tls_security_level: 'secure',
        smtp_tls_CAfile: net.caFile,
        smtp_tls_secure_cert_match: 'relay.example.net',
      },
    });
    using client = await openSession({ port: postfix.port });
    for (let i = 0; i < 10; i += 1) {
      const { accepted, reply } = await client.deliver({
        from: 'a@sender.test',
        to: ['b@good.test', 'c@good.test'],
        data: `Subject: from Postfix\r\n\r\nPostfix message ${i}.\r\n.\r\n${'long '.repeat(400)}\r\n`,
      });
      assert.ok(accepted, reply.raw);
    }
    await postfix.waitForLog(/status=sent \(250 2\.0\.0 Ok: queued as [0-9A-Z]{16}\)/);
    for (let i = 0; i < 10; i += 1) {
      const { data, recipients } = await arrived(`Postfix message ${i}.`);
      assert.equal(recipients.length, 2);
      assert.match(data.toString(), /^Received: from postfix\.example\.net .* with ESMTPS id /s);
    }
    await client.deliver({
      from: 'a@sender.test',
      to: 'nobody@nowhere.test',
      data: 'Subject: x\r\n\r\nx\r\n',
      rcptParams: 'NOTIFY=FAILURE ORCPT=rfc822;orig@nowhere.test',
    });
    const dsn = await arrived('Final-Recipient: rfc822; nobody@nowhere.test', bounces);
    assert.match(dsn.data.toString(), /^Original-Recipient: rfc822; ?orig@nowhere\.test\r$/m);
  });

  describe('as the MX of a domain that enforces its policy', () => {
    let postfix: Postfix;
    before(async () => {
      // Its place in the pretend internet: name, address, DNS records, policy; nobody listens.
      const place = await net.mxHost({ host: 'mx.postfix.test', down: true });
      await net.domain('postfix.test', { mx: [{ host: place.name }], sts: {} });
      const certificate = await net.ca.issueKind('with-intermediate', place.name);
      const files = tempDir();
      writeFileSync(files.file('mx.pem'), certificate.keyPem + certificate.certPem);
      postfix = await startPostfix({
        hostname: place.name,
        address: place.address,
        port: net.mxPort,
        mainCf: {
          virtual_mailbox_domains: 'postfix.test',
          virtual_mailbox_base: '@ROOT@/mail',
          virtual_mailbox_maps: 'inline:{ { b@postfix.test = b/ } { c@postfix.test = c/ } }',
          virtual_uid_maps: 'static:65534',
          virtual_gid_maps: 'static:65534',
          smtpd_relay_restrictions: 'reject_unauth_destination',
          mynetworks: '192.0.2.1/32',
          smtpd_tls_chain_files: files.file('mx.pem'),
          smtpd_tls_security_level: 'encrypt',
          smtpd_tls_received_header: 'yes',
          message_size_limit: '1000000',
        },
      });
      mkdirSync(postfix.file('mail'));
      chownSync(postfix.file('mail'), 65534, 65534);
    });
    after(() => postfix?.close());

    /** Messages in the maildir of a user. */
    const maildir = (user: string): string[] => {
      try {
        const folder = postfix.file(`mail/${user}/new`);
        return readdirSync(folder).map((name) => readFileSync(`${folder}/${name}`, 'latin1'));
      } catch {
        return [];
      }
    };

    test('gets the message over verified TLS, as it was', async () => {
      using client = await openSession({ port: relay.smtpPort });
      const body = `.\r\n..\r\nGrüße\r\n${'x'.repeat(900)}\r\n`;
      const { id } = await client.deliver({
        from: 'a@sender.test',
        to: ['b@postfix.test', 'c@postfix.test'],
        data: `Subject: to Postfix\r\n\r\n${body}`,
      });
      const lines = await relay.waitForEvents('delivery.delivered', 2, {
        matches: (line) => line.id === id,
      });
      for (const line of lines) {
        assert.equal(line['mx'], 'mx.postfix.test');
        assert.equal(line['verified'], true);
        assert.equal(line['policyMode'], 'enforce');
        assert.match(String(line['reply']), /^250 .*queued as/);
      }
      for (const user of ['b', 'c']) {
        const [text = ''] = await waitFor(`mail for ${user}`, () =>
          maildir(user).length > 0 ? maildir(user) : undefined,
        );
        const wanted = Buffer.from(body).toString('latin1').replaceAll('\r\n', '\n');
        assert.equal(text.slice(text.indexOf('\n\n') + 2), wanted);
        assert.match(text, /\(using TLSv1\.3 with cipher/);
        assert.match(text, /by relay\.example\.net with ESMTP id/);
      }
    });

    test('its refusals come back in its own words', async () => {
      using client = await openSession({ port: relay.smtpPort });
      const to = ['b@postfix.test', 'nobody@postfix.test'];
      const data = 'Subject: half\r\n\r\nhalf of it\r\n';
      const { id } = await client.deliver({ from: 'a@sender.test', to, data });
      const of = (line: { readonly id?: string }) => line.id === id;
      const line = await relay.waitForEvent('outcome.bounced', of);
      assert.equal(line['recipient'], 'nobody@postfix.test');
      assert.match(String(line['reason']), /^550 5\.1\.1 /);
      await relay.waitForEvent('delivery.delivered', of);
    });

    test('a message larger than it says it takes is not even begun', async () => {
      using client = await openSession({ port: relay.smtpPort });
      const data = `Subject: big\r\n\r\n${`${'x'.repeat(98)}\r\n`.repeat(10_100)}`;
      const { id } = await client.deliver({ from: 'a@sender.test', to: 'b@postfix.test', data });
      const line = await relay.waitForEvent('outcome.bounced', (one) => one.id === id);
      assert.equal(line['status'], '5.3.4');
    });

    test('nothing reaches it when its certificate is not for its name', async () => {
      const place = await net.mxHost({ host: 'mx.impostor.test', down: true });
      await net.domain('impostor.test', { mx: [{ host: place.name }], sts: {} });
      net.dns.set(place.name, 'A', [postfix.address]);
      using client = await openSession({ port: relay.smtpPort });
      const data = 'Subject: x\r\n\r\nnot for you\r\n';
      const { id } = await client.deliver({ from: 'a@sender.test', to: 'b@impostor.test', data });
      const line = await relay.waitForEvent('delivery.deferred', (one) => one.id === id);
      assert.equal(line['cause'], 'certificate-host-mismatch');
      assert.doesNotMatch(postfix.log, /impostor/);
    });
  });
});
