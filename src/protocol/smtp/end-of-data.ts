/**
 * Takes the content of a message out of what follows DATA: finds its end, which is CRLF.CRLF and
 * nothing else (RFC 5321 §4.1.1.4), and takes away the dot that was put before the text of a
 * line (RFC 5321 §4.5.2).
 *
 * Octets come in chunks of any size. Nothing of them is kept but where in a line the last one
 * stood, and nothing is copied unless a dot has to go.
 */

const DOT = 0x2e;
const CR = 0x0d;
const LF = 0x0a;
const DOT_LINE = Buffer.from('\r\n.');
const LONE_CR = Buffer.from('\r');

/** What a chunk held. */
export interface DecodedData {
  /** Of the message; in the memory of the chunk. */
  readonly content: Buffer;
  /** What came behind the end of the data; undefined as long as that has not come. */
  readonly rest: Buffer | undefined;
}

export class DataDecoder {
  /**
   * Where the last octet stood. Behind `dot` and `dot-cr`, which stand at the start of a line, it
   * is not known yet what they mean: they have not been given away.
   */
  #place: 'start' | 'dot' | 'dot-cr' | 'cr' | 'line' = 'start';

  /** Take the next octets, which are overwritten. Not to be called again when the end has come. */
  decode(chunk: Buffer): DecodedData {
    let read = 0;
    let written = 0;
    let owesCr = false;
    let rest: Buffer | undefined;
    while (read < chunk.length && rest === undefined) {
      const octet = chunk[read];
      switch (this.#place) {
        case 'start':
          this.#place = octet === DOT ? 'dot' : 'line';
          if (octet === DOT) read += 1;
          break;
        case 'dot':
          this.#place = octet === CR ? 'dot-cr' : 'line';
          if (octet === CR) read += 1;
          break;
        case 'dot-cr':
          this.#place = 'cr';
          if (octet === LF) rest = chunk.subarray(read + 1);
          // The CR was text after all. It stood in this chunk, or in the one before.
          else if (read > 0) chunk[written++] = CR;
          else owesCr = true;
          break;
        case 'cr':
          this.#place = octet === LF ? 'start' : 'line';
          if (octet === LF) chunk[written++] = chunk[read++] as number;
          break;
        case 'line': {
          const found = chunk.indexOf(DOT_LINE, read);
          const end = found < 0 ? chunk.length : found + 2;
          this.#place = found < 0 ? placeBehind(chunk.subarray(read)) : 'dot';
          if (written !== read) chunk.copyWithin(written, read, end);
          written += end - read;
          read = found < 0 ? end : end + 1;
        }
      }
    }
    const content = chunk.subarray(0, written);
    return { content: owesCr ? Buffer.concat([LONE_CR, content]) : content, rest };
  }
}

/** Where octets end that hold no line that begins with a dot. */
function placeBehind(octets: Buffer): 'start' | 'cr' | 'line' {
  const last = octets[octets.length - 1];
  if (last === CR) return 'cr';
  return last === LF && octets[octets.length - 2] === CR ? 'start' : 'line';
}
