/**
 * The header of a message, as much of it as a DKIM signer looks at: its fields one by one, gathered while
 * the message streams by, octet for octet (RFC 5322 §2.2, RFC 6376 §3.4.2). Pure.
 *
 * Octets are characters here, one each ('latin1'): what is signed is what the receiver sees, whatever
 * its charset. A header without end is given up at a limit.
 */

/** Larger headers are not signed: each has to be kept while its message comes in. A thousand recipients fit. */
export const MOST_HEADER_OCTETS = 128 * 1024;

export interface HeaderField {
  /** In small letters, without the blanks before the colon (obsolete syntax, RFC 5322 §4.5.8). */
  readonly key: string;
  /** The whole field, name and folds included, without its last line end. */
  readonly line: string;
}

export interface Header {
  /** From the top. */
  readonly fields: readonly HeaderField[];
  /** Each line is a field or a fold of one (RFC 5322 §2.2): all who read it see the same header. */
  readonly isWellFormed: boolean;
}

/** A field name (RFC 5322 §3.6.8) and its colon, obsolete blanks between them. */
const NAME = /^([!-9;-~]+)[ \t]*:/;

const END = Buffer.from('\r\n\r\n');

/** Gathers the header of one message. */
export class HeaderGatherer {
  #octets = Buffer.alloc(0);
  #length = 0;
  #isTooLarge = false;

  /** The header was larger than MOST_HEADER_OCTETS. */
  get isTooLarge(): boolean {
    return this.#isTooLarge;
  }

  /**
   * Take the next octets of the message. When the header is complete, what of `chunk` lies behind its
   * empty line; undefined before, and once it is too large: what was gathered until then is kept.
   */
  push(chunk: Buffer): Buffer | undefined {
    if (this.#isTooLarge) return undefined;
    const before = this.#length;
    this.#append(chunk.subarray(0, MOST_HEADER_OCTETS + END.length - before));
    const end = this.#end(before);
    if (end >= 0) {
      this.#length = end;
      return chunk.subarray(end - before);
    }
    this.#isTooLarge = this.#length >= MOST_HEADER_OCTETS;
    return undefined;
  }

  /** What was gathered so far; of a header that is too large, without the field it was given up in. */
  header(): Header {
    const lines = unsplit(this.#octets.toString('latin1', 0, this.#length));
    return fieldsOf(this.#isTooLarge ? lines.slice(0, -1) : lines);
  }

  /** Where the body begins; -1 where that has not come yet. */
  #end(before: number): number {
    const seen = this.#octets.subarray(0, this.#length);
    // A message may begin with its body.
    if (before < 2 && seen[0] === 0x0d && seen[1] === 0x0a) return 2;
    const at = seen.indexOf(END, Math.max(0, before - END.length + 1));
    return at < 0 ? -1 : at + END.length;
  }

  /** Doubles, so that octets that come one by one cost no more than those that come together. */
  #append(octets: Buffer): void {
    const length = this.#length + octets.length;
    if (length > this.#octets.length) {
      const doubled = Math.min(2 * this.#octets.length, MOST_HEADER_OCTETS + END.length);
      const larger = Buffer.alloc(Math.max(1024, length, doubled));
      this.#octets.copy(larger, 0, 0, this.#length);
      this.#octets = larger;
    }
    octets.copy(this.#octets, this.#length);
    this.#length = length;
  }
}

/** Each line with its folds. */
function unsplit(header: string): readonly string[] {
  const folded: string[][] = [];
  for (const line of header.split('\r\n')) {
    if (line === '') continue;
    const isFold = line.startsWith(' ') || line.startsWith('\t');
    if (isFold && folded.length > 0) folded.at(-1)?.push(line);
    else folded.push([line]);
  }
  return folded.map((lines) => lines.join('\r\n'));
}

function fieldsOf(lines: readonly string[]): Header {
  const fields = lines.flatMap((line) => {
    const name = NAME.exec(line)?.[1];
    return name === undefined ? [] : [{ key: name.toLowerCase(), line }];
  });
  return { fields, isWellFormed: fields.length === lines.length };
}

/** The value of a field in one line: the folds taken out (RFC 5322 §2.2.3), the blanks left. */
export function unfoldedValue({ line }: HeaderField): string {
  return line.slice(line.indexOf(':') + 1).replaceAll('\r\n', '');
}

/** The signing domain (`d=`) of a DKIM-Signature field (RFC 6376 §3.5), in small letters; undefined without one. */
export function signingDomainOf(field: HeaderField): string | undefined {
  for (const tag of unfoldedValue(field).split(';')) {
    const equals = tag.indexOf('=');
    if (tag.slice(0, Math.max(equals, 0)).trim() !== 'd') continue;
    return tag
      .slice(equals + 1)
      .replace(/[ \t]+/g, '')
      .replace(/\.$/, '')
      .toLowerCase();
  }
  return undefined;
}
