/**
 * The queue after a start: every message of the spool is entered in the ledger, and what was about
 * to end is brought to its end, before any is delivered. That takes seconds where there are hundreds
 * of thousands; meanwhile mail is taken, and entered behind them.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { MessageId } from '../mail/message-id.ts';
import type { Clock } from '../platform/clock.ts';
import { type DestinationOf, foldRecords, type MessageState } from '../spool/message-state.ts';
import type { Spool, StoredMessage } from '../spool/store.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Ledger } from './ledger.ts';

export interface RecoveryParts {
  readonly spool: Pick<Spool, 'list' | 'messageCount'>;
  readonly ledger: Ledger;
  readonly dispatcher: Pick<Dispatcher, 'enter'>;
  readonly clock: Clock;
  readonly destinationOf: DestinationOf;
  /** Its times as the settings of today have them. */
  readonly asScheduled?: (state: MessageState) => MessageState;
  /** Told of every message that was there at the start. */
  readonly onRecovered?: (message: StoredMessage) => void;
}

/** After so long whatever else is to be done gets its turn. */
const TURN_MS = 10;

export class Recovery {
  readonly #parts: RecoveryParts;
  /** Came in meanwhile; undefined from the end on. */
  #late: MessageState[] | undefined = [];

  constructor(parts: RecoveryParts) {
    this.#parts = parts;
  }

  /** All that are queued, whether they have been entered yet or not. */
  get queuedMessages(): number {
    const { spool, ledger } = this.#parts;
    return this.#late ? spool.messageCount : ledger.messageCount;
  }

  /** A message was committed. */
  enter(state: MessageState): void {
    if (this.#late) this.#late.push(state);
    else this.#parts.dispatcher.enter(state);
  }

  /** Once. `finish` brings a message to its end whose recipients all have their fate. How many messages there were. */
  async run(finish: (id: MessageId) => Promise<void>): Promise<number> {
    const { spool, ledger, clock, destinationOf, onRecovered } = this.#parts;
    const { asScheduled = (state: MessageState) => state } = this.#parts;
    let messages = 0;
    let turnBeganAtMs = performance.now();
    const ending: MessageId[] = [];
    for await (const message of spool.list()) {
      const { envelope, records } = message;
      const state = foldRecords(envelope, records, destinationOf);
      ledger.recover(asScheduled(state), clock.now());
      if (state.finished || state.unreported.length > 0) ending.push(envelope.id);
      onRecovered?.(message);
      messages++;
      if (performance.now() - turnBeganAtMs < TURN_MS) continue;
      await nextTurn();
      turnBeganAtMs = performance.now();
    }
    // Before any is delivered: a DSN that is gone again would be made twice.
    for (const id of ending) await finish(id);
    const late = this.#late ?? [];
    this.#late = undefined;
    // One that came before the list was begun stands in it, too: the ledger takes it once.
    for (const state of late) this.#parts.dispatcher.enter(state);
    return messages;
  }
}
