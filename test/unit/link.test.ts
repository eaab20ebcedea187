/**
 * The link between the roles, both ends over a real socket: what is committed arrives octet for
 * octet, errors of the queue cross it as what they are, and nothing is called committed that
 * its owner has not called so.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createServer, type Socket } from 'node:net';
import { describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { serialize } from 'node:v8';
import fc from 'fast-check';
import {
  CHUNK_LIMIT,
  encodeFrame,
  encodeMessage,
  FRAME,
  SMALL_BODY,
} from '../../src/link/frame.ts';
import { LINK_PROTOCOL } from '../../src/link/link-host.ts';
import { NoAnswerError } from '../../src/link/peer.ts';
import type { Envelope } from '../../src/mail/envelope.ts';
import { newMessageId } from '../../src/mail/message-id.ts';
import { QueueAwayError, QueueFullError, type Submit } from '../../src/queue/submit-port.ts';
import { SpoolError } from '../../src/spool/store.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { MemoryQueue } from '../support/front-door.ts';
import { openLink, TestLink } from '../support/link.ts';
import { waitFor } from '../support/wait-for.ts';
import { sampleEnvelope } from './sample-mail.ts';

/** Hand a message over in pieces, as a session does. */
async function submit(queue: Submit, pieces: readonly Buffer[]): Promise<Envelope> {
  const draft = await queue.begin();
  const envelope = sampleEnvelope({ id: draft.id });
  try {
    for (const piece of pieces) await draft.write(piece);
    await queue.commit(draft, envelope);
  } catch (error) {
    await draft.discard();
    throw error;
  }
  return envelope;
}

function cut(body: Buffer, size: number): Buffer[] {
  const count = Math.ceil(body.length / size);
  return Array.from({ length: count }, (_, i) => body.subarray(i * size, (i + 1) * size));
}

/** What the owner's queue has of a message. */
function kept(queue: MemoryQueue, { id }: Envelope) {
  const [draft, ...others] = queue.drafts.entries.filter((one) => one.id === id);
  assert.ok(draft && others.length === 0, `${others.length + 1} drafts of ${id}`);
  return draft;
}

function assertCommitted(queue: MemoryQueue, envelope: Envelope, body: Buffer): void {
  const draft = kept(queue, envelope);
  assert.equal(draft.state, 'committed');
  assert.deepEqual(draft.envelope, envelope);
  assert.ok(Buffer.concat(draft.chunks).equals(body), 'the body is another one');
}

describe('messages', () => {
  test('of every size around the limits arrive as they are', async () => {
    await using link = await openLink();
    const sizes = [0, 1, 4096, CHUNK_LIMIT, SMALL_BODY - 1, SMALL_BODY, SMALL_BODY + 1, 1_000_000];
    for (const size of sizes) {
      const body = randomBytes(size);
      const envelope = await submit(link.remote, cut(body, 10_007));
      assertCommitted(link.queue, envelope, body);
    }
  });

  test('whose octets came one by one arrive as they are', async () => {
    await using link = await openLink();
    const body = randomBytes(SMALL_BODY);
    const envelope = await submit(link.remote, cut(body, 1));
    assertCommitted(link.queue, envelope, body);
  });

  test('one of 5 MiB and 50 small ones at the same time, none in the way of another', async () => {
    await using link = await openLink();
    const large = randomBytes(5 * 1024 * 1024);
    const small = Array.from({ length: 50 }, () => randomBytes(4096));
    let smallDone = 0;
    const largeSent = submit(link.remote, cut(large, 200_000)).then((envelope) => {
      assert.ok(smallDone > 0, 'the small ones waited for the large one');
      return envelope;
    });
    const smallSent = small.map(async (body) => {
      const envelope = await submit(link.remote, cut(body, 1000));
      smallDone += 1;
      return { envelope, body };
    });
    for (const { envelope, body } of await Promise.all(smallSent)) {
      assertCommitted(link.queue, envelope, body);
    }
    assertCommitted(link.queue, await largeSent, large);
  });

  test('in any pieces, many at once', async () => {
    await using link = await openLink();
    const pieces = fc.array(
      fc.integer({ min: 0, max: 70_000 }).map((size) => randomBytes(size)),
      { maxLength: 6 },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(pieces, { minLength: 1, maxLength: 8 }), async (messages) => {
        await Promise.all(
          messages.map(async (message) => {
            const envelope = await submit(link.remote, message);
            assertCommitted(link.queue, envelope, Buffer.concat(message));
          }),
        );
      }),
      { numRuns: 25 },
    );
  });

  test('a large one waits for an owner that writes slowly, with a window of it on its way', async () => {
    let writes = 0;
    const gate = Promise.withResolvers<void>();
    const queue = new MemoryQueue();
    const slow: Submit = {
      async begin(id) {
        const draft = await queue.begin(id);
        const write = async (chunk: Buffer) => {
          writes += 1;
          await gate.promise;
          await draft.write(chunk);
        };
        return { ...draft, write };
      },
      commit: (draft, envelope) => queue.commit(draft, envelope),
    };
    await using link = await openLink({ queue: slow });
    const body = randomBytes(1_000_000);
    let sent = 0;
    const draft = await link.remote.begin();
    const writing = (async () => {
      for (const piece of cut(body, 50_000)) {
        await draft.write(piece);
        sent += piece.length;
      }
    })();
    await waitFor('the first write', () => writes > 0);
    await new Promise((turn) => setTimeout(turn, 50));
    assert.ok(sent <= SMALL_BODY + CHUNK_LIMIT + 50_000, `${sent} octets are under way`);
    gate.resolve();
    await writing;
    const envelope = sampleEnvelope({ id: draft.id });
    await link.remote.commit(draft, envelope);
    assertCommitted(queue, envelope, body);
  });
});

describe('refusals', () => {
  const errors: readonly Error[] = [
    new QueueFullError(7),
    new SpoolError('full', 'no room'),
    new SpoolError('failed', 'a bad disk'),
    new QueueAwayError('about to end'),
    new Error('a bug'),
  ];
  for (const error of errors) {
    for (const size of [100, 300_000]) {
      test(`${error.name} (${error.message}) crosses as what it is, ${size} octets`, async () => {
        await using link = await openLink();
        const expected = { name: error.name, message: error.message };
        link.queue.commitError = error;
        await assert.rejects(submit(link.remote, cut(randomBytes(size), 9000)), expected);
        link.queue.commitError = undefined;
        link.queue.beginError = error;
        await assert.rejects(submit(link.remote, cut(randomBytes(size), 9000)), expected);
        // Now that there was no room, it is asked before any content is taken.
        await assert.rejects(link.remote.begin(), expected);
        link.queue.beginError = undefined;
        await submit(link.remote, [randomBytes(size)]);
        const states = link.queue.states.filter((state) => state !== 'discarded');
        assert.deepEqual(states, ['committed']);
      });
    }
  }

  test('a body that cannot be written', async () => {
    await using link = await openLink();
    link.queue.writeError = new SpoolError('full', 'no room');
    for (const size of [10, 500_000]) {
      await assert.rejects(submit(link.remote, cut(randomBytes(size), 60_000)), /no room/);
    }
    await waitFor('both to be discarded', () => link.queue.states.every((s) => s === 'discarded'));
  });

  test('a message that is given up leaves nothing', async () => {
    await using link = await openLink();
    const draft = await link.remote.begin();
    await draft.write(randomBytes(300_000));
    await draft.discard();
    await draft.discard();
    await link.queue.drafts.until(
      'the discard',
      () => link.queue.states[0] === 'discarded' || undefined,
    );
    await assert.rejects(link.remote.commit(draft, sampleEnvelope({ id: draft.id })));
  });

  test('more than is kept for the owner at once: full, until there is room again', async () => {
    await using link = await openLink();
    const drafts = [];
    const piece = Buffer.alloc(SMALL_BODY);
    for (let i = 0; i < 512; i += 1) {
      const draft = await link.remote.begin();
      await draft.write(piece);
      drafts.push(draft);
    }
    await assert.rejects(submit(link.remote, [Buffer.from('x')]), {
      name: 'SpoolError',
      kind: 'full',
    });
    for (const draft of drafts) await draft.discard();
    await submit(link.remote, [Buffer.from('x')]);
  });

  test('more than the owner takes at once: full, and what was under way is committed', async () => {
    await using link = await openLink();
    const gate = Promise.withResolvers<void>();
    link.queue.hold = gate.promise;
    const sent = Array.from({ length: 2100 }, () => submit(link.remote, [Buffer.from('x')]));
    const fates = Promise.allSettled(sent);
    await waitFor('the last to be refused', () =>
      Promise.race([...sent.slice(2050), 0]).then(
        () => false,
        () => true,
      ),
    );
    gate.resolve();
    const refused = (await fates).filter((fate) => fate.status === 'rejected');
    assert.ok(refused.length >= 50 && refused.length <= 110, `${refused.length} refused`);
    for (const { reason } of refused) assert.equal((reason as SpoolError).kind, 'full');
  });
});

describe('a link that is not there', () => {
  const gone = { name: 'QueueAwayError', message: /the delivering role is not there/ };

  test('refuses, and works when the owner comes', async () => {
    await using link = new TestLink({});
    link.startReceiver();
    await link.until('down');
    await assert.rejects(link.remote.begin(), gone);
    await link.startOwner();
    await link.until('up');
    await submit(link.remote, [Buffer.from('x')]);
  });

  test('breaks: what waits is refused, what is complete is committed all the same', async () => {
    await using link = await openLink();
    const gate = Promise.withResolvers<void>();
    link.queue.hold = gate.promise;
    const whole = assert.rejects(submit(link.remote, [Buffer.from('whole')]), gone);
    await link.queue.drafts.until('the commit', ([draft]) => draft?.chunks[0]);
    const half = await link.remote.begin();
    await half.write(randomBytes(300_000));
    const later = await link.remote.begin();
    await later.write(Buffer.from('later'));
    await link.stopOwner();
    await whole;
    await assert.rejects(half.write(randomBytes(300_000)), gone);
    gate.resolve();
    await waitFor('both ends', () => `${link.queue.states}` === 'committed,discarded');

    // What was still small is not bound to the link that broke.
    await link.startOwner();
    await link.until('up', 2);
    await link.remote.commit(later, sampleEnvelope({ id: later.id }));
    assert.deepEqual(link.queue.states, ['committed', 'discarded', 'committed']);
  });

  test('says nothing for two minutes: refused, and the link goes on', async () => {
    const clock = new FakeClock();
    await using link = await openLink({ clock });
    const gate = Promise.withResolvers<void>();
    link.queue.hold = gate.promise;
    const sent = submit(link.remote, [Buffer.from('x')]);
    const refused = assert.rejects(sent, { name: 'QueueAwayError', message: /does not answer/ });
    await link.queue.drafts.until('the commit', ([draft]) => draft?.chunks[0]);
    for (let i = 0; i < 30; i += 1) clock.advance(5000);
    await refused;
    gate.resolve();
    link.queue.hold = Promise.resolve();
    await submit(link.remote, [Buffer.from('y')]);
  });
});

test('an owner that takes nothing in gets no more than fits into memory, however long that lasts', async () => {
  const clock = new FakeClock();
  await using link = new TestLink({ clock });
  let owner: Socket | undefined;
  const server = createServer((socket) => {
    owner = socket;
    // One word, and then it hangs.
    socket.once('data', () => socket.pause().write(Buffer.concat(encodeFrame(FRAME.room, 1))));
  });
  using _ = {
    [Symbol.dispose]: () => {
      owner?.destroy();
      server.close();
    },
  };
  server.listen(link.path);
  link.startReceiver();
  await link.until('up');
  const piece = Buffer.alloc(SMALL_BODY);
  let handedOver = 0;
  for (let round = 0; round < 4; round += 1) {
    const fates = Array.from({ length: 400 }, () =>
      submit(link.remote, [piece]).then(
        () => assert.fail('nobody has committed it'),
        ({ name, message }: Error) => {
          assert.equal(name, 'QueueAwayError');
          if (/does not answer/.test(message)) handedOver += 1;
        },
      ),
    );
    await setImmediate();
    for (let i = 0; i < 30; i += 1) clock.advance(5000);
    await Promise.all(fates);
  }
  assert.equal(handedOver, 800, 'as many as fit, and what was under way then');
});

describe('who is at the other end', () => {
  test('another relay’s receiving role is sent away, with the reason', async () => {
    await using link = new TestLink({ supervisor: 4711 });
    await link.startOwner();
    link.startReceiver();
    assert.match(await link.until('down'), /delivers here on its own/);
    assert.match(await link.until('away'), new RegExp(`process ${process.pid} delivers`));
    assert.ok(!link.host.isLinked);
  });

  test('a second one is told of the first', async () => {
    await using link = await openLink();
    const socket = link.dial();
    const hello = { protocol: LINK_PROTOCOL, pid: 1, supervisor: 0 };
    socket.write(Buffer.concat(encodeFrame(FRAME.hello, 0, serialize(hello))));
    const [said] = await Promise.all([socket.setEncoding('utf8').toArray(), link.until('linked')]);
    assert.match(said.join(''), new RegExp(`process ${process.pid} is the receiving role already`));
    await submit(link.remote, [Buffer.from('x')]);
  });

  test('an owner of another version says so', async () => {
    await using link = new TestLink({});
    await link.startOwner();
    const socket = link.dial();
    const hello = { protocol: LINK_PROTOCOL + 1, pid: 1, supervisor: 0 };
    socket.write(Buffer.concat(encodeFrame(FRAME.hello, 0, serialize(hello))));
    assert.match(
      (await socket.setEncoding('utf8').toArray()).join(''),
      new RegExp(`speaks version ${LINK_PROTOCOL + 1} of the link`),
    );
  });

  test('whoever does not keep to the protocol is cut off, and the owner goes on', async () => {
    await using link = new TestLink({});
    await link.startOwner();
    const hello = { protocol: LINK_PROTOCOL, pid: 1, supervisor: 0 };
    const greeting = Buffer.concat(encodeFrame(FRAME.hello, 0, serialize(hello)));
    const id = newMessageId(0);
    const begin = Buffer.concat(encodeFrame(FRAME.begin, 1, Buffer.from(id)));
    const chunk = Buffer.concat(encodeFrame(FRAME.chunk, 1, Buffer.alloc(CHUNK_LIMIT)));
    const evil = sampleEnvelope({ id: '../../etc/passwd' as Envelope['id'] });
    const message = encodeMessage(Buffer.from(JSON.stringify(evil)), []);
    const bad: readonly (readonly [string, readonly Buffer[]])[] = [
      ['noise', [Buffer.from('EHLO client.example\r\n')]],
      ['a message before the hello', encodeFrame(FRAME.message, 1, ...message)],
      ['a hello that is none', encodeFrame(FRAME.hello, 0, serialize({ pid: 'x' }))],
      ['a hello that is no value', encodeFrame(FRAME.hello, 0, Buffer.from('x'))],
      ['a frame of the owner', [greeting, ...encodeFrame(FRAME.committed, 1)]],
      ['an id that is a path', [greeting, ...encodeFrame(FRAME.message, 1, ...message)]],
      ['a begin without an id', [greeting, ...encodeFrame(FRAME.begin, 1, Buffer.from('../x'))]],
      ['the same message twice', [greeting, begin, begin]],
      ['more than its window', [greeting, begin, chunk, chunk, chunk, chunk]],
      [
        'an envelope that is none',
        [greeting, begin, ...encodeFrame(FRAME.commit, 1, Buffer.from('[]'))],
      ],
    ];
    link.queue.holdBegin = new Promise(() => {});
    for (const [what, octets] of bad) {
      const socket = link.dial();
      socket.resume().write(Buffer.concat(octets));
      await new Promise<void>((closed) => socket.once('close', closed));
      assert.deepEqual(link.queue.states, [], what);
      await waitFor('the end of the link', () => !link.host.isLinked);
    }
    link.queue.holdBegin = Promise.resolve();
    link.startReceiver();
    await link.until('up');
    await submit(link.remote, [Buffer.from('x')]);
  });
});

describe('requests', () => {
  test('get their answers, in whatever order those come', async () => {
    await using link = await openLink({
      answer: async (request) => {
        const delayMs = typeof request === 'number' ? request : 0;
        await new Promise((resolve) => setTimeout(resolve, delayMs));
        return { request };
      },
    });
    const answers = [30, 1, 15].map((request) => link.host.request(request, 60_000));
    assert.deepEqual(await Promise.all(answers), [
      { request: 30 },
      { request: 1 },
      { request: 15 },
    ]);
  });

  test('fail when nobody is there, answers in time, or stays', async () => {
    await using link = await openLink({ answer: () => new Promise(() => {}) });
    await assert.rejects(link.host.request('x', 20), { message: /did not answer in 0.02 s/ });
    const asked = link.host.request('x', 60_000);
    const gone = assert.rejects(asked, { name: 'NoAnswerError', message: /is gone/ });
    await link.stopOwner();
    await gone;
    await assert.rejects(link.host.request('x', 20), NoAnswerError);
  });

  test('news arrive', async () => {
    await using link = new TestLink({});
    await link.startOwner();
    const client = link.startReceiver();
    client.tell('lost');
    await link.until('up');
    client.tell({ a: 1 });
    assert.equal(await link.until('told'), 'told {"a":1}');
  });
});

test('an owner that drains refuses what is new and finishes what is not', async () => {
  await using link = await openLink();
  const gate = Promise.withResolvers<void>();
  link.queue.hold = gate.promise;
  const sent = submit(link.remote, [Buffer.from('x')]);
  await link.queue.drafts.until('the commit', ([draft]) => draft?.chunks[0]);
  const drained = link.host.drain();
  await assert.rejects(submit(link.remote, [Buffer.from('y')]), {
    name: 'QueueAwayError',
    message: /about to end/,
  });
  gate.resolve();
  await drained;
  await sent;
});
