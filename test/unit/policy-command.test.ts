/**
 * `stsrelay policy` as people and scripts meet it: a process with arguments, output and exit code,
 * and a control socket with a fake cache behind it.
 */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { after, before, beforeEach, describe, test } from 'node:test';
import { createControlServer } from '../../src/admin/control.ts';
import { listingOf, viewOf } from '../../src/admin/policies.ts';
import { runStsrelay } from '../support/cli.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { FakePolicies, NOTHING_ELSE, NOW_MS, viewAt } from './fake-policies.ts';
import { domain } from './policy-parts.ts';

const A = viewAt('a.example');
const B = viewAt('b.example', { mode: 'testing' });
const RESULT_TYPE = 'sts-policy-fetch-error' as const;
const asJson = (value: unknown) => JSON.parse(JSON.stringify(value));

let dir: TempDir;
let server: Awaited<ReturnType<typeof createControlServer>>;
let policies: FakePolicies;

before(async () => {
  dir = tempDir();
  mkdirSync(dir.file('data'));
  writeFileSync(dir.file('stsrelay.yaml'), `dataDir: ${dir.file('data')}\n`);
  server = await createControlServer({
    socketPath: dir.file('data/control.sock'),
    api: {
      ...NOTHING_ELSE,
      policies: {
        list: (from, isMeant) => policies.list(from, isMeant),
        show: (name) => policies.show(name),
        refresh: (...wish) => policies.refresh(...wish),
        forget: (name) => policies.forget(name),
      },
    },
  });
});
after(async () => {
  await server.close();
  dir.remove();
});
beforeEach(() => {
  policies = new FakePolicies();
});

const policy = (...args: string[]) =>
  runStsrelay(['policy', ...args, '--config', dir.file('stsrelay.yaml')]);

describe('policy list', () => {
  test('a line for each policy, with tabs', async () => {
    policies.add(B, A);
    const { code, stdout, stderr } = await policy('list');
    assert.deepEqual([code, stderr], [0, '']);
    const rows = stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.split('\t'));
    assert.deepEqual(
      rows.map(([name, mode, id]) => [name, mode, id]),
      [
        ['a.example', 'enforce', 'id1'],
        ['b.example', 'testing', 'id1'],
      ],
    );
  });

  test('--json: all of them over several pages, and only so many or with one mode where asked for', async () => {
    for (let i = 0; i < 1100; i += 1) {
      policies.add(viewAt(`d${i}.example`, { mode: i % 2 === 0 ? 'enforce' : 'none' }));
    }
    const names = [...policies.views.keys()].sort();
    const listed = async (...args: string[]) => {
      const { code, stdout } = await policy('list', '--json', ...args);
      assert.equal(code, 0);
      return JSON.parse(stdout) as { domain: string; policy: { mode: string } }[];
    };
    const all = await listed();
    assert.deepEqual(
      all.map(({ domain }) => String(domain)),
      names.map(String),
    );
    const [first] = policies.views.values();
    assert.ok(first);
    assert.deepEqual(
      all.find(({ domain }) => domain === first.domain),
      asJson(listingOf(first)),
    );
    assert.equal((await listed('--limit', '501')).length, 501);
    const some = await listed('--mode', 'enforce', '--limit', '540');
    assert.equal(some.length, 540);
    assert.ok(some.every((view) => view.policy.mode === 'enforce'));
  });

  test('is whole, however long', async () => {
    const failedFetch = { id: '2', atMs: NOW_MS, reason: 'x'.repeat(400), resultType: RESULT_TYPE };
    for (let i = 0; i < 5000; i += 1) policies.add(viewAt(`d${i}.example`, { failedFetch }));
    const { code, stdout } = await policy('list');
    assert.equal(code, 0);
    assert.equal(stdout.split('\n').length, 5001);
  });

  test('nothing kept is no failure; nothing with this mode is', async () => {
    const none = await policy('list');
    assert.deepEqual([none.code, none.stdout, none.stderr], [0, '', 'no policy is kept\n']);
    assert.deepEqual(JSON.parse((await policy('list', '--json')).stdout), []);
    policies.add(A);
    const testing = await policy('list', '--mode', 'testing');
    assert.deepEqual([testing.code, testing.stdout], [1, '']);
    const json = await policy('list', '--mode', 'testing', '--json');
    assert.deepEqual([json.code, JSON.parse(json.stdout)], [1, []]);
  });
});

describe('policy show', () => {
  test('the screen; one below the other', async () => {
    policies.add(A, B);
    const { code, stdout } = await policy('show', 'A.example', 'b.example', 'a.example.');
    assert.equal(code, 0);
    assert.deepEqual(stdout.match(/^domain .*$/gm), [
      'domain         a.example',
      'domain         b.example',
    ]);
    assert.match(stdout, /max_age: 604800\n\ndomain {9}b\.example\n/);
  });

  test('what is unknown is told, the others are shown all the same', async () => {
    policies.add(A);
    const { code, stdout, stderr } = await policy('show', 'b.example', 'a.example');
    assert.equal(code, 1);
    assert.match(stdout, /^domain {9}a\.example\n/);
    assert.equal(stderr, 'b.example: nothing is known about its policy\n');
  });

  test('--json: an object for one, an array for several', async () => {
    policies.add(A);
    const one = await policy('show', 'a.example', '--json');
    assert.deepEqual([one.code, JSON.parse(one.stdout)], [0, asJson(A)]);
    const two = await policy('show', 'a.example', 'b.example', '--json');
    const error = 'nothing is known about its policy';
    const unknown = { ok: false, domain: 'b.example', error };
    assert.deepEqual([two.code, JSON.parse(two.stdout)], [1, [asJson(A), unknown]]);
  });

  test('a name in U-labels', async () => {
    policies.add(viewAt('müller.example'));
    assert.match((await policy('show', 'müller.example')).stdout, /xn--mller-kva\.example/);
  });
});

test('policy show: how long mail waits comes from the configuration', async () => {
  const sinceMs = Date.now() - 60_000;
  const entry = { domain: domain('c.example'), dnsFailing: { sinceMs, lastMs: sinceMs } };
  policies.add(viewOf({ ...entry, changedAtMs: sinceMs }, Date.now()));
  const { stdout } = await policy('show', 'c.example');
  const until = new Date(sinceMs + 3_600_000).toISOString().replace(/\.\d+Z$/, 'Z');
  assert.ok(stdout.includes(`mail waits until ${until}, in `), stdout);
});

describe('policy refresh', () => {
  test('what came of each; 1 when one failed', async () => {
    policies.refreshing = async (name) =>
      name === 'a.example'
        ? { ok: true, changed: true, text: 'changed: mode enforce, id id2', view: A }
        : { ok: false, changed: false, text: 'the policy host says \u001b[2Jno' };
    const one = await policy('refresh', 'a.example');
    assert.deepEqual(
      [one.code, one.stdout, one.stderr],
      [0, 'a.example: changed: mode enforce, id id2\n', ''],
    );
    const both = await policy('refresh', 'b.example', 'a.example');
    assert.deepEqual(
      [both.code, both.stdout, both.stderr],
      [1, one.stdout, 'b.example: the policy host says \ufffd[2Jno\n'],
    );
    const json = await policy('refresh', 'b.example', '--json');
    assert.equal(json.code, 1);
    assert.deepEqual(JSON.parse(json.stdout), {
      domain: 'b.example',
      ok: false,
      changed: false,
      text: 'the policy host says \u001b[2Jno',
    });
  });

  test('an error inside the relay ends it with 1', async () => {
    policies.refreshing = () => Promise.reject(new Error('Redis\u001b[2J is gone'));
    const { code, stderr } = await policy('refresh', 'a.example');
    const said = 'stsrelay: the relay answered 500: Redis\ufffd[2J is gone\n';
    assert.deepEqual([code, stderr], [1, said]);
  });
});

describe('policy forget', () => {
  test('once', async () => {
    policies.add(A, B);
    const first = await policy('forget', 'a.example');
    assert.deepEqual([first.code, first.stdout], [0, 'a.example: forgotten\n']);
    assert.deepEqual([...policies.views.keys()].map(String), ['b.example']);
    const again = await policy('forget', 'a.example');
    assert.deepEqual(
      [again.code, again.stdout, again.stderr],
      [1, '', 'a.example: nothing is known about its policy\n'],
    );
    const json = await policy('forget', 'b.example', '--json');
    assert.deepEqual(JSON.parse(json.stdout), { domain: 'b.example', forgotten: true });
  });
});

describe('wrong usage: exit 2, nobody is asked', () => {
  for (const args of [
    [],
    ['show'],
    ['refresh'],
    ['forget'],
    ['list', 'a.example'],
    ['list', '--limit', '0'],
    ['list', '--limit', 'x'],
    ['list', '--mode', 'all'],
    ['show', 'not a domain'],
    ['forget', 'b.example', '-'],
    ['forget', 'b.example', 'user@b.example'],
    ['refresh', '192.0.2.1'],
  ]) {
    test(`policy ${args.join(' ')}`, async () => {
      policies.add(B);
      const { code, stdout, stderr } = await policy(...args);
      assert.deepEqual([code, stdout], [2, '']);
      assert.notEqual(stderr, '');
      assert.equal(policies.views.size, 1);
    });
  }
});

test('no relay: exit 3 from each of them', async () => {
  using empty = tempDir();
  writeFileSync(empty.file('stsrelay.yaml'), `dataDir: ${empty.path}\n`);
  for (const args of [
    ['list'],
    ...['show', 'refresh', 'forget'].map((one) => [one, 'a.example']),
  ]) {
    const ending = await runStsrelay(['policy', ...args, '--config', empty.file('stsrelay.yaml')]);
    assert.deepEqual([ending.code, ending.stdout], [3, ''], args.join(' '));
    assert.match(ending.stderr, /^stsrelay: the relay cannot be reached on /);
  }
});

test('--help of each of them', async () => {
  for (const args of [[], ['list'], ['show'], ['refresh'], ['forget']]) {
    const { code, stdout } = await runStsrelay(['policy', ...args, '--help']);
    assert.equal(code, 0);
    assert.match(stdout, /--json/);
    if (args.length > 0) assert.match(stdout, /Exit codes:\n {2}0 .*\n {2}1 .*\n {2}2 .*\n {2}3 /);
  }
});
