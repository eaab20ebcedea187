/**
 * A process that is killed leaves writes that nobody synced: its successor reads them from memory and
 * builds on them. After a power cut they must be there all the same.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { MemoryDisk } from '../support/memory-disk.ts';
import { PowerCut } from '../support/power-cut.ts';
import { waitFor } from '../support/wait-for.ts';
import { openSpool, sampleEnvelope, store } from './sample-mail.ts';

test('what a killed process had moved, and not synced, outlives a power cut after the next start', async () => {
  // From a certain moment on no sync of the first process comes back.
  let isDying = false;
  const syncs = () => disk.calls.get('sync') ?? 0;
  let seen = 0;
  const disk: MemoryDisk = new MemoryDisk({
    pause: async () => {
      if (isDying && syncs() !== seen) await new Promise(() => {});
      seen = syncs();
    },
  });
  const small = { disk, segmentOctets: 4096, reserveOctets: 1024 };
  const first = await openSpool('/spool', () => 0, small);
  const old = sampleEnvelope();
  await store(first.spool, old, 'X'.repeat(500));
  const others = Array.from({ length: 40 }, () => sampleEnvelope());
  for (const envelope of others) await store(first.spool, envelope, 'y'.repeat(700));
  for (const { id } of others.slice(0, 20)) await first.spool.remove(id);
  const before = syncs();
  isDying = true;
  for (const { id } of others.slice(20, 39)) void first.spool.remove(id);
  await waitFor('the move of the old message to be written', () => syncs() > before);
  for (let turn = 0; turn < 100; turn++) await setImmediate(); // whatever else it would do
  isDying = false;

  const { spool } = await openSpool('/spool', () => 0, small);
  assert.ok(await spool.read(old.id));
  // It frees the segments that held the old message.
  await spool.remove(others[39]?.id ?? old.id);
  for (let turn = 0; turn < 500; turn++) await setImmediate();
  const cut = new PowerCut(disk, () => 0.9);
  while (cut.next());
  const left = new MemoryDisk({ files: cut.left('lost') });
  const after = await openSpool('/spool', () => 0, { ...small, disk: left });
  assert.ok(await after.spool.read(old.id), 'acknowledged, and lost');
});

test('the directory itself is durable, whoever made it', async () => {
  const disk = new MemoryDisk();
  const { spool } = await openSpool('/data/spool', () => 0, { disk });
  const synced = disk.steps.flatMap((step) => (step.op === 'syncDirectory' ? [step.path] : []));
  assert.ok(synced.includes('/data') && synced.includes('/data/spool'));
  await spool.close();
});

test('a segment that a killed process removed does not come back after the next one removed its followers', async () => {
  let isDying = false;
  const disk: MemoryDisk = new MemoryDisk({
    failure: (call, path) => {
      // The first process ends after this one.
      if (call === 'remove' && path.includes('.segment')) isDying = true;
      return undefined;
    },
    pause: async () => {
      if (isDying) await new Promise(() => {});
    },
  });
  const small = { disk, segmentOctets: 4096, reserveOctets: 1024 };
  const first = await openSpool('/spool', () => 0, small);
  const all = Array.from({ length: 30 }, () => sampleEnvelope());
  for (const envelope of all) await store(first.spool, envelope, 'y'.repeat(700));
  for (const { id } of all) void first.spool.remove(id);
  await waitFor('the first segment to be removed', () => isDying);
  for (let turn = 0; turn < 20; turn++) await setImmediate();
  disk.failure = () => undefined;
  isDying = false;

  const { spool } = await openSpool('/spool', () => 0, small);
  for (const { id } of all) await spool.remove(id);
  await store(spool, sampleEnvelope());
  for (let turn = 0; turn < 500; turn++) await setImmediate();
  await spool.close();
  const cut = new PowerCut(disk, () => 0);
  let oldest = 0;
  while (cut.next()) {
    const numbers = [...cut.left('latest').keys()].flatMap((path) =>
      path.includes('.segment') ? [Number(/(\d{10})-/.exec(path)?.[1])] : [],
    );
    numbers.sort((a, b) => a - b);
    [oldest = 0] = numbers;
    assert.deepEqual(
      numbers,
      numbers.map((_, at) => oldest + at),
      `step ${cut.at}`,
    );
  }
  assert.ok(oldest > 3, `${oldest} is the oldest at the end`);
});
