/** Reading stretches of segments by blocks gives what stands there, whatever was read before. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemDisk } from '../../src/platform/disk.ts';
import { BlockReader } from '../../src/spool/block-reader.ts';
import { Segment } from '../../src/spool/segment.ts';
import { Random } from '../fuzz/engine/random.ts';
import { tempDir } from '../support/temp-dir.ts';
import { octets, openSpool, sampleEnvelope, store } from './sample-mail.ts';

const SEGMENT_OCTETS = 1000;

test('stretches within blocks, across them, and at the end of a segment', async () => {
  using dir = tempDir();
  const random = new Random(7);
  const content = [1, 2].map(() =>
    Buffer.from(Array.from({ length: SEGMENT_OCTETS }, () => random.below(256))),
  );
  const segments: Segment[] = [];
  for (const [n, octets] of content.entries()) {
    const segment = await Segment.create(systemDisk, dir.path, n + 1);
    await segment.append([octets], octets.length);
    segments.push(segment);
  }
  const blocks = new BlockReader({ blockOctets: 64, mostBlocks: 3 });
  let atOnce = 0;
  for (let round = 0; round < 3000; round++) {
    const which = random.below(2);
    const at = random.below(SEGMENT_OCTETS);
    const length = 1 + random.below(Math.min(200, SEGMENT_OCTETS - at));
    const expected = content[which]?.subarray(at, at + length) ?? assert.fail();
    const segment = segments[which] ?? assert.fail();
    const peeked = blocks.peek(segment, at, length);
    if (peeked) atOnce++;
    assert.ok(peeked === undefined || peeked.equals(expected), `round ${round}, at once`);
    assert.ok((await blocks.read(segment, at, length)).equals(expected), `round ${round}`);
  }
  assert.ok(atOnce > 10);
  await Promise.all(segments.map((segment) => segment.close()));
});

test('two segments of one number are not taken for each other', async () => {
  using dir = tempDir();
  const blocks = new BlockReader({ blockOctets: 64, mostBlocks: 3 });
  for (const text of ['a', 'b']) {
    // As in damaged/, from before and after a start with an empty spool.
    const segment = await Segment.create(systemDisk, dir.path, 1);
    await segment.append([Buffer.alloc(100, text)], 100);
    assert.equal((await blocks.read(segment, 1, 3)).toString(), text.repeat(3));
    await segment.close();
  }
});

test('segments of all sizes are found at a start, one after the other', async () => {
  using dir = tempDir();
  const options = { segmentOctets: 8 * 1024 };
  const first = await openSpool(dir.path, undefined, options);
  const random = new Random(3);
  const bodies = new Map<string, Buffer>();
  for (let n = 0; n < 60; n++) {
    const envelope = sampleEnvelope();
    const body = Buffer.alloc(random.below(20_000), `${n} `);
    bodies.set(envelope.id, body);
    await store(first.spool, envelope, body);
  }
  await first.spool.close();
  const again = await openSpool(dir.path, undefined, options);
  const found: string[] = [];
  for await (const { envelope, sizeBytes } of again.spool.list()) {
    found.push(envelope.id);
    assert.equal(sizeBytes, bodies.get(envelope.id)?.length);
    const body = await octets(await again.spool.openBody(envelope.id));
    assert.ok(body.equals(bodies.get(envelope.id) ?? assert.fail()));
  }
  assert.deepEqual(found, [...bodies.keys()]);
  assert.deepEqual(again.recorded.of('damaged'), []);
  await again.spool.close();
});
