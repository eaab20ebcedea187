/**
 * An SMTP connection in time: what waits for a reply waits for so long (RFC 5321 §4.5.3.2), can be
 * aborted, and always hears of the end. Between two messages the connection rests. What is said
 * over it is the business of wire.ts.
 *
 * It extends nodemailer's SMTPConnection in methods that one does not document; the version is
 * pinned.
 */
import type { Socket } from 'node:net';
import type { SmtpStage } from '../mail/failure.ts';
import { OpenSmtpConnection } from './nodemailer-internals.ts';
import { ReplyDeadline } from './reply-deadline.ts';
import { COMMANDS, type SmtpTimeouts } from './smtp-timeouts.ts';

type ConnectionOptions = ConstructorParameters<typeof OpenSmtpConnection>[0];

export class Connection extends OpenSmtpConnection {
  /** The last command sent, for error texts. */
  stageReached: SmtpStage = 'greeting';
  /** Within AUTH, whose lines are no commands. */
  protected isLoggingIn = false;
  /** Within the content: anything but its end would become part of it. */
  protected isInContent = false;
  readonly #timeouts: SmtpTimeouts;
  readonly #deadline: ReplyDeadline;
  /** What the reply that is due may take; undefined while the content is sent. */
  #replyMs: number | undefined;
  /** Who waits for a reply, and is told when there will be none. */
  #waiting: ((error: Error) => void) | undefined;
  /** Commands that leave together, and what the reply to each may take. */
  #pipelined = '';
  #replyTimes: number[] = [];
  /** Between two messages. */
  #isResting = false;

  constructor(options: ConnectionOptions, timeouts: SmtpTimeouts) {
    super(options);
    this.#timeouts = timeouts;
    this.#deadline = new ReplyDeadline(() => {
      this._onError(new Error('the reply took too long'), 'ETIMEDOUT', false, 'CONN');
    });
    this.on('error', (error: Error) => this.#waiting?.(error)); // a late one ends no process
    // Told after whatever reason there is: an end without one leaves nobody waiting, either.
    this.on('end', () => queueMicrotask(() => this.#waiting?.(connectionClosed())));
  }

  /** RSET (RFC 5321 §4.1.1.5), after a transaction that came to nothing; whether the server took it. */
  startOver(signal: AbortSignal): Promise<boolean> {
    return this.untilAborted<boolean>(signal, (resolve) => {
      this.reset((error) => resolve(!error));
    }).catch(() => false);
  }

  /**
   * Rest until the next message: the peer has nothing to say until then, and has ended the session
   * when it does (RFC 5321 §3.8). False where something is still to come or to go.
   */
  rest(): boolean {
    this.#isResting = this.isQuiet;
    return this.#isResting;
  }

  /** End the rest; false when the connection has ended meanwhile. */
  wake(): boolean {
    const isFit = this.#isResting && this.isQuiet;
    this.#isResting = false;
    return isFit;
  }

  /**
   * QUIT (RFC 5321 §4.1.1.10). While replies are due, or within the content, just the end of the
   * connection, which ends no message: there a QUIT would be taken for something else.
   */
  finish(): void {
    this.#isResting = false;
    const isBusy = this.isInContent || this._responseActions.length > 0;
    if (this.destroyed || isBusy) this.close();
    else this.quit();
  }

  /** As `finish`, and wait until the connection has ended: a QUIT was answered, or `signal` fired. */
  async leave(signal: AbortSignal): Promise<void> {
    if (this.destroyed) return;
    const ended = Promise.withResolvers<void>();
    const abandon = () => {
      this.close();
      ended.resolve();
    };
    this.once('end', () => ended.resolve());
    signal.addEventListener('abort', abandon, { once: true });
    this.finish();
    if (signal.aborted) abandon();
    await ended.promise;
    signal.removeEventListener('abort', abandon);
  }

  /** Wait for `work`; an abort ends the connection and the wait. One at a time. */
  protected untilAborted<T>(
    signal: AbortSignal,
    work: (resolve: (value: T) => void, reject: (error: Error) => void) => void,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const settle = () => {
        signal.removeEventListener('abort', onAbort);
        this.#waiting = undefined;
      };
      const fail = (error: Error) => {
        settle();
        reject(error);
      };
      const onAbort = () => {
        fail(Object.assign(new Error('the attempt ran out of time'), { code: 'ETIMEDOUT' }));
        this.close();
      };
      this.#waiting = fail;
      if (signal.aborted) {
        onAbort();
        return;
      }
      signal.addEventListener('abort', onAbort, { once: true });
      work((value) => {
        settle();
        resolve(value);
      }, fail);
    });
  }

  /** The whole reply has this time, also one that trickles in (RFC 5321 §4.5.3.2). */
  protected awaitReply(timeoutMs: number): void {
    this.#replyMs = timeoutMs;
    this.#deadline.start(timeoutMs);
  }

  /** The content is next: no reply is due until it is sent. */
  protected beginContent(): void {
    this.isInContent = true;
    this.#replyMs = undefined;
  }

  override _sendCommand(command: string, logged?: string): void {
    const verb = this.isLoggingIn ? 'AUTH' : command.slice(0, 4).toUpperCase();
    const timeouts = this.#timeouts;
    const [stage, timeoutMs] = COMMANDS[verb]?.(timeouts) ?? [this.stageReached, timeouts.helo];
    this.stageReached = stage;
    // biome-ignore lint/suspicious/noControlCharactersInRegex: a command is one line
    if (/[\u0000\r\n]/.test(command)) throw new Error('a command with a line break in it');
    if (this._socket && this._socket.writableCorked > 0 && !this.destroyed) {
      this.#pipeline(this._socket, verb, `${command}\r\n`);
      this.#replyTimes.push(timeoutMs);
      if (verb === 'MAIL') this.#timeNextReply();
    } else {
      super._sendCommand(command, logged);
      this.awaitReply(timeoutMs);
    }
  }

  /** RFC 2920 §3.1: nodemailer corks the socket for MAIL, RCPT and DATA; here they are one write. */
  #pipeline(socket: Socket, verb: string, line: string): void {
    if (verb === 'MAIL') {
      this.#pipelined = '';
      this.#replyTimes = [];
    }
    this.#pipelined += line;
    if (verb !== 'DATA') return;
    socket.write(this.#pipelined);
    this.#pipelined = '';
  }

  override _processResponse(): unknown {
    for (;;) {
      const { length } = this._responseQueue;
      const [awaited] = this._responseActions;
      const result = super._processResponse();
      if (this._responseActions[0] !== awaited) this.#timeNextReply();
      // Pipelined replies come together. nodemailer takes each in a later turn of the event loop.
      const left = this._responseQueue.length;
      if (this.destroyed || left === 0 || left === length) return result;
    }
  }

  /** The next of several pipelined replies has its own time; a handshake has nodemailer's. */
  #timeNextReply(): void {
    const isDue = this._responseActions.length > 0 && !this.upgrading;
    const ownMs = isDue ? this.#replyTimes.shift() : undefined;
    if (ownMs !== undefined) this.awaitReply(ownMs);
    else if (isDue && this.#replyMs) this.#deadline.start(this.#replyMs);
    else this.#deadline.clear();
  }

  override _onData(chunk: Buffer): void {
    // RFC 5321 §3.8: a 421, or something nobody asked for; no message is to meet it.
    if (this.#isResting) this.close();
    else super._onData(chunk);
  }

  override _onEnd(): void {
    if (this.#isResting) this.close();
    else super._onEnd();
  }

  override close(): void {
    // What waits in the socket may be the end of a message that is given up here.
    const socket = this._socket || undefined;
    const isUnsent = this.stageReached === 'end-of-data' && (socket?.writableLength ?? 0) > 0;
    if (this.isInContent || isUnsent) socket?.destroy();
    super.close();
  }

  override _destroy(): void {
    this.#deadline.end();
    super._destroy();
  }

  /** What the peer said behind the reply that is being looked at, as far as it is there. */
  protected get unread(): string {
    return this._responseQueue[0] ?? this._remainder;
  }

  /** As after EHLO: no reply is awaited or left unread, and nothing is left to send. */
  get isQuiet(): boolean {
    const socket = this._socket;
    if (this.destroyed || !socket || !socket.writable || socket.readableEnded) return false;
    if (this.isInContent || this._pendingSend || this._responseActions.length > 0) return false;
    if (this._responsePartial || this._remainder !== '') return false;
    return this._responseQueue.length === 0 && socket.writableLength + socket.readableLength === 0;
  }
}

function connectionClosed(): Error {
  return Object.assign(new Error('the connection was closed'), { code: 'ECONNECTION' });
}
