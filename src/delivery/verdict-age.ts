/**
 * How long the verdict on a peer holds for further messages: those over the same connection
 * (session-pool.ts), and those over connections that resume its TLS session (session-tickets.ts).
 */
import type { TlsFacts } from '../mail/session-result.ts';

/**
 * From the full handshake on: a verdict gets no older than this, whatever became of roots and issuers
 * meanwhile, and a host that was taken out of DNS is left.
 */
const LONGEST_USE_MS = 5 * 60_000;

/** Whether what was judged at `judgedAtMs` still holds. A clock that was set back says nothing about the age. */
export function isCurrent(
  { tls, judgedAtMs }: { readonly tls: TlsFacts | undefined; readonly judgedAtMs: number },
  nowMs: number,
): boolean {
  const ageMs = nowMs - judgedAtMs;
  return ageMs >= 0 && ageMs < LONGEST_USE_MS && !hasExpired(tls, nowMs);
}

/** RFC 8461 §4.2: a certificate that was valid at the handshake and is no longer is none. */
function hasExpired(tls: TlsFacts | undefined, nowMs: number): boolean {
  if (!tls?.verdict.verified) return false;
  return !(nowMs < (tls.certValidToMs ?? Number.NEGATIVE_INFINITY));
}
