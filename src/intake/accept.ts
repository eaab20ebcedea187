/**
 * The content of a message, from the first octet after 354 to the verdict (RFC 5321 §4.1.1.4).
 *
 * Promises: the spool gets our Received field and below it the octets as they came, nothing
 * changed; `accepted` only after the message is on disk, so that a 250 never goes out for less;
 * whatever is refused is still read to its end, so that the session can go on; and a draft
 * that does not become a message is discarded. Memory is bounded by the buffers of the two
 * streams: the client is read as fast as the spool writes.
 *
 * 8-bit content without BODY=8BITMIME is taken and recorded as what it is (a deviation from
 * RFC 6152 §3, which lets such a message have no meaning): the clients that send it expect
 * it to arrive, and the next hop has to be told the truth.
 */
import type { Envelope } from '../mail/envelope.ts';
import { ContentScanner } from '../protocol/smtp/content.ts';
import { HeaderScanner } from '../protocol/smtp/header-scan.ts';
import { QueueFullError, type Submit } from '../queue/submit-port.ts';
import { type Draft, SpoolError } from '../spool/store.ts';
import { REFUSALS, type Refusal } from './replies.ts';

export interface Reception {
  /** The content, dots unstuffed; throws when the client goes away before its end. */
  readonly content: AsyncIterable<Buffer>;
  readonly draft: Draft;
  /** Our Received field. */
  readonly trace: string;
  readonly limits: { readonly messageSize: number; readonly receivedHops: number };
  readonly submit: Pick<Submit, 'commit'>;
  /** The envelope, completed by what the content is. */
  envelope(content: { readonly eightBit: boolean }): Envelope;
}

export type Verdict =
  | { readonly kind: 'accepted'; readonly envelope: Envelope; readonly sizeBytes: number }
  | { readonly kind: 'refused'; readonly refusal: Refusal; readonly detail?: string }
  /** The client went away before the end of the message. */
  | { readonly kind: 'abandoned' };

/** Receive one message. Never throws. */
export async function receiveMessage(reception: Reception): Promise<Verdict> {
  const { draft, submit } = reception;
  const intake = new DraftWriter(reception);
  try {
    for await (const chunk of reception.content) await intake.take(chunk);
  } catch {
    await draft.discard();
    return { kind: 'abandoned' };
  }
  const refused = await intake.finish();
  if (refused) {
    await draft.discard();
    return { kind: 'refused', ...refused };
  }
  const envelope = reception.envelope({ eightBit: intake.sawEightBit });
  try {
    await submit.commit(draft, envelope);
  } catch (error) {
    await draft.discard();
    return { kind: 'refused', ...refusalOf(error) };
  }
  return { kind: 'accepted', envelope, sizeBytes: intake.sizeBytes };
}

/** What the client is told about an error of the spool or the queue, and what the log is. */
export function refusalOf(error: unknown): { refusal: Refusal; detail: string } {
  const detail = error instanceof Error ? error.message : String(error);
  if (error instanceof QueueFullError) return { refusal: REFUSALS.queueFull, detail };
  if (!(error instanceof SpoolError)) return { refusal: REFUSALS.localError, detail };
  return { refusal: error.kind === 'full' ? REFUSALS.spoolFull : REFUSALS.spoolFailed, detail };
}

/** Writes content to the draft until there is a reason not to; then only counts on. */
class DraftWriter {
  sizeBytes = 0;
  readonly #draft: Draft;
  readonly #limits: Reception['limits'];
  readonly #scanner = new ContentScanner();
  readonly #header = new HeaderScanner();
  /** Goes to the draft with the first octets of the content. */
  #trace: string;
  #refused: { refusal: Refusal; detail?: string } | undefined;

  constructor({ draft, trace, limits }: Reception) {
    this.#draft = draft;
    this.#limits = limits;
    this.#trace = trace;
  }

  get sawEightBit(): boolean {
    return this.#scanner.sawEightBit;
  }

  async take(chunk: Buffer): Promise<void> {
    this.sizeBytes += chunk.length;
    if (this.#refused) return;
    this.#refused = this.#judge(chunk);
    if (!this.#refused) await this.#write(chunk);
  }

  /** The content is complete: why it is refused, if it is. */
  async finish(): Promise<{ refusal: Refusal; detail?: string } | undefined> {
    const fault = this.#scanner.end();
    if (fault) this.#refused ??= { refusal: REFUSALS.bareLineEnd, detail: fault };
    if (!this.#refused && this.#trace !== '') await this.#write(Buffer.alloc(0));
    return this.#refused;
  }

  async #write(chunk: Buffer): Promise<void> {
    const octets =
      this.#trace === '' ? chunk : Buffer.concat([Buffer.from(this.#trace, 'utf8'), chunk]);
    this.#trace = '';
    try {
      await this.#draft.write(octets);
    } catch (error) {
      this.#refused = refusalOf(error);
    }
  }

  #judge(chunk: Buffer): { refusal: Refusal; detail?: string } | undefined {
    const fault = this.#scanner.push(chunk);
    if (fault) return { refusal: REFUSALS.bareLineEnd, detail: fault };
    if (this.sizeBytes > this.#limits.messageSize) return { refusal: REFUSALS.tooLarge };
    this.#header.push(chunk);
    const hops = this.#header.receivedCount;
    if (hops <= this.#limits.receivedHops) return undefined;
    return { refusal: REFUSALS.tooManyHops, detail: `${hops} Received fields` };
  }
}
