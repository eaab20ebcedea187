/** The reports of several nodes on one Redis: one report a domain and day, of what all of them counted. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { connectRedis } from '../../src/platform/redis.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { redisMissing, startRedis, type TestRedis } from '../support/redis.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';
import { DAY, DAY_MS, HOUR_MS, NEXT_DAY, Outdoors, REPORTER, ReportNode } from './report-node.ts';

const MAIL = 'mailto:tls@a.example';
const POST = 'https://report.a.example/v1';
const LATE = `${NEXT_DAY}T05:00:00Z`;

let redis: TestRedis;
let count = 0;

before(async () => {
  if (!redisMissing) redis = await startRedis();
});
after(() => redis?.[Symbol.asyncDispose]());

/** Nodes on a clock of their own, and a part of Redis of their own. */
async function bench() {
  const clock = new FakeClock(`${DAY}T12:00:00Z`);
  const outdoors = new Outdoors();
  outdoors.publish('a.example', MAIL, POST);
  const target = { kind: 'socket', path: redis.socketPath } as const;
  const client = connectRedis(target, 'fail-fast', () => {});
  count += 1;
  const settings = { ...REPORTER, redis: { keyPrefix: `test${count}` } };
  const dirs = new Map<string, ReturnType<typeof tempDir>>();
  await waitFor('Redis', () => client.status === 'ready');
  return {
    clock,
    outdoors,
    client,
    keyPrefix: `test${count}`,
    open(name: string) {
      const dir = dirs.get(name) ?? tempDir();
      dirs.set(name, dir);
      return ReportNode.open({ dir, clock, outdoors, name, redis: client, settings });
    },
    [Symbol.dispose]() {
      client.disconnect();
      for (const dir of dirs.values()) dir.remove();
    },
  };
}

/** A round of each, in turn. */
async function rounds(nodes: readonly ReportNode[], time: string | number): Promise<void> {
  for (const node of nodes) await node.roundAt(time);
}

function sessions(outdoors: Outdoors): readonly (number | undefined)[] {
  return outdoors.mails.map(
    ({ report }) => report.policies[0]?.summary['total-successful-session-count'],
  );
}

describe('nodes on one Redis', { skip: redisMissing }, () => {
  test('send one report, of what all of them counted', async () => {
    using one = await bench();
    const { outdoors } = one;
    const nodes = await Promise.all(['a', 'b', 'c'].map((name) => one.open(name)));
    const [a, b, c] = nodes as [ReportNode, ReportNode, ReportNode];
    a.count('a.example', 2);
    b.count('a.example', 3);
    await rounds(nodes, `${DAY}T13:00:00Z`);
    await rounds(nodes, `${NEXT_DAY}T00:01:00Z`);
    await Promise.all(nodes.map((node) => node.roundAt(LATE)));
    for (let at = Date.parse(LATE); at < Date.parse(LATE) + HOUR_MS; at += 600_000) {
      await rounds(nodes, at);
    }
    assert.deepEqual(sessions(outdoors), [5]);
    assert.equal(outdoors.posts.length, 1);
    const made = nodes.flatMap((node) => node.logged('report.made'));
    assert.deepEqual(made[0]?.['nodes'], made.length === 1 ? ['a', 'b'].sort() : undefined);
    assert.deepEqual(
      nodes.flatMap((node) => node.logged('report.late_counts')),
      [],
    );
    await Promise.all([a, b, c].map(({ reports }) => reports.close()));
  });

  test('take the first minutes of a day for no loss of Redis', async () => {
    using one = await bench();
    const { outdoors } = one;
    const [a, b] = [await one.open('a'), await one.open('b')];
    a.count('a.example', 2);
    b.count('a.example', 3);
    for (const time of ['13:00', '23:59']) await rounds([a, b], `${DAY}T${time}:00Z`);
    await rounds([a, b], `${NEXT_DAY}T00:00:01Z`);
    await b.reports.sender.sendNow(DAY, ['a.example'], { dryRun: false });
    assert.deepEqual(sessions(outdoors), [5]);
    await Promise.all([a, b].map(({ reports }) => reports.close()));
  });

  test('show together what all of them counted today', async () => {
    using one = await bench();
    const [a, b] = [await one.open('a'), await one.open('b')];
    a.count('a.example', 2);
    b.count('a.example', 3);
    await rounds([a, b], `${DAY}T13:00:00Z`);
    const [day] = await a.reports.reports.days();
    assert.equal(day?.successful, 5);
    await Promise.all([a, b].map(({ reports }) => reports.close()));
  });

  test('wait for one that is away for an hour, say that it is missing, and that it is late', async () => {
    using one = await bench();
    const { outdoors } = one;
    const [a, b] = [await one.open('a'), await one.open('b')];
    a.count('a.example', 2);
    await rounds([a, b], `${DAY}T13:00:00Z`);
    b.count('a.example', 3); // which it has not shared when it crashes
    await b.reports.reports.days();
    await rounds([a], `${NEXT_DAY}T00:11:00Z`);
    await rounds([a], `${NEXT_DAY}T04:11:00Z`);
    const isEarly = outdoors.mails.length;
    await rounds([a], `${NEXT_DAY}T05:12:00Z`);
    assert.deepEqual([isEarly <= 1, sessions(outdoors)], [true, [2]]);
    assert.deepEqual(a.logged('report.nodes_missing')[0]?.['nodes'], ['b']);
    one.clock.advance(HOUR_MS);
    const back = await one.open('b');
    await back.reports.sender.round();
    await back.roundAt(one.clock.now() + 180_000);
    assert.equal(outdoors.mails.length, 1);
    assert.equal(back.logged('report.late_counts').length, 1);
    await Promise.all([a, back].map(({ reports }) => reports.close()));
  });

  test('do not wait for one that was stopped in order', async () => {
    using one = await bench();
    const { outdoors } = one;
    const [a, b] = [await one.open('a'), await one.open('b')];
    a.count('a.example', 2);
    b.count('a.example', 3);
    await rounds([a, b], `${DAY}T13:00:00Z`);
    b.count('a.example', 4);
    await b.reports.close();
    await rounds([a], `${NEXT_DAY}T00:01:00Z`);
    await rounds([a], `${NEXT_DAY}T04:11:00Z`);
    assert.deepEqual(sessions(outdoors), [9]);
    assert.deepEqual(a.logged('report.nodes_missing'), []);
    await a.reports.close();
  });

  test('lose nothing with Redis: counts, and that a report has gone', async () => {
    using one = await bench();
    const { outdoors, client } = one;
    const [a, b] = [await one.open('a'), await one.open('b')];
    a.count('a.example', 2);
    b.count('a.example', 3);
    await rounds([a, b], `${DAY}T13:00:00Z`);
    await client.flushall();
    await rounds([a, b], `${NEXT_DAY}T00:01:00Z`);
    await rounds([a, b], `${NEXT_DAY}T04:11:00Z`);
    assert.deepEqual(sessions(outdoors), [5]);
    await client.flushall();
    // Who sent it says so again, before anybody else may send it.
    await rounds([a, b], Date.parse(LATE) + HOUR_MS);
    await rounds([b, a], Date.parse(LATE) + 3 * HOUR_MS);
    assert.equal(outdoors.mails.length, 1);
    await Promise.all([a, b].map(({ reports }) => reports.close()));
  });

  test('send nothing while Redis is away, and then what is due', async () => {
    using one = await bench();
    const { outdoors } = one;
    const a = await one.open('a');
    a.count('a.example', 2);
    await redis.stop();
    await rounds([a], LATE);
    await rounds([a], Date.parse(LATE) + 60_000);
    assert.equal(outdoors.mails.length, 0);
    assert.equal(a.logged('report.round_failed').length, 1);
    await redis.start();
    await waitFor('Redis', () => one.client.status === 'ready');
    await rounds([a], Date.parse(LATE) + 120_000);
    await rounds([a], Date.parse(LATE) + 240_000);
    assert.deepEqual(sessions(outdoors), [2]);
    await a.reports.close();
  });

  test('take over from one that does not come back, and repeat nothing of what it did', async () => {
    using one = await bench();
    const { outdoors } = one;
    const [a, b] = [await one.open('a'), await one.open('b')];
    a.count('a.example', 2);
    await rounds([a, b], `${DAY}T13:00:00Z`);
    await rounds([a, b], `${NEXT_DAY}T00:01:00Z`);
    outdoors.answer = () => ({ ok: false, reason: 'HTTP 503' });
    await rounds([a], `${NEXT_DAY}T04:11:00Z`);
    assert.deepEqual(await a.targets('a.example'), { [MAIL]: 'queued', [POST]: 'waiting' });
    // It crashes; its lease ends.
    await one.client.del(`${one.keyPrefix}:tlsrpt:{${DAY}}:lease:a.example`);
    outdoors.answer = () => ({ ok: true });
    await rounds([b], Date.parse(LATE) + DAY_MS / 4);
    assert.deepEqual(await b.targets('a.example'), { [MAIL]: 'queued', [POST]: 'posted' });
    assert.equal(outdoors.mails.length, 1);
    await Promise.all([a, b].map(({ reports }) => reports.close()));
  });
});
