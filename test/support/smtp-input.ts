/**
 * The reading half of the scripted MX host: lines and message content, pulled from a socket in
 * the order they came, however the octets were cut into packets. Strict: a line ends with
 * CRLF, content with CRLF.CRLF, and nothing else (RFC 5321 §2.3.8, §4.1.1.4).
 */
import type { Socket } from 'node:net';

const CRLF = Buffer.from('\r\n');
const END_OF_CONTENT = Buffer.from('\r\n.\r\n');
const LONGEST_LINE = 65_536;

/** Told of each piece of content as it comes; `stop` leaves the rest unread. */
export type ContentWatch = (octetsSoFar: number) => 'go-on' | 'stop';

export class SmtpInput {
  #socket: Socket | undefined;
  #pending: Buffer[] = [];
  #ended = false;
  #wake: (() => void) | undefined;
  readonly #onOctets: (octets: Buffer) => void;

  /** `onOctets` sees everything read, as it comes. */
  constructor(onOctets: (octets: Buffer) => void) {
    this.#onOctets = onOctets;
  }

  /** Read from this socket from now on. */
  attach(socket: Socket): void {
    this.#socket = socket;
    this.#ended = socket.destroyed;
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('close', this.#onEnd);
  }

  /** Stop reading and give back what was read ahead. The socket is left paused. */
  detach(): Buffer {
    const socket = this.#socket;
    socket?.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onEnd);
    socket?.pause();
    this.#socket = undefined;
    const ahead = Buffer.concat(this.#pending);
    this.#pending = [];
    return ahead;
  }

  /** Octets that came but were not asked for yet. */
  get readAhead(): number {
    return this.#pending.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  /** The next line without its CRLF; undefined when the peer is gone or the line has no end. */
  async readLine(): Promise<Buffer | undefined> {
    let seen: Buffer = Buffer.alloc(0);
    for (;;) {
      const chunk = await this.#take();
      if (chunk === undefined) return undefined;
      seen = Buffer.concat([seen, chunk]);
      const end = seen.indexOf(CRLF);
      if (end >= 0) {
        this.#putBack(seen.subarray(end + CRLF.length));
        return seen.subarray(0, end);
      }
      if (seen.length > LONGEST_LINE) return undefined;
    }
  }

  /**
   * The content after DATA up to the final dot, dots unstuffed, its last CRLF included, and as
   * it was on the wire. `complete` is false when the peer went away or `watch` said stop.
   */
  async readContent(watch: ContentWatch): Promise<{ complete: boolean; wire: Buffer }> {
    const parts: Buffer[] = [CRLF]; // the CRLF of DATA: a lone first "." ends the content too
    let tail: Buffer = CRLF;
    let size = 0;
    for (;;) {
      const chunk = await this.#take();
      if (chunk === undefined) return { complete: false, wire: Buffer.concat(parts.slice(1)) };
      const window = Buffer.concat([tail, chunk]);
      const at = window.indexOf(END_OF_CONTENT);
      if (at >= 0) {
        const end = at + END_OF_CONTENT.length - tail.length;
        parts.push(chunk.subarray(0, end));
        this.#putBack(chunk.subarray(end));
        return { complete: true, wire: Buffer.concat(parts).subarray(2, -3) };
      }
      parts.push(chunk);
      size += chunk.length;
      tail = window.subarray(-(END_OF_CONTENT.length - 1));
      if (watch(size) === 'stop') return { complete: false, wire: Buffer.concat(parts.slice(1)) };
    }
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#onOctets(chunk);
    this.#pending.push(chunk);
    this.#wake?.();
  };

  readonly #onEnd = (): void => {
    this.#ended = true;
    this.#wake?.();
  };

  async #take(): Promise<Buffer | undefined> {
    for (;;) {
      const chunk = this.#pending.shift();
      if (chunk !== undefined) return chunk;
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #putBack(rest: Buffer): void {
    if (rest.length > 0) this.#pending.unshift(rest);
  }
}

/** Remove the dots the client added at the start of lines (RFC 5321 §4.5.2). */
export function unstuff(wire: Buffer): Buffer {
  const parts: Buffer[] = [];
  let from = wire[0] === 0x2e ? 1 : 0;
  for (;;) {
    const at = wire.indexOf('\r\n.', from);
    if (at < 0) break;
    parts.push(wire.subarray(from, at + 2));
    from = at + 3;
  }
  parts.push(wire.subarray(from));
  return Buffer.concat(parts);
}

/** What is wrong with content on the wire: bare CR or LF, a dot that was not doubled. */
export function contentViolations(wire: Buffer): string[] {
  const text = wire.toString('latin1');
  const found: string[] = [];
  if (/\r(?!\n)/.test(text)) found.push('bare CR in content');
  if (/(?<!\r)\n/.test(text)) found.push('bare LF in content');
  if (/(?:^|\r\n)\.(?!\.)/.test(text)) found.push('line starts with a dot that is not doubled');
  return found;
}
