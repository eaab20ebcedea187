/** The one door in: on disk, then in the ledger, then queued; and who is let in when it is full. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type MessageId, newMessageId } from '../../src/mail/message-id.ts';
import { type Disk, systemDisk } from '../../src/platform/disk.ts';
import type { Delivery } from '../../src/queue/lane.ts';
import { Ledger } from '../../src/queue/ledger.ts';
import { createSubmit } from '../../src/queue/submit.ts';
import { QueueFullError } from '../../src/queue/submit-port.ts';
import { SpoolError } from '../../src/spool/store.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { MemoryDisk } from '../support/memory-disk.ts';
import { tempDir } from '../support/temp-dir.ts';
import { destinationOf, fill, openSpool, sampleEnvelope } from './sample-mail.ts';

async function bench(limit = 100, disk: Disk = systemDisk) {
  const dir = tempDir();
  const { spool } = await openSpool(dir.file('spool'), () => 0, { disk });
  const ledger = new Ledger();
  const queued: Delivery[] = [];
  const clock = new FakeClock();
  const submit = createSubmit({
    spool,
    clock,
    destinationOf,
    enter: (state) => queued.push(...ledger.enter(state, clock.now())),
    queuedMessages: () => ledger.messageCount,
    mostMessages: () => limit,
  });
  return { submit, ledger, queued, spool, clock, dir, [Symbol.dispose]: () => dir.remove() };
}

describe('submit', () => {
  test('a message is safe when commit returns, and Redis is not waited for', async () => {
    using one = await bench();
    const draft = await one.submit.begin();
    await fill(draft, 'Subject: x\r\n\r\n');
    const recipients = ['a@dest.example', 'b@other.example', 'c@dest.example', 'nowhere'];
    const envelope = sampleEnvelope({
      id: draft.id,
      recipients: recipients.map((address) => ({ address })),
    });
    await one.submit.commit(draft, envelope);
    assert.deepEqual((await one.spool.read(draft.id))?.envelope, envelope);
    assert.deepEqual(
      one.queued.map(({ destination }) => destination),
      ['dest.example', 'other.example', ''],
    );
    assert.equal(one.ledger.messageCount, 1);
  });

  test('ids follow the clock', async () => {
    using one = await bench();
    const early = await one.submit.begin();
    one.clock.advance(60_000);
    const late = await one.submit.begin();
    assert.ok(early.id < late.id);
    await Promise.all([early.discard(), late.discard()]);
  });

  test('a queue that is full takes no client’s message, but our own', async () => {
    using one = await bench(1);
    const draft = await one.submit.begin();
    await one.submit.commit(draft, sampleEnvelope({ id: draft.id }));
    await assert.rejects(one.submit.begin(), QueueFullError);
    const id = newMessageId(1);
    const own = await one.submit.beginOwn(id);
    await one.submit.commit(own, sampleEnvelope({ id }));
    assert.equal(one.ledger.messageCount, 2);
    assert.equal(own.id, id);
  });

  test('a message of our own is recorded between disk and queue, and queued in any case', async () => {
    using one = await bench(0);
    const seen: unknown[] = [];
    const queue = (id: MessageId, recorded: () => Promise<void>) =>
      one.submit.queueOwn(sampleEnvelope({ id }), Buffer.from('Subject: x\r\n\r\n'), recorded);
    const first = newMessageId(1);
    await queue(first, async () => {
      seen.push((await one.spool.read(first))?.envelope.id, one.ledger.messageCount);
    });
    assert.deepEqual([...seen, one.ledger.messageCount], [first, 0, 1]);
    await queue(newMessageId(2), () => Promise.reject(new Error('the disk is full')));
    assert.equal(one.ledger.messageCount, 2);
  });

  test('what could not be stored is not queued', async () => {
    const disk = new MemoryDisk();
    using one = await bench(100, disk);
    const draft = await one.submit.begin();
    await fill(draft, 'Subject: x\r\n\r\n');
    disk.failure = (call) => (call === 'sync' ? 'EIO' : undefined);
    await assert.rejects(one.submit.commit(draft, sampleEnvelope({ id: draft.id })), SpoolError);
    await draft.discard();
    disk.failure = () => undefined;
    assert.deepEqual([one.queued, one.ledger.messageCount], [[], 0]);
    assert.equal(await one.spool.read(draft.id), undefined);
    const next = await one.submit.begin();
    await one.submit.commit(next, sampleEnvelope({ id: next.id }));
    assert.deepEqual(
      one.queued.map(({ id }) => id),
      [next.id],
    );
  });
});
