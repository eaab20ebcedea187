/**
 * What the header of a message says that matters on the way in, while it streams by: how many
 * Received fields it has, since a message that has many is going round in circles (RFC 5321 §6.3), and
 * whether it asks for less than the policies of its recipients do (`TLS-Required: No`, RFC 8689 §3), and by what
 * name its sender knows it (`Message-ID`, RFC 5322 §3.6.4). The header ends at the first empty line, and a folded line is no field (RFC 5322 §2.2.3).
 *
 * Keeps a few numbers and the start of one field, so a header without end costs no memory. Content is judged
 * by content.ts: here an LF ends a line, with or without CR.
 */

const LF = 0x0a;
const CR = 0x0d;
const HTAB = 0x09;
const SPACE = 0x20;
const COLON = 0x3a;
/** Turns an ASCII capital into its small letter; other octets never become a letter of the names by it. */
const TO_LOWER = 0x20;

const RECEIVED = Buffer.from('received', 'latin1');
const TLS_REQUIRED = Buffer.from('tls-required', 'latin1');
const MESSAGE_ID = Buffer.from('message-id', 'latin1');
const NAMES = [TLS_REQUIRED, MESSAGE_ID];
const HYPHEN = 0x2d;
/** The only value there is, in any case: ABNF has no other strings (RFC 5234 §2.3). */
const NO = Buffer.from('no', 'latin1');
/** Value of `#matched` in a line that is not, or no longer, of interest. */
const REST_OF_LINE = -1;
/** Value of `#matched` in the value of a TLS-Required field. */
const IN_VALUE = -2;
/** Value of `#matched` in the value of the first Message-ID field. */
const IN_MESSAGE_ID = -3;
/** Kept of that, in characters; in UTF-8 (RFC 6532) one has up to four octets. */
const MOST_MESSAGE_ID = 300;
/** Value of `#value` where it cannot become `No` any more. */
const SOMETHING_ELSE = -1;

export class HeaderScanner {
  #received = 0;
  #ended = false;
  /** Octets of the current line that agree with the name that it began with. */
  #matched = 0;
  #name = RECEIVED;
  #hasBlank = false;
  #lineIsEmpty = true;
  /** TLS-Required fields, and those of them that say No. */
  #tlsRequired = 0;
  #tlsRequiredNo = 0;
  /** Of the TLS-Required field that may still go on: octets that agree with `No`. */
  #value: number | undefined;
  /** Of the first Message-ID field, octet by octet; it may go on while that is the current one. */
  #messageId: number[] | undefined;
  #isMessageId = false;

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

  /**
   * The message is complete: what its header asks for. RFC 8689 §3: the field has one form and occurs
   * once; whatever else there is asks for nothing. `messageId`: of the first field of that name, printable,
   * at most 300 characters, as it stands there otherwise.
   */
  end(): { readonly tlsRequiredNo: boolean; readonly messageId: string | undefined } {
    this.#endField();
    return {
      tlsRequiredNo: this.#tlsRequired === 1 && this.#tlsRequiredNo === 1,
      messageId: printableId(this.#messageId ?? []),
    };
  }

  #take(octet: number): void {
    if (octet === LF) {
      this.#ended = this.#lineIsEmpty;
      if (this.#ended) this.#endField();
      this.#matched = 0;
      this.#lineIsEmpty = true;
      return;
    }
    if (octet !== CR && this.#lineIsEmpty) this.#beginLine(octet);
    // The CR of CRLF does not fill a line; a field name ends at any.
    if (octet !== CR) this.#lineIsEmpty = false;
    if (this.#matched === IN_VALUE) this.#takeValue(octet);
    else if (this.#matched === IN_MESSAGE_ID) this.#takeMessageId(octet);
    else this.#matched = this.#matchName(octet);
  }

  /** A blank at the start goes on with the field before (RFC 5322 §2.2.3). */
  #beginLine(octet: number): void {
    if (octet === SPACE || octet === HTAB) {
      if (this.#value !== undefined && this.#value !== SOMETHING_ELSE) this.#matched = IN_VALUE;
      if (this.#isMessageId) this.#matched = IN_MESSAGE_ID;
      return;
    }
    this.#endField();
    this.#hasBlank = false;
    this.#name = NAMES.find(([first]) => first === (octet | TO_LOWER)) ?? RECEIVED;
  }

  /** A name, then blanks (obsolete syntax, RFC 5322 §4.5), then the colon. */
  #matchName(octet: number): number {
    const name = this.#name;
    if (this.#matched < name.length) {
      const isHyphen = name[this.#matched] === HYPHEN;
      const agrees = (isHyphen ? octet : octet | TO_LOWER) === name[this.#matched];
      // An empty line may still come of a CR at its start.
      if (!agrees) return octet === CR && this.#lineIsEmpty ? 0 : REST_OF_LINE;
      return this.#matched + 1;
    }
    if (octet === SPACE || octet === HTAB) {
      this.#hasBlank = true;
      return this.#matched;
    }
    if (octet !== COLON) return REST_OF_LINE;
    if (name === RECEIVED) {
      this.#received += 1;
      return REST_OF_LINE;
    }
    if (name === MESSAGE_ID) {
      if (this.#messageId !== undefined) return REST_OF_LINE;
      this.#messageId = [];
      this.#isMessageId = true;
      return IN_MESSAGE_ID;
    }
    this.#tlsRequired += 1;
    // RFC 8689 §3: nothing between name and colon.
    this.#value = this.#hasBlank ? SOMETHING_ELSE : 0;
    return this.#hasBlank ? REST_OF_LINE : IN_VALUE;
  }

  /** RFC 8689 §3: blanks, folded or not, then `No`, then the end of the field. */
  #takeValue(octet: number): void {
    const matched = this.#value ?? 0;
    if (octet === CR || (matched === 0 && (octet === SPACE || octet === HTAB))) return;
    const agrees = (octet | TO_LOWER) === NO[matched];
    this.#value = agrees ? matched + 1 : SOMETHING_ELSE;
    if (!agrees) this.#matched = REST_OF_LINE;
  }

  #takeMessageId(octet: number): void {
    if (this.#messageId && this.#messageId.length < 4 * MOST_MESSAGE_ID)
      this.#messageId.push(octet);
    else this.#matched = REST_OF_LINE;
  }

  #endField(): void {
    this.#isMessageId = false;
    if (this.#value === NO.length) this.#tlsRequiredNo += 1;
    this.#value = undefined;
  }
}

/** Blanks, folds and what cannot be seen become one blank, so that it is one word in a log line. */
function printableId(octets: readonly number[]): string | undefined {
  const text = Buffer.from(octets)
    .toString('utf8')
    .replace(/[\p{C}\p{Z}]+/gu, ' ')
    .trim();
  return [...text].slice(0, MOST_MESSAGE_ID).join('') || undefined;
}
