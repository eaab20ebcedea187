/**
 * What is decided in a session, apart from the wire: who the client is, its mail transaction,
 * the message it hands over. One object a connection; smtp-session.ts asks it and speaks.
 *
 * Every refusal is told to the log and counted here, in one place.
 */
import type { CipherNameAndProtocol } from 'node:tls';
import type { SMTPServerAuthentication } from 'smtp-server';
import type { DkimSigner, Signing } from '../dkim/signer.ts';
import type { Envelope } from '../mail/envelope.ts';
import type { MessageId } from '../mail/message-id.ts';
import type { Clock } from '../platform/clock.ts';
import { formatReceived } from '../protocol/smtp/trace.ts';
import type { Submit } from '../queue/submit-port.ts';
import type { IntakeEvents } from '../telemetry/intake-events.ts';
import type { Traces } from '../telemetry/traces/open-traces.ts';
import { type ContentFacts, Reception, refusalOf, type Verdict } from './accept.ts';
import { type User, type Users, userMaySend } from './access.ts';
import { clientKey } from './client-key.ts';
import type { IntakeLimits } from './intake-limits.ts';
import { IntakeTrace } from './intake-trace.ts';
import { checkLogin } from './login.ts';
import type { PathCommand } from './path-command.ts';
import { formatRefusal, REFUSALS, type Refusal } from './replies.ts';
import {
  type IntakeRules,
  mayRelay,
  refuseMail,
  refuseUnauthenticated,
  Transaction,
} from './transaction.ts';

/** What a session is handed by its listener. */
export interface SessionParts {
  readonly auth: 'none' | 'optional' | 'required';
  readonly rules: () => IntakeRules;
  readonly limits: IntakeLimits;
  readonly users: Users;
  readonly submit: Submit;
  /** Signs what clients may sign for; absent: nothing. */
  readonly signer?: Pick<DkimSigner, 'begin'> | undefined;
  readonly events: IntakeEvents;
  readonly clock: Clock;
  /** Absent: nothing is traced. */
  readonly traces?: Traces | undefined;
  /** Where clients come in, for traces. */
  readonly listener?: { readonly address: string; readonly port: number };
}

/** The client as the session knows it at this moment. */
export interface Client {
  readonly address: string;
  readonly secure: boolean;
  readonly cipher: CipherNameAndProtocol | undefined;
  readonly user: User | undefined;
  /** A proxy that does not say for whom it connects. */
  readonly anonymous: boolean;
  /** What it said in EHLO or HELO; empty before. */
  readonly helo: string;
  readonly esmtp: boolean;
}

const MAX_FAILED_LOGINS = 3;

export class ClientDialog {
  readonly #parts: SessionParts;
  readonly #client: () => Client;
  #transaction: Transaction | undefined;
  #reception: Reception | undefined;
  #trace: IntakeTrace | undefined;
  #failedLogins = 0;

  constructor(parts: SessionParts, client: () => Client) {
    this.#parts = parts;
    this.#client = client;
  }

  get inTransaction(): boolean {
    return this.#transaction !== undefined;
  }

  /** Forget the transaction (RFC 5321 §4.1.1.5). */
  reset(): void {
    this.#transaction = undefined;
  }

  /** A refusal is about to be sent: log and count it. */
  tell(
    refusal: Refusal,
    more: { readonly recipient?: string; readonly detail?: string } = {},
  ): void {
    const sender = this.#transaction?.reversePath;
    this.#parts.events.refused({
      reason: refusal.reason,
      client: this.#client().address,
      reply: formatRefusal(refusal),
      ...(sender === undefined ? {} : { sender }),
      ...more,
    });
  }

  /** Decide an AUTH exchange. A 421 among the refusals ends the session. */
  async login(auth: SMTPServerAuthentication): Promise<User | Refusal> {
    const result = await checkLogin(auth, this.#client().address, this.#parts);
    if (result.kind === 'user') return result.user;
    if (result.refusal === REFUSALS.badCredentials) this.#failedLogins += 1;
    const isLast = this.#failedLogins >= MAX_FAILED_LOGINS;
    const refusal = isLast ? REFUSALS.tooManyFailedLogins : result.refusal;
    this.tell(refusal);
    return refusal;
  }

  /** Whether the client has to authenticate first; tells, if so. */
  refuseUnauthenticated(): Refusal | undefined {
    const refusal = refuseUnauthenticated({ ...this.#client(), auth: this.#parts.auth });
    if (refusal) this.tell(refusal);
    return refusal;
  }

  /** Begin a transaction, or say why not. */
  mail(command: PathCommand): Refusal | undefined {
    const client = this.#client();
    const refusal =
      refuseMail(command, { ...client, auth: this.#parts.auth }, this.#parts.rules()) ??
      this.#chargeMessage(client);
    if (refusal) this.tell(refusal, { detail: describeMail(command, refusal) });
    else {
      const { traces } = this.#parts;
      this.#transaction = new Transaction(command);
      this.#trace = traces && new IntakeTrace(traces);
    }
    return refusal;
  }

  #chargeMessage({ user, address }: Client): Refusal | undefined {
    const key = user ? `user ${user.name}` : clientKey(address);
    return this.#parts.limits.messages.take(key) ? undefined : REFUSALS.rateLimited;
  }

  /** Add a recipient, or say why not. */
  rcpt(command: PathCommand): Refusal | undefined {
    const peer = { ...this.#client(), auth: this.#parts.auth };
    const refusal = this.#transaction
      ? this.#transaction.addRecipient(command, peer, this.#parts.rules())
      : REFUSALS.localError;
    if (refusal) this.tell(refusal, { recipient: command.path });
    return refusal;
  }

  /** Make room for a message, or say why there is none. */
  async begin(): Promise<Refusal | undefined> {
    const { submit, clock, rules } = this.#parts;
    const transaction = this.#transaction;
    if (!transaction) throw new Error('content without a transaction');
    try {
      const draft = await submit.begin();
      const receivedAtMs = clock.now();
      this.#reception = new Reception({
        draft,
        trace: this.#received(transaction, draft.id, receivedAtMs),
        limits: rules(),
        submit: this.#trace?.watched(submit) ?? submit,
        signing: this.#beginSigning(),
        envelope: (content) => ({
          ...this.#envelope(transaction, content),
          id: draft.id,
          receivedAtMs,
        }),
      });
      this.#trace?.contentBegins();
      return undefined;
    } catch (error) {
      const { refusal, detail } = refusalOf(error);
      this.#tellOfTrouble(refusal, detail);
      return refusal;
    }
  }

  /**
   * A signature says that the domain sent it. So nobody gets one for an author that could not be its
   * reverse-path, and strangers, who write to our postmaster alone, get none.
   */
  #beginSigning(): Signing | undefined {
    const client = this.#client();
    const { user } = client;
    const { access } = this.#parts.rules();
    if (!this.#parts.signer || !mayRelay(client, access)) return undefined;
    return this.#parts.signer.begin(
      (author) => access.allowsSender(author) && (!user || userMaySend(user, author)),
    );
  }

  /** The next octets of the message that `begin` made room for. */
  take(octets: Buffer): Promise<void> {
    return this.#reception?.take(octets) ?? Promise.resolve();
  }

  /** The message is complete; what became of it. */
  async finish(): Promise<Verdict> {
    const reception = this.#reception;
    this.#reception = undefined;
    if (!reception) throw new Error('the end of a message that was not begun');
    const verdict = await reception.finish();
    if (verdict.kind === 'accepted') {
      this.#parts.events.accepted(verdict.envelope, verdict.sizeBytes);
      this.#tellTrace(verdict.envelope, verdict.sizeBytes);
    } else this.#tellOfTrouble(verdict.refusal, verdict.detail);
    return verdict;
  }

  #tellTrace(envelope: Envelope, sizeBytes: number): void {
    const { cipher } = this.#client();
    const tls = cipher && { version: cipher.version, cipher: cipher.standardName ?? cipher.name };
    this.#trace?.accepted(envelope, sizeBytes, { listener: this.#parts.listener, tls });
    this.#trace = undefined;
  }

  /** The client left before the message was complete. */
  async abandon(): Promise<void> {
    const reception = this.#reception;
    this.#reception = undefined;
    await reception?.abandon();
  }

  #tellOfTrouble(refusal: Refusal, detail: string | undefined): void {
    this.tell(refusal, detail === undefined ? {} : { detail });
    if (refusal !== REFUSALS.localError) return;
    this.#parts.events.sessionError({ client: this.#client().address, error: detail ?? '' });
  }

  #received(transaction: Transaction, id: MessageId, dateMs: number): string {
    const { helo, address, cipher, secure, esmtp, user } = this.#client();
    const [only, ...others] = transaction.recipients;
    return formatReceived({
      heloName: helo,
      clientAddress: address,
      byHost: this.#parts.rules().hostname,
      protocol: { esmtp, tls: secure, auth: user !== undefined, utf8: transaction.smtpUtf8 },
      id,
      ...(cipher
        ? { tls: { version: cipher.version, cipher: cipher.standardName ?? cipher.name } }
        : {}),
      ...(only && others.length === 0 ? { forRecipient: only.address } : {}),
      dateMs,
    });
  }

  #envelope(
    transaction: Transaction,
    { eightBit, tlsRequiredNo, messageId, signature }: ContentFacts,
  ): Omit<Envelope, 'id' | 'receivedAtMs'> {
    const { address, helo, secure, user } = this.#client();
    const declared = transaction.envelope();
    return {
      ...declared,
      eightBitMime: declared.eightBitMime || eightBit,
      ...(!eightBit && (declared.eightBitMime || declared.smtpUtf8) ? { sevenBit: true } : {}),
      // RFC 8689 §4, §4.2: REQUIRETLS has the last word; the field stays (RFC 5321 §3.6.3).
      ...(tlsRequiredNo && !declared.requireTls ? { tlsRequiredNo } : {}),
      ...(messageId === undefined ? {} : { messageId }),
      ...(signature === undefined ? {} : { signature }),
      client: { address, helo, tls: secure, ...(user ? { user: user.name } : {}) },
    };
  }
}

/** The command as a log line shows it, with the size where that was the fault. */
function describeMail({ path, parameters }: PathCommand, refusal: Refusal): string {
  const size = refusal === REFUSALS.tooLarge ? ` SIZE=${parameters['SIZE']}` : '';
  return `MAIL FROM:<${path}>${size}`;
}
