/**
 * How the TLS of one session went, as a report counts it (RFC 8461 §6, RFC 8460 §4.3). Pure; one result a
 * session, the first that applies: what ended it, a host outside the policy, no TLS, a
 * certificate that the policy asked for.
 *
 * What is no matter of TLS has no result: a host that was away, a reply before there could be
 * TLS. A refusal after good TLS is a success (RFC 8460 §4.3.4). Where no policy asks for a
 * certificate, any will do.
 */
import type { ResultType } from '../protocol/tlsrpt/result-type.ts';
import type { Failure, LocalFailure, TlsFailureCause } from './failure.ts';
import type { SessionResult } from './session-result.ts';
import { tlsResultType } from './tls-result-type.ts';

export type SessionResultType =
  | ResultType
  | 'successful'
  /** An administrator wants no TLS there. */
  | 'clear-text';

/** Why the TLS of a session was not what it should have been. */
export interface TlsFault {
  readonly cause: TlsFailureCause;
  /** For people, one line. */
  readonly detail: string;
}

/** The result of a session or of a skipped candidate; undefined when it did not come to TLS at all. */
export function sessionResultType(result: SessionResult): SessionResultType | undefined {
  const outcome = sessionTlsOutcome(result);
  return typeof outcome === 'object' ? tlsResultType(outcome.cause) : outcome;
}

/** The same, with the fault itself. */
export function sessionTlsOutcome(
  result: SessionResult,
): TlsFault | 'successful' | 'clear-text' | undefined {
  const { candidate, requirement, tls, clearTextBecause } = result.facts;
  const { level, source } = requirement;
  if (result.kind === 'ended-early' && isTlsFailure(result.failure)) return result.failure;
  if (level === 'none' && !tls) return result.kind === 'transacted' ? 'clear-text' : undefined;
  if (!tls && !clearTextBecause) return undefined;
  const isUnderSts = source.kind === 'mta-sts';
  if (isUnderSts && !source.listed) {
    const detail = `the policy does not list ${candidate.host ?? candidate.address}`;
    return { cause: 'mx-outside-policy', detail };
  }
  if (clearTextBecause) return clearTextBecause;
  const verdict = tls?.verdict;
  return isUnderSts && verdict?.verified === false ? verdict : 'successful';
}

const TLS_CAUSES: Readonly<Record<TlsFailureCause, true>> = {
  'starttls-not-offered': true,
  'starttls-refused': true,
  'tls-handshake-failed': true,
  'tls-version-too-low': true,
  'clear-text-after-starttls': true,
  'certificate-expired': true,
  'certificate-not-yet-valid': true,
  'certificate-self-signed': true,
  'certificate-untrusted': true,
  'certificate-host-mismatch': true,
  'certificate-missing': true,
  'certificate-invalid': true,
  'tlsa-mismatch': true,
  'dnssec-failed': true,
  'dane-required': true,
  'mx-outside-policy': true,
};

function isTlsFailure(
  failure: Failure,
): failure is LocalFailure & { readonly cause: TlsFailureCause } {
  return failure.kind === 'local' && Object.hasOwn(TLS_CAUSES, failure.cause);
}
