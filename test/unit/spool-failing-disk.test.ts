/**
 * A disk that fails: whoever waited is refused, what was acknowledged stays, what was refused does
 * not come back, outcomes get through when there is no room, and all is well when the disk is.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { refusalOf } from '../../src/intake/accept.ts';
import type { MessageId } from '../../src/mail/message-id.ts';
import type { DiskFile } from '../../src/platform/disk.ts';
import { type Spool, SpoolError } from '../../src/spool/store.ts';
import { type DiskCall, MemoryDisk } from '../support/memory-disk.ts';
import { waitFor } from '../support/wait-for.ts';
import { attempt, octets, sampleEnvelope, store } from './sample-mail.ts';
import { DIRECTORY, openOn } from './spool-workload.ts';

async function listedIds(spool: Spool): Promise<MessageId[]> {
  const ids: MessageId[] = [];
  for await (const { envelope } of spool.list()) ids.push(envelope.id);
  return ids.sort();
}

/** The spool as the next start finds it. */
async function idsAfterRestart(disk: MemoryDisk): Promise<MessageId[]> {
  const names = disk.namesBelow(DIRECTORY).map((name) => `${DIRECTORY}/${name}`);
  const files = new Map(names.map((path) => [path, disk.contentOf(path)]));
  const { spool, of } = await openOn(new MemoryDisk({ files }));
  const ids = await listedIds(spool);
  assert.deepEqual(of('damaged'), []);
  await spool.close();
  return ids;
}

/** Store a message as intake does: what is refused is discarded. */
async function offer(spool: Spool, size = 100) {
  const envelope = sampleEnvelope();
  const draft = await spool.begin(envelope.id);
  try {
    for (let left = size; left > 0; left -= 60_000) {
      await draft.write(Buffer.alloc(Math.min(left, 60_000), 'x'));
    }
    await draft.commit(envelope);
    return envelope.id;
  } catch (error) {
    await draft.discard();
    throw error;
  }
}

const failing =
  (wanted: DiskCall, code = 'EIO') =>
  (call: DiskCall) =>
    call === wanted ? code : undefined;
const working = () => undefined;

describe('a sync that fails', () => {
  test('refuses everybody who waited for it, and nobody else', async () => {
    const disk = new MemoryDisk();
    const { spool, of } = await openOn(disk);
    const before = await offer(spool);
    disk.failure = failing('sync');
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => offer(spool)));
    for (const result of results) {
      assert.ok(result.status === 'rejected' && result.reason instanceof SpoolError);
      assert.equal(result.reason.kind, 'failed');
      assert.match(JSON.stringify(refusalOf(result.reason).refusal), /45[12]/);
    }
    assert.equal(of('failed').filter(([operation]) => operation === 'commit').length, 8);
    assert.deepEqual(await listedIds(spool), [before]);
    assert.equal(spool.health().ok, false);
    disk.failure = working;
    const after = await offer(spool);
    assert.equal(spool.health().ok, true);
    assert.deepEqual(await idsAfterRestart(disk), [before, after].sort());
    await spool.close();
    assert.deepEqual(await idsAfterRestart(disk), [before, after].sort());
  });

  test('ends its segment: nothing is written to it any more, whatever works later', async () => {
    const disk = new MemoryDisk();
    const { spool } = await openOn(disk);
    await offer(spool);
    disk.failure = failing('sync');
    await assert.rejects(offer(spool), SpoolError);
    const failed = disk.steps.findLastIndex((step) => step.op === 'sync' && step.failed);
    disk.failure = working;
    for (let n = 0; n < 5; n++) await offer(spool);
    await spool.close();
    const step = disk.steps[failed];
    assert.ok(step?.op === 'sync');
    const later = disk.steps.slice(failed + 1);
    assert.ok(later.filter(({ op }) => op === 'write').length >= 5);
    assert.ok(later.every((one) => one.op !== 'write' || one.inode !== step.inode));
  });

  test('brings nothing back, even when its octets cannot be cut off', async () => {
    const disk = new MemoryDisk();
    const { spool } = await openOn(disk);
    const before = await offer(spool);
    disk.failure = (call) => (['sync', 'truncate', 'remove'].includes(call) ? 'EIO' : undefined);
    await assert.rejects(offer(spool), SpoolError);
    await assert.rejects(offer(spool), SpoolError); // the only one of its segment
    disk.failure = working;
    // The second, in whose segment it says that the first is gone.
    assert.equal((await idsAfterRestart(disk)).length, 2);
    const after = await offer(spool);
    assert.deepEqual(await idsAfterRestart(disk), [before, after].sort());
    await spool.close();
  });

  test('brings nothing back when the store is closed next', async () => {
    const disk = new MemoryDisk();
    const { spool } = await openOn(disk);
    const before = await offer(spool);
    disk.failure = (call) => (['sync', 'truncate'].includes(call) ? 'EIO' : undefined);
    await assert.rejects(offer(spool), SpoolError);
    disk.failure = working;
    await spool.close();
    assert.deepEqual(await idsAfterRestart(disk), [before]);
  });

  test('is no reason to refuse the same message the next time', async () => {
    const disk = new MemoryDisk();
    const { spool } = await openOn(disk);
    await offer(spool);
    const envelope = sampleEnvelope();
    for (const size of [50, 200_000]) {
      disk.failure = (call, path) =>
        call === 'sync' && path.includes('segment') ? 'EIO' : undefined;
      const draft = await spool.begin(envelope.id);
      await draft.write(Buffer.alloc(size));
      await assert.rejects(draft.commit(envelope), SpoolError);
      await draft.discard();
      disk.failure = working;
    }
    await store(spool, envelope, Buffer.alloc(200_000, 'y'));
    await spool.append(envelope.id, [attempt()]);
    assert.ok((await idsAfterRestart(disk)).includes(envelope.id));
    assert.equal((await octets(await spool.openBody(envelope.id))).length, 200_000);
    await spool.close();
  });
});

describe('whatever fails', () => {
  test('no file stays open', async () => {
    const disk = new MemoryDisk();
    let open = 0;
    const counted = (file: DiskFile): DiskFile => {
      open += 1;
      const close = () => {
        open -= 1;
        return file.close();
      };
      return { ...file, close };
    };
    const { spool } = await openOn({
      create: async (path) => counted(await disk.create(path)),
      open: async (path) => counted(await disk.open(path)),
      remove: (path) => disk.remove(path),
      rename: (from, to) => disk.rename(from, to),
      list: (directory) => disk.list(directory),
      makeDirectory: () => disk.makeDirectory(),
      syncDirectory: (path) => disk.syncDirectory(path),
      freeBytes: () => disk.freeBytes(),
    });
    // Segments cannot be made, and not be removed either.
    disk.failure = (call) => (call === 'syncDirectory' || call === 'remove' ? 'EIO' : undefined);
    for (let n = 0; n < 20; n++) await assert.rejects(offer(spool, n % 2 === 0 ? 100 : 200_000));
    disk.failure = working;
    for (let n = 0; n < 20; n++)
      await spool.remove(await offer(spool, n % 2 === 0 ? 900 : 200_000));
    await spool.close();
    assert.equal(open, 0);
  });

  const calls: readonly DiskCall[] = ['create', 'write', 'sync', 'syncDirectory'];
  for (const call of calls) {
    for (const code of ['EIO', 'ENOSPC']) {
      test(`${call} with ${code}: refused, nothing left behind, and all is well after`, async () => {
        const disk = new MemoryDisk();
        const { spool } = await openOn(disk);
        const kept = [await offer(spool, 200_000), await offer(spool, 1100)];
        const files = disk.namesBelow(DIRECTORY).length;
        disk.failure = failing(call, code);
        for (const size of [10, 140_000, 10]) {
          await assert.rejects(offer(spool, size), (error: SpoolError) => {
            assert.equal(error.kind, code === 'EIO' ? 'failed' : 'full');
            if (size === 10) assert.ok(error.message.includes(DIRECTORY), error.message); // which disk it is
            return error instanceof SpoolError;
          });
        }
        assert.equal(spool.health().ok, false);
        assert.ok(disk.namesBelow(DIRECTORY).length <= files + 1);
        disk.failure = working;
        await waitFor('health to recover', () => spool.health().ok);
        kept.push(await offer(spool), await offer(spool, 150_000));
        assert.deepEqual(await listedIds(spool), [...kept].sort());
        assert.deepEqual(await idsAfterRestart(disk), [...kept].sort());
        await spool.close();
      });

      test(`${call} with ${code} for a long time: neither files nor what is owed pile up`, async () => {
        const disk = new MemoryDisk();
        const { spool } = await openOn(disk);
        await offer(spool, 1100);
        disk.failure = failing(call, code);
        const results = [];
        for (let n = 0; n < 100; n++) {
          results.push(...(await Promise.allSettled([offer(spool), offer(spool)])));
        }
        assert.ok(results.every(({ status }) => status === 'rejected'));
        assert.ok(disk.namesBelow(DIRECTORY).length < 6, disk.namesBelow(DIRECTORY).join(' '));
        disk.failure = working;
        const before = disk.usedOctets;
        await offer(spool);
        assert.ok(disk.usedOctets - before < 8000, `${disk.usedOctets - before} octets at once`);
        await spool.close();
      });
    }
  }

  test('an outcome that cannot be recorded is refused, and recorded the next time', async () => {
    const disk = new MemoryDisk();
    const { spool } = await openOn(disk);
    const id = await offer(spool);
    disk.failure = failing('write');
    await assert.rejects(spool.append(id, [attempt({ atMs: 1 })]), SpoolError);
    disk.failure = working;
    await spool.append(id, [attempt({ atMs: 2 })]);
    assert.deepEqual(
      (await spool.read(id))?.records.map(({ atMs }) => atMs),
      [2],
    );
    await spool.close();
  });
});

describe('a disk without room', () => {
  test('takes no message, and every outcome', async () => {
    const disk = new MemoryDisk();
    const { spool } = await openOn(disk);
    const ids = [];
    for (let n = 0; n < 4; n++) ids.push(await offer(spool, 300));
    const started = sampleEnvelope();
    const draft = await spool.begin(started.id);
    await draft.write(Buffer.alloc(50));
    disk.capacity = disk.usedOctets;
    await assert.rejects(offer(spool), { name: 'SpoolError', kind: 'full' });
    for (const id of ids) await spool.append(id, [attempt({ delivered: [0] })]);
    // Begun while there was room: it may not use what is kept for outcomes.
    await assert.rejects(draft.commit(started), { name: 'SpoolError', kind: 'full' });
    await draft.discard();
    await assert.rejects(spool.begin(sampleEnvelope().id), { name: 'SpoolError', kind: 'full' });
    assert.equal(spool.health().ok, false);
    assert.match(spool.health().reason, /full/);
    for (const id of ids) assert.equal((await spool.read(id))?.records.length, 1);
    assert.deepEqual(await idsAfterRestart(disk), [...ids].sort());

    disk.capacity += 1_000_000;
    await waitFor('health to recover', () => spool.health().ok);
    ids.push(await offer(spool));
    assert.ok(disk.namesBelow(DIRECTORY).includes('reserve'), 'the room is kept again');
    assert.deepEqual(await idsAfterRestart(disk), [...ids].sort());
    await spool.close();
  });

  test('refuses the messages that come with an outcome, not the outcome', async () => {
    const disk = new MemoryDisk();
    const { spool } = await openOn(disk);
    const id = await offer(spool);
    disk.capacity = disk.usedOctets;
    const [recorded, ...offered] = await Promise.allSettled([
      spool.append(id, [attempt({ delivered: [0] })]),
      offer(spool),
      offer(spool),
    ]);
    assert.equal(recorded.status, 'fulfilled');
    assert.ok(offered.every(({ status }) => status === 'rejected'));
    await spool.close();
  });

  test('does not let go of its reserve for messages', async () => {
    const disk = new MemoryDisk();
    const { spool } = await openOn(disk);
    await offer(spool);
    disk.capacity = disk.usedOctets;
    for (let n = 0; n < 20; n++) await assert.rejects(offer(spool, 40), SpoolError);
    assert.ok(disk.namesBelow(DIRECTORY).includes('reserve'));
    await spool.close();
  });

  test('takes mail again when what was delivered is gone', async () => {
    const disk = new MemoryDisk();
    const { spool } = await openOn(disk);
    disk.capacity = disk.usedOctets + 60_000;
    const ids: MessageId[] = [];
    for (;;) {
      const id = await offer(spool, 700).catch(() => undefined);
      if (id === undefined) break;
      ids.push(id);
    }
    assert.ok(ids.length > 40);
    for (const id of ids) {
      await spool.append(id, [attempt({ delivered: [0] })]);
      await spool.remove(id);
    }
    await waitFor('room for a message', () => spool.health().ok);
    assert.ok(await offer(spool, 700));
    await spool.close();
  });
});
