/**
 * A spool whose files are not what they were: it opens, gives what can be given, tells what
 * cannot, and goes on working.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { MessageId } from '../../src/mail/message-id.ts';
import { HEADER_OCTETS } from '../../src/spool/frame.ts';
import { SpoolFormatError } from '../../src/spool/recover.ts';
import { type Spool, SpoolError } from '../../src/spool/store.ts';
import { Random } from '../fuzz/engine/random.ts';
import { MemoryDisk } from '../support/memory-disk.ts';
import { PowerCut } from '../support/power-cut.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';
import { attempt, octets, openSpool, sampleEnvelope, store } from './sample-mail.ts';
import { encode, frameOf } from './spool-frames.ts';
import { DIRECTORY, openOn } from './spool-workload.ts';

async function listedIds(spool: Spool): Promise<MessageId[]> {
  const ids: MessageId[] = [];
  for await (const { envelope } of spool.list()) ids.push(envelope.id);
  return ids.sort();
}

const isSegment = (name: string) => /\.segment\d+$/.test(name);

function segmentsIn(dir: TempDir): string[] {
  return readdirSync(dir.file('spool'))
    .filter(isSegment)
    .sort()
    .map((name) => dir.file(join('spool', name)));
}

/** A spool of five messages, the second with two records; closed, or left as by a crash. */
async function written(end: 'closed' | 'crashed') {
  const disk = new MemoryDisk();
  const { spool } = await openOn(disk);
  const ids: MessageId[] = [];
  const bodies = new Map<MessageId, Buffer>();
  for (let n = 0; n < 5; n++) {
    const envelope = sampleEnvelope();
    const body = Buffer.alloc(60 * n, `${n}..`);
    await store(spool, envelope, body);
    ids.push(envelope.id);
    bodies.set(envelope.id, body);
    if (n === 1) {
      await spool.append(envelope.id, [attempt({ atMs: 1 })]);
      await spool.append(envelope.id, [attempt({ atMs: 2 })]);
    }
  }
  const files = () =>
    new Map(
      disk.namesBelow(DIRECTORY).map((name) => [name, disk.contentOf(join(DIRECTORY, name))]),
    );
  const crashed = files();
  await spool.close();
  return { ids, bodies, files: end === 'closed' ? files() : crashed };
}

/** Opens `files` after `change` was made to the last segment. */
async function openChanged(files: ReadonlyMap<string, Buffer>, change: (octets: Buffer) => Buffer) {
  const last = [...files.keys()].filter(isSegment).sort().at(-1) ?? assert.fail();
  const changed = new Map(
    [...files].map(([name, octets]) => [
      join(DIRECTORY, name),
      name === last ? change(Buffer.from(octets)) : octets,
    ]),
  );
  const disk = new MemoryDisk({ files: changed });
  return { disk, path: join(DIRECTORY, last), ...(await openOn(disk)) };
}

describe('the last segment', () => {
  test('cut off at any octet: what was whole is there, and the store goes on', async () => {
    const { files, ids, bodies } = await written('crashed');
    const [name = ''] = [...files.keys()].filter(isSegment).sort().slice(-1);
    const size = files.get(name)?.length ?? 0;
    let most = 0;
    for (let at = size; at >= 0; at--) {
      const { spool, of } = await openChanged(files, (octets) => octets.subarray(0, at));
      const found = await listedIds(spool);
      most = Math.max(most, found.length);
      for (const id of found) {
        assert.ok((await octets(await spool.openBody(id))).equals(bodies.get(id) ?? assert.fail()));
      }
      assert.deepEqual(of('damaged'), [], `at ${at}`);
      if (at % 97 === 0) {
        const envelope = sampleEnvelope();
        await store(spool, envelope);
        assert.deepEqual(await listedIds(spool), [...found, envelope.id].sort());
      }
      await spool.close();
    }
    assert.equal(most, ids.length);
  });

  test('with an octet changed: one message or record is affected, and it is told', async () => {
    const { files, ids } = await written('closed');
    const random = new Random(21);
    const last = files.get([...files.keys()].filter(isSegment).sort().at(-1) ?? '');
    for (let at = 0; at < (last?.length ?? 0); at += 1 + random.below(5)) {
      const { spool, of } = await openChanged(files, (octets) => {
        octets.writeUInt8(octets.readUInt8(at) ^ (1 << random.below(8)), at);
        return octets;
      });
      const found = await listedIds(spool);
      let affected = ids.length - found.length;
      for (const id of found) {
        const stored = (await spool.read(id)) ?? assert.fail();
        const body = await spool.openBody(id).then(octets, () => undefined);
        if (id === ids[1] && stored.records.length !== 2) affected += 1;
        if (body === undefined) affected += 1;
      }
      // It may be the probe that ends the segment.
      assert.ok(affected <= 1, `at ${at}`);
      // A segment begins with a frame that means nothing, but was durable.
      const told = new Set(of('damaged').map(([path]) => path)).size;
      assert.equal(told, at < HEADER_OCTETS ? 1 : affected, `at ${at}`);
      assert.equal(of('damaged').length + of('leftover').length > 0, true, `at ${at}`);
      await spool.close();
    }
  });
});

test('segments of arbitrary octets hide nothing', async () => {
  const { files, ids } = await written('closed');
  const content = fc.oneof(
    fc.uint8Array({ maxLength: 300 }).map((part) => Buffer.from(part)),
    fc.constant(Buffer.alloc(4096)),
    fc.constant(encode(frameOf('removed', ids[0] ?? assert.fail()))),
  );
  await fc.assert(
    fc.asyncProperty(content, fc.integer({ min: 0, max: 12 }), async (octets, number) => {
      const name = `${String(number).padStart(10, '0')}-00112233445566ff.segment2`;
      const all = [...files, [name, octets] as const];
      const disk = new MemoryDisk({ files: new Map(all.map(([n, o]) => [join(DIRECTORY, n), o])) });
      const { spool } = await openOn(disk);
      assert.deepEqual(await listedIds(spool), [...ids].sort());
      await spool.close();
    }),
    { numRuns: 50 },
  );
});

describe('a segment that cannot be read', () => {
  test('hides no other, is told, and is never deleted', async () => {
    const { files, ids } = await written('closed');
    const names = [...files.keys()].filter(isSegment).sort();
    assert.ok(names.length > 1);
    const disk = new MemoryDisk({
      files: new Map([...files].map(([name, octets]) => [join(DIRECTORY, name), octets])),
      failure: (call, path) =>
        call === 'open' && path.endsWith(names[0] ?? '') ? 'EIO' : undefined,
    });
    const { spool, of } = await openOn(disk);
    const found = await listedIds(spool);
    assert.ok(found.length > 0 && found.length < ids.length);
    assert.match(String(of('damaged')[0]?.[1]), /cannot be read/);
    for (let n = 0; n < 40; n++) {
      const envelope = sampleEnvelope();
      await store(spool, envelope, Buffer.alloc(500));
      await spool.remove(envelope.id);
    }
    await spool.close();
    const kept = disk.namesBelow(DIRECTORY).filter((name) => name.endsWith(names[0] ?? ''));
    assert.deepEqual(kept, [`damaged/${names[0]}`]);
  });

  test('for a reason that will pass keeps the relay from starting without its mail', async () => {
    const { files } = await written('closed');
    const disk = new MemoryDisk({
      files: new Map([...files].map(([name, octets]) => [join(DIRECTORY, name), octets])),
      failure: (call, path) => (call === 'open' && path.includes('segment') ? 'EMFILE' : undefined),
    });
    await assert.rejects(openOn(disk), { code: 'EMFILE' });
  });
});

test('a segment that can be read, and not be synced, keeps the relay from starting without its mail', async () => {
  const { files, ids } = await written('crashed');
  const names = [...files.keys()].filter(isSegment).sort();
  const disk = new MemoryDisk({
    files: new Map([...files].map(([name, octets]) => [join(DIRECTORY, name), octets])),
    failure: (call, path) => (call === 'sync' && path.endsWith(names[0] ?? '') ? 'EIO' : undefined),
  });
  await assert.rejects(openOn(disk), { name: 'SpoolError', message: /cannot be made durable/ });
  disk.failure = () => undefined;
  const { spool, of } = await openOn(disk);
  assert.deepEqual(await listedIds(spool), [...ids].sort());
  assert.deepEqual(of('damaged'), []);
  await spool.close();
});

describe('large bodies', () => {
  async function withLarge(change: (path: string) => void) {
    const dir = tempDir();
    const first = await openSpool(dir.file('spool'));
    const envelope = sampleEnvelope();
    await store(first.spool, envelope, Buffer.alloc(300_000, 'large '));
    await first.spool.close();
    change(dir.file(`spool/large/${envelope.id}.eml`));
    return { dir, id: envelope.id, ...(await openSpool(dir.file('spool'))) };
  }
  const changes: readonly (readonly [string, (path: string) => void])[] = [
    ['shorter', (path) => writeFileSync(path, readFileSync(path).subarray(0, 299_999))],
    ['longer', (path) => writeFileSync(path, 'x', { flag: 'a' })],
    ['changed', (path) => writeFileSync(path, readFileSync(path).fill('!', 150_000, 150_001))],
    ['gone', (path) => rmSync(path)],
  ];
  for (const [name, change] of changes) {
    test(`one that is ${name} ends with an error; its message is there`, async () => {
      const { dir, id, spool, recorded } = await withLarge(change);
      assert.deepEqual(await listedIds(spool), [id]);
      await assert.rejects(spool.openBody(id).then(octets));
      assert.equal(recorded.of('failed')[0]?.[0], 'read');
      await spool.remove(id);
      await spool.close();
      dir.remove();
    });
  }

  test('without a message are cleared away, unless something is damaged', async () => {
    using dir = tempDir();
    const first = await openSpool(dir.file('spool'));
    const [one, two] = [sampleEnvelope(), sampleEnvelope()];
    await store(first.spool, one, 'small');
    await store(first.spool, two, 'small');
    await first.spool.close();
    const orphan = dir.file(`spool/large/${sampleEnvelope().id}.eml`);
    writeFileSync(orphan, 'half a draft');
    const second = await openSpool(dir.file('spool'));
    assert.deepEqual(readdirSync(dir.file('spool/large')), []);
    assert.deepEqual(second.recorded.of('leftover')[0]?.[0], orphan);
    await second.spool.close();

    const [segment = ''] = segmentsIn(dir);
    const damaged = readFileSync(segment);
    damaged.fill(0, 60, 70);
    writeFileSync(segment, damaged);
    writeFileSync(orphan, 'the body of a message nobody knows any more');
    const third = await openSpool(dir.file('spool'));
    assert.deepEqual(await listedIds(third.spool), [two.id]);
    assert.match(readFileSync(orphan.replace('/large/', '/damaged/large/'), 'utf8'), /^the body/);
    await third.spool.close();
  });
});

describe('the large body of a message', () => {
  const LARGE = Buffer.alloc(200_000, 'large ');

  /** A store on a disk with a large message, in a segment that is not written to any more. */
  async function withLarge() {
    const disk = new MemoryDisk();
    const opened = await openOn(disk);
    const { id } = sampleEnvelope();
    await store(opened.spool, sampleEnvelope({ id }), LARGE);
    const segment = disk.namesBelow(DIRECTORY).find(isSegment) ?? assert.fail();
    for (let n = 0; n < 3; n++) await store(opened.spool, sampleEnvelope(), Buffer.alloc(1000));
    return { disk, id, segment, ...opened };
  }
  const churn = async (spool: Spool, rounds: number) => {
    for (let n = 0; n < rounds; n++) {
      const envelope = sampleEnvelope();
      await store(spool, envelope, Buffer.alloc(500));
      await spool.remove(envelope.id);
    }
  };
  const bodiesOn = (disk: MemoryDisk, id: MessageId) =>
    disk.namesBelow(DIRECTORY).filter((name) => name.endsWith(`${id}.eml`));

  test('whose head is damaged while the store runs is set aside, whenever the power goes', async () => {
    const { disk, id, segment, spool, of } = await withLarge();
    disk.decay(join(DIRECTORY, segment), (octets) => octets.write('#', octets.indexOf(id) + 20));
    const begin = disk.steps.length;
    await churn(spool, 40);
    await waitFor('the segment to be set aside', () =>
      disk.namesBelow(DIRECTORY).includes(`damaged/${segment}`),
    );
    assert.deepEqual(bodiesOn(disk, id), [`damaged/large/${id}.eml`]);
    assert.ok(of('damaged').some(([, , about]) => about === id));
    await churn(spool, 10);
    await spool.close();
    const power = new PowerCut(disk, () => 0);
    for (let step = power.next(); step; step = power.next()) {
      if (power.at < begin || step.op === 'write') continue;
      // The disk that decays is not the one that was written down.
      const files = power.left('lost');
      for (const [path, octets] of files) {
        if (path.endsWith(segment)) octets.write('#', octets.indexOf(id) + 20);
      }
      const next = new MemoryDisk({ files });
      await (await openOn(next)).spool.close();
      assert.equal(bodiesOn(next, id).length, 1, `step ${power.at} (${step.op})`);
    }
  });

  test('that was set aside is there again when its segment can be read again', async () => {
    const { disk, id, segment, spool } = await withLarge();
    await spool.close();
    disk.failure = (call, path) => (call === 'open' && path.endsWith(segment) ? 'EIO' : undefined);
    // Where the segment cannot be moved out of the way either.
    const failure = disk.failure;
    disk.failure = (call, path) =>
      call === 'rename' && path.endsWith(segment) ? 'EIO' : failure(call, path);
    await (await openOn(disk)).spool.close();
    assert.deepEqual(bodiesOn(disk, id), [`damaged/large/${id}.eml`]);
    disk.failure = () => undefined;
    const again = await openOn(disk);
    assert.ok((await octets(await again.spool.openBody(id))).equals(LARGE));
    assert.deepEqual(bodiesOn(disk, id), [`large/${id}.eml`]);
    await again.spool.close();
  });

  test('of a write that was cut short goes only when the message was not acknowledged', async () => {
    const disk = new MemoryDisk();
    const { spool } = await openOn(disk);
    const acknowledged = new Map<number, MessageId>();
    for (let n = 0; n < 4; n++) {
      const envelope = sampleEnvelope();
      await store(spool, envelope, LARGE);
      acknowledged.set(disk.steps.length, envelope.id);
    }
    const random = new Random(11);
    const power = new PowerCut(disk, () => random.below(1000) / 1000);
    while (power.next()) {
      for (let turn = 0; turn < 5; turn++) {
        const next = new MemoryDisk({ files: power.left('partly') });
        const opened = await openOn(next);
        for (const [at, id] of acknowledged) {
          if (at > power.at) continue;
          assert.ok((await octets(await opened.spool.openBody(id))).equals(LARGE));
        }
        await opened.spool.close();
        assert.ok(!next.namesBelow(DIRECTORY).some((name) => name.startsWith('damaged')));
      }
    }
  });
});

describe('names', () => {
  test('that are no segments are left alone', async () => {
    using dir = tempDir();
    const names = ['x.segment2', '.segment2', 'notes.txt', '1-00.segment2', 'reserve.old'];
    mkdirSync(dir.file('spool/lost+found'), { recursive: true });
    mkdirSync(dir.file('spool/A'));
    for (const name of names) writeFileSync(dir.file(`spool/${name}`), 'x');
    mkdirSync(dir.file('spool/large'));
    writeFileSync(dir.file('spool/large/README'), 'x');
    const { spool, recorded } = await openSpool(dir.file('spool'));
    assert.deepEqual(await listedIds(spool), []);
    assert.deepEqual(recorded.of('damaged'), []);
    await spool.close();
    for (const name of names) assert.equal(readFileSync(dir.file(`spool/${name}`), 'utf8'), 'x');
    assert.deepEqual(readdirSync(dir.file('spool/large')), ['README']);
  });

  test('of another format are refused, and nothing is touched', async () => {
    const formats = ['0000000001-00112233445566ff.segment3', 'A/01ARZ3NDEKTSV4RA.journal'];
    for (const name of formats) {
      using dir = tempDir();
      const path = dir.file(join('spool', name));
      mkdirSync(join(path, '..'), { recursive: true });
      writeFileSync(path, 'x');
      await assert.rejects(openSpool(dir.file('spool')), (error: Error) => {
        assert.ok(error instanceof SpoolFormatError);
        assert.ok(error.message.includes(dir.file(join('spool', name.split('/')[0] ?? ''))));
        return true;
      });
      assert.equal(readFileSync(path, 'utf8'), 'x');
      assert.deepEqual(
        readdirSync(dir.file('spool')).filter(isSegment).length,
        name.includes('segment') ? 1 : 0,
      );
    }
  });
});

test('a message whose body is damaged is listed, and its body an error', async () => {
  const { files, ids } = await written('closed');
  const [name = ''] = [...files.keys()].filter(isSegment).sort();
  const changed = new Map(
    [...files].map(([one, octets]) => [join(DIRECTORY, one), Buffer.from(octets)]),
  );
  const segment = changed.get(join(DIRECTORY, name)) ?? assert.fail();
  const at = segment.indexOf('1..1..1..');
  segment.write('?', at + 4);
  const { spool, of } = await openOn(new MemoryDisk({ files: changed }));
  assert.deepEqual(await listedIds(spool), [...ids].sort());
  assert.deepEqual(
    of('damaged').map(([, , id]) => id),
    [ids[1]],
  );
  await assert.rejects(spool.openBody(ids[1] ?? assert.fail()), SpoolError);
  assert.equal((await spool.read(ids[1] ?? assert.fail()))?.records.length, 2);
  await spool.close();
});
