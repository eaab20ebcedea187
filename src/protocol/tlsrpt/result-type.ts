/**
 * The result types of a TLS report (RFC 8460 §4.3), a closed set: they are values in reports
 * and metric labels. Which of our failures is which is in mail/tls-result-type.ts.
 */
export const RESULT_TYPES = [
  // RFC 8460 §4.3.1, negotiation
  'starttls-not-supported',
  'certificate-host-mismatch',
  'certificate-expired',
  'certificate-not-trusted',
  'validation-failure',
  // RFC 8460 §4.3.2.1, DANE
  'tlsa-invalid',
  'dnssec-invalid',
  'dane-required',
  // RFC 8460 §4.3.2.2, MTA-STS
  'sts-policy-fetch-error',
  'sts-policy-invalid',
  'sts-webpki-invalid',
] as const;

export type ResultType = (typeof RESULT_TYPES)[number];
