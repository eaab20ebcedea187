/**
 * What is wrong with a certificate and how to mend it, for MX hosts (RFC 8461 §4.2) and policy
 * hosts (RFC 8461 §3.3) alike. Pure.
 */
import type { CertificateFacts } from '../delivery/certificate.ts';
import type { TlsFailureCause } from '../mail/failure.ts';
import { dayOf, someOf } from './text.ts';
import type { Finding } from './types.ts';

const DAY_MS = 86_400_000;
const SOON_DAYS = 14;

export interface CertificateAdvice {
  readonly text: string;
  readonly fix: string;
}

/** Undefined for causes that are about something else than the certificate. */
export function certificateAdvice(
  cause: TlsFailureCause,
  host: string,
  certificate: CertificateFacts | undefined,
): CertificateAdvice | undefined {
  const by = certificate ? ` (issued by ${certificate.issuer})` : '';
  switch (cause) {
    case 'certificate-expired':
      return {
        text: `The certificate${by} has expired${on(certificate?.validTo)}.`,
        fix: `Renew the certificate of ${host}, and see that the renewal reaches the program that uses it: many read it at start only.`,
      };
    case 'certificate-not-yet-valid':
      return {
        text: `The certificate${by} is not valid yet${on(certificate?.validFrom)}.`,
        fix: `Use a certificate that is valid now, and check the clock of whoever issues it.`,
      };
    case 'certificate-self-signed':
      return {
        text: 'The certificate is self-signed: no authority vouches for it.',
        fix: `Get a certificate for ${host} from a public authority; ACME is free.`,
      };
    case 'certificate-untrusted':
      return {
        text: `The certificate${by} leads to no authority that is trusted here: it is of a private one, or the host does not send its intermediate certificates.`,
        fix: 'Have the host send the whole chain (the "fullchain" file), or get a certificate from a public authority.',
      };
    case 'certificate-host-mismatch':
      return wrongName(host, certificate);
    case 'certificate-missing':
      return {
        text: 'The host shows no certificate.',
        fix: `Configure a certificate for ${host}.`,
      };
    case 'certificate-invalid':
      return {
        text: `The certificate${by} does not hold.`,
        fix: `Get a certificate for ${host} that is meant for TLS servers and has the usual constraints.`,
      };
    default:
      return undefined;
  }
}

function wrongName(host: string, certificate: CertificateFacts | undefined): CertificateAdvice {
  const { names = [], commonName } = certificate ?? {};
  const fix = `Get a certificate with ${host} among the DNS names of its subjectAltName.`;
  if (names.length > 0) return { text: `The certificate is for ${someOf(names)}.`, fix };
  const only = commonName === undefined ? '' : `, only the CN ${commonName}, which does not count`;
  return { text: `The certificate has no DNS name in its subjectAltName${only}.`, fix };
}

/** A warning when a certificate is about to expire; whose it is and who wants it is the caller's to add. */
export function certificateExpiry(
  certificate: CertificateFacts | undefined,
  nowMs: number,
): readonly Omit<Finding, 'subject' | 'rfc'>[] {
  const endsMs = certificate ? Date.parse(certificate.validTo) : Number.NaN;
  const days = Math.floor((endsMs - nowMs) / DAY_MS);
  if (!(endsMs > nowMs && days < SOON_DAYS)) return [];
  return [
    {
      severity: 'warning',
      code: 'certificate-expires-soon',
      text: `The certificate expires ${days < 1 ? 'within a day' : `in ${days} day${days === 1 ? '' : 's'}`}, on ${dayOf(endsMs)}.`,
      fix: 'Renew it, and see why it was not renewed by itself: most authorities want it done a month ahead.',
    },
  ];
}

function on(time: string | undefined): string {
  const at = Date.parse(time ?? '');
  return Number.isNaN(at) ? '' : ` (${dayOf(at)})`;
}
