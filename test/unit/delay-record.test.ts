/** Who is told that a message waits, and about whom (RFC 3461 §4.1, §5.2.5). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Envelope, Notify } from '../../src/mail/envelope.ts';
import { newMessageId } from '../../src/mail/message-id.ts';
import { delayRecord } from '../../src/outcome/delay-record.ts';
import type { SpoolRecord } from '../../src/spool/message-state.ts';
import { attempt, destinationOf, FAILURE, RECEIVED_AT, sampleEnvelope } from './sample-mail.ts';

const HOUR = 3_600_000;
const retry = {
  schedule: [HOUR],
  lifetime: 120 * HOUR,
  bounceLifetime: 24 * HOUR,
  classes: {},
  domains: [{ domain: 'short.example', lifetime: 3 * HOUR }],
};
const deferred = attempt({ deferred: [{ index: 0, failure: FAILURE }], nextAttemptMs: 1 });

function recordOf(
  envelope: Partial<Envelope>,
  records: readonly SpoolRecord[] = [deferred],
  nowMs = RECEIVED_AT + 4 * HOUR,
) {
  const message = { envelope: sampleEnvelope(envelope), records };
  return delayRecord(message, { nowMs, retry, destinationOf });
}

const to = (...notify: readonly (readonly Notify[] | undefined)[]) => ({
  recipients: notify.map((one, n) => ({
    address: `r${n}@dest.example`,
    ...(one ? { notify: one } : {}),
  })),
});

describe('a sender whose message waits', () => {
  const table: readonly (readonly [Notify[] | undefined, boolean])[] = [
    [undefined, true],
    [['DELAY'], true],
    [['FAILURE', 'DELAY'], true],
    [['SUCCESS', 'FAILURE', 'DELAY'], true],
    [['FAILURE'], false],
    [['SUCCESS'], false],
    [['SUCCESS', 'FAILURE'], false],
    [['NEVER'], false],
  ];
  for (const [notify, told] of table) {
    test(`NOTIFY=${notify?.join() ?? '(absent)'}: ${told ? 'is told' : 'is not told'}`, () => {
      assert.equal(recordOf(to(notify)) !== undefined, told);
    });
  }

  test('is told until when it is tried, of each destination', () => {
    const record = recordOf({
      recipients: ['a@dest.example', 'b@other.example', 'c@dest.example'].map((address) => ({
        address,
      })),
    });
    assert.ok(record);
    const { dsnId, ...rest } = record;
    assert.match(dsnId, /^[0-9A-Z]{16}$/);
    const untilMs = RECEIVED_AT + 120 * HOUR;
    assert.deepEqual(rest, {
      kind: 'delay',
      atMs: RECEIVED_AT + 4 * HOUR,
      waiting: [
        { destination: 'dest.example', recipients: [0, 2], untilMs },
        { destination: 'other.example', recipients: [1], untilMs },
      ],
    });
  });

  test('is told of those who wait and ask for it, and of no others', () => {
    const records = [
      attempt({ delivered: [0], bounced: [{ index: 1, failure: FAILURE }] }),
      deferred,
    ];
    const all = to(undefined, undefined, ['NEVER'], ['DELAY'], undefined);
    assert.deepEqual(recordOf(all, records)?.waiting[0]?.recipients, [3, 4]);
  });

  test('is told although nothing was tried yet', () => {
    assert.ok(recordOf({}, []));
  });

  test('is told once', () => {
    const record = recordOf({});
    assert.ok(record);
    assert.equal(recordOf({}, [deferred, record]), undefined);
    const notified = { kind: 'notified', atMs: 1, dsnId: record.dsnId } as const;
    assert.equal(recordOf({}, [deferred, record, notified, deferred]), undefined);
  });

  test('is not told when there is none: the null reverse-path', () => {
    assert.equal(recordOf({ ...to(['DELAY']), reversePath: '' }), undefined);
  });

  test('is not told of what is given up at the next attempt', () => {
    assert.equal(recordOf({}, [deferred], RECEIVED_AT + 120 * HOUR), undefined);
    const recipients = [{ address: 'a@short.example' }, { address: 'b@dest.example' }];
    assert.deepEqual(
      recordOf({ recipients }, [])?.waiting.map(({ destination }) => destination),
      ['dest.example'],
    );
  });

  test('is not told when nobody waits any more', () => {
    assert.equal(recordOf({ id: newMessageId(1) }, [attempt({ delivered: [0] })]), undefined);
  });
});
