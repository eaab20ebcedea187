/**
 * A queue of thousands under the hands of an administrator, on the running relay: lists are whole while mail comes
 * and goes, orders touch what they say and no more, and neither a kill in the middle of one nor an empty Redis
 * leaves anything half done.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { askRelay } from '../../src/cli/control-client.ts';
import { listQueue } from '../../src/cli/queue-client.ts';
import { runStsrelay } from '../support/cli.ts';
import { injectMany } from '../support/inject.ts';
import {
  type PretendDomain,
  type PretendInternet,
  startPretendInternet,
} from '../support/pretend-internet.ts';
import { redisMissing, startRedis, type TestRedis } from '../support/redis.ts';
import { type RelayProcess, startRelay } from '../support/relay-process.ts';
import { waitFor } from '../support/wait-for.ts';

/** More than one page of the command line (1000), and what goes meanwhile. */
const PAUSED = 1300;
const RATED = 300;
/** Attempts that the rate lets through. */
const RATE = 5;
const PAGE = 150;
const SENDERS = 8;

interface Row {
  readonly id: string;
  readonly domain: string;
  readonly state: string;
  readonly recipients: readonly string[];
}
interface Done {
  readonly matched: number;
  readonly touched: number;
  readonly underWay: number;
}

describe('thousands of messages', { skip: redisMissing }, () => {
  let net: PretendInternet;
  let redis: TestRedis;
  let relay: RelayProcess;
  let paused: PretendDomain;
  let home: PretendDomain;
  before(async () => {
    net = await startPretendInternet();
    redis = await startRedis();
    paused = await net.domain('paused.test');
    home = await net.domain('home.test');
    await net.domain('rated.test');
    relay = await startRelay({
      settings: [
        net.relaySettings(),
        { destinations: { domains: [{ domain: 'rated.test', rate: `${RATE}/1d` }] } },
        { redis: { url: redis.url }, log: { level: 'info' } },
      ],
    });
    await ask('PUT', '/domains/paused.test/pause', { reason: 'moving' });
  });
  after(async () => {
    await relay?.close();
    await redis?.close();
    await net?.close();
  });

  async function ask(method: 'GET' | 'POST' | 'PUT', path: string, body?: object) {
    const asked = { method, path: `/api/v1${path}`, timeoutMs: 120_000 };
    const answer = await askRelay(relay.dataDir, body === undefined ? asked : { ...asked, body });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    return answer.body as never;
  }

  let sent = 0;
  /** Each to a recipient of its own; their ids in the order in which they were taken. */
  async function send(domain: string, count: number): Promise<readonly string[]> {
    const first = sent;
    sent += count;
    const { acknowledged } = await injectMany({
      port: relay.smtpPort,
      count,
      concurrency: 10,
      makeMessage: (index) => ({
        from: `list${index % SENDERS}@home.test`,
        to: `r${first + index}@${domain}`,
        data: `Subject: ${first + index}\r\n\r\nfor r${first + index}\r\n`,
      }),
    });
    assert.equal(acknowledged.length, count);
    return acknowledged.map(({ id }) => id);
  }

  async function all(query: string, between = async (_page: readonly Row[]) => {}): Promise<Row[]> {
    const rows: Row[] = [];
    for (let next: string | undefined = ''; next !== undefined; ) {
      const after: string = next === '' ? '' : `&after=${encodeURIComponent(next)}`;
      const page: { entries: readonly Row[]; next?: string } = await ask(
        'GET',
        `/queue?limit=${PAGE}&${query}${after}`,
      );
      rows.push(...page.entries);
      next = page.next;
      if (next !== undefined) await between(page.entries);
    }
    return rows;
  }
  const idsOf = (rows: readonly Row[]) => rows.map(({ id }) => id);

  /** What `--dry-run` promises is what is done. */
  async function act(action: string, body: object): Promise<Done> {
    const promised: Done = await ask('POST', `/queue/${action}`, { ...body, dryRun: true });
    const done: Done = await ask('POST', `/queue/${action}`, body);
    const numbers = ({ matched, touched, underWay }: Done) => ({ matched, touched, underWay });
    assert.deepEqual(numbers(done), numbers(promised), action);
    return done;
  }
  const count = async (query: string) =>
    ((await ask('GET', `/queue?limit=1&${query}`)) as { total: number }).total;

  /** When all mail for `rated.test` had come that the first test sent. */
  let ratedBy = 0;

  test('pages are complete and without doubles while mail comes in and goes', async () => {
    const rated = await send('rated.test', RATED);
    ratedBy = Date.now();
    await send('paused.test', PAUSED);
    const moving = async () => (await count('state=due')) + (await count('state=active'));
    await waitFor('all to wait', async () => (await moving()) === 0);
    const left = await count('domain=rated.*');
    assert.ok(left > RATED / 2, `${left}`);

    const before = idsOf(await all('domain=paused.test'));
    assert.equal(new Set(before).size, PAUSED);
    const gone = new Set<string>();
    const come = new Set<string>();
    const rows = idsOf(
      await all('domain=paused.test', async (page) => {
        // One that was seen, one that was not.
        const ids = [page[3]?.id, before.findLast((id) => !gone.has(id))].filter((id) => id);
        for (const id of ids) gone.add(id ?? '');
        await ask('POST', '/queue/drop', { ids });
        if (come.size < 40) for (const id of await send('paused.test', 4)) come.add(id);
      }),
    );
    assert.equal(new Set(rows).size, rows.length, 'no doubles');
    assert.deepEqual(rows, [...rows].sort());
    const seen = new Set(rows);
    assert.deepEqual(
      before.filter((id) => !seen.has(id) && !gone.has(id)),
      [],
    );
    assert.deepEqual(
      [...come].filter((id) => !seen.has(id)),
      [],
      'what came in behind the page is on one of the next',
    );
    assert.equal(rated.length, RATED);
    assert.equal(await count('domain=rated.*'), left);
  });

  test('a list is shown from its first page on, and is complete', async () => {
    const listed = listQueue(relay.dataDir, { filters: { domain: 'paused.*' }, limit: undefined });
    const first = await listed.next();
    assert.ok(!first.done, 'a row');
    const last = idsOf(await all('domain=paused.test')).slice(-20);
    await ask('POST', '/queue/drop', { ids: last });
    const rest: string[] = [];
    for await (const { id } of listed) rest.push(id);
    assert.ok(!last.some((id) => rest.includes(id)), 'the last page was not asked for before');
    const total = await count('domain=paused.test');
    assert.equal(rest.length + 1, total);
    const config = ['--config', relay.configFile];
    const shown = await runStsrelay(['queue', 'list', '--domain', 'paused.test', ...config]);
    assert.equal(shown.stdout.trimEnd().split('\n').length, total, shown.stderr);
    const some = await runStsrelay(['queue', 'list', '--limit', '7', ...config]);
    assert.equal(some.stdout.trimEnd().split('\n').length, 7, some.stderr);
  });

  test('orders touch what they say, and no more', async () => {
    const parked = await count('state=parked');
    const rated = await count('domain=rated.test');
    const held = await act('hold', { filter: { state: 'parked', domain: 'rated.test' } });
    assert.deepEqual([held.matched, held.touched], [rated, rated]);
    assert.deepEqual(
      [await count('state=held'), await count('state=parked')],
      [rated, parked - rated],
    );
    const late = await send('rated.test', 3);
    assert.equal(await count('state=held'), rated, 'no rule was made');

    const some = await count('state=held&sender=list1@*');
    assert.ok(some > 0);
    const released = await act('release', { filter: { sender: 'LIST1@*', state: 'held' } });
    assert.equal(released.touched, some);
    assert.equal(await count('state=held'), rated - some);
    assert.equal((await act('release', { filter: { state: 'held' } })).touched, rated - some);
    assert.equal(await count('state=parked'), parked + late.length);

    // The relay looks later than this is said: what is newer came seconds after these.
    const olderThan = () => `${Date.now() - ratedBy}ms`;
    const old = await count(`olderThan=${olderThan()}&domain=rated.test&sender=list2@home.test`);
    assert.ok(old > 0 && old < rated);
    const bounce = {
      filter: { olderThan: olderThan(), sender: 'list2@home.test', domain: 'rated.*' },
    };
    assert.equal((await act('bounce', bounce)).touched, old);
    await waitFor('their DSNs', () => home.messages.length === old);
    const left = new Set(idsOf(await all('domain=rated.test')));
    assert.ok(
      late.every((id) => left.has(id)),
      'what is newer',
    );
    assert.equal(left.size, rated - old + late.length);

    const dropped = await act('drop', { filter: { domain: 'rated.test' } });
    assert.equal(dropped.touched, left.size);
    assert.deepEqual([await count('domain=rated.test'), await count('')], [0, parked - rated]);
  });

  test('killed in the middle of a hold: all are there, each held or not', async () => {
    const ids = idsOf(await all(''));
    const order = ask('POST', '/queue/hold', { filter: { state: 'parked' } }).catch(() => {});
    const noted = () => readFileSync(join(relay.dataDir, 'state/audit.log'), 'utf8');
    await waitFor('the order', () => noted().trimEnd().split('\n').at(-1)?.includes('queue.hold'));
    await relay.kill('SIGKILL', { whole: true });
    await order;
    await relay.start();
    const rows = await all('');
    assert.deepEqual(idsOf(rows), ids);
    assert.deepEqual(
      rows.filter(({ state }) => state !== 'held' && state !== 'parked'),
      [],
    );
    await act('release', { filter: { state: 'held' } });
    assert.equal(await count('state=held'), 0);
  });

  test('holds, pauses and overrides outlive Redis and restarts', async () => {
    const [one] = idsOf(await all(''));
    await ask('POST', '/queue/hold', { ids: [one] });
    await ask('POST', '/queue/hold', { filter: { sender: '*@shop.test' } });
    const expires = new Date(Date.now() + 3_600_000).toISOString();
    await ask('PUT', '/overrides/a.example', { tls: 'verify', reason: 'why', expires });
    const kept = async () => [
      await ask('GET', '/queue/holds'),
      ((await ask('GET', '/pauses')) as { pauses: { domain: string }[] }).pauses.map(
        ({ domain }) => domain,
      ),
      await ask('GET', '/overrides?domain=*.example'),
      idsOf(await all('state=held')),
      await count('state=parked'),
    ];
    const before = await kept();
    assert.deepEqual(before[3], [one]);
    await redis.flushAll();
    assert.deepEqual(await kept(), before);
    await relay.restart();
    assert.deepEqual(await kept(), before);
    await ask('POST', '/queue/release', { all: true });
    assert.equal(await count('state=held'), 0);
  });

  test('killed in the middle of a drop: each is there, whole, or gone', async () => {
    const ids = new Set(idsOf(await all('')));
    const order = ask('POST', '/queue/drop', { all: true }).catch(() => {});
    await relay.waitForEvents('outcome.dropped', 100);
    await relay.kill('SIGKILL', { whole: true });
    await order;
    const told = relay.events('outcome.dropped').map(({ id }) => String(id));
    await relay.start();
    const rows = await all('');
    assert.ok(rows.length > 0, 'it came to an end before the kill');
    assert.ok(rows.length <= ids.size - told.length);
    const left = new Set(idsOf(rows));
    assert.deepEqual(
      told.filter((id) => left.has(id)),
      [],
      'what was told is done',
    );
    assert.ok([...left].every((id) => ids.has(id)));

    const resume = ['domain', 'resume', 'paused.test', '--config', relay.configFile];
    assert.equal((await runStsrelay(resume)).code, 0);
    await waitFor('an empty queue', async () => (await count('')) === 0);
    const expected = rows.flatMap(({ recipients }) => recipients).sort();
    const arrived = paused.messages.flatMap(({ recipients }) =>
      recipients.map(({ address }) => address),
    );
    assert.deepEqual(arrived.sort(), expected, 'what is left, once, and nothing that was dropped');
    for (const { data, recipients } of paused.messages) {
      const [local] = (recipients[0]?.address ?? '').split('@');
      assert.ok(data.toString().endsWith(`\r\n\r\nfor ${local}\r\n`), data.toString());
    }
  });
});
