/**
 * What becomes of a session under a requirement: pure, and the second half of the decision that begins with
 * mail/tls-decision.ts (test/fixtures/tls-decisions.txt has both). The gate before the first byte of a message
 * is in here: it is asked once the handshake is through (RFC 3207 §4.1), right before MAIL FROM of
 * every transaction, and its default answer is no. Right behind it: does MAIL FROM carry REQUIRETLS?
 */
import { type LocalFailure, localFailure } from '../mail/failure.ts';
import type { TlsFacts, TlsMode } from '../mail/session-result.ts';
import { reachedWith, type TlsReached } from '../mail/tls-outcome.ts';
import { allowsClearText, type TlsRequirement } from '../mail/tls-requirement.ts';

/** How TLS is to be had on one connection. */
export interface TlsPlan {
  readonly requirement: TlsRequirement;
  readonly mode: TlsMode;
  /** From the first octet: there is no STARTTLS, and no clear text (RFC 8314 §5.1). */
  readonly implicitTls?: boolean;
}

/** How it went. */
export type TlsEnd =
  /** The session is open, over TLS or (`undefined`) in clear text. */
  | { readonly kind: 'open'; readonly tls: TlsFacts | undefined }
  /** On the way to TLS, and the connection with it (RFC 3207 §4.1). */
  | { readonly kind: 'broken'; readonly failure: LocalFailure };

export type NextStep =
  | { readonly kind: 'admitted'; readonly reached: TlsReached }
  /** The same address, over a new connection. */
  | { readonly kind: 'again'; readonly mode: Exclude<TlsMode, 'full'> }
  | { readonly kind: 'refused'; readonly failure: LocalFailure };

/** How TLS is tried first. */
export function firstMode({ requirement, implicitTls }: Omit<TlsPlan, 'mode'>): TlsMode {
  return requirement.level === 'none' && !implicitTls ? 'clear' : 'full';
}

/** What to do next at this address. */
export function decideSession(plan: TlsPlan, end: TlsEnd): NextStep {
  const { requirement, mode, implicitTls } = plan;
  if (end.kind === 'open') {
    const failure = refusesSession(requirement, end.tls);
    if (failure) return { kind: 'refused', failure };
    return { kind: 'admitted', reached: reachedWith(end.tls) };
  }
  // No weaker: whatever is required may be had by it.
  if (mode === 'full') return { kind: 'again', mode: 'small-hello' };
  // RFC 7435 §3: where nothing asks for TLS, rather none than no mail. RFC 8461 §5: elsewhere never.
  const mayBeClear = mode === 'small-hello' && !implicitTls && allowsClearText(requirement);
  return mayBeClear ? { kind: 'again', mode: 'clear' } : { kind: 'refused', failure: end.failure };
}

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
