/**
 * Routes to a smart host that wants a login (RFC 4954), or TLS from the first octet (RFC 8314): a whole
 * relay, scripted hosts, and Postfix. What is wrong with a login bounces nobody's mail, and no
 * password shows anywhere.
 */
import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { runStsrelay } from '../support/cli.ts';
import type { MxHost } from '../support/mx-host.ts';
import { postfixMissing, startPostfix } from '../support/postfix.ts';
import {
  type MxDescription,
  type PretendInternet,
  startPretendInternet,
} from '../support/pretend-internet.ts';
import { startRelay } from '../support/relay-process.ts';
import { RelayWorld } from '../support/relay-world.ts';
import { startSasl } from '../support/sasl.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';

const PASSWORD = 'correct horse\tbattery';
const QUICK = { retry: { schedule: ['200ms'], lifetime: '1h' }, log: { level: 'debug' } };

let dir: TempDir;
before(() => {
  dir = tempDir();
  writeFileSync(dir.file('password'), `${PASSWORD}\n`, { mode: 0o600 });
});
after(() => dir.remove());

interface SmartHosted extends AsyncDisposable {
  readonly world: RelayWorld;
  readonly host: MxHost;
}

/** A relay all of whose mail goes to one smart host. */
async function withSmartHost(
  description: Omit<MxDescription, 'host'>,
  route: Readonly<Record<string, string>>,
): Promise<SmartHosted> {
  const internet = await startPretendInternet();
  const host = await internet.mxHost({ host: 'smart.test', ...description });
  const world = await startWithRoute(internet, { nextHop: `smart.test:${host.port}`, ...route });
  return { world, host, [Symbol.asyncDispose]: () => world.close() };
}

async function startWithRoute(
  internet: PretendInternet,
  route: Readonly<Record<string, string>>,
): Promise<RelayWorld> {
  try {
    const routes = [{ domain: '*', ...route }];
    const relay = await startRelay({ settings: [internet.relaySettings(), QUICK, { routes }] });
    return new RelayWorld(internet, relay);
  } catch (error) {
    await internet.close();
    throw error;
  }
}

const LOGIN = { user: 'ann@corp.test', password: PASSWORD };
const loginRoute = () => ({ user: LOGIN.user, passwordFile: dir.file('password') });

function assertNoPassword({ relay }: RelayWorld): void {
  const text = relay.wholeLog.map((line) => JSON.stringify(line)).join('\n');
  const plain = Buffer.from(`\0${LOGIN.user}\0${PASSWORD}`).toString('base64');
  for (const secret of ['correct horse', plain, Buffer.from(PASSWORD).toString('base64')]) {
    assert.ok(!text.includes(secret), 'a password is in the log');
  }
}

describe('a smart host with AUTH', () => {
  test('over STARTTLS: mail for everybody goes there, over one session', async () => {
    await using part = await withSmartHost({ auth: LOGIN }, { ...loginRoute(), tls: 'verify' });
    const { world, host } = part;
    for (const to of ['a@one.test', 'b@two.test']) {
      const answer = await world.answer(await world.send({ to }));
      assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
      assert.equal(answer['verified'], true);
    }
    assert.deepEqual([...new Set(host.sessions.map((it) => it.authenticatedAs))], [LOGIN.user]);
    assert.equal(world.internet.dns.queriesFor('one.test').length, 0);
    assertNoPassword(world);
  });

  test('a wrong password: everything waits, one line tells, and a new password is noticed', async () => {
    const file = dir.file('changing');
    writeFileSync(file, 'wrong', { mode: 0o600 });
    await using part = await withSmartHost(
      { auth: LOGIN },
      { ...loginRoute(), passwordFile: file },
    );
    const { world, host } = part;
    const sent = await world.send({ to: 'a@one.test' });
    const refused = await world.answer(sent);
    assert.deepEqual(
      [refused.event, refused['cause'], refused['status'], refused['causeClass']],
      ['delivery.deferred', 'auth', '4.7.8', 'other'],
    );
    assert.match(String(refused['reason']), /^535 5\.7\.8/);
    const paused = await world.answer(sent, { nth: 2 });
    assert.equal(paused['cause'], 'auth-paused');
    assert.match(String(paused['reason']), /535 5\.7\.8/);
    const [told, ...more] = world.relay.events('delivery.login_failed');
    assert.deepEqual([told?.level, told?.['user'], more.length], ['error', LOGIN.user, 0]);
    assert.equal(await world.relay.metric('stsrelay_smart_host_login_failures_total'), 1);
    const asked = host.sessions.flatMap(({ commands }) => commands.map(({ verb }) => verb));
    assert.equal(asked.filter((verb) => verb === 'AUTH').length, 1);
    assert.ok(!asked.includes('MAIL'));

    writeFileSync(file, `${PASSWORD}\r\n`);
    await world.relay.waitForEvent('delivery.delivered', ({ id }) => id === sent.id);
    assertNoPassword(world);
  });

  test('no password file: nobody is connected to, and it is told', async () => {
    const passwordFile = dir.file('missing');
    await using part = await withSmartHost({ auth: LOGIN }, { ...loginRoute(), passwordFile });
    const { world, host } = part;
    const answer = await world.answer(await world.send({ to: 'a@one.test' }));
    assert.deepEqual([answer.event, answer['cause']], ['delivery.deferred', 'auth-not-possible']);
    assert.match(String(answer['reason']), /missing cannot be read \(ENOENT\)/);
    assert.equal(host.sessions.length, 0);
    const told = await world.relay.waitForEvent('delivery.login_failed');
    assert.match(String(told['reason']), /ENOENT/);
  });

  test('a host without TLS hears no password, and gets no mail', async () => {
    await using part = await withSmartHost({ certificate: null, auth: LOGIN }, loginRoute());
    const { world, host } = part;
    const answer = await world.answer(await world.send({ to: 'a@one.test' }));
    assert.deepEqual(
      [answer.event, answer['cause'], answer['required']],
      ['delivery.deferred', 'starttls-not-offered', 'encrypt'],
    );
    const lines = host.sessions.flatMap(({ commands }) => commands.map(({ line }) => line));
    assert.doesNotMatch(lines.join('\n'), /AUTH|MAIL/);
  });

  test('530 where no login is configured: the mail waits', async () => {
    await using part = await withSmartHost({ auth: LOGIN }, {});
    const answer = await part.world.answer(await part.world.send({ to: 'a@one.test' }));
    assert.deepEqual(
      [answer.event, answer['cause'], answer['status']],
      ['delivery.deferred', 'auth', '4.7.0'],
    );
  });

  test('config show names the file; config check says who may read it', async () => {
    chmodSync(dir.file('password'), 0o644);
    const route = { domain: '*', nextHop: 'smart.test:587', ...loginRoute(), tls: 'verify' };
    writeFileSync(dir.file('relay.yaml'), JSON.stringify({ routes: [route] }));
    const shown = await runStsrelay(['config', 'show', '--config', dir.file('relay.yaml')]);
    assert.match(shown.stdout, /passwordFile/);
    assert.ok(!shown.stdout.includes('correct horse'));
    const checked = await runStsrelay(['config', 'check', '--config', dir.file('relay.yaml')]);
    assert.match(checked.stdout + checked.stderr, /open to other users \(mode 644\)/);
    chmodSync(dir.file('password'), 0o600);
  });
});

describe('a smart host with TLS from the first octet', () => {
  test('takes mail, its certificate verified', async () => {
    const route = { ...loginRoute(), wrapper: 'implicit', tls: 'verify' };
    await using part = await withSmartHost({ implicitTls: true, auth: LOGIN }, route);
    const { world, host } = part;
    const answer = await world.answer(await world.send({ to: 'a@one.test' }));
    assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
    assert.deepEqual([answer['verified'], answer['mx']], [true, 'smart.test']);
    assert.equal(host.sessions.at(-1)?.octets.clear, 0);
  });

  test('with a certificate that does not hold hears nothing at all', async () => {
    const route = { ...loginRoute(), wrapper: 'implicit', tls: 'verify' };
    const script = { implicitTls: true, certificate: 'expired', auth: LOGIN } as const;
    await using part = await withSmartHost(script, route);
    const { world, host } = part;
    const answer = await world.answer(await world.send({ to: 'a@one.test' }));
    assert.deepEqual([answer.event, answer['cause']], ['delivery.deferred', 'certificate-expired']);
    await host.waitForSessions(1);
    assert.deepEqual(
      host.sessions.flatMap(({ commands }) => commands),
      [],
    );
  });

  test('that has none after all gets no mail in clear text', async () => {
    await using part = await withSmartHost({ certificate: null }, { wrapper: 'implicit' });
    const answer = await part.world.answer(await part.world.send({ to: 'a@one.test' }));
    assert.deepEqual(
      [answer.event, answer['cause']],
      ['delivery.deferred', 'tls-handshake-failed'],
    );
  });
});

describe('Postfix as the smart host', { skip: postfixMissing }, () => {
  for (const [what, mechanisms, wrapper] of [
    ['AUTH PLAIN over STARTTLS', ['PLAIN'], 'starttls'],
    ['AUTH LOGIN, TLS from the first octet', ['LOGIN'], 'implicit'],
  ] as const) {
    test(what, async () => {
      const internet = await startPretendInternet();
      const beyond = await internet.mxHost({ host: 'beyond.test', certificate: null });
      const certificate = await internet.ca.issue({ names: ['smart.test'] });
      writeFileSync(dir.file('chain.pem'), certificate.keyPem + certificate.certPem);
      await using sasl = await startSasl({ ...LOGIN, mechanisms });
      await using postfix = await startPostfix({
        hostname: 'smart.test',
        mainCf: {
          relayhost: `[${beyond.address}]:${beyond.port}`,
          mynetworks: '192.0.2.1/32',
          smtpd_relay_restrictions: 'permit_sasl_authenticated, reject',
          smtpd_sasl_auth_enable: 'yes',
          smtpd_sasl_type: 'dovecot',
          smtpd_sasl_path: sasl.path,
          smtpd_sasl_security_options: 'noanonymous',
          smtpd_tls_auth_only: 'yes',
          smtpd_tls_chain_files: dir.file('chain.pem'),
          smtpd_tls_security_level: 'encrypt',
          smtpd_tls_wrappermode: wrapper === 'implicit' ? 'yes' : 'no',
        },
      });
      internet.dns.set('smart.test', 'A', [postfix.address]);
      const nextHop = `smart.test:${postfix.port}`;
      const route = { nextHop, wrapper, tls: 'verify', ...loginRoute() };
      await using world = await startWithRoute(internet, route);
      for (let i = 0; i < 3; i += 1) {
        const answer = await world.answer(await world.send({ to: `r${i}@far.test` }));
        assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer) + postfix.log);
        assert.equal(answer['verified'], true);
      }
      await beyond.waitForMessages(3);
      assert.match(postfix.log, /sasl_username=ann@corp\.test/);
      assertNoPassword(world);
    });
  }
});
