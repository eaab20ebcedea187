/**
 * Counts the Received fields at the top of a message while it streams by: a message that has
 * many is going round in circles (RFC 5321 §6.3). Looks at field names only; the header
 * ends at the first empty line, and a folded line is no field (RFC 5322 §2.2.3).
 *
 * Keeps a few numbers, never text, so a header without end costs no memory. Content is judged
 * by content.ts: here an LF ends a line, with or without CR.
 */

const LF = 0x0a;
const CR = 0x0d;
const HTAB = 0x09;
const SPACE = 0x20;
const COLON = 0x3a;
/** Turns an ASCII capital into its small letter; other octets never become a letter of the name by it. */
const TO_LOWER = 0x20;

const RECEIVED = Buffer.from('received', 'latin1');
/** Value of `#matched` in a line that is not, or no longer, of interest. */
const REST_OF_LINE = -1;

export class HeaderScanner {
  #received = 0;
  #ended = false;
  /** Octets of the current line that agree with the field name. */
  #matched = 0;
  #lineIsEmpty = true;

  /** Received fields seen so far. */
  get receivedCount(): number {
    return this.#received;
  }

  /** Whether the empty line after the header has been seen; further chunks change nothing. */
  get headerEnded(): boolean {
    return this.#ended;
  }

  /** Take the next octets of the message. */
  push(chunk: Buffer): void {
    for (let at = 0; at < chunk.length && !this.#ended; at++) {
      if (this.#matched === REST_OF_LINE) {
        at = chunk.indexOf(LF, at);
        if (at < 0) return;
      }
      this.#take(chunk[at] as number);
    }
  }

  #take(octet: number): void {
    if (octet === LF) {
      this.#ended = this.#lineIsEmpty;
      this.#matched = 0;
      this.#lineIsEmpty = true;
      return;
    }
    // The CR of CRLF does not fill a line; a field name ends at any.
    if (octet !== CR) this.#lineIsEmpty = false;
    this.#matched = this.#matchName(octet);
  }

  /** `received`, then blanks (obsolete syntax, RFC 5322 §4.5), then the colon. */
  #matchName(octet: number): number {
    if (this.#matched < RECEIVED.length) {
      const agrees = (octet | TO_LOWER) === RECEIVED[this.#matched];
      // An empty line may still come of a CR at its start.
      if (!agrees) return octet === CR && this.#lineIsEmpty ? 0 : REST_OF_LINE;
      return this.#matched + 1;
    }
    if (octet === SPACE || octet === HTAB) return this.#matched;
    if (octet === COLON) this.#received += 1;
    return REST_OF_LINE;
  }
}
