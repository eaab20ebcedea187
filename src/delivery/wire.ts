/**
 * One SMTP client connection on a socket we chose: nodemailer's SMTPConnection (RFC 5321 wire
 * handling, STARTTLS, dot-stuffing, pipelining) with what a relay needs on top. It reports
 * replies as they came, by command and recipient; it judges nothing.
 *
 * The subclass reaches into methods that nodemailer does not document; its version is
 * pinned. It adds:
 * - a timeout per command, aborts, and rest between messages (connection.ts),
 * - the content dot-stuffed by us, and in one piece where the body is in memory (content.ts),
 * - the replies to RCPT in order, so that every recipient gets its own,
 * - an end for sessions whose replies don't fit the commands: a reply before the end of the message,
 *   a 2xx to DATA (RFC 5321 §4.3.2), more replies than commands,
 * - paths as they are: nodemailer refuses quoted local parts with angle brackets,
 * - DSN parameters per recipient (RFC 3461 §4.1) and SMTPUTF8 when the message needs it,
 * - AUTH as a stage of its own, and TLS from the first octet, judged before anything is said or heard,
 * - an end for sessions in which something follows the reply to STARTTLS in clear text (RFC 3207 §6).
 */
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import type { Recipient } from '../mail/envelope.ts';
import { parseLimits, type SmtpLimits } from '../protocol/smtp/limits.ts';
import { Connection } from './connection.ts';
import { ContentStream, wholeContent } from './content.ts';
import type { Credentials } from './credentials.ts';
import type { SendStream } from './nodemailer-internals.ts';
import type { SmtpTimeouts } from './smtp-timeouts.ts';
import {
  asReply,
  exactly,
  formatOrcpt,
  type TransactionReplies,
  type WireError,
  type WireMessage,
  wrongSize,
} from './transaction.ts';

export interface WireOptions {
  /** Connected already. */
  readonly socket: Socket;
  /** The address it is connected to. */
  readonly address: string;
  /** Called when the handshake begins. */
  readonly onSecuring?: () => void;
  /** Called when the handshake is through, before another octet is read or written. */
  readonly onSecured: (socket: TLSSocket) => void;
  readonly heloName: string;
  readonly timeouts: SmtpTimeouts;
  /** `required`: STARTTLS is sent even when it is not offered. `never`: it is not used. */
  readonly startTls: 'required' | 'offered' | 'never';
  readonly tls: ConnectionOptions;
  /** TLS from the first octet (RFC 8314 §3.3); asked when the handshake is through. */
  readonly implicitTls?: { readonly mayGoOn: () => boolean };
}

/** Longest reply taken, all lines together. */
const MAX_REPLY = 64 * 1024;

export class Wire extends Connection {
  readonly #options: WireOptions;
  #replies: TransactionReplies = { rcpt: [], messageSent: false };
  #message: WireMessage | undefined;
  #rcptSent = 0;
  /** The content, where it is sent in one piece. */
  #content: Buffer | undefined;
  #keywords: { readonly lines: readonly string[]; readonly all: ReadonlySet<string> } | undefined;
  #limits: { readonly lines: readonly string[]; readonly limits: SmtpLimits } | undefined;
  /** As asked for. */
  readonly startTls: WireOptions['startTls'];
  /** STARTTLS stood in the EHLO reply in clear text. */
  startTlsOffered = false;
  /** What the server called itself in its last EHLO reply. */
  announcedName: string | undefined;
  /** It came with the reply to STARTTLS, where nothing but a handshake may follow. */
  sawClearText = false;

  constructor(options: WireOptions) {
    const { timeouts } = options;
    const sent = {
      connection: options.socket,
      host: options.address, // an address, so that no name of its own gets into SNI
      name: options.heloName,
      requireTLS: options.startTls === 'required',
      opportunisticTLS: options.startTls === 'offered',
      ignoreTLS: options.startTls === 'never',
      secure: options.implicitTls !== undefined,
      tls: options.tls,
      connectionTimeout: timeouts.greeting + 2 * timeouts.helo + timeouts.tls,
      greetingTimeout: timeouts.greeting,
      socketTimeout: timeouts.helo,
      maxResponseSize: MAX_REPLY,
    };
    super(sent, timeouts);
    this.#options = options;
    this.startTls = options.startTls;
    this.secure = false; // not before the handshake
  }

  /** Greeting, EHLO, STARTTLS and EHLO again, as far as `startTls` asks. Rejects with a WireError. */
  open(signal: AbortSignal): Promise<void> {
    return this.untilAborted<void>(signal, (resolve, reject) => {
      this.connect((error) => (error ? reject(error) : resolve()));
    }).then(() => {
      if (this._socket) this._socket.setTimeout(0); // from now on each reply has its own time
    });
  }

  /** AUTH (RFC 4954), by the first mechanism of both. Rejects with a WireError. */
  async logIn({ user, password }: Credentials, signal: AbortSignal): Promise<void> {
    this.isLoggingIn = true;
    try {
      await this.untilAborted<void>(signal, (resolve, reject) => {
        const credentials = { user, pass: password };
        this.login({ credentials }, (error) => (error ? reject(error) : resolve()));
      });
    } finally {
      this.isLoggingIn = false;
    }
  }

  /** What the server offers for AUTH, as far as it is of use. */
  get authMechanisms(): readonly string[] {
    return this._supportedAuth.filter((mechanism) => mechanism !== 'XOAUTH2');
  }

  /** The TLS socket, once the session is encrypted. */
  get tlsSocket(): TLSSocket | undefined {
    return this.secure && this._socket ? (this._socket as TLSSocket) : undefined;
  }

  /** Whether the last EHLO reply listed `keyword`: over TLS the one over TLS (RFC 3207 §4.2). */
  offers(keyword: string): boolean {
    const lines = this._ehloLines ?? [];
    if (this.#keywords?.lines !== lines) {
      const all = lines.map((line) => line.split(/[ =]/, 1)[0]?.toUpperCase() ?? '');
      this.#keywords = { lines, all: new Set(all) };
    }
    return this.#keywords.all.has(keyword.toUpperCase());
  }

  /** What a session and a transaction may hold, by the last EHLO reply (RFC 9422 §3.6). */
  get limits(): SmtpLimits {
    const lines = this._ehloLines ?? [];
    if (this.#limits?.lines !== lines) this.#limits = { lines, limits: parseLimits(lines) };
    return this.#limits.limits;
  }

  /** The size limit of RFC 1870 §4; undefined when none was declared. */
  get sizeLimit(): number | undefined {
    return this._maxAllowedSize || undefined;
  }

  /** One mail transaction (RFC 5321 §3.3). Never rejects: what went wrong stands in the result. */
  async transact(
    message: WireMessage,
    body: Buffer | Readable,
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
      requireTLSExtensionEnabled: message.requireTls, // RFC 8689 §2
      dsn: { ret: message.ret ?? null, envid: message.envid ?? null },
    };
    const content = Buffer.isBuffer(body) ? body : streamOf(body, message.sizeBytes);
    this.#content = undefined;
    if (Buffer.isBuffer(content)) {
      if (content.length !== message.sizeBytes) {
        replies.error = wrongSize(content.length, message.sizeBytes);
        return replies;
      }
      this.#content = wholeContent(content);
    }
    await this.untilAborted<void>(signal, (resolve, reject) => {
      this.send(envelope, content, (error) => (error ? reject(error) : resolve()));
    }).catch((error: WireError) => {
      if (!replies.final) replies.error = error;
    });
    return replies;
  }

  override _onError(error: Error, type: string, data: unknown, command: string): void {
    if (this.upgrading) Object.assign(error, { duringHandshake: true });
    super._onError(error, type, data, command);
  }

  override _sendCommand(command: string, logged?: string): void {
    super._sendCommand(this.#completed(command), logged);
  }

  /** Real paths for the placeholders; RFC 6531 §3.4: SMTPUTF8 goes with the message, not only with its addresses. */
  #completed(command: string): string {
    const message = this.#message;
    if (!message) return command;
    if (command.startsWith('MAIL')) {
      const mail = command.replace(/<[^>]*>/, () => `<${message.reversePath}>`);
      return message.smtpUtf8 ? `${mail} SMTPUTF8` : mail;
    }
    if (!command.startsWith('RCPT')) return command;
    const recipient = message.recipients[this.#rcptSent++];
    if (!recipient) throw new Error('RCPT without a recipient');
    return command.replace(/<[^>]*>/, () => `<${recipient.address}>`) + this.#dsnOf(recipient.dsn);
  }

  /**
   * RFC 5321 §2.2.2: no parameter of what is not offered. RFC 3461 §4.1, §4.2: NOTIFY and ORCPT belong
   * to the recipient, not to the envelope. They go on as they came (RFC 3461 §5.2.1).
   */
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
      this.sawClearText = true;
      callback(new Error('the server sent data in clear text after its reply to STARTTLS'));
      return;
    }
    this.#options.onSecuring?.();
    super._upgradeConnection((error, secured) => {
      if (secured && this.tlsSocket) {
        this.tlsSocket.setTimeout(0);
        restoreLegacyCertificate(this.tlsSocket);
        this.#options.onSecured(this.tlsSocket);
      }
      const { implicitTls } = this.#options;
      const isRefused = secured && implicitTls && !implicitTls.mayGoOn();
      callback(isRefused ? new Error('the peer is not good enough') : error, secured);
    });
    if (!this.upgrading || !this._socket) return;
    this._socket.setTimeout(this.#options.timeouts.tls);
    skipLegacyCertificate(this._socket as TLSSocket);
  }

  override _actionEHLO(reply: string): void {
    if (!this.secure) this.startTlsOffered = /^250[ -]STARTTLS\s*$/im.test(reply);
    this.announcedName = /^250[ -]([!-~]{1,255})/.exec(reply)?.[1] ?? this.announcedName;
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
    if (!reply.startsWith('3') && this.unread !== '') {
      // A reply too many somewhere before: nobody can say whom this one is about.
      this.#protocolError('more replies than commands');
      return;
    }
    this.#replies.data = asReply(reply);
    // RFC 5321 §4.2.1: the first digit decides; a 3xx begins the content, a 2xx makes no sense here.
    if (reply.startsWith('2')) this.#protocolError('a 2xx reply to DATA');
    // What came with it accepts no message: none was sent yet. A refusal is one at any time.
    else if (reply.startsWith('3') && this.unread.startsWith('2')) {
      this.#protocolError('a reply before the end of the message');
    } else super._actionDATA(reply, callback);
  }

  override _actionSMTPStream(reply: string, callback: unknown): void {
    if (!reply.startsWith('2')) this.#replies.final = asReply(reply);
    const judge = () => this.#judgeFinal(reply, callback);
    // Whether the socket has given all of it away may be known only in the next turn of the event
    // loop; a quick peer has answered by then. After a 421 there is none.
    const isUncertain = this.#replies.messageSent && this.#hasUnsent();
    if (isUncertain && !reply.startsWith('421')) setImmediate(judge);
    else judge();
  }

  /** Nothing that comes before the end of the message can be the answer to it. */
  #judgeFinal(reply: string, callback: unknown): void {
    const isEarly = !this.#replies.messageSent || this.#hasUnsent();
    if (isEarly) {
      this.#protocolError('a reply before the end of the message');
      return;
    }
    this.#replies.final = asReply(reply);
    super._actionSMTPStream(reply, callback);
  }

  #hasUnsent(): boolean {
    return this._socket ? this._socket.writableLength > 0 : false;
  }

  #protocolError(text: string): void {
    this._onError(new Error(text), 'EPROTOCOL', false, 'DATA');
  }

  override _createSendStream(callback: unknown): SendStream {
    const content = this.#content;
    this.beginContent();
    this._responseActions.push((reply: string) => this._actionSMTPStream(reply, callback));
    if (content) {
      // Called with the body as it was; what is sent was made of it.
      return {
        outByteCount: content.length,
        write: () => {},
        end: () => this.#sendWhole(content),
      };
    }
    const stream = new ContentStream();
    this._currentDataStream = stream;
    if (this._socket) {
      stream.pipe(this._socket, { end: false });
      this._socket.setTimeout(this.#options.timeouts.dataBlock);
    }
    stream.once('end', () => {
      this._currentDataStream = false;
      this.#contentSent();
    });
    return stream;
  }

  #sendWhole(content: Buffer): void {
    this.#content = undefined;
    const socket = this._socket;
    if (!socket || socket.write(content)) {
      this.#contentSent();
      return;
    }
    socket.setTimeout(this.#options.timeouts.dataBlock);
    socket.once('drain', () => this.#contentSent());
  }

  /** The socket has all of it. */
  #contentSent(): void {
    if (this.destroyed) return;
    this.isInContent = false;
    this.#replies.messageSent = true;
    this.stageReached = 'end-of-data';
    if (this._socket) this._socket.setTimeout(0);
    this.awaitReply(this.#options.timeouts.dataDone);
  }
}

/** A body that is read while it is sent. */
function streamOf(body: Readable, sizeBytes: number): Readable {
  const content = body.pipe(exactly(sizeBytes));
  body.once('error', (error) => content.destroy(error));
  return content;
}

/**
 * During the handshake Node puts the certificates of the whole chain into objects, for an identity
 * check that we do not have it make (session.ts); that took a tenth of a connection's time. The
 * verdict on the chain is OpenSSL's own and does not come by here.
 */
function skipLegacyCertificate(socket: TLSSocket): void {
  Object.defineProperty(socket, 'getPeerCertificate', { value: () => ({}), configurable: true });
}

function restoreLegacyCertificate(socket: TLSSocket): void {
  Reflect.deleteProperty(socket, 'getPeerCertificate');
}
