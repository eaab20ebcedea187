/**
 * The wire of the link between the roles: frames survive being cut anywhere, and what is no
 * frame is an error before memory is spent on it.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  CHUNK_LIMIT,
  decodeMessage,
  encodeFrame,
  encodeMessage,
  FRAME,
  type Frame,
  FrameError,
  FrameReader,
  type FrameType,
  MAX_ID,
  SMALL_BODY,
} from '../../src/link/frame.ts';

/** Types that take a payload of any kind. */
const TYPES: readonly FrameType[] = [FRAME.message, FRAME.chunk, FRAME.commit, FRAME.answer];

const frames = fc.array(
  fc.record(
    {
      type: fc.constantFrom(...TYPES),
      id: fc.integer({ min: 0, max: MAX_ID }),
      payload: fc.uint8Array({ maxLength: 300 }).map((octets) => Buffer.from(octets)),
    },
    { noNullPrototype: true },
  ),
  { maxLength: 12 },
);

/** The octets, cut at `cuts` (positions modulo the length). */
function cutUp(octets: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [...cuts.map((cut) => cut % (octets.length + 1)), octets.length];
  places.sort((a, b) => a - b);
  return places.map((end, i) => octets.subarray(places[i - 1] ?? 0, end));
}

function readAll(pieces: readonly Buffer[]): Frame[] {
  const reader = new FrameReader();
  return pieces.flatMap((piece) => reader.push(piece));
}

function header(length: number, type: number): Buffer {
  const octets = Buffer.alloc(9);
  octets.writeUInt32BE(length, 0);
  octets[4] = type;
  return octets;
}

describe('frames', () => {
  test('arrive as they were sent, wherever the stream is cut', () => {
    fc.assert(
      fc.property(frames, fc.array(fc.nat(5000), { maxLength: 20 }), (sent, cuts) => {
        const octets = Buffer.concat(
          sent.flatMap(({ type, id, payload }) => encodeFrame(type, id, payload)),
        );
        assert.deepEqual(readAll(cutUp(octets, cuts)), sent);
      }),
    );
  });

  test('arrive octet by octet', () => {
    const octets = Buffer.concat([
      ...encodeFrame(FRAME.committed, 7),
      ...encodeFrame(FRAME.chunk, MAX_ID, Buffer.from('ab'), Buffer.from('c')),
    ]);
    const pieces = Array.from(octets, (octet) => Buffer.of(octet));
    assert.deepEqual(
      readAll(pieces).map(({ id, payload }) => [id, payload.toString()]),
      [
        [7, ''],
        [MAX_ID, 'abc'],
      ],
    );
  });

  test('what is none is an error at its header', () => {
    const bad: readonly (readonly [Buffer, RegExp])[] = [
      [header(4, FRAME.committed), /shorter than its header/],
      [header(0, FRAME.chunk), /shorter than its header/],
      [header(0xffff_ffff, FRAME.chunk), /4294967290 octets; 65536 is its limit/],
      [header(CHUNK_LIMIT + 6, FRAME.chunk), /limit/],
      [header(6, FRAME.committed), /limit/],
      [header(0xffff_ffff, FRAME.message), /limit/],
      [header(5, 0), /unknown type 0/],
      [header(5, 255), /unknown type 255/],
    ];
    for (const [octets, problem] of bad) {
      assert.throws(() => readAll([octets]), { name: 'FrameError', message: problem });
      const behindAGoodOne = [...encodeFrame(FRAME.discard, 1), octets];
      assert.throws(() => readAll([Buffer.concat(behindAGoodOne)]), { message: problem });
    }
  });

  test('noise gives frames or a FrameError, never anything else', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 10 }), (pieces) => {
        try {
          readAll(pieces.map((piece) => Buffer.from(piece)));
        } catch (error) {
          assert.ok(error instanceof FrameError);
        }
      }),
    );
  });

  test('too large ones are not sent', () => {
    assert.throws(() => encodeFrame(FRAME.chunk, 1, Buffer.alloc(CHUNK_LIMIT + 1)), FrameError);
    assert.equal(encodeFrame(FRAME.chunk, 1, Buffer.alloc(CHUNK_LIMIT)).length, 2);
  });
});

describe('whole messages', () => {
  test('envelope and body come apart again', () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.array(fc.uint8Array(), { maxLength: 4 }), (one, parts) => {
        const body = parts.map((part) => Buffer.from(part));
        const payload = Buffer.concat(encodeMessage(Buffer.from(one), body));
        const decoded = decodeMessage(payload);
        assert.deepEqual(decoded.envelope, Buffer.from(one));
        assert.deepEqual(decoded.body, Buffer.concat(body));
      }),
    );
  });

  test('lengths that lie are errors', () => {
    const long = Buffer.concat(encodeMessage(Buffer.from('{}'), [Buffer.alloc(SMALL_BODY + 1)]));
    for (const payload of [
      Buffer.alloc(0),
      Buffer.alloc(3),
      Buffer.from('ffffffff', 'hex'),
      long,
    ]) {
      assert.throws(() => decodeMessage(payload), FrameError);
    }
  });
});
