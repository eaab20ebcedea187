/**
 * Whether a session thread still turns. It is asked every ten seconds, and anything it says is an
 * answer; one that says nothing for a minute is stuck, and all mail that goes through it would
 * wait for it in silence.
 *
 * What counts is how often it was asked in vain: a process that was stopped, or a machine that
 * slept, asks once when it goes on.
 */

const ASK_MS = 10_000;
const MOST_UNANSWERED = 6;

export interface PulseParts {
  readonly ask: () => void;
  /** Told once. */
  readonly stuck: (error: Error) => void;
}

export class Pulse {
  readonly #timer: NodeJS.Timeout;
  #unanswered = 0;

  constructor({ ask, stuck }: PulseParts) {
    this.#timer = setInterval(() => {
      if (this.#unanswered < MOST_UNANSWERED) {
        this.#unanswered += 1;
        ask();
        return;
      }
      this.end();
      stuck(new Error(`it said nothing for ${(ASK_MS * MOST_UNANSWERED) / 1000} s`));
    }, ASK_MS).unref();
  }

  /** It said something. */
  felt(): void {
    this.#unanswered = 0;
  }

  end(): void {
    clearInterval(this.#timer);
  }
}
