/**
 * A mail transaction from MAIL to DATA (RFC 5321 §3.3): who may send what to whom, decided
 * command by command, and the envelope it adds up to. Pure but for the rate limit.
 *
 * Addresses are kept as the client wrote them. Of two RCPT for the same mailbox the second
 * replaces the first, DSN parameters included; local parts that differ in case are
 * different mailboxes (RFC 5321 §2.4).
 */
import type { Envelope, Notify, Recipient } from '../mail/envelope.ts';
import { parseDomain } from '../protocol/domain.ts';
import { type Mailbox, parseMailbox } from '../protocol/mailbox.ts';
import { type Access, type User, userMaySend } from './access.ts';
import type { PathCommand } from './path-command.ts';
import { REFUSALS, type Refusal } from './replies.ts';

/** What the configuration says about taking mail. */
export interface IntakeRules {
  /** Our own name: greeting, Received field, the domain of our postmaster. */
  readonly hostname: string;
  /** Where mail to our postmaster goes; empty when nobody is it. */
  readonly postmaster: string;
  readonly access: Access;
  /** Octets. */
  readonly messageSize: number;
  readonly recipientsPerMessage: number;
  /** Received fields a message may bring along. */
  readonly receivedHops: number;
}

/** What of the client matters here. */
export interface Peer {
  readonly address: string;
  readonly secure: boolean;
  readonly user: User | undefined;
  /** A proxy that does not say for whom it connects: it may not relay, whatever its own address is trusted with. */
  readonly anonymous?: boolean;
  readonly auth: 'none' | 'optional' | 'required';
}

const NON_ASCII = /[^\0-\x7f]/;

export class Transaction {
  readonly reversePath: string;
  readonly smtpUtf8: boolean;
  readonly #requireTls: boolean;
  readonly #parameters: PathCommand['parameters'];
  readonly #recipients = new Map<string, Recipient>();

  /** Takes a MAIL that `refuseMail` had nothing against. */
  constructor(command: PathCommand) {
    this.reversePath = command.path;
    this.smtpUtf8 = command.parameters['SMTPUTF8'] === true;
    this.#requireTls = command.parameters['REQUIRETLS'] === true;
    this.#parameters = command.parameters;
  }

  get recipients(): readonly Recipient[] {
    return [...this.#recipients.values()];
  }

  /** Take a RCPT, or say why not. */
  addRecipient(command: PathCommand, peer: Peer, rules: IntakeRules): Refusal | undefined {
    const address = isOurPostmaster(command.path, rules) ? rules.postmaster : command.path;
    const refusal = this.#refuseRecipient(command, peer, rules);
    if (refusal) return refusal;
    const mailbox = parseMailbox(address);
    if (!mailbox) return REFUSALS.badRecipient;
    const key = mailboxKey(mailbox);
    if (!this.#recipients.has(key) && this.#recipients.size >= rules.recipientsPerMessage) {
      return REFUSALS.tooManyRecipients;
    }
    this.#recipients.set(key, { address, ...dsnParameters(command.parameters) });
    return undefined;
  }

  #refuseRecipient(command: PathCommand, peer: Peer, rules: IntakeRules): Refusal | undefined {
    // RFC 5321 §4.5.1: our own postmaster can be written to by anybody.
    if (isOurPostmaster(command.path, rules)) {
      return rules.postmaster === '' ? REFUSALS.noPostmaster : undefined;
    }
    if (!mayRelay(peer, rules.access)) return REFUSALS.relayDenied;
    if (NON_ASCII.test(command.path) && !this.smtpUtf8) return REFUSALS.needsSmtpUtf8;
    const orcpt = command.parameters['ORCPT'];
    if (typeof orcpt === 'string' && NON_ASCII.test(orcpt) && !this.smtpUtf8) {
      return REFUSALS.badParameter;
    }
    return undefined;
  }

  /** The envelope, but for what only the session and the content know. */
  envelope(): Pick<
    Envelope,
    'reversePath' | 'recipients' | 'smtpUtf8' | 'requireTls' | 'eightBitMime' | 'ret' | 'envid'
  > {
    const { BODY: body, RET: ret, ENVID: envid } = this.#parameters;
    return {
      reversePath: this.reversePath,
      recipients: this.recipients,
      smtpUtf8: this.smtpUtf8,
      eightBitMime: upper(body) === '8BITMIME',
      ...(ret === undefined ? {} : { ret: upper(ret) === 'FULL' ? 'FULL' : 'HDRS' }),
      ...(typeof envid === 'string' ? { envid } : {}),
      // RFC 8689 §4.1: the message is tagged.
      ...(this.#requireTls ? { requireTls: true } : {}),
    };
  }
}

/** Whether mail for others than our postmaster is taken from this client. */
export function mayRelay(
  { user, anonymous, address }: Pick<Peer, 'user' | 'anonymous' | 'address'>,
  access: Pick<Access, 'trusts'>,
): boolean {
  return user !== undefined || (!anonymous && access.trusts(address));
}

/** RFC 4954 §6: nothing of a transaction before AUTH, where that is required. */
export function refuseUnauthenticated(peer: Omit<Peer, 'address'>): Refusal | undefined {
  if (peer.auth !== 'required' || peer.user) return undefined;
  if (peer.anonymous) return REFUSALS.relayDenied; // it has no way to log in
  return peer.secure ? REFUSALS.authRequired : REFUSALS.startTlsFirst;
}

/** Why this MAIL is refused; undefined when it may go on. The values of its parameters are checked elsewhere. */
export function refuseMail(
  command: PathCommand,
  peer: Peer,
  rules: IntakeRules,
): Refusal | undefined {
  const unknown = refuseUnauthenticated(peer);
  if (unknown) return unknown;
  const { path, parameters } = command;
  if (path !== '' && !parseMailbox(path)) return REFUSALS.badSender;
  // RFC 6531 §3.5
  if (NON_ASCII.test(path) && parameters['SMTPUTF8'] !== true) return REFUSALS.needsSmtpUtf8;
  if (!rules.access.allowsSender(path)) return REFUSALS.senderNotAllowed;
  if (peer.user && !userMaySend(peer.user, path)) return REFUSALS.senderNotAllowed;
  // RFC 1870 §6.1: said before anything of it is sent.
  return Number(parameters['SIZE'] ?? 0) > rules.messageSize ? REFUSALS.tooLarge : undefined;
}

/** RFC 8689 §2: REQUIRETLS is for sessions with TLS; in others it is not offered. */
export function refuseParameters(
  { parameters }: PathCommand,
  { secure }: Pick<Peer, 'secure'>,
): Refusal | undefined {
  const isTagged = parameters['REQUIRETLS'] !== undefined;
  return isTagged && !secure ? REFUSALS.requireTlsNeedsTls : undefined;
}

/** RFC 5321 §4.1.1.3: `<postmaster>` without a domain, and the one at our own name. */
function isOurPostmaster(path: string, rules: IntakeRules): boolean {
  if (path.toLowerCase() === 'postmaster') return true;
  const mailbox = parseMailbox(path);
  if (mailbox?.localPart.toLowerCase() !== 'postmaster') return false;
  return mailbox.domain.kind === 'domain' && mailbox.domain.name === parseDomain(rules.hostname);
}

function mailboxKey({ localPart, domain }: Mailbox): string {
  return `${localPart}@${domain.kind === 'domain' ? domain.name : `[${domain.address}]`}`;
}

/** NOTIFY holds nothing but keywords of RFC 3461 §4.1, as smtp-server has checked. */
function dsnParameters({
  NOTIFY: notify,
  ORCPT: orcpt,
}: PathCommand['parameters']): Omit<Recipient, 'address'> {
  return {
    ...(typeof notify === 'string'
      ? { notify: [...new Set(upper(notify)?.split(',') as Notify[])] }
      : {}),
    ...(typeof orcpt === 'string' ? { orcpt } : {}),
  };
}

function upper(value: string | true | undefined): string | undefined {
  return typeof value === 'string' ? value.toUpperCase() : undefined;
}
