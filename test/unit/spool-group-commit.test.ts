/** Those who wait at the same time share a sync; nobody waits for others. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { MemoryDisk } from '../support/memory-disk.ts';
import { attempt, sampleEnvelope, store } from './sample-mail.ts';
import { openOn } from './spool-workload.ts';

async function bench() {
  // As on a real disk, a sync takes a while: others come meanwhile.
  const pause = async () => {
    for (let turns = 0; turns < 4; turns++) await setImmediate();
  };
  const disk = new MemoryDisk({ pause });
  const { spool } = await openOn(disk, { segmentOctets: 1024 * 1024 });
  await store(spool, sampleEnvelope());
  const syncsOf = async (run: () => Promise<unknown>) => {
    const before = disk.calls.get('sync') ?? 0;
    await run();
    return (disk.calls.get('sync') ?? 0) - before;
  };
  return { spool, disk, syncsOf };
}

test('one message alone costs one sync, and so does one outcome', async () => {
  const { spool, syncsOf } = await bench();
  for (let n = 0; n < 5; n++) {
    const envelope = sampleEnvelope();
    assert.equal(await syncsOf(() => store(spool, envelope)), 1);
    assert.equal(await syncsOf(() => spool.append(envelope.id, [attempt()])), 1);
    assert.equal(await syncsOf(() => spool.read(envelope.id)), 0);
    // That it is gone is written with whatever comes next.
    assert.equal(await syncsOf(() => spool.remove(envelope.id)), 0);
  }
  await spool.close();
});

test('many at the same time share one', async () => {
  const { spool, syncsOf } = await bench();
  const envelopes = Array.from({ length: 300 }, () => sampleEnvelope());
  assert.ok((await syncsOf(() => Promise.all(envelopes.map((one) => store(spool, one))))) <= 2);
  const append = () => Promise.all(envelopes.map(({ id }) => spool.append(id, [attempt()])));
  assert.ok((await syncsOf(append)) <= 2);
  await spool.close();
});

test('a stream of them needs far fewer syncs than there are messages', async () => {
  const { spool, syncsOf } = await bench();
  const client = async () => {
    for (let n = 0; n < 10; n++) await store(spool, sampleEnvelope());
  };
  const syncs = await syncsOf(() => Promise.all(Array.from({ length: 50 }, client)));
  assert.ok(syncs <= 30, `${syncs} syncs for 500 messages`);
  await spool.close();
});
