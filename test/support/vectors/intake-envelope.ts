/** The envelope that the relay's own intake makes of MAIL and RCPT as a client sends them. */
import { type PathCommand, parsePathCommand } from '../../../src/intake/path-command.ts';
import type { Refusal } from '../../../src/intake/replies.ts';
import { type IntakeRules, refuseMail, Transaction } from '../../../src/intake/transaction.ts';
import type { Envelope } from '../../../src/mail/envelope.ts';
import { sampleEnvelope } from '../../unit/sample-mail.ts';

export interface MailCommands {
  /** Without angle brackets. */
  readonly from: string;
  /** Parameters of MAIL, as sent. */
  readonly parameters: readonly string[];
  readonly recipients: readonly { readonly to: string; readonly parameters: readonly string[] }[];
}

const RULES: IntakeRules = {
  hostname: 'relay.example',
  postmaster: '',
  access: { trusts: () => true, allowsSender: () => true },
  messageSize: 1_000_000,
  recipientsPerMessage: 100,
  receivedHops: 100,
};
const PEER = { address: '192.0.2.7', secure: true, user: undefined, auth: 'optional' } as const;

/** Throws with the reply when one of the commands is refused. */
export function intakeEnvelope({ from, parameters, recipients }: MailCommands): Envelope {
  const mail = parse('MAIL', [`MAIL FROM:<${from}>`, ...parameters]);
  throwIfRefused(refuseMail(mail, PEER, RULES));
  const transaction = new Transaction(mail);
  for (const recipient of recipients) {
    const rcpt = parse('RCPT', [`RCPT TO:<${recipient.to}>`, ...recipient.parameters]);
    throwIfRefused(transaction.addRecipient(rcpt, PEER, RULES));
  }
  // As client-dialog.ts marks it: the content of every vector is ASCII.
  return sampleEnvelope({ ...transaction.envelope(), sevenBit: true });
}

function parse(verb: 'MAIL' | 'RCPT', words: readonly string[]): PathCommand {
  const command = parsePathCommand(verb, words.join(' '));
  if (command.kind === 'parsed') return command;
  if (command.kind === 'refusal') throwIfRefused(command);
  throw new Error(`malformed for the intake: ${words.join(' ')}`);
}

function throwIfRefused(refusal: Refusal | undefined): void {
  if (refusal) throw new Error(`refused by the intake: ${refusal.code} ${refusal.text}`);
}
