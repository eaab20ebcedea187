/** The queue after a start: what the spool holds, and what comes in while that is being read. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MessageId } from '../../src/mail/message-id.ts';
import type { Delivery } from '../../src/queue/lane.ts';
import { Ledger } from '../../src/queue/ledger.ts';
import { Recovery } from '../../src/queue/recovery.ts';
import { type AttemptRecord, foldRecords } from '../../src/spool/message-state.ts';
import type { StoredMessage } from '../../src/spool/store.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { destinationOf, sampleEnvelope } from './sample-mail.ts';

function stored(): StoredMessage {
  return { envelope: sampleEnvelope(), sizeBytes: 10, records: [] };
}

function rig(messages: readonly StoredMessage[]) {
  const ledger = new Ledger();
  const clock = new FakeClock();
  const dispatched: Delivery[] = [];
  const spool = { messageCount: messages.length, listed: 0, list };
  /** Gives the next message when the test says so. */
  let goOn = () => {};
  async function* list(): AsyncIterable<StoredMessage> {
    for (const message of messages) {
      spool.listed += 1;
      yield message;
      await new Promise<void>((resolve) => (goOn = resolve));
    }
  }
  const enter = (state: Parameters<Recovery['enter']>[0]) => {
    const entered = ledger.enter(state, clock.now());
    dispatched.push(...entered);
    return entered;
  };
  const recovery = new Recovery({ spool, ledger, clock, destinationOf, dispatcher: { enter } });
  const come = ({ envelope, records }: StoredMessage) => {
    spool.messageCount += 1;
    recovery.enter(foldRecords(envelope, records, destinationOf));
  };
  return { recovery, ledger, dispatched, spool, come, next: () => goOn() };
}

async function turns(): Promise<void> {
  for (let n = 0; n < 3; n++) await new Promise((resolve) => setImmediate(resolve));
}

test('mail that comes in while the queue is read is entered behind it, once', async () => {
  const before = [stored(), stored(), stored()];
  const one = rig(before);
  const running = one.recovery.run(async () => {});
  await turns();
  const late = stored();
  one.come(late);
  one.come(before[1] ?? assert.fail()); // it stands in the list, too
  assert.equal(one.dispatched.length, 0, 'nothing is delivered before all is read');
  assert.equal(one.recovery.queuedMessages, 5, 'what is not read yet counts');
  for (const _ of before) {
    one.next();
    await turns();
  }
  assert.equal(await running, 3);
  assert.deepEqual(
    one.dispatched.map(({ id }) => id),
    [late.envelope.id],
  );
  assert.equal(one.ledger.messageCount, 4);
  assert.equal(one.recovery.queuedMessages, 4);
  const after = stored();
  one.come(after);
  assert.equal(one.dispatched.at(-1)?.id, after.envelope.id);
});

test('what was about to end is ended before anything is delivered', async () => {
  const done = stored();
  const delivered: AttemptRecord = {
    ...{ kind: 'attempt', atMs: 1, destination: 'dest.example' },
    ...{ delivered: [0], relayed: [], bounced: [], deferred: [] },
  };
  const one = rig([{ ...done, records: [delivered] }]);
  const finished: MessageId[] = [];
  const running = one.recovery.run(async (id) => {
    finished.push(id);
    assert.equal(one.dispatched.length, 0);
  });
  await turns();
  one.come(stored());
  one.next();
  await running;
  assert.deepEqual(finished, [done.envelope.id]);
  assert.equal(one.dispatched.length, 1);
});
