/**
 * What a failure means, and nothing else: temporary or permanent, whether another host may do
 * better, which RFC 3463 status it has and which cause class picks its retry schedule. This is
 * the only file that decides it. Pure.
 *
 * The rule for TLS: a policy that is not met is temporary until the message's lifetime ends
 * (RFC 8461 §5); the status says what was missing. So is TLS that is missing under REQUIRETLS. Only REQUIRETLS
 * itself, and whatever would make a host known securely, are missing for good.
 */
import type { Failure, LocalCause, RemoteReply } from '../mail/failure.ts';
import type { CauseClass } from '../mail/outcome.ts';
import type { TlsRequirement } from '../mail/tls-requirement.ts';
import { takesNoMoreRecipients } from '../protocol/smtp/reply.ts';

export interface Meaning {
  readonly permanent: boolean;
  /** Another address or host of the route may do better. */
  readonly tryNextHost: boolean;
  readonly status: string;
  readonly causeClass: CauseClass;
}

export function classify(failure: Failure): Meaning {
  return failure.kind === 'reply' ? classifyReply(failure) : classifyLocal(failure.cause);
}

/** RFC 5321 §4.2.1: the first digit decides; the enhanced status refines the cause. */
function classifyReply(failure: RemoteReply): Meaning {
  const { stage, reply } = failure;
  // A password that is wrong is for an administrator to mend; it bounces nobody's mail.
  const isForNow = stage === 'auth' || (stage === 'rcpt' && takesNoMoreRecipients(reply));
  const permanent = reply.code >= 500 && !isForNow;
  // Before MAIL a reply is about the host (RFC 5321 §3.1: a 554 greeting: try the next one), and so
  // is 421 at any point (RFC 5321 §3.8); a 4xx to MAIL is too often about the host to stop at.
  const aboutHost =
    stage === 'greeting' || stage === 'ehlo' || stage === 'starttls' || stage === 'auth';
  const tryNextHost =
    (aboutHost && !isWrongPassword(failure)) ||
    reply.code === 421 ||
    (stage === 'mail' && !permanent);
  // RFC 3463 §2: the class is that of what is done; a 552 may be for now.
  const detail = withoutLeadingZeros(reply.enhanced)?.slice(1) ?? `.${SUBJECTS[stage]}`;
  const status = `${permanent ? 5 : 4}${detail}`;
  const causeClass = stage === 'auth' ? 'other' : replyCauseClass(status, reply.text);
  return { permanent, tryNextHost, status, causeClass };
}

/** RFC 4954 §6: the same password would be as wrong at the next host, and attempts are counted there. */
export function isWrongPassword(failure: Failure): boolean {
  return failure.kind === 'reply' && failure.stage === 'auth' && failure.reply.code >= 500;
}

/** RFC 3463 §2: `5.1.1`, never `5.01.001`. */
function withoutLeadingZeros(enhanced: string | undefined): string | undefined {
  return enhanced?.replace(/\.0+(?=\d)/g, '.');
}

/**
 * RFC 3463 subject and detail where the reply has none: X.0.0 where nothing but the class is
 * known, since why a recipient or a message was refused is then anybody's guess.
 */
const SUBJECTS = {
  greeting: '3.2',
  ehlo: '5.0',
  starttls: '7.4',
  auth: '7.0',
  mail: '0.0',
  rcpt: '0.0',
  data: '0.0',
  'end-of-data': '0.0',
} as const;

const GREYLISTING = /gr[ae]y.?list|postgrey|deferred for \d+ sec|try again in \d+/i;
const RATE =
  /\brate\b|rate.?limit|throttl|too (many|much|fast)|slow down|limit exceeded|try again later.*limit/i;
const REPUTATION = /reputation|block.?list|black.?list|spam|policy|RBL|DNSBL|unsolicited/i;

function replyCauseClass(status: string, text: string): CauseClass {
  if (GREYLISTING.test(text)) return 'greylisted';
  if (/^\d\.2\.2$/.test(status) || /mailbox (is )?full|over quota|quota exceeded/i.test(text)) {
    return 'mailboxFull';
  }
  if (/^4\.7\.28$|^\d\.4\.5$/.test(status) || RATE.test(text)) return 'rateLimited';
  if (/^\d\.7\./.test(status) || REPUTATION.test(text)) return 'reputation';
  return 'other';
}

function classifyLocal(cause: LocalCause): Meaning {
  const temporary = (status: string, causeClass: CauseClass, tryNextHost = true): Meaning => ({
    permanent: false,
    tryNextHost,
    status,
    causeClass,
  });
  const permanent = (status: string, tryNextHost = false): Meaning => ({
    permanent: true,
    tryNextHost,
    status,
    causeClass: 'other',
  });
  switch (cause) {
    case 'starttls-not-offered':
    case 'starttls-refused':
      return temporary('4.7.4', 'tlsPolicy');
    case 'tls-handshake-failed':
    case 'tls-version-too-low':
    case 'clear-text-after-starttls':
    case 'certificate-expired':
    case 'certificate-not-yet-valid':
    case 'certificate-self-signed':
    case 'certificate-untrusted':
    case 'certificate-host-mismatch':
    case 'certificate-missing':
    case 'certificate-invalid':
    case 'tlsa-mismatch':
    case 'dnssec-failed': // RFC 7672 §2.1.2: this host is as good as unreachable
    case 'dane-required':
    case 'mx-outside-policy':
      return temporary('4.7.5', 'tlsPolicy');
    case 'requiretls-unsupported':
    case 'requiretls-mx-insecure':
      return { ...permanent('5.7.30', true), causeClass: 'tlsPolicy' }; // RFC 8689 §4.2.1
    case 'refused-before-tls':
      return temporary('4.7.0', 'tlsPolicy');
    case 'domain-not-found':
      return permanent('5.1.2'); // RFC 5321 §5.1
    case 'null-mx':
      return permanent('5.1.10'); // RFC 7505 §4.1
    case 'no-usable-mx':
      return permanent('5.4.4', true); // RFC 5321 §5.1
    case 'mail-loops-back':
      return permanent('5.4.6'); // RFC 5321 §5.1
    case 'malformed-address':
      return permanent('5.1.3');
    case 'dns-failed':
    case 'policy-unknown':
      return temporary('4.4.3', 'dns');
    case 'address-refused':
      return temporary('4.4.4', 'connection');
    case 'connect-refused':
    case 'connect-unreachable':
    case 'destination-closed':
      return temporary('4.4.1', 'connection');
    case 'timeout':
    case 'connection-lost':
      return temporary('4.4.2', 'connection');
    case 'connection-lost-after-data':
      return temporary('4.4.2', 'connection', false); // it may have arrived: not to another host at once
    case 'protocol-error':
      return temporary('4.5.0', 'other');
    case 'auth-not-possible':
      return temporary('4.7.0', 'other');
    case 'auth-paused':
      return temporary('4.7.0', 'other', false);
    case 'smtputf8-not-offered':
      return permanent('5.6.7', true); // RFC 6531 §3.5: an address
    case 'smtputf8-header-not-offered':
      return permanent('5.6.9', true); // and a header
    case 'eightbitmime-not-offered':
      return permanent('5.6.3', true); // RFC 6152 §3
    case 'message-too-large':
      return permanent('5.3.4', true); // RFC 1870 §6.1
    case 'relay-stopping':
    case 'spool-unreadable':
      return temporary('4.3.0', 'other', false);
    case 'queue-lifetime-over':
      return permanent('5.4.7');
    case 'bounced-by-administrator':
    case 'dropped-by-administrator':
      return permanent('5.0.0');
    default:
      return unknownCause(cause);
  }
}

const NO_ENCRYPTION = '4.7.10';

/** RFC 8689 §4.2.1: under REQUIRETLS, TLS that is not reached has a status of its own: encryption needed. */
export function statusUnder(requirement: TlsRequirement | undefined, failure: Failure): string {
  const { status } = classify(failure);
  if (requirement?.requireTls !== 'required' || failure.kind === 'reply') return status;
  switch (failure.cause) {
    case 'starttls-not-offered':
    case 'starttls-refused':
    case 'tls-handshake-failed':
    case 'tls-version-too-low':
    case 'clear-text-after-starttls':
      return NO_ENCRYPTION;
    default:
      return status;
  }
}

/** The status of a failure of ours that was temporary until the lifetime was over. */
export function statusAtTheEnd(status: string): string {
  return status === NO_ENCRYPTION ? '5.7.10' : status;
}

/**
 * Whether a session showed that its host is away, so that there is no use in trying it with the next
 * message: no connection, or one that is lost or refused before MAIL, or 421 (RFC 5321 §3.8).
 */
export function isHostAway(failure: Failure): boolean {
  if (failure.kind === 'reply') {
    const { stage, reply } = failure;
    return stage === 'greeting' || stage === 'ehlo' || reply.code === 421;
  }
  switch (failure.cause) {
    case 'connect-refused':
    case 'connect-unreachable':
    case 'timeout':
    case 'connection-lost':
    case 'refused-before-tls':
      return true;
    default:
      return false;
  }
}

function unknownCause(cause: never): never {
  throw new Error(`no meaning for ${String(cause)}`);
}
