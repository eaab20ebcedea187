/**
 * Tells senders once that their message waits (`retry.delayWarning`; RFC 3461 §5.2.5), whatever it
 * waits for: a schedule with long gaps, a destination that gets no turn, Redis.
 *
 * Now and then (once a minute, more often where the warning comes early) it looks through the
 * ids of the queue. An id tells when its message came, so those whose time has come since the
 * last look are found without a mark, a timer or an entry of their own: a queue of 500,000 costs
 * some milliseconds a look, and a message that is delivered in time costs nothing. Only those
 * found are read; the record with the DSN's id is the mark that outlives a restart.
 *
 * Nobody is told while there is no room for mail, or the queue is at its limit: the warnings
 * would double it. They come when there is room.
 *
 * @NOTE A message whose content takes longer to come in than the warning is never warned about:
 * its time is over when it enters the queue.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { idTime, type MessageId } from '../mail/message-id.ts';
import type { Clock } from '../platform/clock.ts';
import type { RetrySettings } from '../queue/retry-schedule.ts';
import type { DestinationOf } from '../spool/message-state.ts';
import { type Spool, SpoolError, type StoredMessage } from '../spool/store.ts';
import type { OutcomeEvents } from '../telemetry/outcome-events.ts';
import { delayRecord } from './delay-record.ts';

export interface DelayWarningParts {
  readonly spool: Pick<Spool, 'read' | 'append'>;
  readonly clock: Clock;
  readonly destinationOf: DestinationOf;
  readonly events: Pick<OutcomeEvents, 'dsnDelayed'>;
  readonly retry: () => RetrySettings;
  /** How long a message waits before its sender is told, in milliseconds; undefined: never. */
  readonly afterMs: () => number | undefined;
  /** All messages with recipients left, in any order. */
  readonly queued: () => Iterable<MessageId>;
  /** Whether an administrator holds all that is left of one: then its sender is told when it is let go. */
  readonly isHeld?: (id: MessageId) => boolean;
  /** Whether there is room for messages of our own. */
  readonly hasRoom: () => boolean;
  /** Pays the DSN that a record owes. */
  readonly finish: (id: MessageId) => Promise<void>;
}

const LONGEST_PERIOD_MS = 60_000;
const SHORTEST_PERIOD_MS = 50;
/** Looks within the time of a warning: it is late by a part of itself at most. */
const LOOKS = 20;
/** After so long whatever else is to be done gets its turn. */
const TURN_MS = 5;
/** Messages worked on at once, so that they share the spool's syncs. */
const AT_ONCE = 8;

export class DelayWarnings {
  readonly #parts: DelayWarningParts;
  /** Messages that came before were looked at, or are in `#due`; absolute, ms. */
  #lookedAtMs: number | undefined;
  /** Their time has come; those that came first are first. */
  readonly #due = new Set<MessageId>();
  #cancel: () => void = () => {};
  #round: Promise<void> = Promise.resolve();
  #isStopped = false;

  constructor(parts: DelayWarningParts) {
    this.#parts = parts;
  }

  /** One of the messages found at the start: what is owed about it is known without reading it again. */
  recovered(message: Pick<StoredMessage, 'envelope' | 'records'>): void {
    const { clock, afterMs, retry, destinationOf } = this.#parts;
    const nowMs = clock.now();
    if (this.#lookedAtMs === undefined) {
      const delayMs = afterMs();
      if (delayMs === undefined) return;
      this.#lookedAtMs = nowMs - delayMs;
    }
    const { id } = message.envelope;
    if (id >= idTime(this.#lookedAtMs)) return;
    if (delayRecord(message, { nowMs, retry: retry(), destinationOf })) this.#due.add(id);
  }

  /** Begin to look; the first time after a while, when what is due after a start was tried. */
  start(): void {
    if (this.#isStopped) return;
    const delayMs = this.#parts.afterMs() ?? LONGEST_PERIOD_MS * LOOKS;
    const periodMs = Math.min(LONGEST_PERIOD_MS, Math.max(SHORTEST_PERIOD_MS, delayMs / LOOKS));
    this.#cancel = this.#parts.clock.after(periodMs, () => {
      this.#round = this.#look().then(() => this.start());
    });
  }

  /** Look no more; what is under way comes to its end. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancel();
    await this.#round;
  }

  async #look(): Promise<void> {
    const delayMs = this.#parts.afterMs();
    if (delayMs === undefined) return;
    await this.#findDue(this.#parts.clock.now() - delayMs);
    const ids = this.#due.values();
    await Promise.all(Array.from({ length: AT_ONCE }, () => this.#warnAbout(ids)));
  }

  /**
   * Those who came before `beforeMs` and after the last look. Where the clock was set back, or the
   * warning was put off, some are found twice: their record tells.
   */
  async #findDue(beforeMs: number): Promise<void> {
    const from = idTime(this.#lookedAtMs ?? 0);
    const before = idTime(beforeMs);
    this.#lookedAtMs = beforeMs;
    if (from >= before) return;
    let turnBeganAtMs = performance.now();
    let seen = 0;
    for (const id of this.#parts.queued()) {
      if (id < before && id >= from) this.#due.add(id);
      if (++seen % 1024 > 0 || performance.now() - turnBeganAtMs < TURN_MS) continue;
      await nextTurn();
      turnBeganAtMs = performance.now();
    }
  }

  async #warnAbout(ids: Iterator<MessageId>): Promise<void> {
    for (let next = ids.next(); !next.done; next = ids.next()) {
      if (this.#isStopped || !this.#parts.hasRoom()) return;
      if (this.#parts.isHeld?.(next.value)) continue;
      if (await this.#warn(next.value)) this.#due.delete(next.value);
    }
  }

  /** False when it has to be done again. */
  async #warn(id: MessageId): Promise<boolean> {
    const { spool, clock, retry, destinationOf, events, finish } = this.#parts;
    // One that cannot be read: the spool told about it.
    const message = await spool.read(id).catch(() => undefined);
    if (!message) return true;
    const record = delayRecord(message, { nowMs: clock.now(), retry: retry(), destinationOf });
    if (!record) return true;
    try {
      await spool.append(id, [record]);
    } catch (error) {
      if (error instanceof SpoolError && error.kind === 'gone') return true;
      events.dsnDelayed(id, error as Error);
      return false;
    }
    await finish(id);
    return true;
  }
}
