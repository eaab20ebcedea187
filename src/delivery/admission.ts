/**
 * The gate before the first byte of a message: does this session satisfy the requirement? It
 * is asked once the handshake is through (RFC 3207 §4.1), right before MAIL FROM of every
 * transaction, and its default answer is no. Right behind it: does MAIL FROM carry REQUIRETLS?
 */
import { type LocalFailure, localFailure } from '../mail/failure.ts';
import type { TlsFacts } from '../mail/session-result.ts';
import { allowsClearText, type TlsRequirement } from '../mail/tls-requirement.ts';

/** Undefined when the message may go over this session; otherwise why not. */
export function refusesSession(
  requirement: TlsRequirement,
  tls: TlsFacts | undefined,
): LocalFailure | undefined {
  if (allowsClearText(requirement)) return undefined;
  // RFC 8461 §4, §5, RFC 3207 §6: missing STARTTLS is no reason to ask for less.
  if (!tls) return localFailure('starttls-not-offered', 'the session is not encrypted');
  // RFC 8461 §7.2: TLS 1.2 or newer.
  if (!versionSuffices(tls.version, requirement.minVersion)) {
    const detail = `${tls.version} was negotiated, ${requirement.minVersion} is the least`;
    return localFailure('tls-version-too-low', detail);
  }
  if (requirement.level === 'encrypt') return undefined;
  // RFC 8461 §4.2, §5: no message to a host whose certificate does not hold.
  if (tls.verdict.verified) return undefined;
  return localFailure(tls.verdict.cause, tls.verdict.detail);
}

/**
 * Whether a message goes with REQUIRETLS in this session, or why it may not go at all. RFC 8689 §2,
 * §4.2.1: the parameter stands only where the host is known securely (which the requirement tells), has proved
 * who it is, and listed REQUIRETLS in its reply to the EHLO over TLS (`isOffered`).
 */
export function requireTlsIn(
  requirement: TlsRequirement,
  { tls, isOffered }: { readonly tls: TlsFacts | undefined; readonly isOffered: boolean },
): 'with' | 'without' | LocalFailure {
  if (requirement.requireTls === undefined) return 'without';
  const refused = refusesSession({ ...requirement, level: 'verify' }, tls);
  if (!refused && isOffered) return 'with';
  if (requirement.requireTls === 'preferred') return 'without';
  if (refused) return refused;
  const detail = 'the message has REQUIRETLS, which the mail server does not support';
  return localFailure('requiretls-unsupported', detail);
}

function versionSuffices(version: string, least: TlsRequirement['minVersion']): boolean {
  return version === 'TLSv1.3' || (version === 'TLSv1.2' && least === 'TLSv1.2');
}
