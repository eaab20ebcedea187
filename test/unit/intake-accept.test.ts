import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Reception } from '../../src/intake/accept.ts';
import type { Envelope } from '../../src/mail/envelope.ts';
import { QueueFullError } from '../../src/queue/submit-port.ts';
import { SpoolError } from '../../src/spool/store.ts';
import { MemoryQueue } from '../support/front-door.ts';

const TRACE = 'Received: from us\r\n';

interface Run {
  readonly queue?: MemoryQueue;
  readonly messageSize?: number;
  readonly receivedHops?: number;
}

async function receive(chunks: readonly (string | Buffer)[], run: Run = {}) {
  const queue = run.queue ?? new MemoryQueue();
  const draft = await queue.begin();
  let eightBit: boolean | undefined;
  const reception = new Reception({
    draft,
    trace: TRACE,
    limits: { messageSize: run.messageSize ?? 1000, receivedHops: run.receivedHops ?? 3 },
    submit: queue,
    envelope: (facts) => {
      eightBit = facts.eightBit;
      return { id: draft.id } as Envelope;
    },
  });
  for (const chunk of chunks) await reception.take(Buffer.from(chunk as string, 'latin1'));
  const verdict = await reception.finish();
  const reply = verdict.kind === 'refused' ? `${verdict.refusal.code} ${verdict.refusal.text}` : '';
  const stored = Buffer.concat(draft.chunks).toString('latin1');
  return { verdict, reply, stored, state: draft.state, eightBit };
}

test('the octets as they came, below our field', async () => {
  const octets = fc.uint8Array({ maxLength: 400 }).map((bytes) =>
    // Anything but CR, LF and NUL; those in their place are in the table below.
    Buffer.from(bytes.map((octet) => ([0, 10, 13].includes(octet) ? 97 : octet))),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(octets, { maxLength: 5 }), async (chunks) => {
      const { state, stored } = await receive(chunks, { messageSize: 10_000 });
      assert.equal(state, 'committed');
      assert.equal(stored, TRACE + Buffer.concat(chunks).toString('latin1'));
    }),
    { numRuns: 50 },
  );
});

test('8-bit content is recorded as what it is', async () => {
  assert.equal((await receive(['caf\xe9\r\n'])).eightBit, true);
  assert.equal((await receive(['cafe\r\n'])).eightBit, false);
});

describe('smuggling forms, split at every position', () => {
  const forms = [
    'a\r.\rb',
    'a\r.\r\nb',
    'a\r\n.\rb',
    'a\r\r\n.\r\r\nb',
    'a\n.\nb',
    'a\n.\r\nb',
    'a\r\n.\nb',
    'a\r\n\0.\r\nb',
    'a\0b',
    'a\n',
    'a\r',
    '\n',
    '\r',
    '\0',
    'a\n\r\n',
  ];
  for (const form of forms) {
    test(JSON.stringify(form), async () => {
      for (let at = 0; at <= form.length; at += 1) {
        const { reply, state } = await receive([form.slice(0, at), form.slice(at)]);
        assert.equal(reply, '550 5.6.11 Bare CR, bare LF or NUL in the message');
        assert.equal(state, 'discarded');
      }
    });
  }
  test('and the rest is read all the same', async () => {
    const { reply } = await receive(['a\nb', ...Array(50).fill('more\r\n')]);
    assert.match(reply, /^550 5\.6\.11/);
  });
});

describe('limits', () => {
  test('size: to the octet', async () => {
    assert.equal((await receive(['x'.repeat(1000)])).state, 'committed');
    const over = await receive(['x'.repeat(1000), 'x', 'y'.repeat(5000)]);
    assert.equal(over.reply, '552 5.3.4 Message too large');
    assert.equal(over.state, 'discarded');
    assert.ok(over.stored.length <= TRACE.length + 1000, 'no more of it is stored');
  });
  test('hops: our own field does not count', async () => {
    const header = (count: number) => `${'Received: x\r\n'.repeat(count)}Subject: y\r\n\r\n`;
    assert.equal((await receive([header(3)])).state, 'committed');
    assert.match((await receive([header(4)])).reply, /^554 5\.4\.6 /);
    assert.equal((await receive([`${header(1)}${header(9)}`])).state, 'committed', 'body');
  });
});

describe('trouble', () => {
  const rows: [error: Error, reply: RegExp][] = [
    [new SpoolError('full', 'x'), /^452 4\.3\.1 /],
    [new SpoolError('failed', 'x'), /^452 4\.3\.1 /],
    [new QueueFullError(5), /^452 4\.3\.1 /],
    [new Error('a bug'), /^451 4\.3\.0 /],
  ];
  for (const [error, expected] of rows) {
    test(`commit: ${error.name} ${error.message}`, async () => {
      const queue = new MemoryQueue();
      queue.commitError = error;
      const { reply, state } = await receive(['x\r\n'], { queue });
      assert.match(reply, expected);
      assert.equal(state, 'discarded');
    });
  }
  test('the disk fills up in the middle', async () => {
    const queue = new MemoryQueue();
    queue.writeError = new SpoolError('full', 'no space');
    const chunks = Array(100).fill('x'.repeat(500));
    const { verdict, state } = await receive(chunks, { queue, messageSize: 1e6 });
    assert.equal(verdict.kind === 'refused' && verdict.refusal.reason, 'spool-full');
    assert.equal(state, 'discarded');
  });
  test('the client goes away', async () => {
    const queue = new MemoryQueue();
    const draft = await queue.begin();
    const reception = new Reception({
      draft,
      trace: TRACE,
      limits: { messageSize: 1000, receivedHops: 3 },
      submit: queue,
      envelope: () => assert.fail('there is no message'),
    });
    await reception.take(Buffer.from('x'));
    await reception.abandon();
    assert.equal(draft.state, 'discarded');
  });
});
