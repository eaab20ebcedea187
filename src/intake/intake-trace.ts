/**
 * When a message that is being taken came how far, for its trace: told when it is on disk, for before that it is no
 * message. Absent where nothing is traced.
 */
import type { Envelope } from '../mail/envelope.ts';
import { wallMs } from '../platform/wall-time.ts';
import type { Submit } from '../queue/submit-port.ts';
import { type IntakePlace, receiveSpan } from '../telemetry/traces/message-spans.ts';
import type { Traces } from '../telemetry/traces/open-traces.ts';

export class IntakeTrace {
  readonly #traces: Traces;
  readonly #mailMs = wallMs();
  #contentMs = this.#mailMs;
  #commitMs = this.#mailMs;
  #committedMs = this.#mailMs;

  /** MAIL was accepted. */
  constructor(traces: Traces) {
    this.#traces = traces;
  }

  /** 354 is said. */
  contentBegins(): void {
    this.#contentMs = wallMs();
  }

  /** `submit`, with an eye on the clock. */
  watched({ commit }: Pick<Submit, 'commit'>): Pick<Submit, 'commit'> {
    return {
      commit: async (draft, envelope) => {
        this.#commitMs = wallMs();
        await commit(draft, envelope);
        this.#committedMs = wallMs();
      },
    };
  }

  accepted(envelope: Envelope, sizeBytes: number, place: IntakePlace): void {
    const times = {
      mailMs: this.#mailMs,
      contentMs: this.#contentMs,
      commitMs: this.#commitMs,
      committedMs: this.#committedMs,
    };
    this.#traces.of(envelope.id)?.begin(receiveSpan(envelope, sizeBytes, { ...place, times }));
  }
}
