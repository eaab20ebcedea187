/**
 * What is offered in a TLS handshake (RFC 9325 §3, §4): roots, versions, suites and groups. Made once
 * for all sessions, for it is costly.
 */
import { createSecureContext, DEFAULT_CIPHERS, type SecureContext } from 'node:tls';
import type { TlsRequirement } from '../mail/tls-requirement.ts';

export interface SecureContexts {
  /**
   * Everything OpenSSL's and Node's defaults allow, suites with RSA key exchange last of all: for a
   * host that would else get mail in clear text.
   */
  readonly full: SecureContext;
  /** Without those (RFC 9325 §4.1). */
  readonly forwardSecret: SecureContext;
  /** A ClientHello that fits one packet: no post-quantum group, few suites. No weaker. */
  readonly small: SecureContext;
}

export interface SecureContextOptions {
  /** Trusted roots, PEM. */
  readonly ca: string | readonly string[];
  readonly minVersion: TlsRequirement['minVersion'];
}

const SMALL_HELLO = {
  ecdhCurve: 'X25519:P-256',
  ciphers: [
    'TLS_AES_128_GCM_SHA256',
    'TLS_AES_256_GCM_SHA384',
    'ECDHE-ECDSA-AES128-GCM-SHA256',
    'ECDHE-RSA-AES128-GCM-SHA256',
    'ECDHE-ECDSA-AES256-GCM-SHA384',
    'ECDHE-RSA-AES256-GCM-SHA384',
  ].join(':'),
};

/**
 * RFC 9325 §3.1.1: nothing below TLS 1.2; the suites are Node's (RFC 9325 §4.1), old ones last.
 * Throws when a root cannot be read.
 */
export function createSecureContexts({ ca, minVersion }: SecureContextOptions): SecureContexts {
  const base = { ca: typeof ca === 'string' ? ca : [...ca], minVersion };
  return {
    full: createSecureContext(base),
    forwardSecret: createSecureContext({ ...base, ciphers: `${DEFAULT_CIPHERS}:!kRSA` }),
    small: createSecureContext({ ...base, ...SMALL_HELLO }),
  };
}
