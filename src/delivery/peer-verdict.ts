/**
 * Our own verdict on the peer of a finished TLS handshake (RFC 8461 §4.2): the chain and dates
 * as OpenSSL verified them against the roots of our choice, the name by our own comparison of
 * SAN dNSNames with the MX host name. Node's default check is switched off: it takes a CN for
 * a name, matches partial wildcards and is skipped on resumed sessions.
 *
 * Under TLSA records that can be used the verdict is DANE's instead (dane-verdict.ts).
 */
import type { PeerCertificate, TLSSocket } from 'node:tls';
import type { TlsFailureCause } from '../mail/failure.ts';
import type { PeerVerdict, TlsFacts } from '../mail/session-result.ts';
import type { DaneSource } from '../mail/tls-requirement.ts';
import { dnsNamesFromSubjectAltName, matchDnsId } from '../protocol/tls/dns-id.ts';
import { chainOf, judgeByDane } from './dane-verdict.ts';
import type { SessionTicket } from './session-tickets.ts';

/** What the handshake showed; everything the verdict depends on. */
export interface PeerEvidence {
  /** OpenSSL verified chain, signatures, dates and purpose. */
  readonly chainVerified: boolean;
  /** OpenSSL's code when it did not, e.g. `CERT_HAS_EXPIRED`. */
  readonly chainError: string | undefined;
  /** Node's rendering of the subjectAltName extension; undefined without one. */
  readonly subjectAltName: string | undefined;
  readonly certificatePresent: boolean;
  /** Resumed, and not one of ours: no certificate was sent, and what is known of one is from before. */
  readonly resumed?: boolean;
  readonly expiresAt: string | undefined;
  /** The leaf itself is within its dates: what expired is another certificate of the chain. */
  readonly leafInDates?: boolean;
  readonly issuer: string | undefined;
}

/**
 * Facts and verdict of a finished handshake. `host` is the only name that counts (RFC 8461 §4.1), but
 * where `dane` has its own.
 */
export function describePeer(
  socket: TLSSocket,
  host: string | undefined,
  dane?: DaneSource,
): TlsFacts {
  const certificate = socket.getPeerCertificate() as Partial<PeerCertificate> | undefined;
  const present = certificate?.raw !== undefined;
  const byDane = dane && !socket.isSessionReused();
  const verdict = byDane
    ? judgeByDane({ chain: chainOf(socket), nowMs: Date.now() }, dane)
    : judgePeer(evidenceOf(socket, certificate), host);
  return {
    version: socket.getProtocol() ?? 'unknown',
    cipher: socket.getCipher()?.standardName ?? 'unknown',
    certSha256: certificate?.fingerprint256?.replaceAll(':', '').toLowerCase(),
    certValidToMs: present ? Date.parse(certificate?.valid_to ?? '') : undefined,
    verdict,
  };
}

/**
 * Facts and verdict of a session that resumes one of ours: those of the full handshake (RFC 9325 §3.4).
 * Undefined when it does not, and is to be judged by itself.
 */
export function resumedPeer(
  socket: TLSSocket,
  ticket: SessionTicket | undefined,
): TlsFacts | undefined {
  const version = socket.getProtocol();
  if (!ticket || !socket.isSessionReused() || version !== 'TLSv1.3') return undefined;
  const cipher = socket.getCipher()?.standardName ?? 'unknown';
  return { ...ticket.tls, version, cipher, resumed: true };
}

function evidenceOf(
  socket: TLSSocket,
  certificate: Partial<PeerCertificate> | undefined,
): PeerEvidence {
  return {
    chainVerified: socket.authorized,
    chainError: socket.authorized ? undefined : String(socket.authorizationError),
    subjectAltName: certificate?.subjectaltname,
    certificatePresent: certificate?.raw !== undefined,
    resumed: socket.isSessionReused(),
    expiresAt: certificate?.valid_to,
    leafInDates: isInDates(certificate),
    issuer: [certificate?.issuer?.CN ?? certificate?.issuer?.O].flat().join(', ') || undefined,
  };
}

/** The verdict; pure. No certificate, no name or no reached verdict means no. */
export function judgePeer(evidence: PeerEvidence, host: string | undefined): PeerVerdict {
  const refused = (cause: TlsFailureCause, detail: string): PeerVerdict => ({
    verified: false,
    cause,
    detail,
  });
  if (!evidence.certificatePresent)
    return refused('certificate-missing', 'no certificate was sent');
  // OpenSSL would repeat its verdict of another day, on other roots and dates.
  if (evidence.resumed) return refused('certificate-missing', 'a session was resumed');
  if (!evidence.chainVerified) {
    const [cause, what] = CHAIN_ERRORS[evidence.chainError ?? ''] ?? OTHER_CHAIN_ERROR;
    const isIssuers = evidence.leafInDates && cause === 'certificate-expired';
    const text = isIssuers ? 'a certificate of its issuers has expired; its own is' : what;
    const facts = [
      `valid until ${evidence.expiresAt}`,
      `issued by ${evidence.issuer}`,
      evidence.chainError,
    ];
    return refused(cause, `${text} (${facts.join(', ')})`);
  }
  if (host === undefined) return refused('certificate-host-mismatch', 'there is no name to check');
  const names = dnsNamesFromSubjectAltName(evidence.subjectAltName ?? '');
  const matchedName = matchDnsId([host], names);
  if (matchedName === undefined) {
    const listed = names.length > 0 ? names.slice(0, 10).join(', ') : 'no DNS name at all';
    return refused('certificate-host-mismatch', `certificate names ${listed}, not ${host}`);
  }
  return { verified: true, matchedName };
}

function isInDates(certificate: Partial<PeerCertificate> | undefined): boolean {
  const now = Date.now();
  const { valid_from: from = '', valid_to: to = '' } = certificate ?? {};
  return Date.parse(from) <= now && now <= Date.parse(to);
}

const OTHER_CHAIN_ERROR = ['certificate-invalid', 'certificate chain is not valid'] as const;

/** OpenSSL's verification errors that have a name of their own in RFC 8460 §4.3.1. */
const CHAIN_ERRORS: Record<string, readonly [TlsFailureCause, string]> = {
  CERT_HAS_EXPIRED: ['certificate-expired', 'certificate has expired'],
  CERT_NOT_YET_VALID: ['certificate-not-yet-valid', 'certificate is not valid yet'],
  DEPTH_ZERO_SELF_SIGNED_CERT: ['certificate-self-signed', 'certificate is self-signed'],
  SELF_SIGNED_CERT_IN_CHAIN: ['certificate-untrusted', 'chain ends in an unknown root'],
  UNABLE_TO_GET_ISSUER_CERT: ['certificate-untrusted', 'issuer is not known'],
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: ['certificate-untrusted', 'issuer is not known'],
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: [
    'certificate-untrusted',
    'issuer is not known, or its certificate was not sent',
  ],
};
