/**
 * One SMTP client connection on a socket we chose: nodemailer's SMTPConnection (RFC 5321 wire
 * handling, STARTTLS, dot-stuffing, pipelining) with what a relay needs on top. It reports
 * replies as they came, by command and recipient; it judges nothing.
 *
 * The subclass reaches into methods that nodemailer does not document; its version is
 * pinned. It adds:
 * - a timeout per command (RFC 5321 §4.5.3.2) instead of one for all,
 * - the replies to RCPT in order, so that every recipient gets its own,
 * - an end for sessions whose replies don't fit the commands: a reply before the end of the message,
 *   a 2xx to DATA (RFC 5321 §4.3.2), more replies than commands,
 * - paths as they are: nodemailer refuses quoted local parts with angle brackets,
 * - DSN parameters per recipient (RFC 3461 §4.1) and SMTPUTF8 when the message needs it,
 * - an end for sessions in which something follows the reply to STARTTLS in clear text (RFC 3207 §6).
 */
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import type { Recipient } from '../mail/envelope.ts';
import type { SmtpStage } from '../mail/failure.ts';
import { OpenSmtpConnection } from './nodemailer-internals.ts';
import { COMMANDS, type SmtpTimeouts } from './smtp-timeouts.ts';
import {
  asReply,
  exactly,
  formatOrcpt,
  type TransactionReplies,
  type WireError,
  type WireMessage,
} from './transaction.ts';

export interface WireOptions {
  /** Connected already. */
  readonly socket: Socket;
  /** The address it is connected to. */
  readonly address: string;
  /** Called when the handshake is through, before another octet is read or written. */
  readonly onSecured: (socket: TLSSocket) => void;
  readonly heloName: string;
  readonly timeouts: SmtpTimeouts;
  /** `required`: STARTTLS is sent even when it is not offered. `never`: it is not used. */
  readonly startTls: 'required' | 'offered' | 'never';
  readonly tls: ConnectionOptions;
}

/** Longest reply taken, all lines together. */
const MAX_REPLY = 64 * 1024;

export class Wire extends OpenSmtpConnection {
  readonly #options: WireOptions;
  #replies: TransactionReplies = { rcpt: [], messageSent: false };
  #message: WireMessage | undefined;
  #rcptSent = 0;
  /** Within the content: anything but its end would become part of it. */
  #inContent = false;
  /** What the reply that is due may take; undefined while the content is sent. */
  #replyMs: number | undefined;
  /** As asked for. */
  readonly startTls: WireOptions['startTls'];
  /** The last command sent, for error texts. */
  stageReached: SmtpStage = 'greeting';
  /** STARTTLS stood in the EHLO reply in clear text. */
  startTlsOffered = false;

  constructor(options: WireOptions) {
    const { timeouts } = options;
    super({
      connection: options.socket,
      host: options.address, // an address, so that no name of its own gets into SNI
      name: options.heloName,
      requireTLS: options.startTls === 'required',
      opportunisticTLS: options.startTls === 'offered',
      ignoreTLS: options.startTls === 'never',
      secure: false,
      tls: options.tls,
      connectionTimeout: timeouts.greeting + 2 * timeouts.helo + timeouts.tls,
      greetingTimeout: timeouts.greeting,
      socketTimeout: timeouts.helo,
      maxResponseSize: MAX_REPLY,
    });
    this.#options = options;
    this.startTls = options.startTls;
    this.on('error', () => {}); // told to whoever waits; a late one must not end the process
  }

  /** Greeting, EHLO, STARTTLS and EHLO again, as far as `startTls` asks. Rejects with a WireError. */
  open(signal: AbortSignal): Promise<void> {
    return this.#untilAborted(signal, (resolve, reject) => {
      this.once('error', reject);
      this.connect((error) => (error ? reject(error) : resolve()));
    });
  }

  /** The TLS socket, once the session is encrypted. */
  get tlsSocket(): TLSSocket | undefined {
    return this.secure && this._socket ? (this._socket as TLSSocket) : undefined;
  }

  /** Whether the last EHLO reply listed `keyword`: over TLS the one over TLS (RFC 3207 §4.2). */
  offers(keyword: string): boolean {
    const wanted = keyword.toUpperCase();
    return (this._ehloLines ?? []).some(
      (line) => line.split(/[ =]/, 1)[0]?.toUpperCase() === wanted,
    );
  }

  /** The size limit of RFC 1870 §4; undefined when none was declared. */
  get sizeLimit(): number | undefined {
    return this._maxAllowedSize || undefined;
  }

  /** One mail transaction (RFC 5321 §3.3). Never rejects: what went wrong stands in the result. */
  async transact(
    message: WireMessage,
    body: Readable,
    signal: AbortSignal,
  ): Promise<TransactionReplies> {
    this.#message = message;
    this.#rcptSent = 0;
    const replies: TransactionReplies = { rcpt: [], messageSent: false };
    this.#replies = replies;
    // Placeholders: the paths are put in when the commands are sent.
    const envelope = {
      from: message.reversePath === '' ? '' : 'sender@placeholder.invalid',
      to: message.recipients.map((_, position) => `${position}@placeholder.invalid`),
      size: message.sizeBytes,
      use8BitMime: message.eightBitMime,
      dsn: { ret: message.ret ?? null, envid: message.envid ?? null },
    };
    await this.#untilAborted<void>(signal, (resolve, reject) => {
      this.once('error', reject);
      const content = body.pipe(exactly(message.sizeBytes));
      body.once('error', (error) => content.destroy(error));
      this.send(envelope, content, (error) => (error ? reject(error) : resolve()));
    }).catch((error: WireError) => {
      if (!replies.final) replies.error = error;
    });
    return replies;
  }

  /** QUIT (RFC 5321 §4.1.1.10); within the content just the end of the connection, which ends no message. */
  finish(): void {
    if (this.destroyed || this.#inContent) this.close();
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

  /** Wait for `work`; an abort ends the connection and the wait. */
  #untilAborted<T>(
    signal: AbortSignal,
    work: (resolve: (value: T) => void, reject: (error: Error) => void) => void,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const onAbort = () => {
        reject(Object.assign(new Error('the attempt ran out of time'), { code: 'ETIMEDOUT' }));
        this.close();
      };
      if (signal.aborted) return onAbort();
      signal.addEventListener('abort', onAbort, { once: true });
      const settle = () => {
        signal.removeEventListener('abort', onAbort);
        this.removeListener('error', reject);
      };
      work(
        (value) => {
          settle();
          resolve(value);
        },
        (error) => {
          settle();
          reject(error);
        },
      );
    });
  }

  override _onError(error: Error, type: string, data: unknown, command: string): void {
    if (this.upgrading) Object.assign(error, { duringHandshake: true });
    super._onError(error, type, data, command);
  }

  override _sendCommand(command: string, logged?: string): void {
    const verb = command.slice(0, 4).toUpperCase();
    const { timeouts } = this.#options;
    const [stage, timeoutMs] = COMMANDS[verb]?.(timeouts) ?? [this.stageReached, timeouts.helo];
    this.stageReached = stage;
    const sent = this.#completed(verb, command);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: a command is one line
    if (/[\u0000\r\n]/.test(sent)) throw new Error('a command with a line break in it');
    super._sendCommand(sent, logged);
    this.#awaitReply(timeoutMs);
  }

  /** The whole reply has this time, also one that trickles in (RFC 5321 §4.5.3.2). */
  #awaitReply(timeoutMs: number): void {
    this.#replyMs = timeoutMs;
    if (this._socket) this._socket.setTimeout(timeoutMs);
    this._startPhase(timeoutMs, new Error('the reply took too long'));
  }

  override _processResponse(): unknown {
    const [awaited] = this._responseActions;
    const result = super._processResponse();
    if (this._responseActions[0] === awaited || this.upgrading) return result;
    // The next of several pipelined replies has its own time.
    if (this._responseActions.length > 0 && this.#replyMs) this.#awaitReply(this.#replyMs);
    else this._clearPhase();
    return result;
  }

  /** Real paths for the placeholders; RFC 6531 §3.4: SMTPUTF8 goes with the message, not only with its addresses. */
  #completed(verb: string, command: string): string {
    const message = this.#message;
    if (!message) return command;
    if (verb === 'MAIL') {
      const mail = command.replace(/<[^>]*>/, () => `<${message.reversePath}>`);
      return message.smtpUtf8 ? `${mail} SMTPUTF8` : mail;
    }
    if (verb !== 'RCPT') return command;
    const recipient = message.recipients[this.#rcptSent++];
    if (!recipient) throw new Error('RCPT without a recipient');
    return command.replace(/<[^>]*>/, () => `<${recipient.address}>`) + this.#dsnOf(recipient.dsn);
  }

  /** RFC 3461 §4.1, §4.2: NOTIFY and ORCPT belong to the recipient, not to the envelope. */
  #dsnOf({ notify, orcpt }: Recipient): string {
    if (!this.offers('DSN')) return '';
    const asked = notify ? ` NOTIFY=${notify.join(',')}` : '';
    return orcpt ? `${asked} ORCPT=${formatOrcpt(orcpt)}` : asked;
  }

  override _getDsnRcptToArgs(): string {
    return '';
  }

  override _upgradeConnection(callback: (error: Error | null, secured?: boolean) => void): void {
    if (this._remainder !== '' || this._responseQueue.length > 0) {
      // RFC 3207 §4.2, §6: bytes behind the reply to STARTTLS are somebody else's words.
      callback(new Error('the server sent data in clear text after its reply to STARTTLS'));
      return;
    }
    super._upgradeConnection((error, secured) => {
      if (secured && this.tlsSocket) this.#options.onSecured(this.tlsSocket);
      callback(error, secured);
    });
    if (this._socket) this._socket.setTimeout(this.#options.timeouts.tls);
  }

  override _actionEHLO(reply: string): void {
    if (!this.secure) this.startTlsOffered = /^250[ -]STARTTLS\s*$/im.test(reply);
    super._actionEHLO(reply);
  }

  override _actionMAIL(reply: string, callback: unknown): void {
    this.#replies.mail = asReply(reply);
    super._actionMAIL(reply, callback);
  }

  override _actionRCPT(reply: string, callback: unknown): void {
    this.#replies.rcpt.push(asReply(reply));
    super._actionRCPT(reply, callback);
  }

  override _actionDATA(reply: string, callback: unknown): void {
    this.#replies.data = asReply(reply);
    // RFC 5321 §4.2.1: the first digit decides; a 3xx begins the content, a 2xx makes no sense here.
    if (reply.startsWith('2')) this.#protocolError('a 2xx reply to DATA');
    else super._actionDATA(reply, callback);
  }

  override _actionSMTPStream(reply: string, callback: unknown): void {
    const isEarly = !this.#replies.messageSent || (this._socket && this._socket.writableLength > 0);
    if (!isEarly || !reply.startsWith('2')) this.#replies.final = asReply(reply);
    // Nothing that comes before the end of the message can be the answer to it.
    if (isEarly) this.#protocolError('a reply before the end of the message');
    else super._actionSMTPStream(reply, callback);
  }

  #protocolError(text: string): void {
    this._onError(new Error(text), 'EPROTOCOL', false, 'DATA');
  }

  override _createSendStream(callback: unknown): Readable {
    const stream = super._createSendStream(callback);
    this.#inContent = true;
    const { timeouts } = this.#options;
    this.#replyMs = undefined;
    if (this._socket) this._socket.setTimeout(timeouts.dataBlock);
    stream.once('end', () => {
      this.#inContent = false;
      this.#replies.messageSent = true;
      this.stageReached = 'end-of-data';
      this.#awaitReply(timeouts.dataDone);
    });
    return stream;
  }
}
