/**
 * The certificate authorities that MX and policy hosts may chain to: Node's and the system's
 * (`outbound.systemRoots`), and the administrator's own (`outbound.trustedCaFiles`).
 */
import { getCACertificates, rootCertificates } from 'node:tls';

export interface RootOptions {
  readonly systemRoots: boolean;
  /** Further roots in PEM; a text may hold several. */
  readonly ca?: readonly string[];
}

/**
 * The roots in PEM. Reads the system's store: call once, not per connection. An empty list
 * means that nothing is trusted; hand it on as it is, for without a `ca` Node would trust
 * its own list.
 */
export function trustedRoots({ systemRoots, ca = [] }: RootOptions): string[] {
  if (!systemRoots) return [...ca];
  return [...new Set([...rootCertificates, ...systemStore(), ...ca])];
}

function systemStore(): readonly string[] {
  try {
    return getCACertificates('system');
  } catch {
    // A broken store must not take Node's own roots away.
    return [];
  }
}
