/** The pure parts of `make bench`: what it reads, what it makes of it, what it prints. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { share } from '../bench/growth/rates.ts';
import { slopeOf } from '../bench/growth/steady.ts';
import { parseStat } from '../bench/measure/processes.ts';
import { parseStats } from '../bench/measure/sink.ts';
import { readTrace } from '../bench/measure/sync-trace.ts';
import { shortPath, summarise } from '../bench/profile/summary.ts';
import { compare, standingRows } from '../bench/result/compare.ts';
import { replaceFigures } from '../bench/result/document.ts';
import { median } from '../bench/result/median.ts';
import type { RunResult } from '../bench/result/run-result.ts';
import { markdownTable, plainTable } from '../bench/result/table.ts';
import { readSettings, UsageError } from '../bench/settings.ts';

const RUN: RunResult = {
  peer: 'stsrelay',
  scenario: 'tls',
  accepted: 100,
  refused: 0,
  messages: 100,
  acceptRate: 1000,
  drainRate: 900,
  ackP50Ms: 5,
  ackP99Ms: 20,
  cpuMs: 1,
  cpuUserMs: 0.7,
  cpuSystemMs: 0.3,
  cpuByProcess: { node: 0.8, redis: 0.2 },
  rssMiB: 200,
  pssMiB: 150,
  connections: 10,
  handshakes: 10,
  resumed: 0,
  overTls: 100,
  busy: 0.9,
  calibrationMs: 100,
};

describe('medians', () => {
  test('of odd and even numbers of runs, in any order', () => {
    assert.equal(median([3, 1, 2]), 2);
    assert.equal(median([4, 1, 3, 2]), 2.5);
    assert.ok(Number.isNaN(median([])));
  });
});

describe('a comparison', () => {
  const runs = [
    { ...RUN, drainRate: 900 },
    { ...RUN, drainRate: 1100, cpuByProcess: { node: 1 } },
    { ...RUN, drainRate: 1000 },
    { ...RUN, peer: 'postfix', drainRate: 300, cpuMs: 4 },
    { ...RUN, peer: 'postfix-reuse', drainRate: 500, cpuMs: 2, ackP50Ms: 10, acceptRate: 400 },
    { ...RUN, peer: 'haraka', drainRate: 2000 },
  ];

  test('is to the Postfix that drains fastest', () => {
    const [ours, plain, reuse] = compare(runs);
    assert.equal(ours?.runs, 3);
    assert.deepEqual(ours?.drainRates, [900, 1100, 1000]);
    assert.deepEqual(ours?.ratios, { drain: 2, accept: 2.5, cpu: 0.5, ackP50: 0.5 });
    assert.equal(plain?.ratios?.drain, 0.6);
    assert.equal(reuse?.ratios?.drain, 1);
    assert.deepEqual(ours?.cpuByProcess, { node: 0.8, redis: 0.2 });
  });

  test('has no ratios without Postfix', () => {
    const [ours, haraka] = compare(runs.filter(({ peer }) => !peer.startsWith('postfix')));
    assert.equal(ours?.ratios, undefined);
    assert.equal(haraka?.ratios, undefined);
  });

  test('is a line a relay, as wide as its head', () => {
    const [head, ...rows] = standingRows(compare(runs));
    assert.deepEqual(
      rows.map(([peer, drain, ratio]) => `${peer} ${drain} ${ratio}`),
      ['stsrelay 1,000 2.00', 'postfix 300 0.60', 'postfix-reuse 500 1.00', 'haraka 2,000 4.00'],
    );
    for (const row of rows) assert.equal(row.length, head?.length);
  });
});

test('tables for a terminal and for Markdown', () => {
  const rows = [
    ['relay', 'x'],
    ['ours', '12'],
  ];
  assert.equal(plainTable(rows), 'relay   x\nours   12\n');
  assert.equal(markdownTable(rows), '| relay | x |\n| --- | ---: |\n| ours | 12 |\n');
});

describe('the document', () => {
  const begin = '<!-- figures: written by `make bench` -->';
  const end = '<!-- end of the figures -->';
  test('keeps what people wrote', () => {
    const document = `# Speed\n\n${begin}\nold\n${end}\nmore\n`;
    assert.equal(replaceFigures(document, 'new\n'), `# Speed\n\n${begin}\n\nnew\n\n${end}\nmore\n`);
  });
  test('must have its marks', () => {
    for (const text of ['', begin, end, `${end} ${begin}`]) {
      assert.throws(() => replaceFigures(text, 'new'), /lacks/);
    }
  });
});

describe('what is read', () => {
  test("the sink's counters", () => {
    const file = Buffer.alloc(4096);
    const counters = [7n, 100n, 3n, 2n, 1n, 5n, 1_764_000_000_123_456_789n, 6n, 4n, 0n, 20n];
    counters.forEach((value, i) => {
      file.writeBigUInt64LE(value, i * 8);
    });
    assert.deepEqual(parseStats(file), {
      messages: 7,
      octets: 100,
      connections: 3,
      handshakes: 2,
      resumed: 1,
      lastMs: 1_764_000_000_123.456,
      messagesOverTls: 6,
      errors: 4,
      mostConnections: 20,
    });
    assert.throws(() => parseStats(file.subarray(0, 100)), /100 octets/);
  });

  test('/proc/PID/stat, whatever the process is called', () => {
    const tail = 'S 41 42 42 0 -1 4194560 1 2 3 4 150 25 7 3 20 0 1 0 100';
    const stat = parseStat(`42 (a (odd) name) ${tail}\n`);
    assert.deepEqual(stat, {
      pid: 42,
      parent: 41,
      name: 'a (odd) name',
      userMs: 1500,
      systemMs: 250,
      endedUserMs: 70,
      endedSystemMs: 30,
    });
    assert.equal(parseStat('gone'), undefined);
  });

  test('traces: a 250 needs a sync that ended since the one before', () => {
    const reply = (pid: number) =>
      `${pid} sendto(9, "250 2.0.0 Ok: queued as ABC\\r\\n", 30, 0, NULL, 0) = 30`;
    const lines = [
      '1 fdatasync(5)                      = 0',
      reply(1),
      '2 fsync(6 <unfinished ...>',
      reply(1), // not yet
      '2 <... fsync resumed>)              = 0',
      '1 fsync(7)                          = -1 EIO (Input/output error)',
      '1 write(9, "250 2.1.5 Ok\\r\\n", 14) = 14',
      '1 writev(9, [{iov_base="250 2.0.0 Ok: queued as DEF\\r\\n", iov_len=30}], 1) = 30',
    ];
    assert.deepEqual(readTrace(lines.join('\n')), { syncs: 2, acknowledged: 3, unsynced: 1 });
    assert.deepEqual(readTrace(''), { syncs: 0, acknowledged: 0, unsynced: 0 });
  });
});

describe('a profile', () => {
  const frame = (functionName: string, url = '', lineNumber = 9) => ({
    functionName,
    url,
    lineNumber,
  });
  const nodes = [
    { id: 1, callFrame: frame('(root)'), children: [2, 3, 8, 9] },
    { id: 2, callFrame: frame('(idle)') },
    { id: 3, callFrame: frame('send', 'file:///x/src/delivery/wire.ts'), children: [4, 6] },
    { id: 4, callFrame: frame('write', 'node:internal/fs/promises'), children: [5] },
    { id: 5, callFrame: frame('writeBuffer') },
    { id: 6, callFrame: frame('', 'file:///x/node_modules/@a/b/c.js'), children: [7] },
    { id: 7, callFrame: frame('utf8Write') },
    { id: 8, callFrame: frame('(garbage collector)') },
    { id: 9, callFrame: frame('processTicks', 'node:internal/process/task_queues') },
  ];
  const samples = [2, 3, 5, 7, 8, 9, 2];
  const timeDeltas = [0, 1000, 10, 20, 40, 80, 160];
  const summary = summarise({ nodes, samples, timeDeltas });
  const asObject = (shares: readonly { name: string; us: number }[]) =>
    Object.fromEntries(shares.map(({ name, us }) => [name, us]));

  test('counts time to the next sample, idle apart', () => {
    assert.equal(summary.idleUs, 1000);
    assert.equal(summary.busyUs, 310);
  });
  test('names functions, native ones with their caller, longest first', () => {
    assert.deepEqual(summary.functions, [
      { name: 'processTicks node:internal/process/task_queues:10', us: 160 },
      { name: '(garbage collector)', us: 80 },
      { name: 'utf8Write < (anonymous) @a/b/c.js', us: 40 },
      { name: 'writeBuffer < write node:internal/fs/promises', us: 20 },
      { name: 'send src/delivery/wire.ts:10', us: 10 },
    ]);
  });
  test('sums by place', () => {
    assert.deepEqual(asObject(summary.groups), {
      'node:internal/process': 160,
      '(garbage collector)': 80,
      'native code': 60,
      'src/delivery': 10,
    });
  });
  test('charges Node and native code to who called', () => {
    assert.deepEqual(asObject(summary.charged), {
      'Node alone': 160,
      '(garbage collector)': 80,
      '@a/b': 40,
      'src/delivery/wire.ts': 30,
    });
  });
  test('shortens paths', () => {
    assert.equal(shortPath('file:///x/dist/spool/a.js'), 'dist/spool/a.js');
    assert.equal(shortPath('/x/node_modules/a/node_modules/b/src/c.js'), 'b/src/c.js');
    assert.equal(shortPath('node:net'), 'node:net');
  });
});

describe('settings', () => {
  test('have defaults, and the document is written', () => {
    const settings = readSettings({});
    assert.equal(settings.write, true);
    assert.equal(settings.durability, true);
    assert.deepEqual(settings.peers, ['stsrelay', 'postfix-reuse', 'postfix', 'haraka']);
    assert.ok(settings.scenarios.length >= 5);
    assert.match(settings.main, /\/dist\/main\.js$/);
  });
  test('can be chosen; a quick look does not touch the document', () => {
    const settings = readSettings({
      SCENARIOS: 'tls one',
      PEERS: 'postfix,stsrelay',
      ROUNDS: '3',
      N: '100',
    });
    assert.deepEqual(
      settings.scenarios.map(({ name }) => name),
      ['tls', 'one'],
    );
    assert.deepEqual(settings.peers, ['postfix', 'stsrelay']);
    assert.equal(settings.rounds, 3);
    assert.equal(settings.messages, 100);
    assert.equal(settings.durability, false);
    assert.equal(settings.write, false);
    assert.equal(readSettings({ N: '100', WRITE: '1' }).write, true);
  });
  test('of growth are for those who ask', () => {
    assert.deepEqual(readSettings({}).growth, []);
    const settings = readSettings({ SCENARIOS: 'steady deep', DEPTHS: '5000, 100', MINUTES: '2' });
    assert.deepEqual(settings.growth, ['deep', 'steady']);
    assert.deepEqual(settings.scenarios, []);
    assert.deepEqual(settings.depths, [100, 5000]);
    assert.equal(settings.minutes, 2);
  });
  test('that make no sense are refused', () => {
    for (const wrong of [
      { SCENARIOS: 'tsl' },
      { PEERS: 'exim' },
      { DEPTHS: '10,x' },
      { ROUNDS: '0' },
      { N: '1e3' },
      { PROFILE: 'yes' },
    ]) {
      assert.throws(() => readSettings(wrong), UsageError, JSON.stringify(wrong));
    }
  });
});

describe('growth', () => {
  test('a slope is that of the best straight line', () => {
    assert.equal(slopeOf([]), 0);
    assert.equal(slopeOf([[1, 5]]), 0);
    assert.equal(slopeOf([1, 2, 3, 4].map((x) => [x, 10 + 3 * x])), 3);
    assert.ok(Math.abs(slopeOf([1, 2, 3, 4].map((x) => [x, 7 + (x % 2)]))) < 0.5);
  });
  test('a share of values', () => {
    assert.equal(share([1, 2, 3], 0.5), 2);
    assert.equal(share([1, 2, 3], 0.99), 2);
    assert.equal(share([4], 0.99), 4);
    assert.ok(Number.isNaN(share([], 0.5)));
  });
  test('each measurement has its place in the document', () => {
    const document = 'a <!-- b --> old <!-- c --> d';
    const marks = { begin: '<!-- b -->', end: '<!-- c -->' };
    assert.equal(replaceFigures(document, 'new', marks), 'a <!-- b -->\n\nnew\n\n<!-- c --> d');
    assert.throws(() => replaceFigures('a', 'new', marks), /lacks/);
  });
});
