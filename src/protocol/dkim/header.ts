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
   * empty line; undefined before, and once it is too large.
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
    if (this.#length >= MOST_HEADER_OCTETS) {
      this.#isTooLarge = true;
      this.#octets = Buffer.alloc(0);
    }
    return undefined;
  }

  /** The fields gathered so far, from the top. */
  fields(): readonly HeaderField[] {
    return splitFields(this.#octets.toString('latin1', 0, this.#length));
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

function splitFields(header: string): readonly HeaderField[] {
  const folded: string[][] = [];
  for (const line of header.split('\r\n')) {
    if (line === '') continue;
    const isFold = line.startsWith(' ') || line.startsWith('\t');
    if (isFold && folded.length > 0) folded.at(-1)?.push(line);
    else folded.push([line]);
  }
  return folded.flatMap((lines) => {
    const line = lines.join('\r\n');
    const colon = line.indexOf(':');
    // A line that is no field is in no signature, and ends no header either.
    return colon <= 0 ? [] : [{ key: trimEnd(line.slice(0, colon)).toLowerCase(), line }];
  });
}

function trimEnd(name: string): string {
  let end = name.length;
  while (end > 0 && (name[end - 1] === ' ' || name[end - 1] === '\t')) end -= 1;
  return name.slice(0, end);
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
