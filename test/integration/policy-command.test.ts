/**
 * `stsrelay policy list | show | refresh | forget` and the running relay: what mail left in the
 * cache is shown, a refresh takes over what is published now and loses nothing when it fails, and
 * what was forgotten is looked up anew. The tests build on each other.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { AuditEntry } from '../../src/admin/audit.ts';
import type { PolicyListing, PolicyView } from '../../src/admin/policies.ts';
import { runStsrelay } from '../support/cli.ts';
import { type PretendDomain, policyText } from '../support/pretend-internet.ts';
import { redisMissing } from '../support/redis.ts';
import { type RelayWorld, startWorld } from '../support/relay-world.ts';

const NAME = 'enforce.test';
/** Less than an hour, which a wrong time zone would make it. */
const RECENT_MS = 1_800_000;

describe('stsrelay policy', { skip: redisMissing }, () => {
  let world: RelayWorld;
  let domain: PretendDomain;

  before(async () => {
    world = await startWorld({
      retry: { schedule: ['1h'], classes: { tlsPolicy: { schedule: ['1h'] } } },
    });
    domain = await world.internet.domain(NAME, { sts: { id: '1' }, ttl: 0 });
    await world.internet.domain('testing.test', { sts: { id: '7', mode: 'testing' }, ttl: 0 });
    await world.internet.domain('plain.test', { ttl: 0 });
  });
  after(async () => {
    await world?.close();
  });

  const policy = (...args: string[]) =>
    runStsrelay(['policy', ...args, '--config', world.relay.configFile]);

  async function known(name = NAME): Promise<PolicyView> {
    const { code, stdout, stderr } = await policy('show', name, '--json');
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout);
  }

  /** Send a message to the domain; id and mode of the policy it went under. */
  async function deliveredUnder(name = NAME): Promise<readonly unknown[]> {
    const answer = await world.answer(await world.send({ to: `a@${name}` }));
    assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
    return [answer['policyId'], answer['policyMode']];
  }

  test('list: nothing, before any mail', async () => {
    const { code, stdout } = await policy('list', '--json');
    assert.deepEqual([code, JSON.parse(stdout)], [0, []]);
  });

  test('list: what mail was delivered under', async () => {
    assert.deepEqual(await deliveredUnder(), ['1', 'enforce']);
    assert.deepEqual(await deliveredUnder('testing.test'), ['7', 'testing']);
    const { code, stdout } = await policy('list');
    assert.equal(code, 0);
    const rows = stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.split('\t'));
    assert.deepEqual(
      rows.map(([name, mode, id]) => [name, mode, id]),
      [
        [NAME, 'enforce', '1'],
        ['testing.test', 'testing', '7'],
      ],
    );
  });

  test('list: of one mode, so many, and 1 when there is none', async () => {
    const listed = async (...args: string[]) => {
      const { code, stdout } = await policy('list', '--json', ...args);
      return [code, ...(JSON.parse(stdout) as PolicyListing[]).map((view) => String(view.domain))];
    };
    assert.deepEqual(await listed('--mode', 'testing'), [0, 'testing.test']);
    assert.deepEqual(await listed('--limit', '1'), [0, NAME]);
    assert.deepEqual(await listed('--mode', 'none'), [1]);
  });

  test('show: everything about it', async () => {
    const view = await known();
    const { policy: kept, lastUsedAt, nextRefreshAt, lastFailure, suspicions } = view;
    assert.ok(kept);
    const { fetchedAt, expiresAt, ...facts } = kept;
    assert.deepEqual(facts, {
      id: '1',
      mode: 'enforce',
      mx: [`mx.${NAME}`],
      maxAgeSeconds: 604_800,
      inForce: true,
      source: 'fetch',
      text: policyText({ id: '1' }, domain.mx),
    });
    const fetchedMs = Date.parse(fetchedAt);
    assert.ok(Math.abs(Date.now() - fetchedMs) < RECENT_MS, fetchedAt);
    assert.equal(Date.parse(expiresAt) - fetchedMs, 604_800_000);
    assert.ok(
      lastUsedAt !== undefined && Math.abs(Date.now() - Date.parse(lastUsedAt)) < RECENT_MS,
    );
    assert.ok(nextRefreshAt !== undefined);
    const refreshMs = Date.parse(nextRefreshAt);
    assert.ok(refreshMs > Date.now() && refreshMs <= fetchedMs + 86_400_000, nextRefreshAt);
    assert.deepEqual([lastFailure, suspicions], [undefined, []]);

    const { code, stdout } = await policy('show', NAME);
    assert.equal(code, 0);
    assert.match(stdout, /^mode {11}enforce \(/m);
    assert.match(stdout, /^expires {8}\S+Z, in 6 d 23 h, max_age 604800 s$/m);
    assert.match(stdout, /^policy text {4}version: STSv1\n {15}mode: enforce\n/m);
  });

  test('show: 1 for a domain without one', async () => {
    const { code, stdout, stderr } = await policy('show', 'never.test');
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(stderr, /^never\.test: nothing is known/);
  });

  test('refresh: nothing new is published', async () => {
    const earlier = await known();
    const { code, stdout } = await policy('refresh', NAME, '--json');
    const answer = JSON.parse(stdout);
    assert.deepEqual([code, answer.ok, answer.changed], [0, true, false]);
    const { policy: kept } = await known();
    assert.deepEqual([kept?.id, kept?.source], ['1', 'refresh']);
    assert.ok((kept?.fetchedAt ?? '') > (earlier.policy?.fetchedAt ?? ''));
  });

  test('refresh: fails, loses nothing, and is a suspicious sign', async () => {
    await domain.publishSts({ id: '2', mode: 'testing' }, { status: 500 });
    const { code, stdout, stderr } = await policy('refresh', NAME);
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(stderr, /^enforce\.test: .*500.*stays/);
    const { policy: kept, lastFailure, suspicions } = await known();
    assert.deepEqual([kept?.id, kept?.mode, kept?.inForce], ['1', 'enforce', true]);
    assert.match(lastFailure?.reason ?? '', /500/);
    assert.deepEqual(
      suspicions.map(({ signal }) => signal),
      ['fetch-failed'],
    );
    const screen = (await policy('show', NAME)).stdout;
    assert.match(screen, /^last failure .*\n {15}.*500.*\(sts-policy-fetch-error\)$/m);
    assert.match(screen, /^suspicious {5}fetch-failed, /m);
    const row = (await policy('list')).stdout.split('\n').find((line) => line.startsWith(NAME));
    assert.match(row ?? '', /\tfetch-failed\t.*500/);
  });

  test('refresh: takes over what is published, also just after a fetch that failed', async () => {
    await domain.changePolicyAnswer({});
    const { code, stdout } = await policy('refresh', NAME);
    assert.equal(code, 0);
    assert.match(stdout, /^enforce\.test: changed: mode testing, id 2$/m);
    const { policy: kept, lastFailure } = await known();
    assert.deepEqual([kept?.id, kept?.mode, lastFailure], ['2', 'testing', undefined]);
    assert.deepEqual(await deliveredUnder(), ['2', 'testing']);
  });

  test('refresh: several, with one that publishes nothing', async () => {
    await world.internet.domain('fresh.test', { sts: { id: '9' }, ttl: 0 });
    const { code, stdout } = await policy('refresh', 'fresh.test', 'plain.test', '--json');
    assert.equal(code, 1);
    const answers = JSON.parse(stdout) as { domain: string; ok: boolean }[];
    assert.deepEqual(
      answers.map((one) => [one.domain, one.ok]),
      [
        ['fresh.test', true],
        ['plain.test', false],
      ],
    );
    assert.equal((await known('fresh.test')).policy?.id, '9');
  });

  test('all of it is there after a restart, with its signs', async () => {
    const earlier = (await policy('list', '--json')).stdout;
    await world.relay.restart();
    const later = JSON.parse((await policy('list', '--json')).stdout) as PolicyListing[];
    const facts = (views: PolicyListing[]) =>
      views.map(({ nextRefreshAt: _, lastUsedAt: __, ...rest }) => rest);
    assert.deepEqual(facts(later), facts(JSON.parse(earlier)));
  });

  test('forget: it is gone, and the next message has it fetched anew', async () => {
    const first = await policy('forget', NAME);
    assert.deepEqual([first.code, first.stdout], [0, `${NAME}: forgotten\n`]);
    assert.equal((await policy('show', NAME)).code, 1);
    assert.equal((await policy('forget', NAME)).code, 1);
    assert.doesNotMatch((await policy('list')).stdout, /^enforce\.test/m);
    await domain.publishSts({ id: '3' });
    assert.deepEqual(await deliveredUnder(), ['3', 'enforce']);
    const { policy: kept, suspicions } = await known();
    assert.deepEqual([kept?.id, kept?.source, suspicions], ['3', 'fetch', []]);
  });

  test('who had a policy refreshed or forgotten, and what came of it, is in the audit log', async () => {
    const audited = async (...args: string[]) => {
      const { stdout } = await runStsrelay(
        ['audit', '--json', '--target', NAME, ...args].concat('--config', world.relay.configFile),
      );
      return JSON.parse(stdout) as AuditEntry[];
    };
    const forgotten = await audited('--action', 'policy.forget');
    // The newest first: an action is noted before it is made, and again when it came to nothing.
    assert.deepEqual(
      forgotten.map(({ result, facts }) => [result, facts?.['error']]),
      [
        ['failed', 'nothing is known about it'],
        [undefined, undefined],
        [undefined, undefined],
      ],
    );
    const [refreshed] = await audited('--action', 'policy.refresh', '--limit', '1');
    assert.match(refreshed?.actor ?? '', /uid/);
    assert.match(JSON.stringify(refreshed?.facts), /(new|changed|unchanged): mode \w+, id/);
  });

  test('2 for what is no domain', async () => {
    for (const command of ['show', 'refresh', 'forget']) {
      const { code, stderr } = await policy(command, 'a b');
      assert.equal(code, 2);
      assert.match(stderr, /"a b" is no domain name/);
    }
  });

  test('3 without a running relay', async () => {
    await world.relay.stop();
    for (const args of [['list'], ['show', NAME], ['refresh', NAME], ['forget', NAME]]) {
      assert.equal((await policy(...args)).code, 3, args.join(' '));
    }
  });
});
