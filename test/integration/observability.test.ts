/**
 * What an operator sees: a relay under mixed load, a real Prometheus that scrapes it, and every query
 * of every dashboard and rule run against that. What Prometheus is told is also checked by
 * promtool, and against the declarations.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import type { AnyFamily } from '../../src/telemetry/families/family.ts';
import type { LogLevel } from '../../src/telemetry/log.ts';
import { FAMILIES, PREFIX } from '../../src/telemetry/metrics.ts';
import type { EventEntry } from '../../src/telemetry/vocabulary/entry.ts';
import { EVENTS, type EventName } from '../../src/telemetry/vocabulary/events.ts';
import type { FieldName } from '../../src/telemetry/vocabulary/fields.ts';
import { runStsrelay } from '../support/cli.ts';
import { concrete, RULES_FILE, readBoards, readRules, selectorsOf } from '../support/dashboards.ts';
import {
  type Prometheus,
  prometheusMissing,
  promtool,
  startPrometheus,
} from '../support/prometheus.ts';
import { redisMissing } from '../support/redis.ts';
import { type RelayWorld, startWorld } from '../support/relay-world.ts';
import { connect } from '../support/smtp-client.ts';
import { tempDir } from '../support/temp-dir.ts';
import { findCommand } from '../support/tied-child.ts';
import { waitFor } from '../support/wait-for.ts';

const DAY_MS = 86_400_000;
const SETTINGS = {
  destinations: { breaker: { failures: 2, probeEvery: '1s' } },
  retry: { schedule: ['2s'], classes: { tlsPolicy: { schedule: ['2s'] } } },
  overrides: [
    {
      domain: 'excepted.test',
      tls: 'encrypt',
      owner: 'ops@example.net',
      reason: 'ticket 123',
      expires: new Date(Date.now() + 30 * DAY_MS).toISOString().slice(0, 10),
    },
  ],
};

/** Domains of every sort that a relay meets. */
async function settle({ internet }: RelayWorld): Promise<void> {
  await internet.domain('plain.test');
  await internet.domain('enforced.test', { sts: {} });
  await internet.domain('testing.test', { sts: { mode: 'testing' } });
  await internet.domain('excepted.test', {
    sts: {},
    mx: [{ host: 'mx.excepted.test', certificate: 'self-signed' }],
  });
  await internet.domain('expired.test', {
    sts: {},
    mx: [{ host: 'mx.expired.test', certificate: 'expired' }],
  });
  await internet.domain('signed.test', {
    secure: true,
    mx: [{ host: 'mx.signed.test', tlsa: 'mismatch' }],
  });
  await internet.domain('broken.test', { mx: [{ host: 'mx.broken.test', startTls: 'reset' }] });
  await internet.domain('clear.test', { mx: [{ host: 'mx.clear.test', certificate: null }] });
  await internet.domain('dead.test', { mx: [{ host: 'mx.dead.test', down: true }] });
  await internet.domain('null.test', { nullMx: true });
}

const TO = [
  ...['plain', 'enforced', 'testing', 'excepted', 'expired', 'signed', 'broken', 'clear'],
  ...['dead', 'null'],
];

/** Mail for all of them. */
async function load(world: RelayWorld): Promise<void> {
  const sent = [];
  for (const name of TO) {
    const data = `Message-ID: <${name}@client.test>\r\n\r\nhello\r\n`;
    sent.push(await world.send({ to: `a@${name}.test`, data }));
  }
  for (const one of sent) await world.answer(one);
}

/** A client that writes to somebody who is not there. */
async function refused({ relay }: RelayWorld): Promise<void> {
  using client = await connect({ port: relay.smtpPort });
  await client.send('EHLO client.example.net');
  await client.send('MAIL FROM:<a@client.test>');
  const reply = await client.send('RCPT TO:<postmaster>');
  assert.equal(reply.code, 550);
}

const JQ = findCommand('jq');
const DOCUMENT = readFileSync(new URL('../../docs/logs.md', import.meta.url), 'utf8');
const TRIES = 10;
/** What the first panel of all asks. */
const IS_UP =
  readBoards()
    .flatMap(({ panels }) => panels)
    .find(({ title }) => title === 'Is every part of every relay up?')?.targets?.[0]?.expr ?? '';
const skip = redisMissing || prometheusMissing;

describe('metrics, dashboards and alerts of a relay under load', { skip, concurrency: 1 }, () => {
  let world: RelayWorld;
  let prometheus: Prometheus;
  const dir = tempDir();

  before(async () => {
    world = await startWorld(SETTINGS);
    await settle(world);
    const { relay, internet } = world;
    // The rules as they are, but that nothing waits for minutes before it rings.
    const rules = readFileSync(RULES_FILE, 'utf8').replaceAll(/for: \d+m$/gm, 'for: 2s');
    writeFileSync(dir.file('rules.yml'), rules);
    prometheus = await startPrometheus(`127.0.0.1:${relay.httpPort}`, dir.file('rules.yml'));
    await prometheus.scrapes(1); // so that what comes now is an increase
    await load(world);
    await prometheus.scrapes(2); // destinations have their samples from a scrape on
    // A policy that cannot be fetched any more, in force as it is.
    await internet.policyHost.serve('mta-sts.enforced.test', { status: 500 });
    const refresh = ['policy', 'refresh', 'enforced.test', '--config', relay.configFile];
    await runStsrelay(refresh);
    await load(world);
    relay.reload();
    await relay.waitForEvent('config.reloaded');
    const receiver = relay.rolePid('receive');
    process.kill(receiver, 'SIGKILL');
    await relay.waitForEvent('relay.receiver_linked', ({ pid }) => pid !== receiver);
    await relay.waitForReadiness(200); // its listeners are open a moment later
    await relay.waitForEvent('queue.breaker_opened');
    await prometheus.scrapes(1);
    await refused(world);
    await prometheus.scrapes(3);
  });
  after(async () => {
    await prometheus?.close();
    await world?.close();
    dir.remove();
  });

  /**
   * Those of the queries that have no answer. On a busy machine a scrape takes longer than the second it
   * has, and for a moment there is nothing: such a query is asked again after the next one.
   */
  async function silentOf(queries: readonly string[]): Promise<readonly string[]> {
    let silent = queries;
    for (let tries = 0; tries < TRIES && silent.length > 0; tries += 1) {
      if (tries > 0) await prometheus.scrapes(1);
      const answers = await Promise.all(silent.map((query) => prometheus.query(query)));
      silent = silent.filter((_, i) => answers[i]?.length === 0);
    }
    return silent;
  }

  /** Until these alerts are firing, and no others are, nor are about to. */
  async function untilFiring(expected: readonly string[]): Promise<void> {
    const alerts = async () => {
      const found = await prometheus.query('ALERTS');
      return (
        found
          .map(({ metric: { alertname, alertstate, signal, destination, role } }) =>
            [alertname, signal ?? destination ?? role, alertstate === 'firing' ? '' : alertstate]
              .filter(Boolean)
              .join(' '),
          )
          // A machine whose disk stalls for two seconds rings rightly; its scenarios are promtool's.
          .filter((alert) => !alert.startsWith('StsrelaySpoolTrouble'))
          .sort()
      );
    };
    const isSo = async () => isDeepStrictEqual(await alerts(), expected);
    await waitFor('these alerts', isSo, 30_000).catch(async () =>
      assert.deepEqual(await alerts(), expected),
    );
  }

  for (const { file, panels, annotations } of readBoards()) {
    test(`${file}: every query has an answer`, async () => {
      const asked = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => concrete(expr)));
      // Annotations are moments.
      const moments = annotations.list.map(
        ({ expr }) => `max_over_time((${concrete(expr)})[2m:1s])`,
      );
      assert.deepEqual(await silentOf([...asked, ...moments]), []);
    });
  }

  test('rules are recorded, and alerts ask for what is there', async () => {
    const rules = readRules();
    for (const { expr } of rules) await prometheus.query(expr);
    const asked = rules.flatMap(({ record, expr }) =>
      record ? [record, expr] : selectorsOf(expr),
    );
    assert.deepEqual(await silentOf(asked), []);
  });

  test('the numbers are those of the load', async () => {
    const value = async (expr: string) => Number((await prometheus.query(expr))[0]?.value[1]);
    const held =
      'stsrelay_destination_recipients_total{destination="expired.test", result="policy-not-met"}';
    assert.ok((await value(held)) >= 1);
    const byTlsa = 'stsrelay_tls_sessions_total{policy_type="tlsa", result="tlsa-invalid"}';
    assert.ok((await value(byTlsa)) >= 1);
    assert.ok((await value('sum(stsrelay_tls_fallbacks_total{to="clear"})')) >= 1);
    assert.ok((await value('stsrelay_destination_queue_messages{destination="dead.test"}')) >= 1);
    assert.ok((await value('stsrelay_overrides_active')) === 1);
    assert.ok((await value('stsrelay_mtasts_refresh_failing_policies{mode="enforce"}')) === 1);
    const left = await value(
      'stsrelay_mtasts_refresh_failing_next_expiry_timestamp_seconds - time()',
    );
    assert.ok(left > 6 * 86_400 && left <= 7 * 86_400, String(left));
  });

  test('the alerts are those of what happened, and no others', async () => {
    await untilFiring([
      'StsrelayDowngradeSuspected certificate-invalid',
      'StsrelayPolicyNotMet expired.test',
      'StsrelayPolicyNotMet signed.test',
      'StsrelayRestarted receive',
    ]);
  });

  test('exemplars lead to the message', async () => {
    const [exemplar] = await prometheus.exemplars('stsrelay_delivery_duration_seconds_bucket');
    const id = exemplar?.labels['id'];
    assert.ok(
      world.relay.events('delivery.delivered').some((line) => line.id === id),
      String(id),
    );
  });

  test('the log has the levels and fields that are declared', () => {
    for (const { level = '', time: _, event, ...fields } of world.relay.log) {
      const entry: EventEntry | undefined = EVENTS[event as EventName];
      assert.ok(entry, event);
      assert.ok([entry.level, 'debug'].flat().includes(level as LogLevel), `${event} at ${level}`);
      const odd = Object.keys(fields).filter((name) => !entry.fields.includes(name as FieldName));
      assert.deepEqual(odd, [], event);
    }
  });

  test('the questions of docs/logs.md have answers', {
    skip: JQ ? false : 'jq is not installed',
  }, () => {
    const { log } = world.relay;
    const input = log.map((line) => JSON.stringify(line)).join('\n');
    const delivered = log.find(({ event }) => event === 'delivery.delivered');
    const accepted = log.find(({ event, messageId }) => event === 'intake.accepted' && messageId);
    const example: Readonly<Record<string, string>> = {
      '<4711@shop.example>': String(accepted?.['messageId']),
      'bob@example.org': String(delivered?.['recipient']),
      '1KF0RBWX7Q2M4T9A': String(delivered?.id),
    };
    const recipes = [...DOCUMENT.matchAll(/^jq(?: -r)? '([^']+)' LOG/gm)].map(
      ([, one = '']) => one,
    );
    assert.ok(recipes.length >= 8);
    for (const recipe of recipes) {
      let program = recipe;
      for (const [sample, real] of Object.entries(example)) program = program.replace(sample, real);
      const { stdout, stderr } = spawnSync(JQ ?? '', ['-r', program], { input, encoding: 'utf8' });
      assert.equal(stderr, '', recipe);
      assert.ok(stdout.trim() !== '', recipe);
    }
  });

  test('promtool check metrics', async () => {
    const { code, output } = promtool(['check', 'metrics'], await world.relay.metrics());
    assert.equal(code, 0, output);
  });

  test('labels have the values that are declared, and there are not too many samples', async () => {
    const closed = new Map(
      Object.values<AnyFamily>(FAMILIES).map(({ name, labels = {} }) => [PREFIX + name, labels]),
    );
    const all = await prometheus.query('{job="stsrelay", __name__=~"stsrelay_.*"}');
    assert.ok(all.length < 800, `${all.length} samples`);
    for (const { metric } of all) {
      const name = metric['__name__'] ?? '';
      const labels = closed.get(name) ?? closed.get(name.replace(/_(?:bucket|count|sum)$/, ''));
      for (const [label, values] of Object.entries(labels ?? {})) {
        const value = metric[label] ?? '';
        if (typeof values !== 'string')
          assert.ok(values.includes(value), `${name} ${label}=${value}`);
      }
    }
  });

  // The last one: the relay is away afterwards.
  test('a relay that is killed rings, and what it cannot say any more does not', async () => {
    await world.relay.kill('SIGKILL', { group: true });
    await untilFiring([
      'StsrelayDown',
      'StsrelayDowngradeSuspected certificate-invalid',
      'StsrelayRestarted receive',
    ]);
    const [isUp] = await prometheus.query(concrete(IS_UP));
    assert.equal(isUp?.value[1], '0');
  });
});
