/**
 * The relay as several processes: a supervisor, and below it the one that receives and the one
 * that delivers. Each may be killed; the others go on or go along, and nothing that was
 * acknowledged is lost.
 */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { runStsrelay } from '../support/cli.ts';
import { freePort } from '../support/free-port.ts';
import { injectMany } from '../support/inject.ts';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import { openSession, redisIn } from '../support/relay-mail.ts';
import { type RelayProcess, type Settings, startRelay } from '../support/relay-process.ts';
import { connect, type SmtpClient } from '../support/smtp-client.ts';
import { tempDir } from '../support/temp-dir.ts';
import { processesIn } from '../support/tied-child.ts';
import { waitFor } from '../support/wait-for.ts';

const NO_OWNER = /^451 4\.3\.2 Mail queue not available, try again later\r\n/;

let net: PretendInternet;
before(async () => {
  net = await startPretendInternet();
});
after(() => net?.close());

const start = (...settings: readonly Settings[]) =>
  startRelay({ settings: [net.relaySettings(), ...settings] });

const message = (to: string) => ({
  from: 'a@sender.test',
  to,
  data: `Subject: ${to}\r\n\r\nhello\r\n`,
});

/** Until no process of this relay is left. */
async function untilAllGone(relay: RelayProcess): Promise<void> {
  const dir = dirname(relay.configFile);
  await waitFor('the end of all processes', () => processesIn(dir).length === 0);
}

/** Kill a role, and wait until there is another one in its place. */
async function killRole(relay: RelayProcess, role: 'receive' | 'deliver'): Promise<void> {
  const pid = relay.rolePid(role);
  process.kill(pid, 'SIGKILL');
  await relay.waitForEvent(
    'relay.role_started',
    (line) => line['role'] === role && line['pid'] !== pid,
  );
}

/** Deliver on this session until it is accepted; what was said before. */
async function deliverAtLast(client: SmtpClient, to: string): Promise<string[]> {
  const said: string[] = [];
  await waitFor('a 250', async () => {
    const { accepted, reply } = await client.deliver(message(to));
    if (!accepted) said.push(reply.raw);
    if (!accepted) await client.send('RSET');
    return accepted;
  });
  return said;
}

/** Inject until told to stop; the recipients that were acknowledged, and the refusals. */
function inject(relay: RelayProcess, domain: string) {
  const enough = new AbortController();
  const some = Promise.withResolvers<void>();
  const done = injectMany({
    port: relay.smtpPort,
    count: 100_000,
    concurrency: 6,
    signal: enough.signal,
    makeMessage: (index) => message(`r${index}@${domain}`),
    onAcknowledged: (total) => {
      if (total >= 40) some.resolve();
    },
  });
  return {
    /** There is load now. */
    some: some.promise,
    async stop() {
      enough.abort();
      const { acknowledged, refused } = await done;
      return {
        recipients: new Set(acknowledged.map(({ index }) => `r${index}@${domain}`)),
        refused: refused.map(({ reply }) => reply),
      };
    },
  };
}

/** Wait until each of them has arrived. */
async function assertArrived(domain: string, recipients: ReadonlySet<string>): Promise<void> {
  const host = await net.mxHost({ host: `mx.${domain}` });
  await waitFor(`${recipients.size} messages`, () => {
    const arrived = new Set(host.messages.flatMap((one) => one.recipients.map((r) => r.address)));
    return [...recipients].every((recipient) => arrived.has(recipient));
  });
}

async function domain(name: string): Promise<string> {
  await net.domain(name, { mx: [{ host: `mx.${name}`, certificate: null }] });
  return name;
}

async function readiness(relay: RelayProcess) {
  const response = await relay.http('/readyz');
  const body = (await response.json()) as { parts: Record<string, { reason: string }> };
  return { status: response.status, listeners: body.parts['listeners']?.reason ?? '' };
}

describe('killed', { concurrency: 1 }, () => {
  test('the supervisor: no role and no Redis is left, and the next start goes on', async () => {
    await using relay = await start();
    const to = await domain('supervisor.test');
    assert.equal(redisIn(relay.dataDir).length, 1);
    using client = await openSession({ port: relay.smtpPort });
    const load = inject(relay, to);
    await load.some;
    await relay.kill('SIGKILL');
    const { recipients } = await load.stop();
    await client.waitForClose();
    // At once: its roles may not have noticed yet.
    await relay.start();
    await assertArrived(to, recipients);
    await relay.kill('SIGKILL');
    await untilAllGone(relay);
  });

  test('everything at once', async () => {
    await using relay = await start();
    await relay.kill('SIGKILL', { group: true });
    await untilAllGone(relay);
    await relay.start();
    assert.equal(await relay.stop(), 0);
    await untilAllGone(relay);
    assert.ok(!existsSync(`${relay.dataDir}/intake.sock`));
  });

  test('receive: deliveries go on, its listeners come back, nothing acknowledged is lost', async () => {
    const to = await domain('receive.test');
    await using relay = await start();
    const load = inject(relay, to);
    await load.some;
    const owner = relay.rolePid('deliver');
    await killRole(relay, 'receive');
    const ended = relay.events('relay.role_ended');
    assert.deepEqual(
      ended.map((line) => [line['role'], line['reason'], line.level]),
      [['receive', 'SIGKILL', 'error']],
    );
    await relay.waitForReadiness(200);
    using client = await openSession({ port: relay.smtpPort });
    assert.deepEqual(await deliverAtLast(client, `last@${to}`), []);
    const { recipients } = await load.stop();
    await assertArrived(to, new Set([...recipients, `last@${to}`]));
    assert.equal(relay.rolePid('deliver'), owner);
    const restarts = { role: 'receive' };
    await relay.waitForMetric('stsrelay_role_restarts_total', 1, restarts);
    await relay.waitForMetric('stsrelay_role_up', 1, restarts);
    assert.equal(relay.stderr, '');
    assert.equal(await relay.stop(), 0);
  });

  test('deliver: sessions are told 451 and then work again, nothing acknowledged is lost', async () => {
    const to = await domain('deliver.test');
    await using relay = await start();
    using client = await openSession({ port: relay.smtpPort });
    const load = inject(relay, to);
    await load.some;
    const receiver = relay.rolePid('receive');
    // No other one is started before somebody was told to wait.
    relay.signal('SIGSTOP');
    process.kill(relay.rolePid('deliver'), 'SIGKILL');
    await relay.waitForEvent('intake.queue_gone');
    assert.match((await client.deliver(message(`none@${to}`))).reply.raw, NO_OWNER);
    await client.send('RSET');
    relay.signal('SIGCONT');
    const said = await deliverAtLast(client, `first@${to}`);
    for (const reply of said) assert.match(reply, NO_OWNER);
    const { recipients, refused } = await load.stop();
    for (const reply of refused) assert.match(`${reply}\r\n`, NO_OWNER);
    await assertArrived(to, new Set([...recipients, `first@${to}`]));
    assert.equal(relay.rolePid('receive'), receiver);
    const [refusing, ...again] = relay.events('intake.refusing');
    assert.deepEqual([refusing?.['reason'], refusing?.level, again], ['queue-away', 'warn', []]);
    assert.match(String(refusing?.['detail']), /^the delivering role is not there: /);
    const accepting = await relay.waitForEvent('intake.accepting');
    assert.equal(accepting['refused'], relay.events('intake.refused').length);
    assert.equal(relay.events('intake.queue_gone').length, 1);
    await relay.waitForMetric('stsrelay_role_restarts_total', 1, { role: 'deliver' });
    assert.equal(redisIn(relay.dataDir).length, 1);
    assert.equal(relay.stderr, '');
    assert.equal(await relay.stop(), 0);
    await untilAllGone(relay);
  });
});

describe('stopped for a while', () => {
  test('deliver: clients wait; it goes on, and they are answered', async () => {
    const to = await domain('paused.test');
    await using relay = await start();
    using client = await openSession({ port: relay.smtpPort });
    process.kill(relay.rolePid('deliver'), 'SIGSTOP');
    const sent = client.deliver(message(`a@${to}`));
    const early = await Promise.race([sent, new Promise((later) => setTimeout(later, 300))]);
    assert.equal(early, undefined);
    process.kill(relay.rolePid('deliver'), 'SIGCONT');
    assert.ok((await sent).accepted);
    await assertArrived(to, new Set([`a@${to}`]));
  });

  test('receive: /readyz and status say so, /metrics answers', async () => {
    await using relay = await start();
    process.kill(relay.rolePid('receive'), 'SIGSTOP');
    const { status, listeners } = await readiness(relay);
    assert.equal(status, 503);
    assert.match(listeners, /receiving role did not answer in 1 s/);
    assert.equal(await relay.metric('stsrelay_redis_up'), 1);
    const { code } = await runStsrelay(['status', '--config', relay.configFile]);
    assert.equal(code, 0);
    process.kill(relay.rolePid('receive'), 'SIGCONT');
    await relay.waitForReadiness(200);
  });
});

describe('status', { concurrency: 1 }, () => {
  /** Asked until the supervisor has answered: one that is slow to is left out. */
  const status = (relay: RelayProcess, ...args: string[]) =>
    waitFor('a status with roles', async () => {
      const command = ['status', '--config', relay.configFile, ...args];
      const { code, stdout, stderr } = await runStsrelay(command);
      assert.equal(stderr, '');
      return /^roles |"roles":/m.test(stdout) ? { code, stdout } : undefined;
    });

  test('deliver cannot be started again: since when, why, when next, and what of mail', async () => {
    await using relay = await start();
    assert.match((await status(relay)).stdout, /^roles {8}deliver up since [^\n]*\n +receive up /m);
    const killedAtMs = Date.now();
    relay.changeSettings({ nonsense: 1 });
    process.kill(relay.rolePid('deliver'), 'SIGKILL');
    const [, second] = await relay.waitForEvents('relay.role_ended', 4);
    const { code, stdout } = await status(relay);
    assert.equal(code, 3);
    const line =
      /^roles {8}deliver (?:DOWN|STARTING) since (\S+) \([^)]+\).* ended with .*nonsense/m;
    const [, told = ''] = line.exec(stdout) ?? [];
    // Since its first end, and in whole seconds maybe.
    assert.ok(Date.parse(told) > killedAtMs - 1000, stdout);
    assert.ok(Date.parse(told) < Date.parse(String(second?.time)), stdout);
    assert.match(stdout, /restart \d+ (?:in \d+ s|under way)/);
    assert.match(stdout, /^ +receive up since .*, process \d+$/m);
    assert.match(stdout, /^mail {9}refused with 451 .* until deliver is back/m);

    const facts = JSON.parse((await status(relay, '--json')).stdout);
    assert.deepEqual([facts.ok, facts.supervisor.pid], [false, relay.pid]);
    const [deliver, receive] = facts.roles;
    assert.deepEqual([deliver.role, receive.role, receive.state], ['deliver', 'receive', 'up']);
    assert.ok(deliver.restarts >= 3 && Date.parse(deliver.since) === Date.parse(told));
    assert.match(deliver.lastEnd.reason, /nonsense/);
    assert.match(facts.mail, /451/);
    await waitFor('a reload that says so', async () => {
      const { code, stderr } = await runStsrelay(['reload', '--config', relay.configFile]);
      assert.equal(code, 3);
      return /is away: deliver (DOWN|STARTING) since/.test(stderr);
    });

    relay.changeSettings({ nonsense: null });
    await waitFor('deliver', async () => (await status(relay)).code === 0);
    const up = JSON.parse((await status(relay, '--json')).stdout);
    assert.deepEqual(
      [up.roles[0].state, up.mail, up.version],
      ['up', undefined, facts.supervisor.version],
    );
    assert.match(
      (await status(relay)).stdout,
      /^roles .*deliver up .* restarted \d+ times, last after /m,
    );
    assert.equal(await relay.stop(), 0);
    assert.ok(!existsSync(`${relay.dataDir}/roles.sock`));
  });

  test('receive is away: the screen says so', async () => {
    await using relay = await start();
    process.kill(relay.rolePid('receive'), 'SIGKILL');
    await relay.waitForEvent('relay.role_ended');
    const { code, stdout } = await status(relay, '--json');
    const { roles, mail } = JSON.parse(stdout);
    assert.equal(code, 0);
    assert.deepEqual(
      [roles[0].state, roles[1].restarts, roles[1].lastEnd.reason],
      ['up', 1, 'SIGKILL'],
    );
    if (roles[1].state !== 'up') assert.match(mail, /^none is taken, clients cannot connect/);
  });
});

describe('signals', () => {
  test('those that reach the roles along with the supervisor’s change nothing', async () => {
    await using relay = await start();
    for (const role of ['receive', 'deliver'] as const) {
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
        process.kill(relay.rolePid(role), signal);
      }
    }
    using client = await connect({ port: relay.smtpPort });
    assert.equal((await client.send('EHLO client.test')).code, 250);
    assert.deepEqual(relay.events('relay.role_ended'), []);
    assert.deepEqual(relay.events('config.reloaded'), []);
    assert.equal(await relay.stop(), 0);
    assert.deepEqual(relay.events('relay.role_ended'), []);
    assert.equal(relay.log.at(-1)?.event, 'relay.stopped');
  });

  test('SIGTERM while it starts: it starts, and stops in order', async () => {
    const options = { settings: net.relaySettings(), dontWait: true };
    await using relay = await startRelay(options);
    await relay.waitForEvent('redis.started');
    assert.equal(await relay.stop(), 0);
    assert.equal(relay.log.at(-1)?.event, 'relay.stopped');
    assert.equal(relay.stderr, '');
    await untilAllGone(relay);
  });

  test('a reload while deliver is being started again is not lost', async () => {
    await using relay = await start();
    using _ = await openSession({ port: relay.smtpPort }); // the supervisor knows that it is up
    await killRole(relay, 'deliver');
    relay.changeSettings({ log: { level: 'info' } });
    relay.reload();
    await relay.waitForEvent('config.reloaded');
  });

  test('a reload while a role is away holds for it when it is back', async () => {
    await using relay = await start();
    const port = await freePort();
    const [first] = relay.settings['listeners'] as readonly Settings[];
    process.kill(relay.rolePid('receive'), 'SIGKILL');
    await relay.waitForEvent('relay.role_ended');
    relay.changeSettings({ listeners: [{ ...first, port }], log: { level: 'info' } });
    relay.reload();
    await relay.waitForEvent('config.reloaded');
    await waitFor('the new listener', () => connect({ port }).then((c) => c.close() ?? true));
    await waitFor('the end of the old one', () =>
      connect({ port: relay.smtpPort }).then(
        (client) => client.close(),
        ({ message }: Error) => /ECONNREFUSED/.test(message),
      ),
    );
  });
});

test('HTTPS has the certificate of the listeners, also a new one, with either role away', async () => {
  const host = 'relay.example.net';
  const port = await freePort();
  using dir = tempDir();
  const files = { certFile: dir.file('tls.crt'), keyFile: dir.file('tls.key') };
  const renew = async () => {
    const pair = await net.ca.issueKind('good', host);
    writeFileSync(files.certFile, pair.certPem);
    writeFileSync(files.keyFile, pair.keyPem);
    return new X509Certificate(pair.certPem).fingerprint256;
  };
  const first = await renew();
  await using relay = await start({
    listeners: [{ address: '127.0.0.1', port, tls: 'implicit', auth: 'optional' }],
    tls: files,
    http: { tls: true },
  });
  const shown = async (shownAt: number) => {
    const socket = tlsConnect({ port: shownAt, host: '127.0.0.1', rejectUnauthorized: false });
    await once(socket, 'secureConnect');
    const { fingerprint256 } = socket.getPeerCertificate();
    socket.destroy();
    return fingerprint256;
  };
  assert.deepEqual([await shown(port), await shown(relay.httpPort)], [first, first]);
  const second = await renew();
  await waitFor('the new one', async () => (await shown(relay.httpPort)) === second);
  assert.equal(await shown(port), second);
  for (const role of ['receive', 'deliver'] as const) {
    await killRole(relay, role);
    await waitFor(`both after the end of ${role}`, async () => {
      return (await shown(relay.httpPort)) === second && (await shown(port)) === second;
    });
  }
});

describe('a start that fails', () => {
  test('on a port that somebody has: said once, and nothing is left', async () => {
    const taken = createServer();
    await new Promise<void>((listening) => taken.listen(0, '127.0.0.1', listening));
    const { port } = taken.address() as { port: number };
    const listeners = [{ address: '127.0.0.1', port, tls: 'none', auth: 'none' }];
    await using relay = await startRelay({
      settings: [net.relaySettings(), { listeners }],
      dontWait: true,
    });
    assert.equal(await relay.waitForExit(), 1);
    assert.match(
      relay.stderr,
      new RegExp(
        `^stsrelay: the relay cannot start: cannot listen on 127\\.0\\.0\\.1:${port} [^\n]*\n$`,
      ),
    );
    const warnings = relay
      .events('relay.warning')
      .filter((one) => /self-signed/.test(JSON.stringify(one)));
    assert.deepEqual(warnings, [], 'of a door that was never open');
    taken.close();
    await untilAllGone(relay);
    await relay.start();
    assert.equal(await relay.waitReady().then(() => relay.stop()), 0);
  });

  test('on a wrong configuration: exit code 2, every problem once', async () => {
    const settings = [net.relaySettings(), { nonsense: 1 }];
    await using relay = await startRelay({ settings, dontWait: true });
    assert.equal(await relay.waitForExit(), 2);
    assert.equal(relay.stderr.match(/nonsense/g)?.length, 1, relay.stderr);
    await untilAllGone(relay);
  });
});

describe('--role', () => {
  test('receive and deliver apart, each with its own signals', async () => {
    const to = await domain('apart.test');
    const settings = net.relaySettings();
    await using deliver = await startRelay({ settings, args: ['--role', 'deliver'] });
    const [one] = deliver.settings['listeners'] as readonly Settings[];
    assert.equal((await readiness(deliver)).status, 503);
    assert.equal(await deliver.metric('stsrelay_role_up', { role: 'receive' }), 0);
    await using receive = await startRelay({
      settings: [settings, { dataDir: deliver.dataDir, listeners: [{ ...one, port: 1 }] }],
      args: ['--role', 'receive'],
      dontWait: true,
    });
    await receive.waitForEvent('intake.listening');
    using client = await openSession({ port: deliver.smtpPort });
    assert.ok((await client.deliver(message(`a@${to}`))).accepted);
    await assertArrived(to, new Set([`a@${to}`]));
    await deliver.waitForMetric('stsrelay_messages_received_total', 1);

    assert.equal(await deliver.stop(), 0);
    assert.equal(deliver.log.at(-1)?.event, 'relay.stopped');
    assert.match((await client.deliver(message(`b@${to}`))).reply.raw, NO_OWNER);
    await client.send('RSET');
    await deliver.start();
    await deliverAtLast(client, `c@${to}`);

    assert.equal(await receive.stop(), 0);
    assert.equal(receive.log.at(-1)?.event, 'relay.stopped');
    assert.equal(await deliver.stop(), 0);
    await assertArrived(to, new Set([`c@${to}`]));
    for (const { stderr, strayOutput } of [deliver, receive]) {
      assert.deepEqual([stderr, strayOutput], ['', []]);
    }
  });

  for (const role of ['receive', 'deliver'] as const) {
    test(`a second ${role} ends, and names the process that does this already`, async () => {
      await using relay = await start();
      const { pid = 0 } = relay;
      const { code, stdout, stderr } = await runStsrelay([
        ...['start', '--role', role, '--config', relay.configFile],
      ]);
      assert.equal(code, 2, stdout);
      assert.match(stderr, new RegExp(`^stsrelay: [^\n]* process ${pid}\\b[^\n]*\n$`));
      if (role === 'receive') {
        assert.match(
          stderr,
          new RegExp(`process ${relay.rolePid('receive')} is the receiving role`),
        );
      }
      await relay.waitForReadiness(200);
      assert.deepEqual(relay.events('relay.receiver_gone'), []);
      assert.equal(await relay.stop(), 0);
    });
  }

  test('a receiving role beside one that was started apart: the same', async () => {
    const settings = net.relaySettings();
    await using deliver = await startRelay({ settings, args: ['--role', 'deliver'] });
    const apart = {
      settings: [settings, { dataDir: deliver.dataDir }],
      args: ['--role', 'receive'],
    };
    await using receive = await startRelay({ ...apart, dontWait: true });
    await receive.waitForEvent('intake.queue_linked');
    await using second = await startRelay({ ...apart, dontWait: true });
    assert.equal(await second.waitForExit(), 2);
    assert.match(second.stderr, new RegExp(`process ${receive.pid} is the receiving role already`));
    // One that was killed leaves its place at once.
    await receive.kill();
    await receive.start();
    await receive.waitForEvent('intake.queue_linked');
    assert.deepEqual([await receive.stop(), await deliver.stop()], [0, 0]);
  });

  test('all: one process', async () => {
    const to = await domain('all.test');
    await using relay = await startRelay({
      settings: net.relaySettings(),
      args: ['--role', 'all'],
    });
    using client = await openSession({ port: relay.smtpPort });
    assert.ok((await client.deliver(message(`a@${to}`))).accepted);
    await assertArrived(to, new Set([`a@${to}`]));
    assert.equal(relay.events('relay.started')[0]?.['pid'], relay.pid);
    await relay.waitForReadiness(200);
    for (const role of ['receive', 'deliver']) {
      await relay.waitForMetric('stsrelay_role_up', 1, { role });
    }
    assert.ok(!existsSync(`${relay.dataDir}/intake.sock`));
    assert.equal(await relay.stop(), 0);
  });

  test('anything else is wrong usage', async () => {
    for (const args of [
      ['--role', 'both'],
      ['--role', 'deliver', '--supervised'],
    ]) {
      const { code, stderr } = await runStsrelay(['start', ...args]);
      assert.equal(code, 2, stderr);
    }
  });
});
