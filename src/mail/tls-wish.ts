/**
 * What a message itself says about TLS (RFC 8689), as its envelope has it. Pure. What comes of it
 * is decided in policy/.
 */
import type { Envelope } from './envelope.ts';

export type TlsWish =
  /** REQUIRETLS: over TLS to hosts that are known securely and promise the same, or not at all. */
  | 'required'
  /** The same for a message from the null reverse-path: as far as the way there allows it. */
  | 'preferred'
  /** `TLS-Required: No`: rather in clear text than not at all. */
  | 'waived'
  /** The same, for a TLS report of ours, whatever `security.honorTlsRequiredNo` says (RFC 8460 §3). */
  | 'report';

/** Undefined: nothing is said. */
export function tlsWishOf({
  requireTls,
  tlsRequiredNo,
  reversePath,
  tlsReport,
}: Pick<Envelope, 'requireTls' | 'tlsRequiredNo' | 'reversePath' | 'tlsReport'>):
  | TlsWish
  | undefined {
  if (tlsReport) return 'report';
  // RFC 8689 §4.1, §4.2: beside REQUIRETLS the header field counts for nothing.
  if (!requireTls) return tlsRequiredNo ? 'waived' : undefined;
  // RFC 8689 §5: a bounce is not to be lost because hosts on its way do not know REQUIRETLS.
  return reversePath === '' ? 'preferred' : 'required';
}
