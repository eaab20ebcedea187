/**
 * Vectors `cert-identity`: whether a certificate names the host (RFC 8461 §4.2, RFC 7672 §3.2.3).
 * Entries of other types never come to the comparison: dns-id.test.ts.
 */
import { daneTaNames, matchDnsId } from '../../../src/protocol/tls/dns-id.ts';
import { NotSupported, onlyKeys, type VectorKind } from './vector.ts';

interface Input {
  readonly profile: string;
  readonly references: readonly string[];
  readonly san: { readonly dns?: readonly string[] };
  readonly cn: string | null;
}

const PROFILES = ['sts-mx', 'sts-policy-host', 'dane-ta'];

export const certIdentity: VectorKind = {
  answer(input: Input) {
    onlyKeys('input', input, ['profile', 'references', 'san', 'cn']);
    const { profile, references, san, cn } = input;
    onlyKeys('input.san', san, ['dns', 'ip', 'email', 'uri']);
    if (!PROFILES.includes(profile)) throw new NotSupported(`profile ${profile}`);
    const dnsNames = san.dns ?? [];
    const presented = profile === 'dane-ta' ? daneTaNames(dnsNames, cn ?? undefined) : dnsNames;
    return matchDnsId(references, presented) !== undefined;
  },
};
