/** The one door in: on disk, then in the ledger, then queued; and who is let in when it is full. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { newMessageId } from '../../src/mail/message-id.ts';
import { Ledger, type LedgerEntry } from '../../src/queue/ledger.ts';
import type { Reconciler } from '../../src/queue/reconciler.ts';
import { createSubmit } from '../../src/queue/submit.ts';
import { QueueFullError } from '../../src/queue/submit-port.ts';
import { SpoolError } from '../../src/spool/store.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { tempDir } from '../support/temp-dir.ts';
import { destinationOf, filesBelow, fill, openSpool, sampleEnvelope } from './sample-mail.ts';

async function bench(limit = 100) {
  const dir = tempDir();
  const { spool } = await openSpool(dir.file('spool'));
  const ledger = new Ledger();
  const queued: LedgerEntry[] = [];
  const reconciler = {
    enter: async (entries: readonly LedgerEntry[]) => {
      queued.push(...entries);
      await new Promise(() => {}); // Redis hangs
    },
  } as unknown as Reconciler;
  const clock = new FakeClock();
  const submit = createSubmit({
    spool,
    ledger,
    reconciler,
    clock,
    destinationOf,
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
    assert.deepEqual([...one.ledger.entries()], one.queued);
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

  test('what could not be stored is not queued', async () => {
    using one = await bench();
    const draft = await one.submit.begin();
    draft.body.on('error', () => {});
    draft.body.destroy(new Error('the client went away'));
    await assert.rejects(one.submit.commit(draft, sampleEnvelope({ id: draft.id })), SpoolError);
    await draft.discard();
    assert.deepEqual([one.queued, one.ledger.messageCount], [[], 0]);
    assert.deepEqual(filesBelow(one.dir.file('spool')), []);
  });
});
