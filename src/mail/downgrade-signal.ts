/**
 * The signs that somebody weakens the TLS of a domain, a closed set: they are metric labels. Each
 * can have an innocent cause, too; none changes what is delivered and how.
 */
export const DOWNGRADE_SIGNALS = [
  /** The TXT record is gone or broken while a policy with mode enforce is in force. */
  'record-gone',
  /** The TXT record cannot be looked up while such a policy is in force. */
  'record-lookup-failed',
  /** A changed id, or a refresh that is due, and the policy cannot be fetched; such a policy is in force. */
  'fetch-failed',
  /** An MX host of the domain is not one that its policy lists. */
  'mx-outside-policy',
  /** A host that had STARTTLS, or whose policy promises it, does not offer it, or no handshake succeeds. */
  'starttls-gone',
  /** A host offers STARTTLS, no handshake succeeds, and the message goes in clear text. */
  'clear-text-fallback',
  /** With the reply to STARTTLS, or in place of TLS, came clear text (RFC 3207 §6). */
  'starttls-injection',
  /** A host whose certificate was valid, or whose policy promises that, shows one that is not. */
  'certificate-invalid',
  /** DNS kept failing with nothing known; the mail goes as if nothing were published. */
  'dns-failure',
] as const;
export type DowngradeSignal = (typeof DOWNGRADE_SIGNALS)[number];
