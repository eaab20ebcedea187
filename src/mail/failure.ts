/**
 * Why something did not work, as values. A reply of the remote server and a failure on our
 * side are different types: a DSN says `smtp` only for a real reply.
 * What a failure means (temporary or permanent, this host or the destination) is decided
 * in outcome/classify.ts and nowhere else.
 */
import type { Reply } from '../protocol/smtp/reply.ts';

/** The command whose reply ended things (RFC 5321 §3). */
export type SmtpStage =
  | 'greeting'
  | 'ehlo'
  | 'starttls'
  | 'auth'
  | 'mail'
  | 'rcpt'
  | 'data'
  | 'end-of-data';

export interface RemoteReply {
  readonly kind: 'reply';
  readonly stage: SmtpStage;
  readonly reply: Reply;
}

/** Failures of the TLS part; each maps to one RFC 8460 result type (protocol/tlsrpt/result-type.ts). */
export type TlsFailureCause =
  | 'starttls-not-offered'
  | 'starttls-refused'
  | 'tls-handshake-failed'
  | 'tls-version-too-low'
  /** In place of TLS, or before it, came clear text: a response that somebody put in (RFC 3207 §6), or a broken host. */
  | 'clear-text-after-starttls'
  | 'certificate-expired'
  | 'certificate-not-yet-valid'
  | 'certificate-self-signed'
  | 'certificate-untrusted'
  | 'certificate-host-mismatch'
  | 'certificate-missing'
  | 'certificate-invalid'
  /** No usable TLSA record is about the certificate. */
  | 'tlsa-mismatch'
  /** A lookup on the way to the TLSA records failed or did not validate (RFC 7672 §2.1.2). */
  | 'dnssec-failed'
  /** DANE is a must here, and the host has no secure TLSA records that can be used. */
  | 'dane-required'
  | 'mx-outside-policy';

/** TLS that was agreed on and did not come about. */
export type HandshakeCause = Extract<
  TlsFailureCause,
  'tls-handshake-failed' | 'tls-version-too-low' | 'clear-text-after-starttls'
>;

export type LocalCause =
  | TlsFailureCause
  /** DNS answered: there is no such domain. */
  | 'domain-not-found'
  /** DNS answered: the domain accepts no mail (RFC 7505). */
  | 'null-mx'
  /** DNS did not answer, or answered SERVFAIL, REFUSED or nonsense. */
  | 'dns-failed'
  /** MX records exist but none leads to an address. */
  | 'no-usable-mx'
  /** We are the best MX ourselves (RFC 5321 §5.1). */
  | 'mail-loops-back'
  /** The address is not one that strangers' DNS may send us to. */
  | 'address-refused'
  | 'malformed-address'
  /** The TXT lookup of a domain with nothing cached failed: its policy is unknown. */
  | 'policy-unknown'
  /** Where TLS is required: a 4xx or 5xx before there was any. */
  | 'refused-before-tls'
  | 'connect-refused'
  | 'connect-unreachable'
  | 'timeout'
  | 'connection-lost'
  /** The connection ended between the end of the message and the reply: it may have arrived. */
  | 'connection-lost-after-data'
  | 'protocol-error'
  /** The smart host wants to know who we are, and cannot be told. */
  | 'auth-not-possible'
  /** It refused to believe it a moment ago. */
  | 'auth-paused'
  /** An address needs it. */
  | 'smtputf8-not-offered'
  /** The content needs it. */
  | 'smtputf8-header-not-offered'
  | 'eightbitmime-not-offered'
  | 'message-too-large'
  /** The message has REQUIRETLS, which the host does not offer over TLS (RFC 8689 §4.2.1). */
  | 'requiretls-unsupported'
  /** The message has REQUIRETLS, and nothing vouches for the name of the host (RFC 8689 §4.2.1). */
  | 'requiretls-mx-insecure'
  /** The relay is stopping, or could not read its own spool. */
  | 'relay-stopping'
  | 'spool-unreadable'
  | 'queue-lifetime-over'
  /** Nothing was tried: the breaker of its hosts is open. */
  | 'destination-closed'
  /** Somebody who runs the relay gave it up. */
  | 'bounced-by-administrator'
  /** The same, and nobody is told. */
  | 'dropped-by-administrator';

export interface LocalFailure {
  readonly kind: 'local';
  readonly cause: LocalCause;
  /** For people: what exactly happened, e.g. what the certificate said. One line, no secrets. */
  readonly detail: string;
}

export type Failure = RemoteReply | LocalFailure;

/** Whether another try at the same address may do better, with a ClientHello that is smaller. */
export function isHandshakeCause(cause: LocalCause): cause is HandshakeCause {
  switch (cause) {
    case 'tls-handshake-failed':
    case 'tls-version-too-low':
    case 'clear-text-after-starttls':
      return true;
    default:
      return false;
  }
}

/** A LocalFailure in one line. */
export function localFailure(cause: LocalCause, detail: string): LocalFailure {
  return { kind: 'local', cause, detail };
}
