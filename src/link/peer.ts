/**
 * The receiving role that is connected, as the owner of the spool sees it: its messages, its
 * news, and the requests that it has not answered yet.
 */
import type { Clock } from '../platform/clock.ts';
import { type LinkConnection, readValue } from './connection.ts';
import { FRAME, type Frame, FrameError } from './frame.ts';
import type { MessageIntake } from './message-intake.ts';

/** The other role is not there, or does not answer. */
export class NoAnswerError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'NoAnswerError';
  }
}

export interface PeerParts {
  readonly link: LinkConnection;
  readonly messages: MessageIntake;
  readonly clock: Clock;
  readonly pid: number;
  readonly told: (news: unknown) => void;
}

export class Peer {
  readonly link: LinkConnection;
  readonly messages: MessageIntake;
  readonly pid: number;
  readonly #parts: PeerParts;
  readonly #requests = new Map<number, (answer: { value: unknown } | { error: Error }) => void>();
  #lastId = 0;

  constructor(parts: PeerParts) {
    this.#parts = parts;
    this.link = parts.link;
    this.messages = parts.messages;
    this.pid = parts.pid;
  }

  take(frame: Frame): void {
    if (frame.type === FRAME.answer) {
      const answer = this.#requests.get(frame.id);
      this.#requests.delete(frame.id);
      answer?.({ value: readValue(frame) });
    } else if (frame.type === FRAME.tell) this.#parts.told(readValue(frame));
    else if (frame.type === FRAME.bye) this.link.cut(frame.payload.toString());
    else if (!this.messages.take(frame)) throw new FrameError(`an unexpected frame ${frame.type}`);
  }

  request(value: unknown, timeoutMs: number): Promise<unknown> {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      const cancel = this.#parts.clock.after(timeoutMs, () => {
        this.#requests.delete(id);
        reject(new NoAnswerError(`the receiving role did not answer in ${timeoutMs / 1000} s`));
      });
      this.#requests.set(id, (answer) => {
        cancel();
        if ('error' in answer) reject(answer.error);
        else resolve(answer.value);
      });
      this.link.sendValue(FRAME.request, id, value);
    });
  }

  ended(reason: string): void {
    this.messages.ended();
    for (const answer of this.#requests.values()) {
      answer({ error: new NoAnswerError(`the receiving role is gone: ${reason}`) });
    }
    this.#requests.clear();
  }
}
