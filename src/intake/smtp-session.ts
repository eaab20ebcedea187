/**
 * One client connection: smtp-server's SMTPConnection, version 3.21, with our decisions
 * (client-dialog.ts) in the places where it has its own.
 *
 * What is changed here, and why:
 * - the greeting is sent at once, not after 100 ms. A client that has sent something before it
 *   is still refused (RFC 5321 §4.3.1).
 * - AUTH is offered under TLS only (RFC 4954 §4), not to a proxy itself, and not taken inside a
 *   transaction.
 * - MAIL and RCPT are parsed by path-command.ts and kept by transaction.ts: the session's own
 *   envelope keeps parameters of a refused MAIL and merges recipients that differ in case.
 * - room in the spool is made before 354 is said, so that nobody sends 50 MiB to be told 452; and
 *   the content goes straight to where it is kept (smtp-parser.ts).
 * - command lines over 4 KiB, with control characters or not in UTF-8 are refused, a line cut
 *   off by the end of the connection is not run, and the jokes are gone.
 *
 * Bare LF ends a command line here (not a message): harmless while the end of data takes
 * CRLF.CRLF and nothing else, and people type commands by hand.
 *
 * STARTTLS injection (CVE-2011-0411): smtp-server gives the TLS session a parser of its own;
 * what was sent in clear behind STARTTLS is dropped. Tests hold it to that.
 */
import type { Socket } from 'node:net';
import type { SMTPServer, SMTPServerAuthentication } from 'smtp-server';
import { SMTPConnection, type SMTPConnectionOptions } from 'smtp-server/lib/smtp-connection.js';
import type { User } from './access.ts';
import { type Client, ClientDialog, type SessionParts } from './client-dialog.ts';
import { type Reply, readCommandLine } from './command-line.ts';
import type { Ticket } from './connection-count.ts';
import { type PathCommand, parsePathCommand } from './path-command.ts';
import { asError, hasEnhancedStatus, REFUSALS, type Refusal } from './replies.ts';
import { SmtpParser } from './smtp-parser.ts';
import { refuseParameters } from './transaction.ts';

/** A connection that was just accepted. */
export interface Accepted {
  readonly socket: Socket;
  readonly options: SMTPConnectionOptions;
  readonly ticket: Ticket;
  /** A proxy that does not say for whom it connects. */
  readonly anonymous: boolean;
  /** Called when the connection has ended. */
  readonly ended: () => void;
  /** Given work that may outlive the connection. */
  readonly track: (work: Promise<void>) => void;
}

type Done = () => void;
type Answer = (error?: Error | null) => void;
/** A MAIL or RCPT in the form that smtp-server goes on with, and in ours. */
interface ParsedCommand {
  address: string;
  args: Record<string, string | true>;
  duplicate?: string;
  ours: PathCommand | Refusal;
}

const MAX_BAD_COMMANDS = 10;
const HANDSHAKE_TIMEOUT_MS = 30_000;
const NOT_IMPLEMENTED = new Set(['HELP', 'EXPN']);
const NEEDS_LOGIN = new Set(['MAIL', 'RCPT', 'DATA']);
const TIMEOUT_TEXT = 'Timeout - closing connection';

export class SmtpSession extends SMTPConnection {
  readonly #parts: SessionParts;
  readonly #dialog: ClientDialog;
  readonly #ticket: Ticket;
  readonly #anonymous: boolean;
  readonly #ended: Done;
  readonly #track: Accepted['track'];
  /** The TLS socket while its handshake is still going on, too. */
  #topSocket: Socket;
  /** What MAIL or RCPT said, between its parsing and its decision. */
  #command: PathCommand | undefined;
  /** From DATA to its reply. */
  #receiving = false;
  #draining = false;
  #stopHandshakeTimer: Done = () => {};

  constructor(parts: SessionParts, server: SMTPServer, accepted: Accepted) {
    const { socket, options, ticket, anonymous, ended, track } = accepted;
    super(server, socket, options);
    // As the proxy's header says it: smtp-server cuts a "::ffff:" off, of IPv6 addresses as well.
    if (options.remoteAddress) this.remoteAddress = options.remoteAddress;
    this.#parts = parts;
    this.#ticket = ticket;
    this.#anonymous = anonymous;
    this.#ended = ended;
    this.#track = track;
    this.#topSocket = socket;
    this.#dialog = new ClientDialog(parts, () => this.#client);
  }

  get #client(): Client {
    return {
      address: this.remoteAddress,
      secure: this.secure,
      cipher: this.tlsOptions || undefined,
      user: (this.session.user || undefined) as User | undefined,
      anonymous: this.#anonymous,
      helo: this.hostNameAppearsAs || '',
      esmtp: this.openingCommand === 'EHLO',
    };
  }

  override init(): void {
    this._setListeners(() => {
      if (this.#ticket.verdict === 'refused') {
        this.#dialog.tell(REFUSALS.tooManyConnections);
        this.#say(REFUSALS.tooManyConnections);
        return;
      }
      // Two turns of the event loop: what the client sent before our greeting is read by then.
      setImmediate(() => setImmediate(() => this.#greet()));
    });
  }

  #greet(): void {
    if (!this._closing && !this._closed) this.connectionReady();
  }

  /** Tell the client to go, once its message, if it is sending one, has its answer. */
  drain(): void {
    this.#draining = true;
    if (this._upgrading) this.abort();
    else this.#leaveIfIdle();
  }

  /** Cut the connection. */
  abort(): void {
    this.#topSocket.destroy();
  }

  #leaveIfIdle(): void {
    if (!this.#draining || this.#receiving || this._closing || this._closed) return;
    this.send(421, `4.3.2 ${this.name} Service shutting down`);
  }

  #say({ code, text }: Reply): void {
    this.send(code, text);
  }

  override send(code: number, data?: string | string[] | null, context?: string | false): void {
    if (data === TIMEOUT_TEXT) super.send(code, `4.4.2 ${this.name} Timeout`, false);
    else if (typeof data === 'string' && hasEnhancedStatus(data)) super.send(code, data, false);
    else super.send(code, data, context);
  }

  override _getEnhancedStatusCode(code: number, context?: string | false): string {
    if (context !== false && code === 421) return '4.7.0';
    if (context !== false && code === 500) return '5.5.1';
    return super._getEnhancedStatusCode(code, context);
  }

  /** The only place that learns of the TLS socket before its handshake is done. */
  override _armTimeout(socket: Socket = this._socket): void {
    this.#topSocket = socket;
    super._armTimeout(socket);
  }

  override upgrade(callback: Done, secureCallback?: Done): void {
    super.upgrade(callback, () => {
      this.#stopHandshakeTimer();
      secureCallback?.();
    });
    this.#stopHandshakeTimer = this.#parts.clock.after(HANDSHAKE_TIMEOUT_MS, () => this.abort());
  }

  override _createParser(): SmtpParser {
    const parser = new SmtpParser({ maxCommandLength: this._server.options.maxCommandLength });
    parser.oncommand = (command, callback) => this._onCommand(command, callback);
    parser.on('error', (error) => this.send(421, `Error: ${error.message}`));
    return parser;
  }

  override _onClose(): void {
    this.#stopHandshakeTimer();
    this.#track(this.#dialog.abandon());
    this.#ticket.release();
    this.#ended();
    super._onClose();
  }

  override _onCommand(command: Buffer, callback?: Done): void {
    // Without a callback: the connection ended within the line.
    if (callback === undefined) return;
    if (this._upgrading || !this._ready) super._onCommand(command, callback);
    else if (this.#draining) this.#leaveIfIdle();
    else if (this._nextHandler || !this.#refuseLine(command, callback)) {
      super._onCommand(command, callback);
    }
  }

  /** Answers a line that is not to reach the commands; false when it may. */
  #refuseLine(line: Buffer, callback: Done): boolean {
    const { name, fault } = readCommandLine(line);
    const reply = fault ?? this.#refuseCommand(name);
    if (reply === undefined) return false;
    if (fault) this._unrecognizedCommands += 1;
    if (this._unrecognizedCommands >= MAX_BAD_COMMANDS) {
      this.send(421, '4.7.0 Too many bad commands');
      return true;
    }
    this.#say(reply);
    setImmediate(callback);
    return true;
  }

  #refuseCommand(name: string): Reply | undefined {
    const notImplemented = { code: 502, text: '5.5.1 Command not implemented' };
    if (NOT_IMPLEMENTED.has(name)) return notImplemented;
    // Here and not at MAIL alone: RCPT and DATA in the same group get the same answer.
    if (NEEDS_LOGIN.has(name) && this.hostNameAppearsAs)
      return this.#dialog.refuseUnauthenticated();
    if (name !== 'AUTH') return undefined;
    if (this.#parts.auth === 'none' || this.#anonymous) return notImplemented;
    if (!this.secure) return REFUSALS.authNeedsTls;
    // RFC 4954 §4: AUTH is not permitted during a mail transaction.
    if (!this.#dialog.inTransaction) return undefined;
    return { code: 503, text: '5.5.1 Not during a mail transaction' };
  }

  override _isSupported(command: string): boolean {
    const isOffered = command !== 'AUTH' || (this.secure && !this.#anonymous);
    return isOffered && super._isSupported(command);
  }

  /** RFC 5321 §7.3: says nothing about who exists. */
  override handler_VRFY(_command: Buffer, callback: Done): void {
    this.send(252, '2.0.0 Cannot verify, but will take mail and try to deliver it');
    callback();
  }

  /** Decide an AUTH exchange; `answer` gets the user, or the refusal. */
  async login(
    auth: SMTPServerAuthentication,
    answer: (error: Error | null, response?: { user: User }) => void,
  ): Promise<void> {
    const result = await this.#dialog.login(auth);
    if ('name' in result) answer(null, { user: result });
    else answer(asError(result));
  }

  override _resetSession(): void {
    this.#dialog.reset();
    super._resetSession();
  }

  override _parseAddressCommand(name: string, line: Buffer | string): ParsedCommand | false {
    const parsed = parsePathCommand(name.startsWith('mail') ? 'MAIL' : 'RCPT', line.toString());
    if (parsed.kind === 'malformed') return false;
    if (parsed.kind === 'refusal') return { address: '?', args: {}, ours: parsed };
    const refusal = refuseParameters(parsed, this);
    if (refusal) return { address: '?', args: {}, ours: refusal };
    const { path: address, parameters, duplicate } = parsed;
    const command: ParsedCommand = { address, args: { ...parameters }, ours: parsed };
    return duplicate === undefined ? command : { ...command, duplicate };
  }

  override _rejectInvalidParams(parsed: ParsedCommand, keys: string[], callback: Done): boolean {
    const { ours } = parsed;
    if (ours.kind === 'parsed') {
      this.#command = ours;
      return super._rejectInvalidParams(parsed, keys, callback);
    }
    this.#dialog.tell(ours);
    this.#say(ours);
    callback();
    return true;
  }

  /** Whether the size is too large is decided, told and counted with everything else about a MAIL. */
  override _validateMailParams(
    parsed: ParsedCommand,
  ): ReturnType<SMTPConnection['_validateMailParams']> {
    const { SIZE: size, ...args } = parsed.args;
    const isSize = typeof size === 'string' && /^\d{1,20}$/.test(size); // RFC 1870 §4
    return super._validateMailParams(isSize ? { ...parsed, args } : parsed);
  }

  /** Decide the MAIL that was just parsed. */
  mail(answer: Answer): void {
    const refusal = this.#command ? this.#dialog.mail(this.#command) : REFUSALS.localError;
    answer(refusal ? asError(refusal) : null);
  }

  /** Decide the RCPT that was just parsed. */
  rcpt(answer: Answer): void {
    const refusal = this.#command ? this.#dialog.rcpt(this.#command) : REFUSALS.localError;
    answer(refusal ? asError(refusal) : null);
  }

  override handler_DATA(command: Buffer, callback: Done): void {
    if (!this.session.envelope.rcptTo.length) {
      super.handler_DATA(command, callback);
      return;
    }
    this.#receiving = true;
    this.#track(this.#beginMessage(callback));
  }

  /** Room for the message, then 354; or the refusal. */
  async #beginMessage(callback: Done): Promise<void> {
    const refusal = await this.#dialog.begin();
    if (!refusal && this._parser && !this._closing) {
      (this._parser as SmtpParser).receive({
        take: (octets) => this.#dialog.take(octets),
        end: () => this.#endMessage(),
      });
      this.send(354, 'End data with <CR><LF>.<CR><LF>');
      callback();
      return;
    }
    this.#receiving = false;
    if (!refusal) {
      await this.#dialog.abandon();
      return;
    }
    this.#say(refusal);
    this.#leaveIfIdle();
    callback();
  }

  #endMessage(): Promise<void> {
    const answered = this.#answerMessage();
    this.#track(answered);
    return answered.catch(() => {}); // whoever tracks it is told
  }

  /** The verdict about the message that is complete, and a new beginning (RFC 5321 §4.1.1.4). */
  async #answerMessage(): Promise<void> {
    this._handlerPending = true; // the client waits for us: no reason to time out
    const verdict = await this.#dialog.finish();
    this._handlerPending = false;
    this.#receiving = false;
    if (verdict.kind === 'refused') this.#say(verdict.refusal);
    else this.send(250, `2.0.0 Ok: queued as ${verdict.envelope.id}`);
    this._transactionCounter += 1;
    this._unrecognizedCommands = 0;
    this._resetSession();
    this.#leaveIfIdle();
  }
}
