/**
 * The content of a message, from the first octet after 354 to the verdict (RFC 5321 §4.1.1.4).
 *
 * Promises: the spool gets our Received field and below it the octets as they came, nothing
 * changed; `accepted` only after the message is on disk, so that a 250 never goes out for less;
 * whatever is refused is still read to its end, so that the session can go on; and a draft
 * that does not become a message is discarded. Memory is bounded: the client is read as fast as
 * the spool writes.
 *
 * 8-bit content without BODY=8BITMIME is taken and recorded as what it is (a deviation from
 * RFC 6152 §3, which lets such a message have no meaning): the clients that send it expect
 * it to arrive, and the next hop has to be told the truth.
 */
import type { Signing } from '../dkim/signer.ts';
import type { Envelope } from '../mail/envelope.ts';
import { ContentScanner } from '../protocol/smtp/content.ts';
import { HeaderScanner } from '../protocol/smtp/header-scan.ts';
import { QueueAwayError, QueueFullError, type Submit } from '../queue/submit-port.ts';
import { type Draft, SpoolError } from '../spool/store.ts';
import { REFUSALS, type Refusal } from './replies.ts';

export interface ReceptionParts {
  readonly draft: Draft;
  /** Our Received field. */
  readonly trace: string;
  readonly limits: { readonly messageSize: number; readonly receivedHops: number };
  readonly submit: Pick<Submit, 'commit'>;
  /** Absent where nothing is signed. */
  readonly signing?: Signing | undefined;
  /** The envelope, completed by what the content is. */
  envelope(content: ContentFacts): Envelope;
}

/** What the content itself says of how it is to be sent. */
export interface ContentFacts {
  readonly eightBit: boolean;
  /** `TLS-Required: No` stands in the header (RFC 8689 §3). */
  readonly tlsRequiredNo: boolean;
  /** Of the header (RFC 5322 §3.6.4), printable; undefined without one. */
  readonly messageId: string | undefined;
  /** To go on top of it (RFC 6376); undefined where it is not signed. */
  readonly signature: string | undefined;
}

export type Verdict =
  | { readonly kind: 'accepted'; readonly envelope: Envelope; readonly sizeBytes: number }
  | { readonly kind: 'refused'; readonly refusal: Refusal; readonly detail?: string };

/** Takes one message. Nothing of it throws. */
export class Reception {
  #sizeBytes = 0;
  readonly #parts: ReceptionParts;
  readonly #scanner = new ContentScanner();
  readonly #header = new HeaderScanner();
  #hasTrace = false;
  #refused: { refusal: Refusal; detail?: string } | undefined;

  constructor(parts: ReceptionParts) {
    this.#parts = parts;
  }

  /** The next octets, dots unstuffed. Resolves when more may come. */
  async take(chunk: Buffer): Promise<void> {
    this.#sizeBytes += chunk.length;
    if (this.#refused) return; // only counts on
    this.#refused = this.#judge(chunk);
    if (this.#refused) return;
    this.#parts.signing?.push(chunk);
    await this.#write(chunk);
  }

  /** The content is complete. */
  async finish(): Promise<Verdict> {
    const { draft, submit } = this.#parts;
    const fault = this.#scanner.end();
    if (fault) this.#refused ??= { refusal: REFUSALS.bareLineEnd, detail: fault };
    if (!this.#refused && !this.#hasTrace) await this.#write();
    if (!this.#refused) {
      const signed = await this.#parts.signing?.end();
      const envelope = this.#parts.envelope({
        eightBit: this.#scanner.sawEightBit,
        ...this.#header.end(),
        signature: signed?.kind === 'signed' ? signed.fields : undefined,
      });
      try {
        await submit.commit(draft, envelope);
        return { kind: 'accepted', envelope, sizeBytes: this.#sizeBytes };
      } catch (error) {
        this.#refused = refusalOf(error);
      }
    }
    await draft.discard();
    return { kind: 'refused', ...this.#refused };
  }

  /** The client went away before the end. */
  async abandon(): Promise<void> {
    await this.#parts.draft.discard();
  }

  /** Our Received field goes first. */
  async #write(chunk?: Buffer): Promise<void> {
    const { draft, trace } = this.#parts;
    try {
      if (!this.#hasTrace) {
        this.#hasTrace = true;
        await draft.write(Buffer.from(trace, 'utf8'));
      }
      if (chunk) await draft.write(chunk);
    } catch (error) {
      this.#refused = refusalOf(error);
    }
  }

  #judge(chunk: Buffer): { refusal: Refusal; detail?: string } | undefined {
    const { messageSize, receivedHops } = this.#parts.limits;
    const fault = this.#scanner.push(chunk);
    if (fault) return { refusal: REFUSALS.bareLineEnd, detail: fault };
    if (this.#sizeBytes > messageSize) return { refusal: REFUSALS.tooLarge };
    this.#header.push(chunk);
    const hops = this.#header.receivedCount;
    if (hops <= receivedHops) return undefined;
    return { refusal: REFUSALS.tooManyHops, detail: `${hops} Received fields` };
  }
}

/** What the client is told about an error of the spool or the queue, and what the log is. */
export function refusalOf(error: unknown): { refusal: Refusal; detail: string } {
  const detail = error instanceof Error ? error.message : String(error);
  if (error instanceof QueueFullError) return { refusal: REFUSALS.queueFull, detail };
  if (error instanceof QueueAwayError) return { refusal: REFUSALS.queueAway, detail };
  if (!(error instanceof SpoolError)) return { refusal: REFUSALS.localError, detail };
  return { refusal: error.kind === 'full' ? REFUSALS.spoolFull : REFUSALS.spoolFailed, detail };
}
