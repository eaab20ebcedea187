/**
 * The load of a round: mail over several sessions, fast until the messages of the round are
 * sent, then slowly on until the disturbance is over.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '../support/wait-for.ts';
import type { FloodSource } from './flood.ts';
import { inject } from './injector.ts';

const SESSIONS = 10;
/** So many times the messages of a round are sent at most, however long it lasts. */
const MOST_MESSAGES = 4;
/** The longest wait for messages to be acknowledged; nothing may move just now. */
const MOMENT_MS = 1000;

export interface RoundLoadParts {
  readonly source: FloodSource;
  readonly port: number;
  /** So many messages are sent at least. */
  readonly target: number;
  /** The campaign is. */
  readonly isOver: () => boolean;
}

export class RoundLoad {
  readonly target: number;
  /** Every session has ended. */
  readonly done: Promise<void>;
  readonly #parts: RoundLoadParts;
  #sent = 0;
  #acknowledged = 0;
  #isEnding = false;

  constructor(parts: RoundLoadParts) {
    const { source, port } = parts;
    this.#parts = parts;
    this.target = parts.target;
    this.done = inject({
      ...source,
      port,
      sessions: SESSIONS,
      nextToken: () => {
        this.#sent += 1;
        return source.nextToken();
      },
      pace: () => this.#pace(),
      onAcknowledged: () => {
        this.#acknowledged += 1;
      },
    });
  }

  /** Send what is left of the round's messages, and end. */
  end(): void {
    this.#isEnding = true;
  }

  /** Until so many more were acknowledged, or nothing moves, and a little longer. */
  async moment(count: number): Promise<void> {
    const enough = this.#acknowledged + count;
    const isEnough = () => this.#acknowledged >= enough;
    await waitFor('so many messages', isEnough, MOMENT_MS).catch(() => {});
    await sleep(this.#parts.source.random.below(50));
  }

  #pace(): number | undefined {
    const { source, isOver } = this.#parts;
    if (isOver() || this.#sent >= MOST_MESSAGES * this.target) return undefined;
    if (this.#sent >= this.target && this.#isEnding) return undefined;
    return this.#sent > this.target ? 30 + source.random.below(60) : source.random.below(30);
  }
}
