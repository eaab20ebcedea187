/**
 * Promise 6: it is never an open relay, and nothing that clients, DNS, policy hosts or MX hosts
 * send crashes it, hangs it or makes it use memory without bound.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { createServer, connect as netConnect, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { runStsrelay } from '../support/cli.ts';
import { freePort } from '../support/free-port.ts';
import type { MxHost } from '../support/mx-host.ts';
import type { MxBehaviour, ScriptedAnswer } from '../support/mx-script.ts';
import type { PolicyAnswer } from '../support/policy-host.ts';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import {
  IMPATIENCE,
  logIn,
  NO_RETRY,
  onVerb,
  openSecureSession,
  openSession,
  PATIENCE,
  waitForLogin,
} from '../support/relay-mail.ts';
import { type RelayProcess, type Settings, startRelay } from '../support/relay-process.ts';
import type { SmtpClient } from '../support/smtp-client.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const CONTENT = 'Subject: x\r\n\r\nhello\r\n';
const MESSAGE = { from: 'a@sender.test', to: 'b@good.test', data: CONTENT };
/** Trusted, and three that are not. */
const TRUSTED = '127.0.0.1';
const STRANGER = '127.0.0.9';
const GUESSER = '127.0.0.10';
const LOGGED_IN = '127.0.0.11';

let net: PretendInternet;
let goodMx: MxHost;
before(async () => {
  net = await startPretendInternet();
  goodMx = await net.mxHost({ host: 'mx.good.test' });
  await net.domain('good.test', { mx: [{ host: goodMx.name }], sts: {} });
  await net.domain('sender.test', { mx: [{ host: 'mx.sender.test', certificate: null }] });
});
after(() => net?.close());

// Two relays, side by side: both wait more than they work.
describe('the relay', { concurrency: 2 }, () => {
  describe('who may relay', { concurrency: 1 }, () => {
    let relay: RelayProcess;
    let files: TempDir;
    let requiredPort: number;
    let implicitPort: number;

    before(async () => {
      files = tempDir();
      [requiredPort, implicitPort] = [await freePort(), await freePort()];
      const listener = { address: '127.0.0.1' };
      relay = await startRelay({
        settings: [
          net.relaySettings(),
          NO_RETRY,
          {
            access: {
              trustedNetworks: [`${TRUSTED}/32`],
              usersFile: files.file('users.yaml'),
              allowedSenderDomains: ['sender.test', 'other.test'],
            },
          },
        ],
      });
      const [first] = relay.settings['listeners'] as readonly object[];
      relay.changeSettings({
        listeners: [
          first,
          { ...listener, port: requiredPort, tls: 'starttls', auth: 'required' },
          { ...listener, port: implicitPort, tls: 'implicit', auth: 'required' },
        ],
      });
      relay.reload();
      await relay.waitForEvent('config.reloaded');
      const password = 'right password';
      await user(
        ['add', 'alice', '--sender', '*@sender.test', '--password-stdin'],
        `${password}\n`,
      );
      await waitForLogin(relay.smtpPort, { name: 'alice', password, code: 235 });
    });
    after(async () => {
      await relay?.close();
      files?.remove();
    });

    async function user(args: readonly string[], input = ''): Promise<string> {
      const result = await runStsrelay(['user', ...args, '--config', relay.configFile], input);
      assert.equal(result.code, 0, result.stderr);
      return result.stdout;
    }
    const session = (localAddress: string, port = relay.smtpPort) =>
      openSession({ port, localAddress });
    const secureSession = (localAddress: string, port = relay.smtpPort) =>
      openSecureSession({ port, localAddress });
    /** Deliver, and wait until the MX host has it. */
    const gets = async (client: SmtpClient) => {
      const { id, reply } = await client.deliver(MESSAGE);
      assert.equal(reply.code, 250, reply.raw);
      await waitFor('the message', () =>
        goodMx.messages.some(({ data }) => data.includes(id ?? '')),
      );
    };

    test('outside trustedNetworks and without AUTH: 554 5.7.1 to every form of recipient', async () => {
      using trusted = await session(TRUSTED);
      await gets(trusted);
      const sessions = goodMx.sessions.length;
      const recipients = [
        'b@good.test',
        '"b@good.test"@good.test',
        'b%good.test@relay.example.net',
        '"b%good.test"@relay.example.net',
        'good.test!b@relay.example.net',
        '@relay.example.net:b@good.test',
        `b@[${goodMx.address}]`,
        'b@relay.example.net',
        'b@[127.0.0.1]',
        'b@localhost',
      ];
      for (const from of ['a@sender.test', '']) {
        for (const to of recipients) {
          using client = await session(STRANGER);
          assert.equal((await client.send(`MAIL FROM:<${from}>`)).code, 250);
          assert.match((await client.send(`RCPT TO:<${to}>`)).raw, /^554 5\.7\.1 /, to);
          assert.match((await client.send('DATA')).raw, /^503 /);
        }
      }
      assert.equal(goodMx.sessions.length, sessions);
      const reason = { reason: 'relay-denied' };
      await relay.waitForMetric('stsrelay_refusals_total', recipients.length * 2, reason);
    });

    test('the same over TLS, and with a name that is trusted', async () => {
      using client = await secureSession(STRANGER);
      await client.send('EHLO localhost');
      const { reply } = await client.deliver(MESSAGE);
      assert.match(reply.raw, /^554 5\.7\.1 /);
      using named = await session(STRANGER);
      await named.send(`EHLO [${TRUSTED}]`);
      assert.match((await named.deliver(MESSAGE)).reply.raw, /^554 5\.7\.1 /);
    });

    test('auth: required asks even the trusted for it: 530 5.7.0', async () => {
      for (const localAddress of [TRUSTED, STRANGER]) {
        using client = await session(localAddress, requiredPort);
        assert.match((await client.deliver(MESSAGE)).reply.raw, /^530 5\.7\.0 /);
        using secure = await secureSession(localAddress, requiredPort);
        assert.match((await secure.deliver(MESSAGE)).reply.raw, /^530 5\.7\.0 /);
        using implicit = await openSession({ port: implicitPort, localAddress, tls: {} });
        assert.match((await implicit.deliver(MESSAGE)).reply.raw, /^530 5\.7\.0 /);
      }
    });

    test('AUTH is offered and taken over TLS only', async () => {
      using client = await session(LOGGED_IN);
      assert.doesNotMatch((await client.send('EHLO client.test')).raw, /AUTH/);
      const refused = await logIn(client, 'alice', 'right password');
      assert.match(refused.raw, /^5(?:38|30|02|03) 5\./);
      assert.match((await client.deliver(MESSAGE)).reply.raw, /^554 5\.7\.1 /);
      await client.send('RSET');
      await client.starttls();
      assert.match((await client.send('EHLO client.test')).raw, /^250[- ]AUTH PLAIN LOGIN\r$/m);
    });

    test('a user made with `stsrelay user add` relays over STARTTLS and over implicit TLS', async () => {
      for (const open of [
        () => secureSession(LOGGED_IN),
        () => secureSession(LOGGED_IN, requiredPort),
        () => openSession({ port: implicitPort, localAddress: LOGGED_IN, tls: {} }),
      ]) {
        using client = await open();
        assert.match((await logIn(client, 'alice', 'right password')).raw, /^235 2\.7\.0 /);
        await gets(client);
      }
      using client = await secureSession(LOGGED_IN);
      await client.send('AUTH LOGIN');
      await client.send(Buffer.from('alice').toString('base64'));
      const reply = await client.send(Buffer.from('right password').toString('base64'));
      assert.equal(reply.code, 235);
      await gets(client);
      const { data } = goodMx.messages.at(-1) ?? {};
      assert.match(data?.toString() ?? '', / with ESMTPSA id /);
    });

    test('a wrong password, an unknown user: 535, the same words, slowed, counted', async () => {
      const failures = async () => (await relay.metric('stsrelay_auth_failures_total')) ?? 0;
      const before = await failures();
      using client = await secureSession(GUESSER);
      const startedAt = performance.now();
      const wrong = await logIn(client, 'alice', 'wrong password');
      assert.match(wrong.raw, /^535 5\.7\.8 /);
      assert.ok(performance.now() - startedAt > 900, 'it takes its time');
      assert.equal((await logIn(client, 'nobody', 'right password')).raw, wrong.raw);
      assert.match((await client.deliver(MESSAGE)).reply.raw, /^554 5\.7\.1 /);
      await relay.waitForMetric('stsrelay_auth_failures_total', before + 2);
      assert.doesNotMatch(JSON.stringify(relay.wholeLog), /(?:right|wrong) password/);
    });

    test('the users file is read again without a restart', async () => {
      const { pid } = relay;
      await user(
        ['add', 'bob', '--sender', '*@other.test', '--password-stdin'],
        'bob’s password\n',
      );
      assert.match(await user(['list']), /^alice .*\nbob .*other\.test$/m);
      const bob = { name: 'bob', password: 'bob’s password' };
      await waitForLogin(relay.smtpPort, { ...bob, code: 235 });
      await user(['remove', 'bob']);
      await waitForLogin(relay.smtpPort, { ...bob, code: 535 });
      assert.equal(relay.pid, pid);
    });

    test('users may use their own senders only; <> passes', async () => {
      using client = await secureSession(LOGGED_IN);
      await logIn(client, 'alice', 'right password');
      for (const from of [
        'a@other.test',
        'a@sub.sender.test',
        'sender.test@other.test',
        'a@nowhere.test',
      ]) {
        const { reply } = await client.deliver({ ...MESSAGE, from });
        assert.match(reply.raw, /^553 5\.7\.1 /, from);
      }
      for (const from of ['anybody@sender.test', 'a@SENDER.test', '']) {
        assert.ok((await client.deliver({ ...MESSAGE, from })).accepted, from);
      }
    });

    test('allowedSenderDomains binds the trusted, too; <> passes', async () => {
      using client = await session(TRUSTED);
      for (const from of ['a@elsewhere.test', 'a@sub.sender.test', 'a@xsender.test']) {
        const { reply } = await client.deliver({ ...MESSAGE, from });
        assert.match(reply.raw, /^553 5\.7\.1 /, from);
      }
      for (const from of ['a@other.test', '']) {
        assert.ok((await client.deliver({ ...MESSAGE, from })).accepted, from);
      }
    });
  });

  describe('hostile input', { concurrency: 1 }, () => {
    let relay: RelayProcess;
    let dns: HostileDns;
    let implicitPort: number;
    let pid: number | undefined;
    let rssAtStart: number;

    before(async () => {
      dns = await HostileDns.start(net.dns.port);
      implicitPort = await freePort();
      relay = await startRelay({
        settings: [
          net.relaySettings(),
          NO_RETRY,
          { dns: { servers: [`127.0.0.1:${dns.port}`] }, limits: { connectionsPerClient: 500 } },
        ],
      });
      const [first] = relay.settings['listeners'] as readonly object[];
      const implicit = {
        address: '127.0.0.1',
        port: implicitPort,
        tls: 'implicit',
        auth: 'optional',
      };
      relay.changeSettings({ listeners: [first, implicit] });
      relay.reload();
      await relay.waitForEvent('config.reloaded');
      pid = relay.pid;
      await net.domain('still.test', { sts: {} });
      await stillServes();
      rssAtStart = rss();
    });
    after(async () => {
      await relay?.close();
      await dns?.close();
    });

    /** Resident memory of the relay's processes in MiB. */
    function rss(): number {
      const pids = [relay.pid, relay.rolePid('receive'), relay.rolePid('deliver')];
      const sizes = pids.map((one) => {
        const status = readFileSync(`/proc/${one}/status`, 'utf8');
        return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
      });
      return sizes.reduce((sum, size) => sum + size, 0);
    }

    /** The process that was started still takes and delivers mail, and said nothing odd. */
    async function stillServes(): Promise<void> {
      using client = await openSession({ port: relay.smtpPort });
      const { id, reply } = await client.deliver({ ...MESSAGE, to: 'b@still.test' });
      assert.equal(reply.code, 250, reply.raw);
      await relay.waitForEvent('delivery.delivered', (line) => line.id === id);
      assert.equal(relay.pid, pid);
      assert.equal(relay.stderr, '');
      assert.deepEqual(relay.strayOutput, []);
      assert.deepEqual(relay.events('relay.crashed'), []);
      assert.deepEqual(relay.events('relay.role_ended'), []);
      assert.deepEqual(relay.events('queue.attempt_crashed'), []);
    }

    /** One message to each domain; how each ended: the log line, by domain. */
    async function sendToAll(domains: readonly string[]) {
      using client = await openSession({ port: relay.smtpPort });
      const to = domains.map((domain) => `b@${domain}`);
      const { id, reply } = await client.deliver({ ...MESSAGE, to });
      assert.equal(reply.code, 250, reply.raw);
      const ends = ['delivery.delivered', 'delivery.deferred', 'outcome.bounced'];
      const lines = () => relay.log.filter((line) => line.id === id && ends.includes(line.event));
      await waitFor('an end for each', () => lines().length >= domains.length).catch(() => {
        const done = new Set(lines().map((line) => line['destination']));
        assert.fail(`no end for ${domains.filter((domain) => !done.has(domain)).join(', ')}`);
      });
      return new Map(lines().map((line) => [String(line['destination']), line]));
    }

    async function apply(settings: Settings): Promise<void> {
      const seen = relay.events('config.reloaded').length;
      relay.changeSettings(settings);
      relay.reload();
      await relay.waitForEvents('config.reloaded', seen + 1);
    }

    test('random octets and lines at the SMTP ports', async () => {
      const words = [
        'MAIL FROM:<',
        'RCPT TO:<',
        '>',
        '\r\n',
        '\n',
        '\r',
        ' ',
        'a@b.c',
        'EHLO x',
        'DATA',
      ];
      const more = [
        'STARTTLS',
        'AUTH PLAIN ',
        '=',
        '\0',
        '\r\n.\r\n',
        'BDAT 99999999 LAST',
        ' SIZE=-1',
      ];
      const lines = fc.array(fc.oneof(fc.constantFrom(...words, ...more), fc.string()), {
        maxLength: 60,
      });
      const octets = fc.oneof(
        fc.uint8Array({ maxLength: 4000 }).map((array) => Buffer.from(array)),
        lines.map((list) => Buffer.from(list.join(''))),
        lines.map((list) => Buffer.from(`EHLO x\r\nSTARTTLS\r\n${list.join('')}`)),
      );
      await fc.assert(
        fc.asyncProperty(octets, fc.boolean(), async (input, implicit) => {
          await shout(implicit ? implicitPort : relay.smtpPort, input);
        }),
        { numRuns: 150 },
      );
      await stillServes();
    });

    test('endless lines, endless commands, and connections that say nothing', async () => {
      await shout(relay.smtpPort, 'x'.repeat(3_000_000));
      await shout(relay.smtpPort, `EHLO x\r\n${'NOOP\r\n'.repeat(100_000)}`);
      await shout(
        relay.smtpPort,
        `EHLO x\r\nMAIL FROM:<a@b.test>\r\n${'RCPT TO:<b@c.test>\r\n'.repeat(20_000)}`,
      );
      await shout(relay.httpPort, randomBytes(100_000));
      await shout(relay.httpPort, `GET /metrics HTTP/1.1\r\nX: ${'y'.repeat(1_000_000)}\r\n\r\n`);
      const silent = await Promise.all(
        Array.from({ length: 200 }, (_, i) =>
          dialSilently(i % 2 === 0 ? relay.smtpPort : implicitPort),
        ),
      );
      await stillServes();
      for (const socket of silent) socket.resetAndDestroy();
      await stillServes();
    });

    test('DNS answers that are wrong, endless, circular or none', async () => {
      const kinds = [
        'garbage',
        'wrong-id',
        'wrong-question',
        'servfail',
        'refused',
        'formerr',
      ] as const;
      const silent = ['timeout', 'close', 'truncate', 'notimp'] as const;
      const names: string[] = [];
      for (const kind of [...kinds, ...silent]) {
        const name = `${kind}.test`;
        await net.domain(name, { mx: [{ host: 'mx.shared.test', certificate: null }] });
        net.dns.behave(name, 'MX', kind);
        names.push(name);
        const policy = `sts-${kind}.test`;
        await net.domain(policy, { mx: [{ host: 'mx.shared.test', certificate: null }] });
        net.dns.behave(`_mta-sts.${policy}`, 'TXT', kind);
        names.push(policy);
      }
      for (let i = 0; i < 20; i += 1) names.push(`random${i}.${HostileDns.zone}`);
      net.dns.set('circle1.test', 'CNAME', ['circle2.test']);
      net.dns.set('circle2.test', 'CNAME', ['circle1.test']);
      net.dns.set('self.test', 'CNAME', ['self.test']);
      for (let i = 0; i < 30; i += 1)
        net.dns.set(`chain${i}.test`, 'CNAME', [`chain${i + 1}.test`]);
      const odd = [
        'a b.test',
        'x\0y.test',
        '"; rm -rf ~.test',
        '*.test',
        `${'l'.repeat(63)}.test`,
        'localhost',
      ];
      net.dns.set(
        'odd.test',
        'MX',
        odd.map((exchange, i) => ({ preference: i, exchange })),
      );
      const many = Array.from({ length: 300 }, (_, i) => ({
        preference: i,
        exchange: `h${i}.many.test`,
      }));
      net.dns.set('many.test', 'MX', many);
      net.dns.set('crowd.test', 'MX', [{ preference: 1, exchange: 'host.crowd.test' }]);
      net.dns.set(
        'host.crowd.test',
        'A',
        Array.from({ length: 60 }, () => net.deadAddress),
      );
      net.dns.set('longtxt.test', 'MX', [{ preference: 1, exchange: 'mx.shared.test' }]);
      net.dns.set('_mta-sts.longtxt.test', 'TXT', [`v=STSv1; id=${'1'.repeat(12_000)};`]);
      names.push('circle1.test', 'self.test', 'chain0.test', 'odd.test', 'many.test', 'crowd.test');
      names.push('longtxt.test');
      const ends = await sendToAll(names);
      for (const kind of kinds)
        assert.equal(ends.get(`${kind}.test`)?.event, 'delivery.deferred', kind);
      await stillServes();
    });

    test('policy hosts that send garbage, too much, too slowly or nothing', async () => {
      const endless = {
        *[Symbol.iterator]() {
          for (;;) yield Buffer.alloc(65_536, 'mx: a.test\r\n');
        },
      };
      const drip = {
        *[Symbol.iterator]() {
          for (;;) yield 'mx: a.test\r\n';
        },
      };
      const answers: Record<string, PolicyAnswer> = {
        binary: { body: randomBytes(30_000) },
        raw: { raw: randomBytes(3000) },
        smtp: { raw: '220 mx.test ESMTP\r\n' },
        headers: { headers: { 'x-long': 'y'.repeat(100_000) } },
        endless: { chunks: endless },
        drip: { chunks: drip, drip: { everyMs: 50 } },
        late: { delayMs: 5000 },
        hangtls: { hang: 'handshake' },
        hangresponse: { hang: 'response' },
        hangbody: { hang: 'body' },
        resettls: { reset: 'handshake' },
        resetbody: { reset: 'body' },
        circle: { redirect: '/.well-known/mta-sts.txt' },
        notfound: { status: 404 },
        expired: { certificate: 'expired' },
        manylines: {
          body: `version: STSv1\r\nmode: enforce\r\n${'mx: a.test\r\n'.repeat(5000)}max_age: 99\r\n`,
        },
        zip: { headers: { 'content-encoding': 'gzip' }, body: Buffer.alloc(60_000) },
      };
      const names: string[] = [];
      for (const [kind, policy] of Object.entries(answers)) {
        const name = `policy-${kind}.test`;
        await net.domain(name, {
          mx: [{ host: 'mx.shared.test', certificate: null }],
          sts: {},
          policy,
        });
        names.push(name);
      }
      // The longest of all is a policy, and does not list the host.
      const longest = 'policy-manylines.test';
      const [line] = (await sendToAll([longest])).values();
      assert.equal(line?.['cause'], 'mx-outside-policy');
      // RFC 8461 §3.3: where none can be had, mail goes as if there were no MTA-STS.
      await apply({ security: { mtaSts: { fetchTimeout: '1s' } } });
      const ends = await sendToAll(names.filter((name) => name !== longest));
      for (const [name, { event }] of ends) assert.equal(event, 'delivery.delivered', name);
      await apply({ security: { mtaSts: { fetchTimeout: '1m' } } });
      await stillServes();
    });

    test('MX hosts that hang up, reset or hang at every stage, in clear and in TLS', async () => {
      const names: string[] = [];
      const make = async (
        name: string,
        behaviour: MxBehaviour & { certificate?: never },
        tls: boolean,
      ) => {
        const domain = `${name}-${tls ? 'tls' : 'clear'}.test`;
        const { certificate: _, ...rest } = behaviour;
        const mx = [{ host: `mx.${domain}`, ...rest, ...(tls ? {} : { certificate: null }) }];
        await net.domain(domain, { mx });
        names.push(domain);
      };
      const binary = randomBytes(3000).toString('latin1').replaceAll('\n', ' ');
      const odd: [string, ScriptedAnswer][] = [
        ['close', { ending: 'close' }],
        ['reset', { ending: 'reset' }],
        ['hang', { ending: 'hang' }],
        ['binary', { reply: binary }],
        ['nul', { reply: '250 \0\0\0 ok\0' }],
        ['nonsense', { reply: 'hello there\r\n999 what\r\n\r\n25' }],
        ['odd-codes', { reply: '000 x\r\n600-y\r\n250_z\r\n-250 q\r\n250' }],
        ['mixed', { reply: '250-one\r\n450-two\r\n550 three' }],
      ];
      for (const verb of ['CONNECT', 'EHLO', 'MAIL', 'RCPT', 'DATA', '.', 'QUIT']) {
        for (const [what, answer] of odd) {
          const name = `${what}-at-${verb === '.' ? 'dot' : verb.toLowerCase()}`;
          await make(name, { script: onVerb(verb, answer) }, false);
          if (what === 'hang' || what === 'reset')
            await make(name, { script: onVerb(verb, answer) }, true);
        }
      }
      for (const startTls of ['refused', 'reset', 'garbage', 'hang'] as const) {
        await make(`starttls-${startTls}`, { startTls }, true);
      }
      for (const ending of ['close', 'reset', 'hang'] as const) {
        await make(`content-${ending}`, { duringContent: { afterOctets: 10, ending } }, false);
      }
      await apply(IMPATIENCE);
      await sendToAll(names);
      await apply(PATIENCE);
      await stillServes();
    });

    test('MX hosts that never stop talking', async () => {
      const flood = Buffer.alloc(1 << 20, '250-x\r\n');
      const talkers: Record<string, (socket: Socket) => void> = {
        'endless-banner': (socket) => pour(socket, Buffer.alloc(1 << 20, 'x')),
        'endless-greeting-lines': (socket) => pour(socket, Buffer.alloc(1 << 20, '220-x\r\n')),
        'endless-binary': (socket) => pour(socket, randomBytes(1 << 20)),
        'endless-nul': (socket) => pour(socket, Buffer.alloc(1 << 20)),
        'endless-ehlo': (socket) => {
          socket.write('220 hello\r\n');
          socket.once('data', () => pour(socket, flood));
        },
        'endless-replies': (socket) => {
          socket.write('220 hello\r\n');
          socket.once('data', () => pour(socket, Buffer.alloc(1 << 20, '250 ok\r\n')));
        },
        'dripping-banner': (socket) => drip(socket, '220-x\r\n'),
        'dripping-octets': (socket) => drip(socket, '2'),
        'never-reads': (socket) => {
          socket.pause();
          socket.write('220 hello\r\n250 a\r\n250 b\r\n250 c\r\n354 d\r\n');
        },
      };
      await using hosts = new RawHosts();
      const names: string[] = [];
      for (const [name, talk] of Object.entries(talkers)) {
        await hosts.serve(net, `${name}.test`, talk);
        names.push(`${name}.test`);
      }
      let peak = 0;
      const watch = setInterval(() => {
        peak = Math.max(peak, rss());
      }, 100);
      try {
        await apply(IMPATIENCE);
        const ends = await sendToAll(names);
        for (const [name, line] of ends) assert.equal(line.event, 'delivery.deferred', name);
        await apply(PATIENCE);
      } finally {
        clearInterval(watch);
      }
      assert.ok(peak < rssAtStart + 200, `${peak} MiB at most, ${rssAtStart} before`);
      await stillServes();
    });

    test('replies that trickle in hold no session longer than silence would', async () => {
      await using hosts = new RawHosts();
      const verbs = ['EHLO', 'MAIL', 'RCPT', 'DATA', '.', 'QUIT'];
      const nameFor = (verb: string) => `trickle-${verb === '.' ? 'dot' : verb.toLowerCase()}.test`;
      for (const verb of verbs) {
        await hosts.serve(net, nameFor(verb), (socket) => trickleAt(socket, verb));
      }
      await apply(IMPATIENCE);
      const ends = await sendToAll(verbs.map(nameFor));
      for (const verb of verbs.filter((one) => one !== 'QUIT')) {
        assert.equal(ends.get(nameFor(verb))?.event, 'delivery.deferred', verb);
      }
      // A host that is well until then may have been too slow for so little patience.
      const last = nameFor('QUIT');
      for (let end = ends.get(last); end?.event !== 'delivery.delivered'; ) {
        assert.equal(end?.['cause'], 'timeout', JSON.stringify(end));
        end = (await sendToAll([last])).get(last);
      }
      await apply(PATIENCE);
      await stillServes();
    });

    test('after all that: the same process, no more memory than it should have, a clean end', async () => {
      const now = rss();
      assert.ok(now < rssAtStart + 150, `${now} MiB, ${rssAtStart} at start`);
      assert.equal((await relay.http('/healthz')).status, 200);
      for (const gauge of ['stsrelay_connections_open', 'stsrelay_intake_connections_open']) {
        const none = async () => (await relay.metric(gauge)) === 0;
        await waitFor(`${gauge} to be 0`, none);
      }
      await stillServes();
      assert.equal(await relay.stop(), 0);
      assert.equal(relay.stderr, '');
    });
  });
});

/** Connect, send, wait until the other side is through with us (or a moment). */
function shout(port: number, octets: string | Buffer): Promise<void> {
  return new Promise((resolve) => {
    const socket = netConnect({ port, host: '127.0.0.1' });
    socket.on('error', () => {});
    socket.on('close', () => resolve());
    socket.setTimeout(1000, () => socket.destroy());
    socket.resume();
    // Behind the greeting, or it would be sent away for talking first.
    const say = () => socket.end(octets);
    const timer = setTimeout(say, 20);
    socket.once('data', () => {
      clearTimeout(timer);
      say();
    });
  });
}

function dialSilently(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = netConnect({ port, host: '127.0.0.1' });
    socket.once('connect', () => resolve(socket));
    socket.once('error', reject);
    socket.on('error', () => {});
  });
}

/** Write `octets` again and again, as fast as the other side reads. */
function pour(socket: Socket, octets: Buffer): void {
  const more = () => {
    while (!socket.destroyed && socket.write(octets));
  };
  socket.on('drain', more);
  more();
}

/** Write `text` again and again, slowly. */
function drip(socket: Socket, text: string): void {
  const timer = setInterval(() => socket.write(text), 50);
  socket.on('close', () => clearInterval(timer));
}

/** Plays an MX host whose reply to `verb` never gets to its last line. */
function trickleAt(socket: Socket, verb: string): void {
  let inContent = false;
  socket.write('220 hello\r\n');
  createInterface({ input: socket }).on('line', (line) => {
    if (inContent && line !== '.') return;
    const said = line.split(/[ :]/)[0] ?? '';
    if (said === verb) drip(socket, '250-x\r\n');
    else socket.write(said === 'DATA' ? '354 go on\r\n' : '250 fine\r\n');
    inContent = said === 'DATA';
  });
}

/** MX hosts that follow no protocol. */
class RawHosts implements AsyncDisposable {
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();

  /** Make `domain`, with one host that does `talk` on each connection. */
  async serve(
    internet: PretendInternet,
    domain: string,
    talk: (socket: Socket) => void,
  ): Promise<void> {
    const place = await internet.mxHost({ host: `mx.${domain}`, down: true, certificate: null });
    await internet.domain(domain, { mx: [{ host: place.name }] });
    const server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => this.#sockets.delete(socket));
      socket.resume();
      talk(socket);
    });
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(internet.mxPort, place.address, resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(
      this.#servers.map((server) => new Promise((resolve) => server.close(resolve))),
    );
  }
}

/** A resolver that passes questions on, but for one zone, where it answers random octets. */
class HostileDns {
  static readonly zone = 'hostile.test';
  readonly port: number;
  readonly #socket: UdpSocket;

  private constructor(socket: UdpSocket) {
    this.#socket = socket;
    this.port = socket.address().port;
  }

  static async start(upstreamPort: number): Promise<HostileDns> {
    const socket = createSocket('udp4');
    await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
    socket.on('error', () => {});
    socket.on('message', (query, from) => {
      if (query.includes('\x07hostile\x04test\0')) {
        const answer = randomAnswer(query);
        socket.send(answer, from.port, from.address, () => {});
        return;
      }
      const onward = createSocket('udp4');
      onward.on('error', () => onward.close());
      const timer = setTimeout(() => onward.close(), 15_000);
      onward.once('message', (answer) => {
        clearTimeout(timer);
        onward.close();
        socket.send(answer, from.port, from.address, () => {});
      });
      onward.send(query, upstreamPort, '127.0.0.1');
    });
    return new HostileDns(socket);
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.#socket.close(() => resolve()));
  }
}

/** The question as it came, flags of an answer, then anything. */
function randomAnswer(query: Buffer): Buffer {
  const end = query.indexOf('\x04test\0') + 6 + 4;
  const question = query.subarray(12, end);
  const header = Buffer.concat([query.subarray(0, 2), randomBytes(10)]);
  header[2] = 0x80 | (randomBytes(1)[0] ?? 0);
  header.writeUInt16BE(1, 4);
  return Buffer.concat([header, question, randomBytes(Math.floor(Math.random() * 1000))]);
}
