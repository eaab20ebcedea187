/**
 * The end of a message: its DSNs are paid once, whatever step the process dies after and
 * whatever the disk refuses, and it is removed only then.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type MessageId, newMessageId } from '../../src/mail/message-id.ts';
import { createFinisher } from '../../src/outcome/finish.ts';
import { foldRecords } from '../../src/spool/message-state.ts';
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
  recordEvents,
  sampleEnvelope,
  store,
} from './sample-mail.ts';

type Step = keyof Spool | 'commit';

/** A real spool with a saboteur in front: `refuse(step)` says whether the call fails. */
class Bench {
  readonly dir: TempDir;
  /** That of the process that lives. */
  spool: Spool;
  readonly clock = new FakeClock();
  readonly recorded = recordEvents<OutcomeEvents>();
  /** Steps in the order they were called. */
  readonly steps: Step[] = [];
  refuse: (step: Step, nth: number) => boolean = () => false;
  readonly queued: MessageId[] = [];
  finish = this.process();

  private constructor(dir: TempDir, spool: Spool) {
    this.dir = dir;
    this.spool = spool;
  }

  static async open(): Promise<Bench> {
    const dir = tempDir();
    const { spool } = await openSpool(dir.file('spool'));
    return new Bench(dir, spool);
  }

  /** A finisher as a process begins with it. */
  process(): (id: MessageId) => Promise<void> {
    const watched = new Proxy({} as Spool, {
      get:
        (_target, name) =>
        async (...args: unknown[]) => {
          this.#step(name as Step);
          const method = this.spool[name as keyof Spool] as (...some: unknown[]) => unknown;
          return method.apply(this.spool, args);
        },
    });
    return createFinisher({
      spool: watched,
      clock: this.clock,
      hostname: () => 'relay.example.net',
      destinationOf,
      events: this.recorded.events,
      beginOwn: (id) => watched.begin(id),
      commit: async (draft, envelope) => {
        this.#step('commit');
        await draft.commit(envelope);
        this.queued.push(envelope.id);
      },
    });
  }

  #step(step: Step): void {
    this.steps.push(step);
    const nth = this.steps.filter((one) => one === step).length;
    if (this.refuse(step, nth)) throw new SpoolError('full', `refused: ${step}`);
  }

  [Symbol.dispose](): void {
    this.dir.remove();
  }
}

const DSN = newMessageId(1);
const BOUNCED = attempt({ bounced: [{ index: 0, failure: FAILURE }], dsnId: DSN });

async function bounced(bench: Bench) {
  const envelope = sampleEnvelope();
  await store(bench.spool, envelope);
  await bench.spool.append(envelope.id, [BOUNCED]);
  return envelope;
}

async function delayed(bench: Bench) {
  const envelope = sampleEnvelope();
  await store(bench.spool, envelope);
  const waiting = [{ destination: 'dest.example', recipients: [0], untilMs: 1e12 }];
  await bench.spool.append(envelope.id, [
    attempt({ deferred: [{ index: 0, failure: FAILURE }], nextAttemptMs: 1 }),
    { kind: 'delay', atMs: 1, waiting, dsnId: DSN },
  ]);
  return envelope;
}

describe('finish', () => {
  test('removes a message when everybody has it', async () => {
    using bench = await Bench.open();
    const envelope = sampleEnvelope();
    await store(bench.spool, envelope);
    await bench.finish(envelope.id);
    assert.ok(await bench.spool.read(envelope.id), 'not before');
    await bench.spool.append(envelope.id, [attempt({ delivered: [0] })]);
    await bench.finish(envelope.id);
    assert.equal(await bench.spool.read(envelope.id), undefined);
    assert.deepEqual(bench.recorded.of('finished'), [[envelope.id]]);
    await bench.finish(envelope.id); // gone already
    assert.equal(bench.clock.pending, 0);
  });

  test('pays the DSN first, through the one door, under the id fixed before', async () => {
    using bench = await Bench.open();
    const { id } = await bounced(bench);
    await bench.finish(id);
    assert.equal(await bench.spool.read(id), undefined);
    const dsn = await bench.spool.read(DSN);
    assert.deepEqual(
      [dsn?.envelope.reversePath, dsn?.envelope.recipients[0]?.address],
      ['', 'ann@sender.example'],
    );
    assert.match(String(await octets(await bench.spool.openBody(DSN))), /550 5\.1\.1 no such user/);
    assert.deepEqual(bench.recorded.of('dsnQueued'), [
      [{ id: DSN, about: id, to: 'ann@sender.example', failed: 1, delayed: 0, relayed: 0 }],
    ]);
  });

  test('pays while others still wait, and keeps the message for them', async () => {
    using bench = await Bench.open();
    const envelope = sampleEnvelope({
      recipients: [{ address: 'a@dest.example' }, { address: 'b@other.example' }],
    });
    await store(bench.spool, envelope);
    await bench.spool.append(envelope.id, [BOUNCED]);
    await bench.finish(envelope.id);
    assert.deepEqual(bench.queued, [DSN]);
    const message = await bench.spool.read(envelope.id);
    assert.ok(message);
    const { unreported, pending } = foldRecords(envelope, message.records, destinationOf);
    assert.deepEqual([unreported, pending.length], [[], 1]);
    await bench.finish(envelope.id);
    assert.deepEqual(bench.queued, [DSN]);
  });

  test('pays for a delay, and keeps the message', async () => {
    using bench = await Bench.open();
    const { id } = await delayed(bench);
    await bench.finish(id);
    await bench.finish(id);
    assert.deepEqual(bench.queued, [DSN]);
    assert.ok(await bench.spool.read(id));
    assert.match(String(await octets(await bench.spool.openBody(DSN))), /^Action: delayed\r$/m);
    assert.deepEqual(bench.recorded.of('dsnQueued'), [
      [{ id: DSN, about: id, to: 'ann@sender.example', failed: 0, delayed: 1, relayed: 0 }],
    ]);
  });

  test('says nothing of a delay that is over when it could be told', async () => {
    using bench = await Bench.open();
    const { id } = await delayed(bench);
    await bench.spool.append(id, [attempt({ delivered: [0] })]);
    await bench.finish(id);
    assert.deepEqual(bench.queued, []);
    assert.equal(await bench.spool.read(id), undefined);
  });

  test('calls for one message go in turn: one DSN', async () => {
    using bench = await Bench.open();
    const { id } = await bounced(bench);
    await Promise.all(Array.from({ length: 5 }, () => bench.finish(id)));
    assert.deepEqual(bench.queued, [DSN]);
    assert.equal(await bench.spool.read(id), undefined);
  });

  test('a DSN is made although the body can no longer be read', async () => {
    using bench = await Bench.open();
    const { id } = await bounced(bench);
    bench.refuse = (step) => step === 'openBody';
    await bench.finish(id);
    assert.deepEqual(bench.queued, [DSN]);
    assert.equal(await bench.spool.read(id), undefined);
  });

  test('whatever refuses: the message stays, and is finished later by itself', async () => {
    const steps: Step[] = ['begin', 'commit', 'append', 'remove', 'read'];
    for (const step of steps) {
      using bench = await Bench.open();
      const { id } = await bounced(bench);
      let refusing = true;
      bench.refuse = (one) => refusing && one === step;
      await bench.finish(id);
      assert.ok(await bench.spool.read(id), `${step}: the message stays`);
      assert.ok(bench.recorded.of('dsnDelayed').length > 0, step);
      assert.equal(bench.clock.nextIn, 10_000);
      await Promise.all([bench.finish(id), bench.finish(id)]);
      assert.equal(bench.clock.pending, 1, 'one timer, however often it was asked for');
      refusing = false;
      bench.clock.advance(10_000);
      await waitFor('the end', async () => (await bench.spool.read(id)) === undefined);
      assert.deepEqual(bench.queued, [DSN], step);
      assert.equal(bench.clock.pending, 0);
    }
  });

  test('a DSN that was delivered before it could be noted is not made again', async () => {
    using bench = await Bench.open();
    const { id } = await bounced(bench);
    bench.refuse = (step) => step === 'append';
    await bench.finish(id);
    assert.deepEqual(bench.queued, [DSN]);
    await bench.spool.remove(DSN); // delivered
    bench.refuse = () => false;
    bench.clock.advance(10_000);
    await waitFor('the end', async () => (await bench.spool.read(id)) === undefined);
    assert.deepEqual(bench.queued, [DSN]);
  });

  test('a death after any step: the next process makes what is missing, never a second DSN', async () => {
    for (let survived = 0; ; survived++) {
      using bench = await Bench.open();
      const { id } = await bounced(bench);
      // From here on the process gets nothing done any more.
      bench.refuse = () => bench.steps.length > survived;
      await bench.finish(id);
      const died = bench.steps.length > survived;
      bench.refuse = () => false;
      bench.spool = (await openSpool(bench.dir.file('spool'))).spool;
      await bench.process()(id);
      assert.deepEqual(bench.queued, [DSN], `after ${survived} steps`);
      assert.equal(await bench.spool.read(id), undefined);
      assert.equal((await bench.spool.read(DSN))?.envelope.id, DSN);
      if (!died) break;
      assert.ok(survived < 20);
    }
  });

  test('a death after any step of a delay: told once, and the message stays', async () => {
    for (let survived = 0; ; survived++) {
      using bench = await Bench.open();
      const { id } = await delayed(bench);
      bench.refuse = () => bench.steps.length > survived;
      await bench.finish(id);
      const died = bench.steps.length > survived;
      bench.refuse = () => false;
      bench.spool = (await openSpool(bench.dir.file('spool'))).spool;
      const next = bench.process();
      await next(id);
      await next(id);
      assert.deepEqual(bench.queued, [DSN], `after ${survived} steps`);
      assert.ok(await bench.spool.read(id));
      if (!died) break;
      assert.ok(survived < 20);
    }
  });

  test('a damaged message is left alone', async () => {
    using bench = await Bench.open();
    const { id } = await bounced(bench);
    bench.refuse = (step) => step === 'read';
    await bench.finish(id);
    await bench.clock.advanceAsync(60_000);
    assert.deepEqual(bench.queued, []);
    assert.ok(await bench.spool.read(id));
  });
});
