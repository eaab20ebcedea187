/**
 * smtp-server's parser of commands, version 3.21, with a data mode of our own: its own looks at
 * each octet in a loop, copies each chunk, and hands over by way of a stream and its iterator,
 * which for a message of 50 KiB is most of the work of receiving it (docs/decisions.md).
 */
import { SMTPStream } from 'smtp-server/lib/smtp-stream.js';
import { DataDecoder } from '../protocol/smtp/end-of-data.ts';

/** Where the content of a message goes. */
export interface ContentSink {
  /** The next octets, dots unstuffed; no more are read before the promise resolves. Never rejects. */
  take(octets: Buffer): Promise<void>;
  /** The end has come; commands are read when the promise resolves. Never rejects. */
  end(): Promise<void>;
}

interface Content {
  readonly decoder: DataDecoder;
  readonly sink: ContentSink;
}

export class SmtpParser extends SMTPStream {
  #content: Content | undefined;

  /** What follows is the content of a message, up to its end. */
  receive(sink: ContentSink): void {
    this.#content = { decoder: new DataDecoder(), sink };
    this._dataMode = true;
  }

  override _feedDataStream(chunk: Buffer, done: (error?: Error | null) => void): void {
    if (!this.#content) {
      done();
      return;
    }
    this.#feed(this.#content, chunk)
      .then((rest) => this.#goOn(rest, done))
      .catch(done); // a bug ends the session, and no other
  }

  /** What came behind the end; undefined before the end. */
  async #feed({ decoder, sink }: Content, chunk: Buffer): Promise<Buffer | undefined> {
    const { content, rest } = decoder.decode(chunk);
    if (content.length > 0) await sink.take(content);
    if (rest === undefined || this.isClosed) return undefined;
    this.#content = undefined;
    this._dataMode = false;
    this._remainder = '';
    await sink.end();
    return rest;
  }

  #goOn(rest: Buffer | undefined, done: (error?: Error | null) => void): void {
    if (rest === undefined) done();
    else this._write(rest, 'buffer', done);
  }
}
