/**
 * The queue as an administrator works with it, by commands on the running relay: what waits and why,
 * try now, hold, release, bounce, drop, and what other retry settings would do.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { stringify } from 'yaml';
import type { MessageView } from '../../src/admin/queue-show.ts';
import { hashPassword } from '../../src/intake/password.ts';
import { addUser } from '../../src/intake/users-edit.ts';
import { type CliResult, runStsrelay } from '../support/cli.ts';
import type { MxHost } from '../support/mx-host.ts';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import {
  dsnAbout,
  logIn,
  NO_RETRY,
  onVerb,
  openSecureSession,
  openSession,
} from '../support/relay-mail.ts';
import { mergeSettings, type RelayProcess, startRelay } from '../support/relay-process.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

let net: PretendInternet;
before(async () => {
  net = await startPretendInternet();
});
after(() => net?.close());

interface Bed extends AsyncDisposable {
  readonly relay: RelayProcess;
  readonly cli: (...args: string[]) => Promise<CliResult>;
  /** The value that a command prints as JSON. */
  readonly json: (...args: string[]) => Promise<never>;
  readonly send: (to: string | readonly string[], from?: string) => Promise<string>;
  /** Send, and wait until it was tried once in vain. */
  readonly defer: (to: string | readonly string[], from?: string) => Promise<string>;
}

async function start(more: object = {}): Promise<Bed> {
  const relay = await startRelay({ settings: [net.relaySettings(), NO_RETRY, { ...more }] });
  const cli = (...args: string[]) => runStsrelay([...args, '--config', relay.configFile]);
  const send: Bed['send'] = async (to, from = 'ann@home.test') => {
    using client = await openSession({ port: relay.smtpPort });
    const { id, reply } = await client.deliver({ from, to, data: 'Subject: x\r\n\r\nhello\r\n' });
    assert.ok(id, reply.raw);
    return id;
  };
  return {
    ...{ relay, cli, send },
    json: async (...args) => JSON.parse((await cli(...args, '--json')).stdout) as never,
    async defer(to, from) {
      const id = await send(to, from);
      await relay.waitForEvent('delivery.deferred', (line) => line.id === id);
      return id;
    },
    [Symbol.asyncDispose]: () => relay.close(),
  };
}

/** A domain that puts everything off until it is told otherwise. */
async function busy(name: string, reply = '451 4.3.0 not now'): Promise<MxHost> {
  const domain = await net.domain(name, {
    mx: [{ host: `mx.${name}`, script: onVerb('RCPT', reply) }],
  });
  const [host] = domain.mx;
  assert.ok(host);
  return host;
}
const obliging = { script: () => undefined };

interface Row {
  readonly id: string;
  readonly domain: string;
  readonly state: string;
  readonly sender: string;
  readonly user?: string;
  readonly client?: string;
  readonly recipients: readonly string[];
  readonly lastFailure?: string;
  readonly waitsFor?: string;
  readonly nextAttempt?: string;
}

test('list, filter, page, show, try now', async () => {
  const host = await busy('busy.test');
  await busy('grey.test', '451 4.7.1 greylisted, try again in 300 seconds');
  await using bed = await start();
  const { cli, json, defer, relay } = bed;
  assert.deepEqual((await cli('queue', 'list')).stderr, 'the queue is empty\n');
  const first = await defer('a@busy.test');
  const second = await defer(['b@grey.test', 'c@busy.test'], 'bob@shop.test');

  const all = (await json('queue', 'list')) as Row[];
  assert.deepEqual(
    all.map(({ id, domain }) => [id, domain]),
    [
      [first, 'busy.test'],
      [second, 'busy.test'],
      [second, 'grey.test'],
    ],
  );
  const [row] = all;
  assert.deepEqual(
    [row?.state, row?.sender, row?.recipients],
    ['delayed', 'ann@home.test', ['a@busy.test']],
  );
  assert.match(row?.lastFailure ?? '', /^451 4\.3\.0 not now/);
  assert.match(
    row?.waitsFor ?? '',
    /After one attempt it waits until .*, by the schedule of all mail/,
  );
  const ids = async (...filter: string[]) =>
    ((await json('queue', 'list', ...filter)) as Row[]).map(({ id, domain }) => `${id} ${domain}`);
  assert.deepEqual(await ids('--domain', 'grey.test'), [`${second} grey.test`]);
  assert.deepEqual(await ids('--sender', '*@shop.test', '--recipient', 'c@*'), [
    `${second} busy.test`,
  ]);
  assert.equal((await ids('--state', 'deferred')).length, 3);
  assert.deepEqual(await ids('--older-than', '1h'), []);
  assert.equal((await cli('queue', 'list', '--older-than', '1h')).code, 1);
  assert.deepEqual(await ids('--limit', '1'), [`${first} busy.test`]);
  const two = await cli('queue', 'list', '--limit', '2');
  assert.equal(two.stderr, '2 of 3 deliveries: the others are left out by --limit\n');
  assert.equal((await cli('queue', 'list', '--domain', 'grey.*')).stderr, '1 delivery\n');
  assert.equal((await cli('queue', 'list', '--state', 'odd')).code, 2);

  const summary = (await json('queue', 'summary')) as { destinations: { domain: string }[] };
  assert.deepEqual(
    summary.destinations.map(({ domain }) => domain),
    ['busy.test', 'grey.test'],
  );
  const summed = (await json('queue', 'summary', '--domain', 'grey.*', '--state', 'deferred')) as {
    destinations: { domain: string }[];
    deliveries: number;
  };
  assert.deepEqual([summed.deliveries, summed.destinations[0]?.domain], [1, 'grey.test']);
  assert.equal((await cli('queue', 'summary', '--state', 'held')).code, 1);
  assert.equal((await ids('--domain', '*.TEST', '--limit', '2')).length, 2);
  const shown = await cli('queue', 'show', second);
  assert.equal(shown.code, 0, shown.stderr);
  assert.match(shown.stdout, /bob@shop\.test/);
  assert.match(shown.stdout, /greylisted, try again in 300 seconds/);
  assert.match(shown.stdout, /retry\.classes\.greylisted/);
  const told = (await json('queue', 'show', second)) as MessageView;
  const grey = told.destinations.find(({ destination }) => destination === 'grey.test');
  assert.equal(grey?.history[0]?.sessions[0]?.host, 'mx.grey.test');
  const now = told.now.find(({ destination }) => destination === 'grey.test');
  assert.deepEqual([now?.state, now?.waitsFor[0]?.kind], ['delayed', 'backoff']);
  assert.equal(now?.nextAttempt, grey?.nextAttempt);
  const unknown = await cli('queue', 'show', '0123456789ABCDEF');
  assert.deepEqual([unknown.code, /is not in the queue/.test(unknown.stderr)], [1, true]);
  assert.equal((await cli('queue', 'show', '../etc')).code, 2);

  host.change(obliging);
  const dry = await cli('queue', 'retry', '--domain', 'busy.test', '--dry-run');
  assert.match(dry.stdout, /^2 of 2 deliveries would be due now$/m);
  const retried = await cli('queue', 'retry', '--domain', 'busy.test');
  assert.deepEqual(
    [retried.code, retried.stdout],
    [0, '2 of 2 deliveries due now\n'],
    retried.stderr,
  );
  await host.waitForMessages(2);
  await relay.waitForMetric('stsrelay_queue_messages', 1, { state: 'delayed' });
  assert.equal((await cli('queue', 'retry', '--domain', 'busy.test')).code, 1, 'nothing is left');
  assert.equal((await cli('queue', 'retry')).code, 2, 'of what?');
  const both = await cli('queue', 'drop', '--all', '--state', 'held');
  assert.deepEqual(
    [both.code, both.stderr],
    [2, 'stsrelay: --all and filters exclude each other\n'],
  );
  const gone = await cli('queue', 'retry', first, '--dry-run');
  assert.deepEqual([gone.code, gone.stdout], [1, '']);
  assert.match(gone.stderr, new RegExp(`^${first} is not in the queue: delivered, bounced`));
  const audit = (await json('audit', '--target', 'mail for busy.test')) as {
    action: string;
    result?: string;
    facts: object;
  }[];
  assert.deepEqual(
    audit.slice(-2).map(({ action, result, facts }) => [action, result, facts]),
    [
      ['queue.retry', 'done', { matched: 2, touched: 2 }],
      ['queue.retry', undefined, { matched: 2 }],
    ],
  );
  const audited = ['audit', '--action', 'queue.*', '--target', '*busy*', '--since', '1h'];
  assert.equal(((await json(...audited, '--limit', '1')) as unknown[]).length, 1);
  assert.equal((await cli('audit', '--actor', 'nobody else')).code, 1);
  assert.equal((await cli('audit', '--since', 'soon')).code, 2);
});

test('a breaker that is open gets a probe', async () => {
  const down = await net.domain('down.test', { mx: [{ host: 'mx.down.test' }] });
  const [host] = down.mx;
  assert.ok(host);
  await host.close();
  await using bed = await start({ destinations: { breaker: { failures: 1, probeEvery: '1h' } } });
  const { relay, cli, json, defer, send } = bed;
  await defer('a@down.test');
  const second = await send('b@down.test');
  await relay.waitForMetric('stsrelay_queue_messages', 1, { state: 'parked' });
  const [row] = (await json('queue', 'list', '--state', 'parked')) as Row[];
  assert.equal(row?.id, second);
  assert.match(
    row?.waitsFor ?? '',
    /The hosts of this destination \(mx\.down\.test.* cannot be reached since/,
  );
  const third = await send('c@down.test');
  await relay.waitForMetric('stsrelay_queue_messages', 2, { state: 'parked' });
  await host.start();
  assert.equal((await cli('queue', 'retry', third)).code, 0);
  await host.waitForMessages(2);
  assert.deepEqual(
    host.messages.map(({ recipients }) => recipients[0]?.address),
    ['c@down.test', 'b@down.test'],
    'the probe is the one that was asked for',
  );
  const retried = await cli('queue', 'retry', '--all');
  assert.equal(retried.code, 0, retried.stderr);
  await host.waitForMessages(3);
});

test('a rate that is used up is told of', async () => {
  const slow = await net.domain('rate.test');
  await using bed = await start({
    destinations: { domains: [{ domain: 'rate.test', rate: '1/1h' }] },
  });
  const { relay, json, send } = bed;
  await send('a@rate.test');
  await waitFor('the first', () => slow.messages.length === 1);
  await send('b@rate.test');
  await relay.waitForMetric('stsrelay_queue_messages', 1, { state: 'parked' });
  const [row] = (await json('queue', 'list')) as Row[];
  assert.equal(row?.state, 'parked');
  assert.match(row?.waitsFor ?? '', /^The rate of this destination, 1\/1h, is used up until /);
});

test('a stolen account: its mail is found, held over a restart, and bounced', async () => {
  await busy('spammed.test');
  using files = tempDir();
  const usersFile = files.file('users.yaml');
  const hash = await hashPassword('geheim');
  await addUser(usersFile, { name: 'eve', hash, allowedSenders: ['*'] }, true);
  await using bed = await start({ access: { usersFile } });
  const { relay, cli, json, defer, send } = bed;
  const spam = async () => {
    using client = await openSecureSession({ port: relay.smtpPort });
    assert.equal((await logIn(client, 'eve', 'geheim')).code, 235);
    const data = 'Subject: x\r\n\r\nhello\r\n';
    const { id = '' } = await client.deliver({ from: 'ann@home.test', to: 'x@spammed.test', data });
    return id;
  };
  const other = await defer('a@spammed.test');
  const first = await spam();
  await relay.waitForEvent('delivery.deferred', (line) => line.id === first);
  const listed = (await json('queue', 'list', '--user', 'eve')) as Row[];
  assert.deepEqual(
    listed.map(({ id, user, client }) => [id, user, client]),
    [[first, 'eve', '127.0.0.1']],
  );
  const unlogged = (await json('queue', 'list', '--client', '127.*', '--user', '<>')) as Row[];
  assert.deepEqual(
    unlogged.map(({ id, user }) => [id, user]),
    [[other, undefined]],
  );
  assert.equal((await cli('queue', 'list', '--client', '10.*')).code, 1);
  assert.equal(((await json('queue', 'list', '--client', '127.0.0.0/8')) as Row[]).length, 2);
  const noNetwork = await cli('queue', 'hold', '--client', '10.0.0.0/33', '--reason', 'x');
  assert.notEqual(noNetwork.code, 0);
  assert.match(noNetwork.stderr, /client: an address, a network such as 10\.0\.0\.0\/8/);
  const held = await cli('queue', 'hold', '--user', 'eve', '--reason', 'stolen');
  assert.match(held.stderr, /rule holds from now on: mail by user eve/);
  const second = await spam();
  await relay.restart();
  await relay.waitForMetric('stsrelay_queue_messages', 2, { state: 'held' });
  const third = await send('b@spammed.test');
  await relay.waitForEvent('delivery.deferred', (line) => line.id === third);
  const [rule] = (await json('queue', 'holds')) as { rule: string; user: string }[];
  assert.deepEqual([rule?.rule, rule?.user], ['mail by user eve', 'eve']);
  const bounced = await cli('queue', 'bounce', '--user', 'eve', '--reason', 'stolen');
  assert.match(bounced.stdout, /^2 of 2 deliveries bounced/m);
  for (const id of [first, second]) assert.equal((await cli('queue', 'show', id)).code, 1);
  assert.equal((await cli('queue', 'release', '--user', 'eve')).code, 0);
  assert.deepEqual(await json('queue', 'holds'), []);
});

test('held: what waits, what comes later, over a restart; released', async () => {
  const host = await busy('held.test');
  const other = await net.domain('free.test');
  await using bed = await start();
  const { relay, cli, json, defer, send } = bed;
  const first = await defer('a@held.test', 'eve@shop.test');
  const made = await cli('queue', 'hold', '--sender', '*@shop.test', '--reason', 'phishing?');
  assert.equal(made.code, 0, made.stderr);
  assert.match(made.stdout, /^1 of 1 delivery held$/m);
  assert.match(made.stderr, /rule holds from now on: mail from \*@shop\.test/);
  host.change(obliging);
  const later = await send('b@held.test', 'eve@shop.test');
  await send('c@free.test');
  await waitFor('mail of others', () => other.messages.length === 1);
  await relay.restart();
  await relay.waitForMetric('stsrelay_queue_messages', 2, { state: 'held' });
  const rows = (await json('queue', 'list', '--state', 'held')) as Row[];
  assert.deepEqual(
    rows.map(({ id }) => id),
    [first, later],
  );
  assert.match(rows[0]?.waitsFor ?? '', /held by a rule \(mail from \*@shop\.test\).*phishing\?/);
  const [rule] = (await json('queue', 'holds')) as { rule: string; by: string }[];
  assert.equal(rule?.rule, 'mail from *@shop.test');
  const reasons = (await json('queue', 'holds', '--text', 'PHISH')) as { rule: string }[];
  assert.equal(reasons.length, 1);
  assert.equal((await cli('queue', 'holds', '--text', 'other')).code, 1);
  const retried = await cli('queue', 'retry', '--all');
  assert.equal(retried.code, 1, 'what is held is not retried');

  const one = await cli('queue', 'release', later);
  assert.match(one.stdout, /^1 of 1 delivery released$/m);
  await host.waitForMessages(1);
  const all = await cli('queue', 'release', '--sender', '*@shop.test');
  assert.match(all.stdout, /^1 of 1 delivery released$/m);
  await cli('queue', 'retry', '--all');
  await host.waitForMessages(2);
  await send('d@held.test', 'eve@shop.test');
  await host.waitForMessages(3);
  assert.deepEqual(await json('queue', 'holds'), []);
});

test('a hold of single messages is kept over a restart, and over by itself', async () => {
  const host = await busy('short.test');
  await using bed = await start();
  const { relay, cli, defer } = bed;
  const id = await defer('a@short.test');
  host.change(obliging);
  const held = await cli('queue', 'hold', id, '--for', '1h', '--reason', 'wait a little');
  assert.match(held.stdout, /^1 of 1 delivery held$/m);
  await relay.restart();
  const shown = await cli('queue', 'show', id);
  assert.match(shown.stdout, /It is held since .*, until .*: wait a little\./);
  await cli('queue', 'release', id);
  await cli('queue', 'hold', id, '--for', '1s');
  await relay.waitForMetric('stsrelay_queue_messages', 0, { state: 'held' });
  assert.match((await cli('queue', 'retry', id)).stdout, /^1 of 1/);
  await host.waitForMessages(1);
});

test('bounced with the reason, dropped without a word, recipients one by one', async () => {
  await busy('gone.test');
  const home = await net.domain('home.test');
  const [inbox] = home.mx;
  assert.ok(inbox);
  await using bed = await start();
  const { relay, cli, json, defer } = bed;
  await defer('a@gone.test');
  const pair = await defer(['b@gone.test', 'c@gone.test']);
  await defer('d@gone.test');

  await defer('n@gone.test', '');
  const untold = await cli('queue', 'bounce', '--sender', '<>');
  assert.deepEqual(
    [untold.stdout, untold.stderr],
    ['1 of 1 delivery bounced (1 recipient)\n', '1 without a sender: nobody is told of it\n'],
  );

  const some = await cli('queue', 'bounce', '--recipient', 'b@gone.test', '--reason', 'they moved');
  assert.equal(some.code, 0, some.stderr);
  assert.equal(some.stdout, '1 of 1 delivery bounced (1 recipient)\n');
  const dsn = await dsnAbout(inbox, 'b@gone.test');
  assert.match(dsn, /an administrator of this relay gave it up: they moved/);
  assert.doesNotMatch(dsn, /Final-Recipient: rfc822; c@gone\.test/);
  assert.match(dsn, /Tried once;/);
  assert.match(dsn, /Diagnostic-Code: smtp; 451 4\.3\.0 not now\r\nLast-Attempt-Date: /);
  const [left] = (await json('queue', 'list', '--recipient', '*@gone.test')) as Row[];
  assert.ok(left);
  const rows = (await json('queue', 'list')) as Row[];
  assert.deepEqual(rows.find(({ id }) => id === pair)?.recipients, ['c@gone.test']);
  assert.equal(
    rows.find(({ id }) => id === pair)?.state,
    'delayed',
    'the other one waits as before',
  );

  await relay.restart();
  const again = (await json('queue', 'list')) as Row[];
  assert.deepEqual(
    again.map(({ state }) => state),
    ['delayed', 'delayed', 'delayed'],
  );
  const dropped = await cli('queue', 'drop', '--domain', 'gone.test', '--reason', 'a test');
  assert.equal(dropped.stdout, '3 of 3 deliveries dropped (3 recipients)\n');
  const lines = await relay.waitForEvents('outcome.dropped', 3);
  assert.deepEqual(lines.map((line) => line['recipient']).sort(), [
    'a@gone.test',
    'c@gone.test',
    'd@gone.test',
  ]);
  await waitFor(
    'an empty queue',
    async () => ((await json('queue', 'list')) as Row[]).length === 0,
  );
  const told = inbox.messages.map(({ data }) => data.toString()).join();
  assert.doesNotMatch(told, /Final-Recipient: rfc822; [acd]@gone/);
  assert.equal(await relay.metric('stsrelay_recipients_dropped_total'), 3);
});

test('what is being attempted is given up after that', async () => {
  const { promise: go, resolve } = Promise.withResolvers<void>();
  const domain = await net.domain('slow.test', {
    mx: [
      {
        host: 'mx.slow.test',
        script: async (_session, { verb }) => {
          if (verb !== 'RCPT') return undefined;
          await go;
          return '451 4.3.0 not now';
        },
      },
    ],
  });
  const home = await net.domain('home.test');
  const [inbox] = home.mx;
  assert.ok(inbox && domain.mx[0]);
  await using bed = await start();
  const { relay, cli, send } = bed;
  const id = await send('a@slow.test');
  await relay.waitForMetric('stsrelay_queue_messages', 1, { state: 'active' });
  const bounced = await cli('queue', 'bounce', id);
  assert.match(bounced.stdout, /^0 of 1 delivery bounced/);
  assert.match(bounced.stderr, /1 is being attempted; that follows for what is left of it then/);
  assert.equal(bounced.code, 0);
  resolve();
  await relay.waitForEvent('outcome.bounced', (line) => line.id === id);
  await dsnAbout(inbox, 'a@slow.test');
});

test('a preview of other retry settings, of a copy of the file', async () => {
  await busy('wait.test');
  using dir = tempDir();
  await using bed = await start();
  const { relay, cli, json, defer } = bed;
  await defer('a@wait.test');
  const same = await cli('retry', 'preview');
  assert.match(same.stderr, /nothing would change for what waits: 1 delivery/);
  const copy = dir.file('other.yaml');
  const changed = { retry: { schedule: ['10ms'], lifetime: '10ms' } };
  writeFileSync(copy, stringify(mergeSettings(relay.settings, changed)));
  const { total } = (await json('retry', 'preview', '--with', copy)) as { total: object };
  const { firstBefore: _before, firstAfter: _after, ...counts } = total as Record<string, unknown>;
  assert.deepEqual(counts, {
    ...{ waiting: 1, unchanged: 0, sooner: 1, later: 0, atOnce: 1, lastAttempt: 1 },
  });
  assert.match(
    (await cli('retry', 'preview', '--with', copy)).stdout,
    /^wait\.test\t1\t0\t1\t0\t1\t1\t/m,
  );
  writeFileSync(copy, 'retry: { schedule: [] }\n');
  assert.equal((await cli('retry', 'preview', '--with', copy)).code, 2);
  const [row] = (await json('queue', 'list')) as Row[];
  assert.ok(Date.parse(row?.nextAttempt ?? '') > Date.now() + 3_000_000, 'nothing was changed');
});
