/**
 * Delays are told in time, once, over restarts, and whatever the disk refuses; who is delivered in
 * time costs nothing. The spool and the finisher are real, the clock is not.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Envelope } from '../../src/mail/envelope.ts';
import { idTime, type MessageId, newMessageId } from '../../src/mail/message-id.ts';
import { DelayWarnings } from '../../src/outcome/delay-warnings.ts';
import { createFinisher } from '../../src/outcome/finish.ts';
import { type Spool, SpoolError } from '../../src/spool/store.ts';
import type { OutcomeEvents } from '../../src/telemetry/outcome-events.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';
import {
  attempt,
  destinationOf,
  FAILURE,
  octets,
  openSpool,
  RECEIVED_AT,
  recordEvents,
  sampleEnvelope,
  store,
} from './sample-mail.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const retry = {
  schedule: [HOUR],
  lifetime: 120 * HOUR,
  bounceLifetime: 24 * HOUR,
  classes: {},
  domains: [],
};

class Bench {
  readonly dir: TempDir;
  spool: Spool;
  readonly clock = new FakeClock(RECEIVED_AT);
  readonly recorded = recordEvents<OutcomeEvents>();
  afterMs: number | undefined = 4 * HOUR;
  hasRoom = true;
  /** What the ledger holds. */
  queue = new Set<MessageId>();
  readonly read: MessageId[] = [];
  refuse: ((step: 'append' | 'read') => SpoolError | undefined) | undefined;
  warnings: DelayWarnings;

  private constructor(dir: TempDir, spool: Spool) {
    this.dir = dir;
    this.spool = spool;
    this.warnings = this.#process();
  }

  static async open(): Promise<Bench> {
    const dir = tempDir();
    return new Bench(dir, (await openSpool(dir.file('spool'))).spool);
  }

  #process(): DelayWarnings {
    const { clock } = this;
    const { events } = this.recorded;
    const finish = createFinisher({
      ...{ spool: this.spool, clock, destinationOf, events },
      hostname: () => 'relay.example.net',
      beginOwn: (id) => this.spool.begin(id),
      commit: async (draft, envelope) => void (await draft.commit(envelope)),
    });
    const spool: Pick<Spool, 'read' | 'append'> = {
      read: async (id) => {
        this.read.push(id);
        const error = this.refuse?.('read');
        if (error) throw error;
        return this.spool.read(id);
      },
      append: async (id, records) => {
        const error = this.refuse?.('append');
        if (error) throw error;
        return this.spool.append(id, records);
      },
    };
    return new DelayWarnings({
      ...{ spool, clock, destinationOf, events, finish },
      retry: () => retry,
      afterMs: () => this.afterMs,
      queued: () => this.queue,
      hasRoom: () => this.hasRoom,
    });
  }

  /** The process ends, another begins and reads its spool. */
  async restart(): Promise<void> {
    await this.warnings.stop();
    await this.spool.close();
    this.spool = (await openSpool(this.dir.file('spool'))).spool;
    this.warnings = this.#process();
    this.read.length = 0;
    for await (const message of this.spool.list()) this.warnings.recovered(message);
    this.warnings.start();
  }

  /** A message that came now and was put off at once. */
  async queued(change: Partial<Envelope> = {}): Promise<MessageId> {
    const id = newMessageId(this.clock.now());
    const envelope = sampleEnvelope({ id, receivedAtMs: this.clock.now(), ...change });
    await store(this.spool, envelope);
    await this.spool.append(id, [attempt({ deferred: [{ index: 0, failure: FAILURE }] })]);
    this.queue.add(id);
    return id;
  }

  /** Ids of the messages about which somebody was told. */
  get told(): readonly unknown[] {
    return this.recorded.of('dsnQueued').map(([facts]) => (facts as { about: string }).about);
  }

  /** Time passes, and what it brings is done. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= MINUTE) {
      this.clock.advance(Math.min(left, MINUTE));
      await this.settled();
    }
  }

  /** The look under way is over: there is a next one. */
  async settled(): Promise<void> {
    while (this.clock.pending === 0) await nextTurn();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.warnings.stop();
    this.dir.remove();
  }
}

describe('a message that waits', () => {
  test('is told about within a minute of its time, once', async () => {
    await using bench = await Bench.open();
    bench.warnings.start();
    const id = await bench.queued();
    await bench.pass(4 * HOUR - MINUTE);
    assert.deepEqual(bench.told, []);
    assert.deepEqual(bench.read, [], 'before its time it costs nothing');
    await bench.pass(2 * MINUTE);
    assert.deepEqual(bench.told, [id]);
    await bench.pass(6 * HOUR);
    assert.deepEqual(bench.told, [id]);
    assert.deepEqual(bench.read, [id], 'read once');
    const [facts] = bench.recorded.of('dsnQueued')[0] as [{ id: MessageId; delayed: number }];
    assert.equal(facts.delayed, 1);
    const dsn = String(await octets(await bench.spool.openBody(facts.id)));
    assert.match(dsn, /^Action: delayed\r$/m);
    assert.match(dsn, /^Will-Retry-Until: Tue, 20 Jan 2026 12:00:00 \+0000\r$/m);
  });

  test('and is delivered in time is never looked at', async () => {
    await using bench = await Bench.open();
    bench.warnings.start();
    bench.queue.delete(await bench.queued());
    await bench.pass(5 * HOUR);
    assert.deepEqual(bench.read, []);
  });

  test('comes with others: each in its time', async () => {
    await using bench = await Bench.open();
    bench.warnings.start();
    const ids: MessageId[] = [];
    for (let n = 0; n < 30; n++) {
      ids.push(await bench.queued());
      await bench.pass(MINUTE);
    }
    await bench.pass(4 * HOUR - 20 * MINUTE);
    assert.deepEqual(bench.told.slice(0, 10), ids.slice(0, 10));
    assert.ok(bench.told.length <= 12, `${bench.told.length} are told`);
    await bench.pass(21 * MINUTE);
    assert.deepEqual(bench.told, ids);
  });

  test('a short time is kept to within a part of itself', async () => {
    await using bench = await Bench.open();
    bench.afterMs = 10_000;
    bench.warnings.start();
    const id = await bench.queued();
    bench.clock.advance(9_900);
    assert.deepEqual(bench.told, []);
    for (let n = 0; n < 3; n++) {
      await bench.settled();
      bench.clock.advance(500);
    }
    await waitFor('the warning', () => bench.told.length > 0);
    assert.deepEqual(bench.told, [id]);
  });

  test('is not told about with `off`, and all are when that changes', async () => {
    await using bench = await Bench.open();
    bench.afterMs = undefined;
    bench.warnings.start();
    const ids = [await bench.queued(), await bench.queued()].sort();
    await bench.pass(5 * HOUR);
    assert.deepEqual([bench.told, bench.read], [[], []]);
    bench.afterMs = HOUR;
    await bench.pass(2 * MINUTE);
    assert.deepEqual([...bench.told].sort(), ids);
  });

  test('is not told about again when the time changes, or the clock is set back', async () => {
    await using bench = await Bench.open();
    bench.warnings.start();
    const id = await bench.queued();
    await bench.pass(5 * HOUR);
    bench.afterMs = 8 * HOUR;
    await bench.pass(4 * HOUR);
    bench.clock.set(RECEIVED_AT + HOUR);
    bench.afterMs = 2 * HOUR;
    await bench.pass(3 * HOUR);
    assert.deepEqual(bench.told, [id]);
  });

  test('is told about only where NOTIFY allows it', async () => {
    await using bench = await Bench.open();
    bench.warnings.start();
    const recipients = [{ address: 'bob@dest.example', notify: ['FAILURE'] as const }];
    const id = await bench.queued({ recipients });
    await bench.queued({ reversePath: '' });
    await bench.pass(5 * HOUR);
    assert.deepEqual(bench.told, []);
    assert.equal((await bench.spool.read(id))?.records.length, 1, 'nothing is recorded');
  });
});

describe('a restart', () => {
  test('does not tell again, nor read what was told', async () => {
    await using bench = await Bench.open();
    bench.warnings.start();
    await bench.queued();
    await bench.pass(5 * HOUR);
    const young = await bench.queued();
    await bench.restart();
    await bench.pass(HOUR);
    assert.equal(bench.told.length, 1);
    assert.deepEqual(bench.read, []);
    await bench.pass(4 * HOUR);
    assert.deepEqual(bench.told[1], young);
    assert.equal(bench.told.length, 2);
  });

  test('makes up for what fell due meanwhile, after giving it a chance', async () => {
    await using bench = await Bench.open();
    const [id, delivered] = [await bench.queued(), await bench.queued()];
    bench.clock.set(RECEIVED_AT + 6 * HOUR);
    await bench.restart();
    await bench.spool.remove(delivered);
    assert.deepEqual(bench.told, []);
    await bench.pass(MINUTE);
    assert.deepEqual(bench.told, [id]);
  });
});

describe('trouble', () => {
  test('no room: nobody is told until there is some', async () => {
    await using bench = await Bench.open();
    bench.hasRoom = false;
    bench.warnings.start();
    const id = await bench.queued();
    await bench.pass(5 * HOUR);
    assert.deepEqual([bench.told, bench.read], [[], []]);
    bench.hasRoom = true;
    await bench.pass(MINUTE);
    assert.deepEqual(bench.told, [id]);
  });

  test('a disk that does not take the record: it is tried again', async () => {
    await using bench = await Bench.open();
    bench.warnings.start();
    const id = await bench.queued();
    bench.refuse = (step) => (step === 'append' ? new SpoolError('full', 'no room') : undefined);
    await bench.pass(4 * HOUR + 3 * MINUTE);
    assert.deepEqual(bench.told, []);
    assert.ok(bench.recorded.of('dsnDelayed').length > 0);
    bench.refuse = undefined;
    await bench.pass(MINUTE);
    assert.deepEqual(bench.told, [id]);
  });

  test('a message that is gone, or cannot be read, is let go of', async () => {
    await using bench = await Bench.open();
    bench.warnings.start();
    await bench.queued();
    bench.refuse = (step) => (step === 'append' ? new SpoolError('gone', 'gone') : undefined);
    await bench.pass(4 * HOUR + 3 * MINUTE);
    assert.equal(bench.read.length, 1);
    await bench.queued();
    bench.refuse = (step) => (step === 'read' ? new SpoolError('failed', 'EIO') : undefined);
    await bench.pass(4 * HOUR + 3 * MINUTE);
    assert.deepEqual([bench.read.length, bench.told], [2, []]);
  });
});

test('ids can be compared with a time', () => {
  for (const ms of [1, 31, 32, RECEIVED_AT, RECEIVED_AT + 0.5]) {
    const id = newMessageId(Math.floor(ms));
    assert.ok(id >= idTime(ms) && id < idTime(ms + 1) && !(id < idTime(ms - 1)), `${ms}`);
  }
  assert.equal(idTime(-5), idTime(0));
});
