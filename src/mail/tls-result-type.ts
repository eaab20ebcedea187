/**
 * The RFC 8460 §4.3 result type of each way TLS can fail. Several of ours share one; the
 * report's failure-reason-code keeps them apart.
 */
import type { ResultType } from '../protocol/tlsrpt/result-type.ts';
import type { TlsFailureCause } from './failure.ts';

/** The result type that `cause` is reported under. */
export function tlsResultType(cause: TlsFailureCause): ResultType {
  switch (cause) {
    case 'starttls-not-offered':
    case 'starttls-refused':
      return 'starttls-not-supported';
    case 'certificate-host-mismatch':
      return 'certificate-host-mismatch';
    // Outside its dates on either side: RFC 8460 §4.3.1 has one type for both.
    case 'certificate-expired':
    case 'certificate-not-yet-valid':
      return 'certificate-expired';
    // Broken chains, constraints and the like are a lack of trust (RFC 8460 §4.3.1).
    case 'certificate-self-signed':
    case 'certificate-untrusted':
    case 'certificate-invalid':
      return 'certificate-not-trusted';
    // RFC 8460 §4.3.2.1
    case 'tlsa-mismatch':
      return 'tlsa-invalid';
    case 'dnssec-failed':
      return 'dnssec-invalid';
    case 'dane-required':
      return 'dane-required';
    // RFC 8460 §4.3.1: everything that has no type of its own. A host outside the policy has
    // none either; other senders report it so, too.
    case 'certificate-missing':
    case 'tls-handshake-failed':
    case 'tls-version-too-low':
    case 'clear-text-after-starttls':
    case 'mx-outside-policy':
      return 'validation-failure';
    default:
      return unknownCause(cause);
  }
}

function unknownCause(cause: never): never {
  throw new Error(`no result type for ${String(cause)}`);
}
