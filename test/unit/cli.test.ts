/**
 * The command line as people and scripts meet it: a process with arguments, output, exit code.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { createControlServer } from '../../src/admin/control.ts';
import type { ReloadResult } from '../../src/admin/relay-routes.ts';
import type { RelayStatus } from '../../src/admin/status.ts';
import { formatSpan } from '../../src/cli/span.ts';
import { foldStatus, formatStatus } from '../../src/cli/status.ts';
import { settingsFrom } from '../../src/config/load.ts';
import { toJsonSchema } from '../../src/config/settings.ts';
import { matchesPassword, parsePasswordHash } from '../../src/intake/password.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { FakePolicies, NOTHING_ELSE } from './fake-policies.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const CONTRACT = fileURLToPath(new URL('../fixtures/config/contract.yaml', import.meta.url));

interface Ending {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

interface Surroundings {
  readonly dir: TempDir;
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Run one command line in `dir`. */
function run(
  args: readonly string[],
  { dir, stdin = '', env = {} }: Surroundings,
): Promise<Ending> {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('STSRELAY_'));
  const child = spawn(process.execPath, [MAIN, ...args], {
    cwd: dir.path,
    env: { ...Object.fromEntries(inherited), NO_COLOR: '1', ...env },
  });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  child.stdin.on('error', () => {});
  child.stdin.end(stdin);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out, err }));
  });
}

function configured(text: string): TempDir {
  const dir = tempDir();
  writeFileSync(dir.file('stsrelay.yaml'), text);
  return dir;
}

const STATUS: RelayStatus = {
  version: '1.2.3',
  uptimeSeconds: 93_784,
  node: 'n1',
  listeners: [{ address: '::1', port: 25, tls: 'starttls', auth: 'optional', connections: 2 }],
  queue: { messages: 3, inFlight: 0, due: 1, parked: 2, overdue: 0, oldestDueSeconds: 61.2 },
  redis: { up: false, reason: 'connection refused' },
  spool: { ok: true },
  lastErrors: [{ time: '2026-01-01T00:00:00.000Z', event: 'a.b', text: 'bad\u001b[2Jthing' }],
};

describe('config', () => {
  test('check: a valid file, with warnings', async () => {
    using dir = tempDir();
    const { code, out, err } = await run(['config', 'check', '--config', CONTRACT], { dir });
    assert.equal(code, 0, err);
    assert.equal(out, `${CONTRACT} is valid\n`);
    assert.match(err, /^warning: .*: postmaster: /m);
  });

  test('check: every problem on stderr, exit 2', async () => {
    using dir = configured('log: { level: loud }\nlimits:\n  connections: 0\n');
    const { code, out, err } = await run(['config', 'check'], { dir });
    assert.equal(code, 2);
    assert.equal(out, '');
    assert.match(err, /^the configuration has 2 problems:$/m);
    assert.match(err, /^stsrelay\.yaml:1: log\.level: found "loud", expected debug, info, /m);
    assert.match(err, /^stsrelay\.yaml:3: limits\.connections: found 0, expected /m);
  });

  test('check --json', async () => {
    using dir = configured('log: { level: loud }\n');
    const bad = await run(['--json', 'config', 'check'], { dir });
    assert.equal(bad.code, 2);
    assert.equal(bad.err, '');
    const { ok, problems } = JSON.parse(bad.out);
    assert.equal(ok, false);
    assert.deepEqual(problems, [
      {
        source: 'stsrelay.yaml',
        key: 'log.level',
        line: 1,
        found: '"loud"',
        expected: 'debug, info, warn or error',
      },
    ]);
    const good = await run(['config', 'check', '--json', '--config', CONTRACT], { dir });
    assert.equal(good.code, 0);
    assert.equal(JSON.parse(good.out).ok, true);
  });

  test('a file that is named and not there: exit 2', async () => {
    using dir = tempDir();
    const { code, err } = await run(['config', 'check', '--config', 'nowhere.yaml'], { dir });
    assert.equal(code, 2);
    assert.match(err, /nowhere\.yaml: found ENOENT, expected a readable file/);
  });

  test('show: what is in effect, secrets masked, readable again', async () => {
    using dir = configured('redis: { url: "redis://u:geheim@r.example" }\n');
    const { code, out } = await run(['config', 'show'], {
      dir,
      env: { STSRELAY_RETRY_LIFETIME: '48h' },
    });
    assert.equal(code, 0);
    assert.doesNotMatch(out, /geheim/);
    const shown = parse(out);
    assert.equal(shown.redis.url, 'redis://u:***@r.example');
    assert.equal(shown.retry.lifetime, '2d');
    assert.equal(settingsFrom(shown).retry.lifetime, 48 * 3_600_000);
  });

  test('schema', async () => {
    using dir = tempDir();
    const { code, out } = await run(['config', 'schema'], { dir });
    assert.equal(code, 0);
    assert.deepEqual(JSON.parse(out), JSON.parse(JSON.stringify(toJsonSchema())));
  });
});

describe('usage', () => {
  test('version', async () => {
    using dir = tempDir();
    const { version } = JSON.parse(
      readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
    );
    assert.match((await run(['version'], { dir })).out, new RegExp(`^stsrelay ${version} `));
    assert.equal(JSON.parse((await run(['version', '--json'], { dir })).out).version, version);
  });
  for (const args of [
    [],
    ['config'],
    ['nonsense'],
    ['config', 'nonsense'],
    ['status', '--nonsense'],
    ['status', 'extra'],
    ['user', 'add'],
    ['user', 'add', 'alice'],
    ['config', 'check', '--config'],
  ]) {
    test(`stsrelay ${args.join(' ')}: exit 2, and something to read`, async () => {
      using dir = tempDir();
      const { code, out, err } = await run(args, { dir });
      assert.deepEqual([code, out], [2, '']);
      assert.match(err, /--help/);
    });
  }
  for (const [args, error] of [
    [[], 'a command is missing; --help shows what there is'],
    [['queue'], 'a command is missing; --help shows what there is'],
    [['nonsense'], "unknown command 'nonsense'"],
    [['status', 'extra'], /^too many arguments for 'status'/],
    [['queue', 'list', '--state', 'x'], /^option '--state <state>' argument 'x' is invalid/],
  ] as const) {
    test(`stsrelay ${args.join(' ')} --json: exit 2, and an object that says why`, async () => {
      using dir = tempDir();
      const { code, out, err } = await run([...args, '--json'], { dir });
      const answer = JSON.parse(out);
      assert.deepEqual([code, answer.ok], [2, false]);
      if (typeof error === 'string') assert.equal(answer.error, error);
      else assert.match(answer.error, error);
      assert.match(err, /--help/);
    });
  }
  test('an argument that looks like --json is none', async () => {
    using dir = tempDir();
    const { code, out } = await run(['status', '--', '--json'], { dir });
    assert.deepEqual([code, out], [2, '']);
  });
  for (const args of [['--help'], ['status', '--help'], ['user', 'add', '--help'], ['help']]) {
    test(`stsrelay ${args.join(' ')}: exit 0`, async () => {
      using dir = tempDir();
      const { code, out } = await run(args, { dir });
      assert.equal(code, 0);
      assert.match(out, /--json/);
    });
  }
});

describe('status and reload', () => {
  async function answering(dir: TempDir, result: ReloadResult = { ok: true }) {
    mkdirSync(dir.file('data'));
    return createControlServer({
      socketPath: dir.file('data/control.sock'),
      api: {
        ...NOTHING_ELSE,
        relay: { status: async () => STATUS, reload: async () => result },
        policies: new FakePolicies(),
      },
    });
  }

  test('no relay: exit 3, and what to do', async () => {
    using dir = tempDir();
    for (const command of ['status', 'reload']) {
      const { code, out, err } = await run([command], { dir });
      assert.deepEqual([code, out], [3, '']);
      assert.match(
        err,
        /^stsrelay: the relay cannot be reached on data\/control\.sock: none is running/,
      );
    }
    const { code, out } = await run(['status', '--json'], { dir });
    assert.equal(code, 3);
    assert.equal(JSON.parse(out).ok, false);
  });

  test('the screen of a running relay', async () => {
    using dir = tempDir();
    const control = await answering(dir);
    const { code, out } = await run(['status'], { dir });
    assert.equal(code, 0);
    assert.equal(out, `${formatStatus(STATUS)}\n`);
    assert.deepEqual(JSON.parse((await run(['status', '--json'], { dir })).out), STATUS);
    await control.close();
  });

  test('also when the file has become invalid meanwhile', async () => {
    using dir = configured('nonsense: 1\n');
    const control = await answering(dir, { ok: false, problems: ['f:1: nonsense'] });
    assert.equal((await run(['status'], { dir })).code, 0);
    const { code, err } = await run(['reload'], { dir });
    assert.equal(code, 2);
    assert.match(err, /keeps the old one:\nf:1: nonsense/);
    await control.close();
  });

  test('a reload', async () => {
    using dir = tempDir();
    const control = await answering(dir, { ok: true, needRestart: ['redis'] });
    const { code, out } = await run(['reload'], { dir });
    assert.equal(code, 0);
    assert.equal(out, 'the configuration is in effect\nat the next start only: redis\n');
    await control.close();
  });

  test('the lines of the screen', () => {
    assert.equal(
      formatStatus(STATUS),
      [
        'relay        stsrelay 1.2.3, node n1, up 1 d 2 h',
        'listeners    [::1]:25, tls starttls, auth optional, 2 connections',
        'queue        3 messages',
        '             1 due',
        '             the oldest due for 1 min 1 s',
        '             2 parked: hosts are away, a rate is used up, or paused',
        'redis        DOWN (connection refused)',
        'spool        ok',
        'last errors  2026-01-01T00:00:00Z  a.b  bad\ufffd[2Jthing',
      ].join('\n'),
    );
  });
  test('on a terminal what has no room goes on below its begin, also behind a time', () => {
    const text = 'the policy of partner.example cannot be fetched: it answers 404';
    const error = { time: '2026-01-01T00:00:00Z', event: 'policy.fetch_failed', text };
    const screen = formatStatus({ ...STATUS, lastErrors: [error, error] });
    const lines = foldStatus(screen, { isTTY: true, columns: 80 }).split('\n').slice(-4);
    const [first, second] = [
      '2026-01-01T00:00:00Z  policy.fetch_failed  the policy of',
      'partner.example cannot be fetched: it answers 404',
    ];
    const blank = ' '.repeat(13);
    assert.deepEqual(lines, [
      `last errors  ${first}`,
      ...[`${blank}${second}`, `${blank}${first}`, `${blank}${second}`],
    ]);
  });
  test('an empty queue', () => {
    const queue = { messages: 0, inFlight: 0, due: 0, oldestDueSeconds: 0 };
    assert.match(formatStatus({ ...STATUS, queue }), /^queue {8}empty$/m);
  });
  const times: readonly (readonly [number, string])[] = [
    [0, '0 s'],
    [59.9, '59 s'],
    [60, '1 min'],
    [3601, '1 h'],
    [3661, '1 h 1 min'],
    [90_000, '1 d 1 h'],
    [86_460, '1 d'],
  ];
  for (const [seconds, text] of times) {
    test(`${seconds} s is ${text}`, () => assert.equal(formatSpan(seconds), text));
  }
});

describe('user', () => {
  const CONFIG = 'access: { usersFile: users.yaml }\n';

  test('add, list, remove', async () => {
    using dir = configured(CONFIG);
    const add = ['user', 'add', 'alice', '--password-stdin'];
    const senders = ['--sender', 'alice@example.com', '--sender', '*@lists.example.com'];
    const added = await run([...add, ...senders], { dir, stdin: 'geheim\n' });
    assert.equal(added.code, 0, added.err);
    assert.equal(added.out, 'alice added in users.yaml\n');
    const stored = parse(readFileSync(dir.file('users.yaml'), 'utf8')).alice;
    assert.deepEqual(stored.allowedSenders, ['alice@example.com', '*@lists.example.com']);
    const hash = parsePasswordHash(stored.hash);
    assert.ok(hash && (await matchesPassword('geheim', hash)));

    const again = await run([...add, '--sender', '*'], { dir, stdin: 'anders' });
    assert.equal(again.code, 1);
    assert.match(again.err, /has a user alice already; --replace/);

    const listed = await run(['user', 'list', '--json'], { dir });
    assert.deepEqual(JSON.parse(listed.out), [
      { name: 'alice', allowedSenders: ['alice@example.com', '*@lists.example.com'] },
    ]);
    assert.equal((await run(['user', 'remove', 'bob'], { dir })).code, 1);
    assert.equal((await run(['user', 'remove', 'alice'], { dir })).code, 0);
    assert.equal((await run(['user', 'list'], { dir })).out, '');
  });

  const refused: readonly (readonly [string, readonly string[], string, RegExp])[] = [
    ['no terminal', ['alice', '--sender', '*'], '', /no terminal .*--password-stdin/],
    ['no pattern', ['alice', '--sender', 'a b', '--password-stdin'], 'geheim', /no sender pattern/],
    ['no name', ['a\nb', '--sender', '*', '--password-stdin'], 'geheim', /no user name/],
    ['no password', ['alice', '--sender', '*', '--password-stdin'], '\n', /empty password/],
    ['two lines', ['alice', '--sender', '*', '--password-stdin'], 'a\nb\n', /several lines/],
    ['a book', ['alice', '--sender', '*', '--password-stdin'], 'a'.repeat(5000), /at most 1024/],
  ];
  for (const [why, args, stdin, expected] of refused) {
    test(`add refuses: ${why}`, async () => {
      using dir = configured(CONFIG);
      const { code, err } = await run(['user', 'add', ...args], { dir, stdin });
      assert.equal(code, 2);
      assert.match(err, expected);
      assert.equal(existsSync(dir.file('users.yaml')), false);
    });
  }

  test('a users file that is not understood: exit 2, and where', async () => {
    using dir = configured(CONFIG);
    writeFileSync(dir.file('users.yaml'), '\nalice: geheim\n');
    const { code, err } = await run(['user', 'list'], { dir });
    assert.equal(code, 2);
    assert.match(err, /users\.yaml:2: alice/);
    assert.doesNotMatch(err, /geheim/);
  });
});

describe('start', () => {
  test('an invalid configuration: exit 2 with every problem, and nothing is made', async () => {
    using dir = configured('limits: { connections: 0 }\nnode: "a b"\n');
    const { code, err } = await run(['start'], { dir });
    assert.equal(code, 2);
    assert.match(err, /stsrelay\.yaml:1: limits\.connections/);
    assert.match(err, /stsrelay\.yaml:2: node/);
    assert.equal(existsSync(dir.file('data')), false);
  });
});
