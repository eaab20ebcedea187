/**
 * Why a session did not come to its transaction, or broke off in it: from what the wire says to
 * a failure with a name. Pure apart from reading the wire's state.
 */
import { type Failure, type LocalFailure, localFailure } from '../mail/failure.ts';
import type { SessionFacts } from '../mail/session-result.ts';
import { allowsClearText } from '../mail/tls-requirement.ts';
import { formatReply, parseReply } from '../protocol/smtp/reply.ts';
import { refusesSession } from './admission.ts';
import { handshakeFailure } from './tls-failure.ts';
import type { WireError } from './transaction.ts';
import type { Wire } from './wire.ts';

/** Why a session did not come to its first transaction. */
export function openingFailure(wire: Wire, error: WireError, facts: SessionFacts): Failure {
  return beforeAdmission(whyNotOpen(wire, error), facts, wire);
}

function whyNotOpen(wire: Wire, error: WireError): Failure {
  if (error.duringHandshake) return tlsFailure(wire, error);
  const reply = error.response === undefined ? undefined : parseReply(error.response);
  // RFC 3207 §4: STARTTLS was refused where TLS is required, which is this host's failure.
  if (wire.stageReached === 'starttls' && wire.startTls === 'required') {
    if (reply && !wire.startTlsOffered) {
      return localFailure('starttls-not-offered', `STARTTLS is not offered (${error.response})`);
    }
    if (reply) return localFailure('starttls-refused', `STARTTLS was refused: ${error.response}`);
  }
  if (error.code === 'ETLS') return tlsFailure(wire, error);
  if (reply) return { kind: 'reply', stage: wire.stageReached, reply };
  const failure = connectionFailure(wire, error);
  if (wire.stageReached !== 'starttls') return failure;
  // As an answer to STARTTLS that is a handshake that failed, whoever ended it: the same ways are left.
  return localFailure('tls-handshake-failed', failure.detail);
}

function tlsFailure(wire: Wire, error: WireError): LocalFailure {
  if (!wire.sawClearText) return handshakeFailure(error, { isStartTls: wire.startTls !== 'never' });
  // RFC 3207 §6: nothing that was said in clear text counts any more.
  const detail = 'clear text came with the reply to STARTTLS';
  return localFailure('clear-text-after-starttls', detail);
}

/**
 * Where TLS is required, what a peer says before it proved who it is decides nothing for good:
 * anybody on the way can answer 554. It is a policy that was not met, and waits (RFC 8461 §5).
 */
function beforeAdmission(
  failure: Failure,
  { requirement, tls }: SessionFacts,
  wire: Wire,
): Failure {
  if (failure.kind === 'local' || allowsClearText(requirement)) return failure;
  const refused = refusesSession(requirement, tls);
  if (!refused) return failure;
  if (tls) return refused;
  const said = formatReply(failure.reply);
  return wire.stageReached === 'ehlo'
    ? localFailure('starttls-not-offered', `EHLO was refused: ${said}`)
    : localFailure('refused-before-tls', `before TLS the server said: ${said}`);
}

/** What became of a connection that broke without a reply. */
export function connectionFailure(wire: Wire, error: WireError): LocalFailure {
  const at = `at stage ${wire.stageReached}`;
  switch (error.code) {
    case 'ETIMEDOUT':
      return localFailure('timeout', `no answer in time ${at}`);
    case 'EPROTOCOL':
      return localFailure('protocol-error', `${error.message} ${at}`);
    case 'ESTREAM':
      return localFailure('spool-unreadable', error.message);
    default:
      return localFailure('connection-lost', `the connection was lost ${at}: ${error.message}`);
  }
}
