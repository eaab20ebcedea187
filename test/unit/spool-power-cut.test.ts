/**
 * The power goes at any moment. SIGKILL cannot show this: the system keeps what a killed process
 * wrote. Here a load runs on a disk that writes down every write and sync (memory-disk.ts), and the
 * spool is opened on what would have been left at a place of that log:
 *
 * - of one load, in which syncs fail, segments follow each other and are let go of, messages are
 *   moved, and some bodies are large: at every place, with everything lost that was not synced; and
 *   the same with the name that was made or removed last kept, without those before it;
 * - of that one, and of larger ones, besides: after every answer, and at a sample of the other
 *   places, with the rest lost, kept, or kept in part.
 *
 * What is promised: a message that was acknowledged, and not removed, is there octet for octet,
 * with every record that was acknowledged. A large one that was removed is gone; a small one
 * may come back, with all of its records, so that nothing is done twice. What was refused may come
 * back only until anything else was written. What was discarded never does. Nothing is called
 * damaged.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Disk } from '../../src/platform/disk.ts';
import { Random } from '../fuzz/engine/random.ts';
import { type DiskCall, MemoryDisk } from '../support/memory-disk.ts';
import { type Fate, PowerCut } from '../support/power-cut.ts';
import { type Mark, openOn, Promised, runLoad, unevenDisk } from './spool-workload.ts';

const FATES: readonly Fate[] = ['lost', 'kept', 'partly'];
/** After these, somebody relies on what he was told. */
const ANSWERS = ['committed', 'appended', 'removed', 'refused'];

interface Cuts {
  readonly disk: MemoryDisk;
  readonly random: Random;
  /** `every`: with the rest lost, and in another order, at every place; else after every answer. */
  readonly places: 'every' | 'answers';
}

/** Of a hundred places, at so many the rest is also kept, or kept in part. */
const SAMPLE = 20;

/** Cut the power, and open what is left; what was not kept, and where. */
async function faultsOfCuts({ disk, random, places }: Cuts) {
  const promised = new Promised();
  const power = new PowerCut(disk, () => random.below(1 << 30) / (1 << 30));
  const faults: string[] = [];
  let cuts = 0;
  for (let step = power.next(); step; step = power.next()) {
    const mark = step.op === 'mark' ? (step.mark as Mark) : undefined;
    if (mark) promised.see(mark);
    const isAnswer = mark !== undefined && ANSWERS.includes(mark.kind);
    const fates: Fate[] = isAnswer || places === 'every' ? ['lost'] : [];
    if (places === 'every' && !mark) fates.push('latest');
    if (isAnswer || random.below(100) < SAMPLE) fates.push(random.pick(FATES));
    for (const fate of fates) {
      cuts += 1;
      const files = power.left(fate);
      for (const fault of await faultsOn(files, promised)) {
        faults.push(`step ${power.at} (${step.op}), the rest ${fate}: ${fault}`);
      }
    }
    if (faults.length > 5) break;
  }
  return { faults, cuts };
}

/** What a spool that is opened on `files` does not keep, also when it was opened before. */
async function faultsOn(files: ReadonlyMap<string, Buffer>, promised: Promised) {
  const disk = new MemoryDisk({ files });
  const { spool, of } = await openOn(disk);
  const faults = await promised.faultsOf(spool);
  faults.push(...of('damaged').map((args) => `damaged: ${args.join(' ')}`));
  await spool.close();
  return faults;
}

interface Campaign {
  readonly wrap?: (disk: MemoryDisk) => Disk;
  readonly failure?: Failure;
  readonly places?: Cuts['places'];
  readonly lanes?: number;
  readonly steps?: number;
  readonly large?: number;
}

/** A load on `wrap` of an uneven disk, and what became of it wherever the power went. */
async function campaign(
  seed: number,
  { wrap = (disk) => disk, failure, places = 'answers', ...size }: Campaign = {},
) {
  const random = new Random(seed);
  const disk = unevenDisk(random);
  const { spool } = await openOn(wrap(disk));
  if (failure) disk.failure = failure(random);
  await runLoad({ spool, random, mark: (mark) => disk.mark(mark), ...size });
  disk.failure = () => undefined;
  await spool.close();
  return { disk, ...(await faultsOfCuts({ disk, random, places })) };
}

type Failure = (random: Random) => (call: DiskCall, path: string) => string | undefined;

describe('after a power cut', () => {
  test('at every single place of a load everything acknowledged is there', async () => {
    const failure: Failure = () => {
      let syncs = 0;
      return (call) => (call === 'sync' && ++syncs % 31 === 0 ? 'EIO' : undefined);
    };
    const load = { failure, places: 'every', lanes: 4, steps: 32, large: 12 } as const;
    const { disk, faults, cuts } = await campaign(8, load);
    assert.deepEqual(faults, []);
    assert.ok(cuts > disk.steps.length, 'at each place, and at some of them again');
    assert.ok(disk.steps.some((step) => step.op === 'sync' && step.failed));
    assert.ok(segmentsDropped(disk) > 5, `${segmentsDropped(disk)} segments were let go of`);
    assert.ok(messagesMoved(disk) > 0, 'messages were moved');
    assert.ok(largeBodies(disk) > 0, 'bodies were large');
  });

  for (const seed of [1, 2, 3]) {
    test(`everything acknowledged is there (seed ${seed})`, async () => {
      const { disk, faults, cuts } = await campaign(seed);
      assert.deepEqual(faults, []);
      assert.ok(cuts > 200, `${cuts} cuts`);
      assert.ok(segmentsDropped(disk) > 5, `${segmentsDropped(disk)} segments were let go of`);
      assert.ok(messagesMoved(disk) > 3, `${messagesMoved(disk)} messages were moved`);
    });
  }

  test('also when writes and syncs fail now and then', async () => {
    const failure: Failure = (random) => (call) => {
      const isRare = random.below(1000) < (call === 'sync' ? 60 : 15);
      return isRare && call !== 'open' ? 'EIO' : undefined;
    };
    for (const seed of [4, 5]) {
      const { disk, faults } = await campaign(seed, { failure });
      assert.deepEqual(faults, []);
      assert.ok(disk.steps.some((step) => step.op === 'sync' && step.failed));
      const marks = disk.steps.flatMap((step) => (step.op === 'mark' ? [step.mark as Mark] : []));
      assert.ok(marks.filter(({ kind }) => kind === 'refused').length > 5);
      assert.ok(marks.filter(({ kind }) => kind === 'committed').length > 20);
    }
  });

  test('and after the next one, in the middle of starting again', async () => {
    const random = new Random(6);
    const promised = new Promised();
    let files: ReadonlyMap<string, Buffer> = new Map();
    for (let life = 0; life < 6; life++) {
      const disk = unevenDisk(random, files);
      const { spool } = await openOn(disk);
      const load = { spool, random, mark: (mark: Mark) => disk.mark(mark), lanes: 4, steps: 10 };
      await runLoad(load);
      const end = 1 + random.below(disk.steps.length);
      const power = new PowerCut(disk, () => random.below(1000) / 1000);
      while (power.at < end) {
        const step = power.next();
        if (step?.op === 'mark') promised.see(step.mark as Mark);
      }
      files = power.left(random.pick(FATES));
      assert.deepEqual(await faultsOn(files, promised), [], `life ${life}`);
      await spool.close();
    }
  });
});

function segmentsDropped({ steps }: MemoryDisk): number {
  return steps.filter((step) => step.op === 'unlink' && step.path.includes('.segment')).length;
}

function largeBodies({ steps }: MemoryDisk): number {
  return steps.filter((step) => step.op === 'create' && step.path.endsWith('.eml')).length;
}

/** Messages whose envelope was written more than once. */
function messagesMoved({ steps }: MemoryDisk): number {
  const writes = new Map<string, number>();
  for (const step of steps) {
    const text = step.op === 'write' ? step.octets.toString('latin1') : '';
    for (const [head] of text.matchAll(/\{"envelope":\{"id":"\w{16}"/g)) {
      writes.set(head, (writes.get(head) ?? 0) + 1);
    }
  }
  return [...writes.values()].filter((count) => count > 1).length;
}

/** Disks that promise what they do not do. The test above has to notice each of them. */
describe('a disk that lies', () => {
  const isLarge = (path: string) => path.includes('/large');
  /** `call` does nothing for these paths, or returns before it is done. */
  const lying =
    (call: 'sync' | 'syncDirectory', lies: (path: string) => boolean, early = false) =>
    (disk: MemoryDisk): Disk => {
      const lie = async (path: string, tell: () => Promise<void>) => {
        if (!lies(path)) return tell();
        if (early) void tell();
      };
      const sync = call === 'sync' ? lie : (_path: string, tell: () => Promise<void>) => tell();
      const wrap = (path: string, file: Awaited<ReturnType<Disk['create']>>) => {
        return { ...file, sync: () => sync(path, () => file.sync()) };
      };
      return {
        create: async (path) => wrap(path, await disk.create(path)),
        open: async (path) => wrap(path, await disk.open(path)),
        remove: (path) => disk.remove(path),
        rename: (from, to) => disk.rename(from, to),
        list: (directory) => disk.list(directory),
        makeDirectory: () => disk.makeDirectory(),
        freeBytes: () => disk.freeBytes(),
        syncDirectory: (path) =>
          call === 'syncDirectory'
            ? lie(path, () => disk.syncDirectory(path))
            : disk.syncDirectory(path),
      };
    };
  const lies: readonly (readonly [string, (disk: MemoryDisk) => Disk])[] = [
    ['does not sync segments', lying('sync', (path) => !isLarge(path))],
    ['does not sync large bodies', lying('sync', isLarge)],
    ['syncs segments a little later', lying('sync', (path) => !isLarge(path), true)],
    ['does not sync the names of segments', lying('syncDirectory', (path) => !isLarge(path))],
    ['does not sync the names of large bodies', lying('syncDirectory', isLarge)],
  ];
  for (const [name, wrap] of lies) {
    test(`${name}: mail is lost, and this test sees it`, async () => {
      const { faults } = await campaign(7, { wrap });
      assert.ok(
        faults.some((fault) => /acknowledged, is lost|another body/.test(fault)),
        name,
      );
    });
  }
});
