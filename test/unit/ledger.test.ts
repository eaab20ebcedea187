/** The ledger: what is to be delivered, attempted once at a time, and counted. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { newMessageId } from '../../src/mail/message-id.ts';
import { deliveryKey, Ledger } from '../../src/queue/ledger.ts';
import { foldRecords, type SpoolRecord } from '../../src/spool/message-state.ts';
import { attempt, destinationOf, FAILURE, RECEIVED_AT, sampleEnvelope } from './sample-mail.ts';

const envelope = sampleEnvelope({
  recipients: [{ address: 'a@dest.example' }, { address: 'b@other.example' }],
});
const { id } = envelope;
const [KEY, OTHER_KEY] = [deliveryKey(id, 'dest.example'), deliveryKey(id, 'other.example')];

function enter(ledger: Ledger, ...records: SpoolRecord[]) {
  return ledger.enter(foldRecords(envelope, records, destinationOf));
}

describe('deliveryKey', () => {
  test('names message and destination, without the colon that BullMQ keeps for itself', () => {
    assert.equal(deliveryKey(id, 'dest.example'), `${id}/dest.example`);
    assert.equal(deliveryKey(id, '[IPv6:2001:db8::1]'), `${id}/[IPv6_2001_db8__1]`);
    assert.equal(deliveryKey(id, ''), `${id}/`);
  });
});

describe('the ledger', () => {
  test('enters what is pending, once', () => {
    const ledger = new Ledger();
    assert.deepEqual(
      enter(ledger).map(({ key }) => key),
      [KEY, OTHER_KEY],
    );
    assert.deepEqual(enter(ledger), []);
    assert.equal(ledger.messageCount, 1);
    assert.deepEqual(ledger.get(KEY), {
      key: KEY,
      id,
      destination: 'dest.example',
      receivedAtMs: RECEIVED_AT,
      attempts: 0,
      nextAttemptMs: RECEIVED_AT,
      inFlight: false,
    });
  });

  test('takes attempts made and the next time from the spool', () => {
    const ledger = new Ledger();
    const deferred = attempt({ deferred: [{ index: 0, failure: FAILURE }], nextAttemptMs: 77 });
    const delivered = attempt({ destination: 'other.example', delivered: [1] });
    const [entry, ...more] = enter(ledger, deferred, delivered);
    assert.deepEqual([entry?.attempts, entry?.nextAttemptMs, more.length], [1, 77, 0]);
  });

  test('gives a delivery to one attempt at a time', () => {
    const ledger = new Ledger();
    enter(ledger);
    assert.equal(ledger.claim(KEY)?.key, KEY);
    assert.equal(ledger.claim(KEY), undefined);
    assert.equal(ledger.claim(OTHER_KEY)?.key, OTHER_KEY);
    ledger.postpone(KEY, 99);
    assert.deepEqual([ledger.get(KEY)?.attempts, ledger.get(KEY)?.nextAttemptMs], [1, 99]);
    assert.equal(ledger.claim(KEY)?.key, KEY);
    assert.equal(ledger.claim(deliveryKey(newMessageId(1), 'x.example')), undefined);
  });

  test('a delivery that is released was not attempted, and waits', () => {
    const ledger = new Ledger();
    enter(ledger);
    ledger.claim(KEY);
    ledger.release(KEY, RECEIVED_AT + 5000);
    const entry = ledger.get(KEY);
    assert.deepEqual(
      [entry?.inFlight, entry?.attempts, entry?.nextAttemptMs],
      [false, 0, RECEIVED_AT + 5000],
    );
    ledger.release(KEY, RECEIVED_AT);
    assert.equal(entry?.nextAttemptMs, RECEIVED_AT + 5000, 'never earlier than planned');
  });

  test('forgets what is closed, and the message with its last delivery', () => {
    const ledger = new Ledger();
    enter(ledger);
    ledger.close(KEY);
    ledger.close(KEY);
    assert.equal(ledger.get(KEY), undefined);
    assert.equal(ledger.messageCount, 1);
    ledger.close(OTHER_KEY);
    assert.equal(ledger.messageCount, 0);
    assert.deepEqual([...ledger.entries()], []);
    for (const act of [() => ledger.postpone(KEY, 1), () => ledger.release(KEY, 1)]) act();
    assert.equal(ledger.get(KEY), undefined);
  });

  test('counts messages, not deliveries', () => {
    const ledger = new Ledger();
    enter(ledger);
    ledger.enter(foldRecords(sampleEnvelope(), [], destinationOf));
    assert.equal(ledger.messageCount, 2);
  });

  test('sums up what is in flight, due, delayed and overdue', () => {
    const ledger = new Ledger();
    const times = [0, 1000, 61_000, 120_000, -1, -5000];
    const now = RECEIVED_AT + 200_000;
    for (const due of times) {
      const one = sampleEnvelope({ receivedAtMs: now - due });
      ledger.enter(foldRecords(one, [], destinationOf));
    }
    enter(ledger);
    ledger.claim(KEY);
    ledger.close(OTHER_KEY);
    assert.deepEqual(ledger.summary(now), {
      inFlight: 1,
      due: 4,
      delayed: 2,
      overdue: 2,
      oldestDueSeconds: 120,
    });
    assert.deepEqual(new Ledger().summary(now), {
      inFlight: 0,
      due: 0,
      delayed: 0,
      overdue: 0,
      oldestDueSeconds: 0,
    });
  });
});
