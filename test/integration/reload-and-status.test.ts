/**
 * The relay while it runs, as the people who look after it see it: a changed configuration is
 * applied without dropping a connection, a broken one changes nothing, and status, metrics,
 * health and log say what is going on.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { after, before, describe, test } from 'node:test';
import type { AuditEntry } from '../../src/admin/audit.ts';
import { runStsrelay } from '../support/cli.ts';
import { freePort } from '../support/free-port.ts';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import { v1 } from '../support/proxy-headers.ts';
import { onVerb, openSession, redisIn } from '../support/relay-mail.ts';
import { type RelayProcess, type Settings, startRelay } from '../support/relay-process.ts';
import { ConnectionLost, connect } from '../support/smtp-client.ts';
import { processesIn } from '../support/tied-child.ts';
import { waitFor } from '../support/wait-for.ts';

const CONTENT = 'Subject: a secret subject\r\n\r\na secret text\r\n';
const MESSAGE = { from: 'a@sender.test', data: CONTENT };
/** What the tests start from, and go back to. */
const BASE: Settings = {
  retry: { schedule: ['1h'], classes: { tlsPolicy: { schedule: ['1h'] } } },
  access: { trustedNetworks: ['127.0.0.0/8'] },
  limits: { messageSize: '1MiB', recipientsPerMessage: 100, connections: 1000 },
  overrides: [],
};

let net: PretendInternet;
let relay: RelayProcess;

before(async () => {
  net = await startPretendInternet();
  const clear = { certificate: null } as const;
  await net.domain('good.test', { mx: [{ host: 'mx.good.test', ...clear }] });
  const busy = onVerb('RCPT', '451 4.3.0 not now');
  await net.domain('busy.test', { mx: [{ host: 'mx.busy.test', ...clear, script: busy }] });
  await net.domain('broken.test', {
    mx: [{ host: 'mx.broken.test', certificate: 'expired' }],
    sts: {},
  });
  relay = await startRelay({ settings: [net.relaySettings(), BASE] });
});
after(async () => {
  await relay?.close();
  await net?.close();
});

const stsrelay = (...args: string[]) => runStsrelay([...args, '--config', relay.configFile]);

/** Change the file, SIGHUP, and wait until it is in force; the event. */
async function apply(changes: Settings) {
  const seen = relay.events('config.reloaded').length;
  relay.changeSettings(changes);
  relay.reload();
  return (await relay.waitForEvents('config.reloaded', seen + 1)).at(-1);
}

const session = () => openSession({ port: relay.smtpPort });

async function deliver(to: string): Promise<string> {
  using client = await session();
  const { id, reply } = await client.deliver({ ...MESSAGE, to });
  assert.equal(reply.code, 250, reply.raw);
  return id ?? '';
}

describe('SIGHUP', () => {
  test('counts, and does not drop a connection, not even inside DATA', async () => {
    const applied =
      (await relay.metric('stsrelay_config_reloads_total', { result: 'applied' })) ?? 0;
    const { pid } = relay;
    using idle = await session();
    using sending = await session();
    await sending.send('MAIL FROM:<a@sender.test>');
    await sending.send('RCPT TO:<b@good.test>');
    await sending.send('DATA');
    sending.write('Subject: x\r\n\r\nfirst half, ');
    await apply({ retry: { lifetime: '2d' } });
    sending.write('second half\r\n');
    assert.equal((await sending.send('.')).code, 250);
    assert.equal((await idle.send('NOOP')).code, 250);
    assert.equal(relay.pid, pid);
    await relay.waitForMetric('stsrelay_config_reloads_total', applied + 1, { result: 'applied' });
  });

  test('a new retry schedule holds for the next deferral', async () => {
    const id = await deliver('b@busy.test');
    const of = (message: string) => (line: { readonly id?: string }) => line.id === message;
    const line = await relay.waitForEvent('delivery.deferred', of(id));
    const waitMs = Date.parse(String(line['nextAttempt'])) - Date.parse(line.time ?? '');
    assert.ok(waitMs > 3_500_000 && waitMs < 4_000_000, `${waitMs} ms`);

    await apply({ retry: { schedule: ['100ms', '200ms', '1h'] } });
    const again = await deliver('c@busy.test');
    const lines = await relay.waitForEvents('delivery.deferred', 3, { matches: of(again) });
    assert.deepEqual(
      lines.map((one) => one['attempt']),
      [1, 2, 3],
    );
    await apply(BASE);
  });

  test('limits hold at once, for open sessions too', async () => {
    using client = await session();
    await apply({ limits: { messageSize: '2KiB', recipientsPerMessage: 1 } });
    const to = ['b@good.test', 'c@good.test'];
    const { rcptReplies, reply } = await client.deliver({ ...MESSAGE, to, data: 'x'.repeat(3000) });
    assert.match(rcptReplies[1]?.raw ?? '', /^452 4\.5\.3 /);
    assert.match(reply.raw, /^552 5\.3\.4 /);
    assert.match((await client.send('EHLO client.test')).raw, /^250[- ]SIZE 2048\r$/m);
    await apply({ limits: { connections: 1 } });
    using second = await connect({ port: relay.smtpPort });
    assert.match(second.banner.raw, /^421 4\.7\.0 /);
    await apply(BASE);
    assert.equal((await client.send('NOOP')).code, 250);
  });

  test('trusted networks hold at once, for open sessions too', async () => {
    using client = await session();
    await apply({ access: { trustedNetworks: ['10.0.0.0/8'] } });
    const refused = await client.deliver({ ...MESSAGE, to: 'b@good.test' });
    assert.match(refused.reply.raw, /^554 5\.7\.1 /);
    await apply(BASE);
    await client.send('RSET');
    assert.ok((await client.deliver({ ...MESSAGE, to: 'b@good.test' })).accepted);
  });

  test('an override holds for the next attempt, and no longer when it is taken away', async () => {
    const refused = async () => {
      const id = await deliver('b@broken.test');
      const line = await relay.waitForEvent('delivery.deferred', (one) => one.id === id);
      assert.equal(line['cause'], 'certificate-expired');
    };
    await refused();
    const facts = { owner: 'ops@example.net', reason: 'ticket 1', expires: '2999-01-01' };
    await apply({ overrides: [{ domain: 'broken.test', tls: 'encrypt', ...facts }] });
    const id = await deliver('c@broken.test');
    const line = await relay.waitForEvent('delivery.delivered', (one) => one.id === id);
    assert.equal(line['policy'], 'override');
    assert.equal(line['verified'], false);
    await apply(BASE);
    await refused();
  });

  test('a new listener opens; one that is gone lets its sessions finish', async () => {
    const port = await freePort();
    const [first] = relay.settings['listeners'] as readonly Settings[];
    await apply({ listeners: [first, { ...first, port }] });
    using client = await openSession({ port });
    await client.send('MAIL FROM:<a@sender.test>');
    await client.send('RCPT TO:<b@good.test>');
    await client.send('DATA');
    await apply({ listeners: [first] });
    await assert.rejects(connect({ port }), /ECONNREFUSED/);
    assert.equal((await client.send(`${CONTENT}.`)).code, 250);
    assert.match((await client.read()).raw, /^421 /);
  });

  test('other proxies: who is there stays, who comes needs a header', async () => {
    const port = await freePort();
    const [first] = relay.settings['listeners'] as readonly Settings[];
    const proxied = { ...first, port, proxyProtocol: ['127.0.0.1'] };
    await apply({ listeners: [first, { ...first, port }] });
    using client = await openSession({ port });
    await client.send('MAIL FROM:<a@sender.test>');
    await client.send('RCPT TO:<b@good.test>');
    await client.send('DATA');
    await apply({ listeners: [first, proxied] });
    assert.equal((await client.send(`${CONTENT}.`)).code, 250);
    const relayed = async (preamble: string) => {
      using another = await openSession({ port, preamble });
      return (await another.deliver({ ...MESSAGE, to: 'b@good.test' })).reply.raw;
    };
    assert.match(await relayed(v1('127.0.0.2')), /^250 /);
    assert.match(await relayed(v1('203.0.113.7')), /^554 5\.7\.1 /);
    assert.match(await relayed('PROXY UNKNOWN\r\n'), /^554 5\.7\.1 /);
    await apply({ listeners: [first, { ...proxied, proxyProtocol: ['192.0.2.1'] }] });
    await assert.rejects(connect({ port, preamble: v1('127.0.0.2') }), ConnectionLost);
    await apply({ listeners: [first] });
  });

  test('what needs a restart is named', async () => {
    const line = await apply({ http: { port: await freePort() } });
    assert.deepEqual(line?.['needRestart'], ['http']);
    await apply({ http: { port: relay.httpPort } });
  });

  test('several at once end in the last one', async () => {
    for (const size of ['3KiB', '4KiB', '5KiB']) {
      relay.changeSettings({ limits: { messageSize: size } });
      relay.reload();
    }
    await waitFor('the last size', async () => {
      using client = await connect({ port: relay.smtpPort });
      return (await client.send('EHLO x')).raw.includes('SIZE 5120');
    });
    await apply(BASE);
  });
});

describe('stsrelay reload', () => {
  test('applies the file, and says so', async () => {
    relay.changeSettings({ limits: { messageSize: '6KiB' } });
    const { code, stdout, stderr } = await stsrelay('reload');
    assert.equal(code, 0, stderr);
    assert.notEqual(stdout, '');
    using client = await connect({ port: relay.smtpPort });
    assert.match((await client.send('EHLO x')).raw, /SIZE 6144/);
    relay.changeSettings(BASE);
    const json = await stsrelay('reload', '--json');
    assert.equal(json.code, 0);
    assert.equal((JSON.parse(json.stdout) as { ok: boolean }).ok, true);
  });

  test('is in the audit log, refused or not', async () => {
    relay.changeSettings({ limits: { messageSize: 'nonsense' } });
    const { code, stderr } = await stsrelay('reload');
    relay.changeSettings(BASE);
    assert.notEqual(code, 0, stderr);
    const { stdout } = await stsrelay(
      'audit',
      '--json',
      '--action',
      'relay.reload',
      '--limit',
      '2',
    );
    const [refused, asked] = JSON.parse(stdout) as AuditEntry[];
    assert.deepEqual([refused?.result, asked?.result], ['failed', undefined]);
    assert.match(String(refused?.facts?.['error']), /messageSize/);
  });
});

test('a reload by SIGHUP is in the audit log, refused or not', async () => {
  const noted = async () => {
    const { stdout } = await stsrelay('audit', '--json', '--actor', 'SIGHUP');
    return (JSON.parse(stdout) as AuditEntry[]).map(({ action, result }) => `${action} ${result}`);
  };
  const before = (await noted()).length;
  await apply(BASE);
  await waitFor('a note', async () => (await noted()).length === before + 1);
  const seen = relay.events('config.reload_refused').length;
  relay.changeSettings({ limits: { messageSize: 'nonsense' } });
  relay.reload();
  await relay.waitForEvents('config.reload_refused', seen + 1);
  await waitFor('two', async () => (await noted()).length === before + 3);
  assert.deepEqual((await noted()).slice(0, 2), ['relay.reload failed', 'relay.reload undefined']);
  relay.changeSettings(BASE);
});

describe('a file that is wrong', () => {
  /** The relay refuses what the file says now; it is as it was, and has said why. */
  async function assertRefused(problem: RegExp): Promise<void> {
    const refusedBefore =
      (await relay.metric('stsrelay_config_reloads_total', { result: 'refused' })) ?? 0;
    const seen = relay.events('config.reload_refused').length;
    relay.reload();
    const line = (await relay.waitForEvents('config.reload_refused', seen + 1)).at(-1);
    assert.match(JSON.stringify(line?.['problems']), problem);
    const labels = { result: 'refused' };
    await relay.waitForMetric('stsrelay_config_reloads_total', refusedBefore + 1, labels);
    using client = await session();
    assert.match((await client.send('EHLO client.test')).raw, /SIZE 1048576/);
    assert.ok((await client.deliver({ ...MESSAGE, to: 'b@good.test' })).accepted);
  }
  after(() => relay.changeSettings({}));

  test('every problem is named with file and line; nothing of it is applied', async () => {
    const text = readFileSync(relay.configFile, 'utf8');
    const wrong =
      'nonsense: 1\nlog: { level: loud }\nlimits: { messageSize: 7KiB, recipients: 2 }\n';
    writeFileSync(relay.configFile, wrong);
    await assertRefused(/stsrelay\.yaml:1: nonsense.*:2: log\.level.*:3: limits\.recipients/);
    writeFileSync(relay.configFile, text);
  });

  test('no YAML at all', async () => {
    writeFileSync(relay.configFile, 'listeners: [\n');
    await assertRefused(/stsrelay\.yaml/);
  });

  test('files it names that are not there', async () => {
    relay.changeSettings({ outbound: { trustedCaFiles: ['/nowhere/ca.pem'] } });
    try {
      await assertRefused(/\/nowhere\/ca\.pem/);
    } finally {
      relay.changeSettings({ outbound: { trustedCaFiles: [net.caFile] } });
    }
  });

  test('a port that somebody else has', async () => {
    using taken = new TakenPort();
    const port = await taken.listen();
    const [first] = relay.settings['listeners'] as readonly Settings[];
    const limits = { messageSize: '8KiB' };
    relay.changeSettings({ listeners: [first, { ...first, port }], limits });
    try {
      await assertRefused(new RegExp(`${port}`));
    } finally {
      relay.changeSettings({ ...BASE, listeners: [first] });
    }
  });

  test('stsrelay reload: exit code 2 and the problems', async () => {
    writeFileSync(relay.configFile, `dataDir: ${relay.dataDir}\nnonsense: 1\n`);
    const { code, stdout, stderr } = await stsrelay('reload');
    assert.equal(code, 2);
    assert.equal(stdout, '');
    assert.match(stderr, /nonsense/);
    const json = await stsrelay('reload', '--json');
    assert.equal(json.code, 2);
    const { ok, problems } = JSON.parse(json.stdout) as { ok: boolean; problems: string[] };
    assert.equal(ok, false);
    assert.match(problems.join('\n'), /nonsense/);
    relay.changeSettings({});
  });
});

describe('stsrelay status', () => {
  /** Asked until it knows of the listeners: a receiving role that is slow to answer is left out. */
  const status = (...args: string[]) =>
    waitFor('a status with listeners', async () => {
      const result = await stsrelay('status', ...args);
      return result.stdout.includes(String(relay.smtpPort)) ? result : undefined;
    });

  test('one screen', async () => {
    const id = await deliver('status@busy.test');
    await relay.waitForEvent('delivery.deferred', (line) => line.id === id);
    await relay.waitForReadiness(200);
    const { code, stdout, stderr } = await status();
    assert.deepEqual([code, stderr], [0, '']);
    assert.ok(stdout.split('\n').length < 40, 'one screen');
    assert.match(stdout, /up \d+ (?:s|min)/);
    assert.ok(stdout.includes(`127.0.0.1:${relay.smtpPort}`));
    assert.match(stdout, /^redis +up/m);
    assert.match(stdout, /^spool +ok/m);
    assert.match(stdout, /^queue +.*[1-9]\d* messages/m);
    assert.match(stdout, /^last errors/m);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: no colours off a terminal
    assert.doesNotMatch(stdout, /[\x00-\x09\x0b-\x1f]/);
  });

  test('--json', async () => {
    await relay.waitForReadiness(200);
    const { code, stdout } = await status('--json');
    assert.equal(code, 0);
    const facts = JSON.parse(stdout) as {
      version: string;
      uptimeSeconds: number;
      listeners: { address: string; port: number }[];
      queue: { messages: number };
      redis: { up: boolean };
      spool: { ok: boolean };
      lastErrors: { time: string; event: string }[];
    };
    assert.match(facts.version, /^\d+\.\d+\.\d+/);
    assert.ok(facts.uptimeSeconds >= 0);
    assert.deepEqual(
      facts.listeners.map(({ address, port }) => [address, port]),
      [['127.0.0.1', relay.smtpPort]],
    );
    assert.ok(facts.queue.messages > 0);
    assert.deepEqual([facts.redis.up, facts.spool.ok], [true, true]);
    assert.ok(facts.lastErrors.some(({ event }) => event === 'config.reload_refused'));
  });

  test('exit code 3 when there is no relay to ask', async () => {
    const empty = { STSRELAY_DATADIR: '/nowhere/at/all' };
    writeFileSync(relay.configFile, `dataDir: ${empty.STSRELAY_DATADIR}\n`);
    for (const command of ['status', 'reload']) {
      const { code, stdout, stderr } = await stsrelay(command);
      assert.deepEqual([code, stdout], [3, '']);
      assert.match(stderr, /\/nowhere\/at\/all\/control\.sock/);
    }
    relay.changeSettings({});
  });
});

describe('over HTTP', () => {
  const FAMILIES = [
    'messages_received_total',
    'recipients_delivered_total',
    'recipients_deferred_total',
    'recipients_bounced_total',
    'queue_messages',
    'queue_oldest_deliverable_seconds',
    'queue_overdue_messages',
    'first_attempt_delay_seconds',
    'delivery_duration_seconds',
    'attempts_total',
    'connections_open',
    'tls_sessions_total',
    'tls_handshakes_total',
    'plaintext_deliveries_total',
    'mtasts_lookups_total',
    'mtasts_fetches_total',
    'mtasts_cache_entries',
    'downgrade_suspected_total',
    'dsn_total',
    'auth_failures_total',
    'refusals_total',
    'redis_latency_seconds',
    'redis_errors_total',
    'spool_latency_seconds',
    'spool_errors_total',
    'config_reloads_total',
  ];

  test('/metrics: the promised families with help, and no address in a label, and domains as `destination` alone', async () => {
    const response = await relay.http('/metrics');
    assert.equal(response.status, 200);
    assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
    const text = await response.text();
    for (const family of FAMILIES) {
      assert.match(text, new RegExp(`^# HELP stsrelay_${family} \\S.*$`, 'm'));
      assert.match(
        text,
        new RegExp(`^# TYPE stsrelay_${family} (?:counter|gauge|histogram)$`, 'm'),
      );
    }
    const samples = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    for (const sample of samples) assert.match(sample, /^stsrelay_/);
    const others = samples.map((sample) => sample.replace(/\{destination="[^"@]*"/, '{'));
    assert.doesNotMatch(others.join('\n'), /\.test\b|@|127\.\d/);
  });

  test('counts what happened', async () => {
    const count = async (name: string) => (await relay.metric(`stsrelay_${name}`)) ?? 0;
    const names = [
      'messages_received_total',
      'recipients_delivered_total',
      'plaintext_deliveries_total',
    ];
    await waitFor('the end of all attempts', async () => {
      const waiting = await relay.metric('stsrelay_queue_messages', { state: 'delayed' });
      return (await count('queue_messages')) === waiting;
    });
    const earlier = await Promise.all(names.map(count));
    const id = await deliver('counted@good.test');
    await relay.waitForEvent('delivery.delivered', (line) => line.id === id);
    for (const [i, name] of names.entries()) {
      await relay.waitForMetric(`stsrelay_${name}`, (earlier[i] ?? 0) + 1);
    }
  });

  test('/healthz and /readyz; the latter 503 with a reason while Redis is silent', async () => {
    assert.equal((await relay.http('/healthz')).status, 200);
    const { parts } = await relay.waitForReadiness(200);
    assert.deepEqual(Object.keys(parts).sort(), ['listeners', 'redis', 'spool']);

    const redis = redisIn(relay.dataDir);
    assert.equal(redis.length, 1);
    for (const pid of redis) process.kill(pid, 'SIGSTOP');
    try {
      const unready = await relay.waitForReadiness(
        503,
        (said) => said.parts['redis']?.ok === false,
      );
      assert.notEqual(unready.parts['redis']?.reason, '');
      assert.equal(unready.parts['spool']?.ok, true);
      assert.equal((await relay.http('/healthz')).status, 200);
      await deliver('meanwhile@good.test');
    } finally {
      for (const pid of redis) process.kill(pid, 'SIGCONT');
    }
    await relay.waitForReadiness(200);
    await relay.waitForEvent(
      'delivery.delivered',
      (line) => line['recipient'] === 'meanwhile@good.test',
    );
  });

  test('nothing else is served', async () => {
    for (const path of ['/api/v1/status', '/api/v1/reload', '/..%2f..%2fetc/passwd', '/metricss']) {
      const { status } = await relay.http(path);
      assert.ok(status === 404 || status === 401, `${path}: ${status}`);
    }
    const posted = await relay.http('/api/v1/reload', { method: 'POST' });
    assert.ok(posted.status === 404 || posted.status === 401);
  });
});

describe('the log', () => {
  test('JSON lines alone, each with event, level and time; messages by id, without content', async () => {
    const lines = relay.log.filter(({ event }) => event !== 'redis.output');
    for (const line of lines) {
      assert.match(line.event, /^[a-z]+\.[a-z_]+$/);
      assert.match(line.level ?? '', /^(?:debug|info|warn|error)$/);
      assert.match(line.time ?? '', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      if (/^(?:delivery|outcome)\.|^intake\.accepted/.test(line.event)) {
        assert.match(line.id ?? '', /^[0-9A-Z]{16}$/, JSON.stringify(line));
      }
    }
    assert.doesNotMatch(JSON.stringify(lines), /a secret/);
    assert.deepEqual(relay.strayOutput, []);
    assert.equal(relay.stderr, '');
  });

  test('its level can be changed', async () => {
    const delivered = () => relay.metric('stsrelay_recipients_delivered_total');
    const before = (await delivered()) ?? 0;
    const last = await apply({ log: { level: 'warn' } });
    await deliver('quiet@good.test');
    await waitFor('the delivery', async () => ((await delivered()) ?? 0) > before);
    // What was said of it would be read before this.
    const next = await apply({ log: { level: 'debug' } });
    assert.ok(last && next);
    const between = relay.log.slice(relay.log.indexOf(last) + 1, relay.log.indexOf(next));
    assert.deepEqual(
      between.filter(({ level }) => level === 'info' || level === 'debug'),
      [],
    );
    const id = await deliver('loud@good.test');
    await relay.waitForEvent('delivery.delivered', (line) => line.id === id);
  });

  test('warnings of Node.js and errors nobody caught become events', async () => {
    const odd = `process.on('SIGUSR2', () => process.emitWarning('an odd thing'));
      process.on('SIGWINCH', () => Promise.reject(new Error('a bug')));`;
    await using other = await startRelay({
      settings: net.relaySettings(),
      nodeArgs: ['--import', `data:text/javascript,${encodeURIComponent(odd)}`],
    });
    other.signal('SIGUSR2');
    const says = (text: string) => () =>
      other.log.some((line) => JSON.stringify(line).includes(text));
    await waitFor('an event about the warning', says('an odd thing'));
    assert.ok(other.isRunning);
    const exited = other.waitForExit();
    other.signal('SIGWINCH');
    assert.equal(await exited, 1);
    await waitFor('an event about the bug', says('a bug'));
    await waitFor('the end of its Redis', () => processesIn(other.dataDir).length === 0);
    assert.equal(other.stderr, '');
    assert.deepEqual(other.strayOutput, []);
  });
});

/** A port of 127.0.0.1 that is in use. */
class TakenPort implements Disposable {
  readonly #server = createServer();
  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return (this.#server.address() as { port: number }).port;
  }
  [Symbol.dispose](): void {
    this.#server.close();
  }
}
