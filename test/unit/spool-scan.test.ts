/**
 * Segments after anything may have happened to them: cut off, bits flipped, blocks of zeros, and
 * bodies that look like frames. What is intact is found; damage costs the frame it is in.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type MessageId, newMessageId } from '../../src/mail/message-id.ts';
import { decodeHeader, type Frame, HEADER_OCTETS, MAX_BODY_OCTETS } from '../../src/spool/frame.ts';
import { formatHead, parseMessageHead, parseRecords } from '../../src/spool/heads.ts';
import { type FoundFrame, type Scan, scanSegment } from '../../src/spool/scan.ts';
import { Random } from '../fuzz/engine/random.ts';
import { attempt, sampleEnvelope } from './sample-mail.ts';
import { encode, frameOf, headerClaiming, MARK, segmentOf } from './spool-frames.ts';

const OTHER_MARK = Buffer.from('0102030405060708', 'hex');

function messageFrame(body: Buffer | string): Frame {
  const envelope = sampleEnvelope();
  const head = formatHead({ envelope, sizeBytes: body.length });
  return frameOf('message', envelope.id, { head, body: Buffer.from(body) });
}

function recordsFrame(id: MessageId, atMs: number): Frame {
  return frameOf('records', id, { head: formatHead([attempt({ atMs })]) });
}

const FIRST = messageFrame('one\r\n');
const FRAMES: readonly Frame[] = [
  FIRST,
  messageFrame('the second body, which is a little longer\r\n'),
  recordsFrame(FIRST.id, 1),
  messageFrame(''),
  frameOf('removed', FIRST.id),
  frameOf('large-message', newMessageId(5), {
    head: formatHead({ envelope: sampleEnvelope(), sizeBytes: 1e6, bodyCrc: 7 }),
  }),
  messageFrame(Buffer.alloc(500, 'last ')),
];
const { octets: SEGMENT, places: PLACES } = segmentOf(FRAMES);
const ends = PLACES.map((at, n) => at + encode(FRAMES[n] as Frame).length);

/** Numbers of the frames that were found whole in `octets`. */
function whole({ frames }: Scan, octets: Buffer): number[] {
  return frames.flatMap((found) => {
    const number = PLACES.indexOf(found.at);
    const frame = FRAMES[number];
    const same =
      frame !== undefined &&
      found.bodyIntact &&
      found.kind === frame.kind &&
      found.id === frame.id &&
      headOf(found, octets).equals(frame.head) &&
      bodyOf(found, octets).equals(frame.body);
    return same ? [number] : [];
  });
}

function headOf({ at, headLength }: FoundFrame, octets: Buffer): Buffer {
  return octets.subarray(at + HEADER_OCTETS, at + HEADER_OCTETS + headLength);
}

function bodyOf({ at, headLength, bodyLength }: FoundFrame, octets: Buffer): Buffer {
  const bodyAt = at + HEADER_OCTETS + headLength;
  return octets.subarray(bodyAt, bodyAt + bodyLength);
}

const all = FRAMES.map((_frame, number) => number);

describe('a segment', () => {
  test('as it was written gives every frame, and no damage', () => {
    const scan = scanSegment(SEGMENT, MARK);
    assert.deepEqual(whole(scan, SEGMENT), all);
    assert.deepEqual(scan.damages, []);
  });

  test('cut off at any octet keeps what lies before', () => {
    for (let size = 0; size <= SEGMENT.length; size++) {
      const scan = scanSegment(SEGMENT.subarray(0, size), MARK);
      const before = all.filter((number) => (ends[number] as number) <= size);
      assert.deepEqual(whole(scan, SEGMENT), before, `at ${size}`);
      assert.equal(scan.frames.length, before.length, `at ${size}`);
      const end = before.length === 0 ? 0 : (ends[before.length - 1] as number);
      // The relay begins a segment with a frame of one header: without one frame there is no excuse.
      const torn = size <= HEADER_OCTETS || size >= HEADER_OCTETS + FIRST.head.length;
      const rest = size > end ? [{ from: end, to: size, torn }] : [];
      // The rest of a body may be told as that of its frame.
      assert.deepEqual(
        scan.damages.map(({ from, torn }) => ({ from, torn })),
        rest.map(({ from, torn }) => ({ from, torn })),
      );
    }
  });

  test('with any bit flipped loses at most the frame it is in, and says so', () => {
    for (let bit = 0; bit < SEGMENT.length * 8; bit++) {
      const at = bit >> 3;
      const flipped = Buffer.from(SEGMENT);
      flipped.writeUInt8(flipped.readUInt8(at) ^ (1 << (bit & 7)), at);
      const hit = all.findIndex((number) => at < (ends[number] as number));
      const scan = scanSegment(flipped, MARK);
      assert.deepEqual(
        whole(scan, flipped),
        all.filter((number) => number !== hit),
        `bit ${bit}`,
      );
      assert.equal(scan.damages.length, 1, `bit ${bit}`);
      const [damage] = scan.damages;
      assert.equal(damage?.from, PLACES[hit]);
      // The last one may be what a crash left: no frame says that it was durable.
      assert.equal(damage?.torn, hit === all.length - 1, `bit ${bit}`);
    }
  });

  test('with blocks of zeros in it keeps what is not in them', () => {
    const frames = Array.from({ length: 60 }, (_, n) => messageFrame(Buffer.alloc(n * 40, `${n}`)));
    const { octets, places } = segmentOf(frames);
    const block = 4096;
    for (let from = 0; from < octets.length; from += block) {
      const zeroed = Buffer.from(octets);
      zeroed.fill(0, from, Math.min(from + block, octets.length));
      const found = new Set(
        scanSegment(zeroed, MARK)
          .frames.filter(({ bodyIntact }) => bodyIntact)
          .map(({ at }) => at),
      );
      for (const [n, at] of places.entries()) {
        const end = places[n + 1] ?? octets.length;
        const isHit = at < from + block && end > from;
        assert.equal(found.has(at), !isHit, `frame ${n}, zeros from ${from}`);
      }
    }
  });

  test('damaged in several places loses those frames alone', () => {
    const random = new Random(11);
    for (let round = 0; round < 300; round++) {
      const octets = Buffer.from(SEGMENT);
      const hit = new Set<number>();
      for (let n = 1 + random.below(3); n > 0; n--) {
        const at = random.below(octets.length);
        octets.writeUInt8(octets.readUInt8(at) ^ (1 + random.below(255)), at);
        hit.add(all.findIndex((number) => at < (ends[number] as number)));
      }
      const intact = whole(scanSegment(octets, MARK), octets);
      for (const number of all) {
        if (!hit.has(number)) assert.ok(intact.includes(number), `round ${round}, ${number}`);
      }
    }
  });

  test('of arbitrary octets has no frames, whatever they are', () => {
    const octets = fc.array(
      fc.oneof(
        fc.uint8Array({ maxLength: 60 }).map((part) => Buffer.from(part)),
        fc.constantFrom(MARK, encode(FIRST, { mark: OTHER_MARK }), Buffer.alloc(50)),
      ),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(octets, (parts) => {
        const content = Buffer.concat(parts);
        const { frames, damages } = scanSegment(content, MARK);
        assert.deepEqual(frames, []);
        const covered = damages.reduce((sum, { from, to }) => sum + to - from, 0);
        assert.equal(covered, content.length);
      }),
    );
  });
});

describe('what looks like a frame', () => {
  test('in a body is a part of it: the mark is another', () => {
    const inner = Buffer.concat(FRAMES.map((frame) => encode(frame, { mark: OTHER_MARK })));
    const outer = messageFrame(Buffer.concat([inner, Buffer.from('\r\n'), inner]));
    const { octets } = segmentOf([FIRST, outer, FIRST]);
    const { frames, damages } = scanSegment(octets, MARK);
    assert.deepEqual(
      frames.map(({ id }) => id),
      [FIRST.id, outer.id, FIRST.id],
    );
    assert.ok(bodyOf(frames[1] ?? assert.fail(), octets).equals(outer.body));
    assert.deepEqual(damages, []);
  });

  test('in a body whose own frame is damaged is no frame either', () => {
    const inner = encode(messageFrame('forged'), { mark: OTHER_MARK });
    const outer = messageFrame(inner);
    const { octets, places } = segmentOf([FIRST, outer, FIRST]);
    const at = (places[1] as number) + HEADER_OCTETS + 3;
    octets.writeUInt8(octets.readUInt8(at) ^ 1, at);
    const { frames } = scanSegment(octets, MARK);
    assert.deepEqual(
      frames.map(({ id }) => id),
      [FIRST.id, FIRST.id],
    );
  });

  test('even the right mark in an intact body is not looked at', () => {
    const outer = messageFrame(encode(messageFrame('forged')));
    const { octets } = segmentOf([outer, FIRST]);
    assert.deepEqual(
      scanSegment(octets, MARK).frames.map(({ id }) => id),
      [outer.id, FIRST.id],
    );
  });

  test('may not claim any length, kind or id', () => {
    const longest = headerClaiming(FIRST, 0xffff_ffff, 0);
    const large = headerClaiming(FIRST, 0, MAX_BODY_OCTETS + 1);
    const beyond = headerClaiming({ ...FIRST, head: Buffer.alloc(0) }, 1000, 0);
    for (const header of [longest, large, beyond]) {
      const { frames } = scanSegment(Buffer.concat([header, encode(FIRST)]), MARK);
      assert.deepEqual(
        frames.map(({ at }) => at),
        [HEADER_OCTETS],
      );
    }
    assert.equal(decodeHeader(longest, 0, MARK), undefined);
    assert.equal(decodeHeader(large, 0, MARK), undefined);
    const kind = encode(FIRST);
    kind[8] = 200;
    assert.equal(decodeHeader(kind, 0, MARK), undefined);
    const id = encode(FIRST);
    id.write('../../etc/passwd', 12, 'latin1');
    assert.equal(decodeHeader(id, 0, MARK), undefined);
    for (let size = 0; size < HEADER_OCTETS; size++) {
      assert.equal(decodeHeader(encode(FIRST).subarray(0, size), 0, MARK), undefined);
    }
  });
});

describe('a write that was cut short', () => {
  const batch = [messageFrame('a'), messageFrame(Buffer.alloc(300, 'b')), messageFrame('c')];
  const before = encode(FIRST);
  const frames = batch.map((frame) => encode(frame, { durableTo: before.length }));

  test('is not damage, whichever of its frames came to the disk', () => {
    for (let kept = 0; kept < 8; kept++) {
      const parts = frames.map((frame, n) =>
        (kept >> n) & 1 ? frame : Buffer.alloc(frame.length),
      );
      const { frames: found, damages } = scanSegment(Buffer.concat([before, ...parts]), MARK);
      assert.equal(found.length, 1 + ((kept & 1) + ((kept >> 1) & 1) + ((kept >> 2) & 1)));
      assert.ok(damages.every(({ torn }) => torn));
    }
  });

  test('does not leave a message without its body', () => {
    const [, second = Buffer.alloc(0)] = frames;
    const half = Buffer.concat([before, second.subarray(0, second.length - 10)]);
    assert.equal(scanSegment(half, MARK).frames.length, 1);
  });

  test('is damage when a later frame knows that it was whole', () => {
    const last = encode(messageFrame('d'), {
      durableTo: before.length + Buffer.concat(frames).length,
    });
    const octets = Buffer.concat([before, ...frames, last]);
    const at = before.length + (frames[0] as Buffer).length + (frames[1] as Buffer).length - 5;
    octets.writeUInt8(octets.readUInt8(at) ^ 1, at);
    const { frames: found, damages } = scanSegment(octets, MARK);
    assert.deepEqual(
      damages.map(({ torn }) => torn),
      [false],
    );
    // Its envelope is intact: somebody can be told.
    assert.deepEqual(
      found.map(({ bodyIntact }) => bodyIntact),
      [true, true, false, true, true],
    );
  });
});

describe('heads', () => {
  test('that no version of ours wrote are none', () => {
    const envelope = sampleEnvelope();
    const bad: readonly unknown[] = [
      ...[null, 7, 'x', [], {}],
      ...[{ envelope }, { sizeBytes: 1 }, { envelope: null, sizeBytes: 1 }],
      ...[
        { envelope, sizeBytes: 1.5 },
        { envelope, sizeBytes: '1' },
      ],
      { envelope: { ...envelope, recipients: 'all' }, sizeBytes: 1 },
    ];
    for (const head of bad) {
      assert.equal(parseMessageHead(formatHead(head as never)), undefined, JSON.stringify(head));
    }
    assert.equal(parseMessageHead(Buffer.from('{"envelope":')), undefined);
    assert.equal(parseMessageHead(Buffer.alloc(0)), undefined);
  });

  test('pass over records that another version wrote', () => {
    const record = attempt({ atMs: 3 });
    const foreign = [{ kind: 'held', atMs: 1 }, { kind: 'attempt', delivered: [0] }, null, 7, []];
    const mixed = [...foreign, record] as never;
    assert.deepEqual(parseRecords(formatHead(mixed)), [record]);
    const head = { envelope: sampleEnvelope(), sizeBytes: 0, records: mixed };
    assert.deepEqual(parseMessageHead(formatHead(head))?.records, [record]);
    for (const octets of ['', '{}', 'null', '[', '7']) {
      assert.deepEqual(parseRecords(Buffer.from(octets)), []);
    }
  });
});
