/**
 * Space comes back: what is no longer needed goes, what is still needed moves, and nobody who
 * reads, writes or lists meanwhile notices.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { MessageId } from '../../src/mail/message-id.ts';
import type { Spool } from '../../src/spool/store.ts';
import { Random } from '../fuzz/engine/random.ts';
import { MemoryDisk } from '../support/memory-disk.ts';
import { PowerCut } from '../support/power-cut.ts';
import { waitFor } from '../support/wait-for.ts';
import { attempt, octets, sampleEnvelope, store } from './sample-mail.ts';
import { DIRECTORY, openOn, unevenDisk } from './spool-workload.ts';

const SEGMENT = 8 * 1024;
/** Segments no longer needed that are left alone, the newest, and one being copied. */
const SLACK = 7 * SEGMENT;

const logOctets = (disk: MemoryDisk) =>
  disk
    .namesBelow(DIRECTORY)
    .filter((name) => name.includes('.segment') && !name.includes('damaged'))
    .reduce((sum, name) => sum + disk.contentOf(`${DIRECTORY}/${name}`).length, 0);

/** Messages that stay, on a disk that takes its time; none of them is in anybody's memory. */
async function withOldMessages(count: number, seed: number) {
  const random = new Random(seed);
  const disk = unevenDisk(random);
  const first = await openOn(disk, { segmentOctets: SEGMENT });
  const bodies = new Map<MessageId, Buffer>();
  for (let n = 0; n < count; n++) {
    const envelope = sampleEnvelope();
    const size = n % 10 === 3 ? 140_000 : 100 + random.below(900);
    const body = Buffer.alloc(size, `${envelope.id} `);
    await store(first.spool, envelope, body);
    bodies.set(envelope.id, body);
    // Between them, some that go.
    const short = sampleEnvelope();
    await store(first.spool, short, Buffer.alloc(random.below(900)));
    await first.spool.remove(short.id);
  }
  await first.spool.close();
  return { random, disk, bodies, ...(await openOn(disk, { segmentOctets: SEGMENT })) };
}

/** Messages that come and go at once, `rounds` of ten. */
async function churn(spool: Spool, random: Random, rounds: number) {
  for (let round = 0; round < rounds; round++) {
    const envelopes = Array.from({ length: 10 }, () => sampleEnvelope());
    await Promise.all(envelopes.map((one) => store(spool, one, Buffer.alloc(random.below(1500)))));
    await Promise.all(envelopes.map(({ id }) => spool.append(id, [attempt({ delivered: [0] })])));
    await Promise.all(envelopes.map(({ id }) => spool.remove(id)));
  }
}

async function checkAll(spool: Spool, bodies: ReadonlyMap<MessageId, Buffer>) {
  const seen: MessageId[] = [];
  for await (const { envelope, sizeBytes } of spool.list()) {
    const body = bodies.get(envelope.id);
    if (!body) continue;
    seen.push(envelope.id);
    assert.equal(sizeBytes, body.length);
  }
  assert.deepEqual(seen.sort(), [...bodies.keys()].sort(), 'listed, each once');
  for (const [id, body] of bodies) {
    assert.ok((await octets(await spool.openBody(id))).equals(body), id);
    assert.equal((await spool.read(id))?.sizeBytes, body.length);
  }
}

describe('the log', () => {
  test('stays small, whatever comes and goes', async () => {
    const { spool, disk, random, bodies } = await withOldMessages(20, 31);
    const live = [...bodies.values()].reduce(
      (sum, { length }) => sum + 500 + (length % 140_000),
      0,
    );
    for (let round = 0; round < 15; round++) {
      await churn(spool, random, 2);
      const used = logOctets(disk);
      assert.ok(used <= 2 * live + SLACK + 30_000, `round ${round}: ${used}, ${live} are needed`);
    }
    await checkAll(spool, bodies);
    await spool.close();
  });

  test('is empty of everything but its newest when nothing is left', async () => {
    const { spool, disk, random, bodies, of } = await withOldMessages(10, 32);
    await churn(spool, random, 5);
    for (const id of bodies.keys()) await spool.remove(id);
    await churn(spool, random, 4);
    await waitFor('the space', () => logOctets(disk) < 4 * SEGMENT);
    await spool.close();
    assert.deepEqual(of('failed'), []);
    const again = await openOn(disk, { segmentOctets: SEGMENT });
    for await (const { envelope } of again.spool.list()) {
      assert.fail(`${envelope.id} came back after a regular stop`);
    }
    await again.spool.close();
  });

  test('moves messages with all that happened to them, while more happens', async () => {
    const { spool, random, bodies, disk } = await withOldMessages(20, 33);
    const numbers = new Map([...bodies.keys()].map((id) => [id, [] as number[]]));
    let busy = true;
    let reads = 0;
    const writer = async () => {
      for (let n = 0; busy; n++) {
        const id = random.pick([...bodies.keys()]);
        // In turn for each: the order of what is appended at once is not promised.
        if (numbers.get(id)?.includes(-1)) continue;
        numbers.get(id)?.push(-1);
        await spool.append(id, [attempt({ atMs: n })]);
        numbers.get(id)?.splice(-1, 1, n);
        await setImmediate();
      }
    };
    const reader = async () => {
      while (busy) {
        await checkAll(spool, bodies);
        reads += 1;
      }
    };
    const others = [writer(), reader(), reader()];
    const before = disk.steps.length;
    await churn(spool, random, 25);
    busy = false;
    await Promise.all(others);
    assert.ok(reads > 2);
    const dropped = disk.steps.slice(before).filter(({ op }) => op === 'unlink').length;
    assert.ok(dropped > 15, `${dropped} segments were let go of`);
    const check = async (one: Spool) => {
      await checkAll(one, bodies);
      for (const [id, sent] of numbers) {
        const { records = [] } = (await one.read(id)) ?? {};
        assert.deepEqual(
          records.map(({ atMs }) => atMs),
          sent,
        );
      }
    };
    await check(spool);
    await spool.close();
    const again = await openOn(disk, { segmentOctets: SEGMENT });
    await check(again.spool);
    assert.deepEqual(again.of('damaged'), []);
    await again.spool.close();
  });

  test('lets a message be removed while it is moved', async () => {
    const { spool, random, bodies, disk } = await withOldMessages(30, 34);
    const going = [...bodies.keys()];
    const removing = (async () => {
      for (const id of going) {
        await spool.remove(id);
        assert.equal(await spool.read(id), undefined);
        await setImmediate();
      }
    })();
    await Promise.all([removing, churn(spool, random, 15)]);
    await spool.close();
    const again = await openOn(disk, { segmentOctets: SEGMENT });
    for await (const { envelope } of again.spool.list()) assert.ok(!bodies.has(envelope.id));
    await again.spool.close();
  });
});

describe('a message that is damaged while the store runs', () => {
  async function withDamage(find: (octets: Buffer, id: MessageId) => number) {
    const { spool, random, bodies, disk, of } = await withOldMessages(12, 35);
    const [id = assert.fail()] = [...bodies.keys()].slice(1);
    const name = disk.namesBelow(DIRECTORY).find((one) => {
      return one.includes('.segment') && find(disk.contentOf(`${DIRECTORY}/${one}`), id) >= 0;
    });
    const path = `${DIRECTORY}/${name ?? assert.fail()}`;
    disk.decay(path, (octets) => octets.fill('#', find(octets, id), find(octets, id) + 1));
    return { id, spool, random, bodies, disk, of, name };
  }

  test('in its body goes on without it; the space comes back, the octets are kept', async () => {
    const { id, spool, random, bodies, disk, of, name } = await withDamage((octets, one) =>
      octets.indexOf(`${one} ${one} `),
    );
    await churn(spool, random, 30);
    await waitFor('the file to be set aside', () =>
      disk.namesBelow(DIRECTORY).includes(`damaged/${name}`),
    );
    assert.equal((await spool.read(id))?.sizeBytes, bodies.get(id)?.length);
    await assert.rejects(spool.openBody(id));
    assert.deepEqual(
      of('damaged').map(([, , about]) => about),
      [id],
    );
    bodies.delete(id);
    await churn(spool, random, 5);
    assert.ok(logOctets(disk) < 100_000);
    for (const [one, body] of bodies) {
      assert.ok((await octets(await spool.openBody(one))).equals(body));
    }
    await spool.close();
  });

  test('in its head is given up; the others stay, the space comes back', async () => {
    const { id, spool, random, bodies, disk, of, name } = await withDamage((octets, one) =>
      octets.indexOf(`{"envelope":{"id":"${one}"`),
    );
    bodies.delete(id);
    await churn(spool, random, 30);
    await waitFor('the file to be set aside', () =>
      disk.namesBelow(DIRECTORY).includes(`damaged/${name}`),
    );
    assert.equal(of('damaged').filter(([, , about]) => about === id).length, 1);
    await checkAll(spool, bodies);
    await churn(spool, random, 10);
    assert.ok(logOctets(disk) < 100_000);
    await spool.close();
  });

  test('and still in memory is moved as it was, whatever became of its octets', async () => {
    const disk = new MemoryDisk();
    const { spool, of } = await openOn(disk);
    const bodies = new Map<MessageId, Buffer>();
    for (let n = 0; n < 4; n++) {
      const envelope = sampleEnvelope();
      const body = Buffer.alloc(700, `${envelope.id} `);
      await store(spool, envelope, body);
      await spool.append(envelope.id, [attempt({ atMs: 111 })]);
      bodies.set(envelope.id, body);
    }
    const paths = disk.namesBelow(DIRECTORY).filter((name) => name.includes('.segment'));
    // The heads of some, the bodies of others, every record.
    for (const [n, id] of [...bodies.keys()].entries()) {
      const what = [n % 2 === 0 ? `"id":"${id}"` : `${id} ${id}`, '"atMs":111'];
      for (const path of paths) {
        disk.decay(`${DIRECTORY}/${path}`, (octets) => {
          for (const one of what) {
            const at = octets.indexOf(one);
            if (at >= 0) octets.write('#', at);
          }
        });
      }
    }
    await churn(spool, new Random(2), 10);
    await spool.close();
    assert.ok(!disk.namesBelow(DIRECTORY).some((name) => paths.includes(name)), 'they were moved');
    assert.deepEqual(of('damaged'), []);
    const again = await openOn(disk);
    await checkAll(again.spool, bodies);
    for (const id of bodies.keys()) {
      assert.deepEqual(
        (await again.spool.read(id))?.records.map((record) => record.atMs),
        [111],
      );
    }
    await again.spool.close();
  });

  test('in a record has the others', async () => {
    const disk = new MemoryDisk();
    const first = await openOn(disk);
    const envelope = sampleEnvelope();
    await store(first.spool, envelope);
    for (const atMs of [111, 222, 333]) await first.spool.append(envelope.id, [attempt({ atMs })]);
    await first.spool.close();
    const { spool, of } = await openOn(disk);
    const segment = disk.namesBelow(DIRECTORY).find((one) => one.includes('.segment')) ?? '';
    for (const name of disk.namesBelow(DIRECTORY)) {
      disk.decay(`${DIRECTORY}/${name}`, (octets) => {
        const at = octets.indexOf('"atMs":222');
        if (at >= 0) octets.write('9', at + 7);
      });
    }
    const atMs = (await spool.read(envelope.id))?.records.map((record) => record.atMs);
    assert.deepEqual(atMs, [111, 333]);
    assert.equal(of('damaged').length, 1);
    await churn(spool, new Random(1), 10);
    await waitFor('the file to be set aside', () =>
      disk.namesBelow(DIRECTORY).some((name) => name.startsWith('damaged/')),
    );
    assert.ok(segment !== '');
    assert.deepEqual(
      (await spool.read(envelope.id))?.records.map((record) => record.atMs),
      [111, 333],
    );
    await spool.close();
  });
});

test('a segment that is set aside is never nowhere, whenever the power goes', async () => {
  const { spool, random, bodies, disk } = await withOldMessages(12, 37);
  const [id = assert.fail()] = [...bodies.keys()].slice(1);
  const isHere = (one: string) => disk.contentOf(`${DIRECTORY}/${one}`).includes(`${id} ${id} `);
  const name = disk.namesBelow(DIRECTORY).find(isHere) ?? assert.fail();
  disk.decay(`${DIRECTORY}/${name}`, (octets) => octets.write('#', octets.indexOf(`${id} ${id} `)));
  // The first try fails half way.
  let failures = 1;
  disk.failure = (call, path) => {
    const isAside = call === 'syncDirectory' && path.endsWith('damaged');
    return isAside && failures-- > 0 ? 'EIO' : undefined;
  };
  await churn(spool, random, 30);
  await waitFor('the file to be set aside', () => failures < 0);
  await churn(spool, random, 30);
  await spool.close();
  const power = new PowerCut(disk, () => 0);
  let wasThere = false;
  while (power.next()) {
    for (const fate of ['lost', 'kept'] as const) {
      const isThere = [...power.left(fate).keys()].some((path) => path.endsWith(name));
      if (fate === 'lost') wasThere ||= isThere;
      assert.ok(isThere || !wasThere, `step ${power.at}`);
    }
  }
  assert.ok(wasThere);
  assert.ok(logOctets(disk) < 100_000, 'the space came back');
});

test('a disk that cannot be read for a moment is no damage: the message stays', async () => {
  const { spool, random, bodies, disk, of } = await withOldMessages(12, 36);
  disk.failure = (call) => (call === 'open' ? 'EMFILE' : undefined);
  await churn(spool, random, 10);
  disk.failure = () => undefined;
  assert.ok(of('failed').length > 0);
  assert.deepEqual(of('damaged'), []);
  await churn(spool, random, 10);
  await checkAll(spool, bodies);
  assert.ok(!disk.namesBelow(DIRECTORY).some((name) => name.startsWith('damaged')));
  await spool.close();
});
