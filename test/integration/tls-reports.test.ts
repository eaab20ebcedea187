/**
 * What the running relay counts for TLS reports (RFC 8460): days of mixed outcomes with a midnight and a
 * SIGKILL between, against what this test has sent. `stsrelay tlsrpt` shows it.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { ReportedPolicy, TlsReport } from '../../src/protocol/tlsrpt/report.ts';
import { runStsrelay } from '../support/cli.ts';
import { type RelayWorld, startWorldWith } from '../support/relay-world.ts';
import { assertIsReport } from '../support/tlsrpt-schema.ts';
import { waitFor } from '../support/wait-for.ts';
import { WrongClock } from '../support/wrong-clock.ts';

const HOUR_MS = 3_600_000;
const DOMAINS = [
  'good.test',
  'plain.test',
  'clear.test',
  'expired.test',
  'gone.test',
  'pkix.test',
  'left.test',
];

let clock: WrongClock;
let world: RelayWorld;
/** Sessions of this test, by day and domain. */
const ledger = new Map<string, Map<string, number>>();

before(async () => {
  clock = new WrongClock();
  world = await startWorldWith(
    { env: clock.env },
    {
      destinations: { default: { messagesPerConnection: 1 } },
      tlsRpt: { organization: 'Example Ltd', contact: 'tls@example.net', exclude: ['left.test'] },
    },
  );
  const { internet } = world;
  await internet.domain('good.test', { sts: { id: '1' } });
  await internet.domain('plain.test');
  await internet.domain('clear.test', { mx: [{ host: 'mx.clear.test', certificate: null }] });
  await internet.domain('expired.test', {
    sts: { id: '1', mode: 'testing' },
    mx: [{ host: 'mx.expired.test', certificate: 'expired' }],
  });
  await internet.domain('gone.test', { sts: { id: '1' }, policy: { status: 404 } });
  await internet.domain('pkix.test', { sts: { id: '1' }, policy: { certificate: 'expired' } });
  await internet.domain('left.test');
});
after(async () => {
  await world?.close();
  clock?.remove();
});

/** A message to each domain, each over a session of its own; the day it was for the relay. */
async function sendToAll(): Promise<string> {
  const days = new Set<string>();
  for (const domain of DOMAINS) {
    const answer = await world.answer(await world.send({ to: `ann@${domain}` }));
    assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
    const day = String(answer.time).slice(0, 10);
    days.add(day);
    const sessions = ledger.get(day) ?? new Map<string, number>();
    sessions.set(domain, (sessions.get(domain) ?? 0) + 1);
    ledger.set(day, sessions);
  }
  const [day = ''] = days;
  return day;
}

function show(...args: readonly string[]) {
  return runStsrelay(['tlsrpt', ...args, '--config', world.relay.configFile]);
}

/** As the relay tells them, without a process of its own for the command. */
async function reportsOf(day: string): Promise<readonly TlsReport[]> {
  const { controlSocket: socketPath } = world.relay;
  const path = `/api/v1/tlsrpt/days/${day}`;
  const asking = request({ socketPath, path, agent: false }).end();
  const [response] = (await once(asking, 'response')) as [IncomingMessage];
  let text = '';
  for await (const part of response.setEncoding('utf8')) text += String(part);
  assert.equal(response.statusCode, 200, text);
  const { reports } = JSON.parse(text) as { readonly reports: readonly { report: TlsReport }[] };
  return reports.map(({ report }) => report);
}

function sumsOf({ policy, summary }: ReportedPolicy) {
  return [policy['policy-type'], ...Object.values(summary)];
}

/** Every report of the day against the ledger. */
async function assertCounted(day: string): Promise<void> {
  const reports = await reportsOf(day);
  for (const report of reports) assertIsReport(report);
  const sent = (domain: string) => ledger.get(day)?.get(domain) ?? 0;
  const named = new Map(
    reports.map((report) => [report.policies[0]?.policy['policy-domain'] ?? '', report]),
  );
  const wanted = DOMAINS.filter((domain) => domain !== 'left.test').sort();
  assert.deepEqual([...named.keys()], wanted);
  const policiesOf = (domain: string) => named.get(domain)?.policies ?? [];
  const shown = Object.fromEntries(
    wanted.map((domain) => [domain, policiesOf(domain).map(sumsOf)]),
  );
  assert.deepEqual(shown, {
    'good.test': [['sts', sent('good.test'), 0]],
    'plain.test': [['no-policy-found', sent('plain.test'), 0]],
    'clear.test': [['no-policy-found', 0, sent('clear.test')]],
    'expired.test': [['sts', 0, sent('expired.test')]],
    'gone.test': [
      ['no-policy-found', sent('gone.test'), 0],
      ['sts', 0, 0],
    ],
    'pkix.test': [
      ['no-policy-found', sent('pkix.test'), 0],
      ['sts', 0, 0],
    ],
  });
  const [expired] = policiesOf('expired.test')[0]?.['failure-details'] ?? [];
  assert.equal(expired?.['result-type'], 'certificate-expired');
  assert.equal(expired?.['failed-session-count'], sent('expired.test'));
  assert.equal(expired?.['receiving-mx-hostname'], 'mx.expired.test');
  assert.match(expired?.['receiving-ip'] ?? '', /^127\./);
  const [clear] = policiesOf('clear.test')[0]?.['failure-details'] ?? [];
  assert.equal(clear?.['result-type'], 'starttls-not-supported');
  const [gone] = policiesOf('gone.test')[1]?.['failure-details'] ?? [];
  assert.equal(gone?.['result-type'], 'sts-policy-fetch-error');
  assert.match(gone?.['failure-reason-code'] ?? '', /404/);
  const [pkix] = policiesOf('pkix.test')[1]?.['failure-details'] ?? [];
  assert.equal(pkix?.['result-type'], 'sts-webpki-invalid');
}

/** Returns when the counts of the day are on disk, by themselves. */
async function onDisk(day: string, sessions: number): Promise<void> {
  const file = join(world.relay.dataDir, 'state/tlsrpt', `${day}.log`);
  await waitFor('the counts on disk', async () => {
    let sum = 0;
    for (const line of textOf(file).split('\n').slice(0, -1)) {
      const { successful, failed } = JSON.parse(line.slice(9)) as Record<string, number>;
      sum += (successful ?? 0) + (failed ?? 0);
    }
    return sum === sessions;
  });
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

describe('the sessions of two days', () => {
  let first = '';
  let second = '';

  test('R094 R095 R106 R108 are counted once each, over a SIGKILL', async () => {
    first = await sendToAll();
    await sendToAll();
    await onDisk(first, 2 * (DOMAINS.length - 1));
    await world.relay.kill('SIGKILL', { group: true });
    await world.relay.start();
    await sendToAll();
    await assertCounted(first);
  });

  test('R092 belong to the day they were on', async () => {
    clock.set(24 * HOUR_MS);
    await waitFor('the clock to be set', async () => {
      await world.relay.http('/metrics');
      const answer = await world.answer(await world.send({ to: 'ann@left.test' }));
      return String(answer.time).slice(0, 10) > first;
    });
    second = await sendToAll();
    assert.ok(second > first);
    await assertCounted(first);
    await assertCounted(second);
  });

  test('are listed, and shown as a table or whole', async () => {
    const list = await show('list');
    assert.equal(list.code, 0, list.stderr);
    const days = list.stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.split('\t')[0]);
    assert.deepEqual(days, [second, first]);
    const table = await show('show', 'expired.test', '--day', first);
    assert.match(table.stdout, /^expired\.test\tsts\t0\t3\t\n/);
    assert.match(table.stdout, /3 certificate-expired \(mx\.expired\.test: /);
    const whole = await show('show', '--day', first, '--json');
    assert.deepEqual(JSON.parse(whole.stdout), await reportsOf(first));
  });

  test('of a day without any are none', async () => {
    const none = await show('show', '--day', '2020-01-01');
    assert.equal(none.code, 1);
    assert.match(none.stderr, /no report for anybody on 2020-01-01/);
  });

  test('are there after a stop in order, too', async () => {
    await sendToAll();
    await world.relay.restart();
    await assertCounted(second);
  });
});
