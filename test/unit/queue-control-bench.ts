/** What administrators do with queued mail, over a spool in memory. */
import assert from 'node:assert/strict';
import type { ClientFacts } from '../../src/mail/envelope.ts';
import type { MessageId } from '../../src/mail/message-id.ts';
import { type AttemptEnd, Attempts } from '../../src/queue/attempts.ts';
import { type HoldRule, HoldRules } from '../../src/queue/hold-rules.ts';
import type { Delivery } from '../../src/queue/lane.ts';
import { Ledger } from '../../src/queue/ledger.ts';
import { QueueControl } from '../../src/queue/queue-control.ts';
import type { RetrySettings } from '../../src/queue/retry-schedule.ts';
import { foldRecords, type SpoolRecord } from '../../src/spool/message-state.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { MemorySpool } from '../support/memory-spool.ts';
import { tempDir } from '../support/temp-dir.ts';
import { destinationOf, sampleEnvelope } from './sample-mail.ts';
import { RETRY } from './story-samples.ts';

export class ControlBench implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly spool = new MemorySpool();
  readonly dir = tempDir();
  readonly crashed: string[] = [];
  /** In force. */
  retry: RetrySettings = RETRY;
  /** What giving up comes to. */
  giveUp: (delivery: Delivery) => Promise<AttemptEnd> = async () => ({ kind: 'closed' });
  /** Appends that the disk does not take. */
  refuses: (id: MessageId) => boolean = () => false;
  rules!: HoldRules;
  ledger!: Ledger;
  attempts!: Attempts;
  control!: QueueControl;

  async open(): Promise<this> {
    const { clock } = this;
    this.rules = await HoldRules.open({
      ...{ file: this.dir.file('holds.json'), clock },
      events: { holdOver: () => {}, holdsUnreadable: () => {} },
      onOver: () => this.control.holds.rulesChanged(),
    });
    this.ledger = new Ledger(undefined, undefined, (delivery, recipients, nowMs) =>
      this.rules.holdOf(delivery.facts(recipients), nowMs),
    );
    const { ledger, spool, rules } = this;
    const dispatcher = { supply: () => {} };
    const events = {
      attemptCrashed: (_: object, error: Error) => void this.crashed.push(error.message),
    };
    this.attempts = new Attempts({ ledger, dispatcher, clock, events, retry: () => this.retry });
    this.control = new QueueControl({
      ...{ ledger, rules, clock, dispatcher, destinationOf, attempts: this.attempts },
      gates: { stateOf: ({ hold }) => (hold ? 'held' : 'due'), isClosed: () => false },
      spool: {
        read: (id) => spool.read(id),
        append: async (id: MessageId, records: readonly SpoolRecord[]) => {
          if (this.refuses(id)) throw new Error('no room');
          await spool.append(id, records);
        },
      },
      giveUp: async (delivery, { onDone }) => {
        const end = await this.giveUp(delivery);
        onDone(1);
        return end;
      },
    });
    return this;
  }

  /** A message to `count` recipients `r0@`, `r1@` and so on. */
  async enter(
    count = 1,
    sender = 'ann@home.example',
    domain = 'dest.example',
    client?: ClientFacts,
  ): Promise<Delivery> {
    const recipients = Array.from({ length: count }, (_, n) => ({ address: `r${n}@${domain}` }));
    const change = {
      ...{ recipients, reversePath: sender, receivedAtMs: this.clock.now() },
      ...(client ? { client } : {}),
    };
    const envelope = sampleEnvelope(change);
    await (await this.spool.begin(envelope.id)).commit(envelope);
    const state = foldRecords(envelope, [], destinationOf);
    const [delivery] = this.ledger.enter(state, this.clock.now());
    assert.ok(delivery);
    return delivery;
  }

  async hold(pattern: HoldRule['pattern'], more: Partial<HoldRule> = {}) {
    const rule = { pattern, reason: '', by: 'ann', since: this.clock.now(), ...more };
    return this.control.holds.add(rule, await this.control.find(pattern));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.control.holds.stop();
    await this.rules.close();
    this.dir[Symbol.dispose]();
  }
}
