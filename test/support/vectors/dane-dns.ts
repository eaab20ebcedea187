/**
 * DNS of the DANE vectors: what a stub resolver behind a validating one would be told, for the status
 * words of the vectors (test/fixtures/vectors/README.md).
 */
import type { LookupResult, MxRecord, Resolver } from '../../../src/platform/resolver.ts';
import { parseTlsaText, type TlsaRecord } from '../../../src/protocol/dane/tlsa.ts';
import type { DomainName } from '../../../src/protocol/domain.ts';
import { NotSupported } from './vector.ts';

interface Alias {
  readonly target: string;
  readonly status: string;
}
interface RecordSet<T> {
  readonly status: string;
  readonly rrs: readonly T[];
}
export interface HostInput {
  /** Status of its addresses. */
  readonly address: string;
  readonly cname?: readonly Alias[];
  /** By base domain. */
  readonly tlsa: Readonly<
    Record<string, RecordSet<string> & { readonly via_cname?: readonly Alias[] }>
  >;
  readonly server: { readonly starttls: boolean; readonly chain: readonly string[] };
  readonly port: number;
}
export interface DnsInput {
  readonly next_hop: string;
  readonly next_hop_cname?: readonly Alias[];
  readonly mx: RecordSet<{ readonly pref: number; readonly host: string }>;
  readonly hosts: Readonly<Record<string, HostInput>>;
}

export class DaneDns implements Resolver {
  readonly tlsaQueries: string[] = [];
  readonly #input: DnsInput;

  constructor(input: DnsInput) {
    this.#input = input;
  }

  hostOf(name: string): HostInput | undefined {
    const plain = (text: string) => text.toLowerCase().replace(/\.$/, '');
    const { hosts } = this.#input;
    return Object.entries(hosts).find(([key]) => plain(key) === plain(name))?.[1];
  }

  async lookupMx(name: DomainName): Promise<LookupResult<MxRecord>> {
    const { mx, next_hop_cname: aliases = [] } = this.#input;
    const records = mx.rrs.map(({ pref, host }) => ({
      preference: pref,
      exchange: host.replace(/\.$/, ''),
    }));
    return resultOf(mx.status, { records, name, aliases });
  }

  async lookupAddress(name: DomainName, family: 4 | 6): Promise<LookupResult<string>> {
    const { address = 'nxdomain', cname: aliases = [] } = this.hostOf(name) ?? {};
    const records = family === 4 ? ['192.0.2.25'] : [];
    return resultOf(address, { records, name, aliases });
  }

  async lookupCname(name: DomainName): Promise<LookupResult<string>> {
    const [alias] = this.hostOf(name)?.cname ?? [];
    if (!alias) return resultOf('insecure', { records: [], name, aliases: [] });
    return resultOf(alias.status, { records: [alias.target], name, aliases: [] });
  }

  async lookupTlsa(name: string): Promise<LookupResult<TlsaRecord>> {
    this.tlsaQueries.push(name);
    for (const { tlsa, port } of Object.values(this.#input.hosts)) {
      for (const [base, { status, rrs, via_cname: aliases = [] }] of Object.entries(tlsa)) {
        if (`_${port}._tcp.${base}` !== name) continue;
        const records = rrs.map(readRecord);
        return resultOf(status, { records, name, aliases });
      }
    }
    return resultOf('nxdomain', { records: [], name, aliases: [] });
  }

  lookupTxt(): Promise<never> {
    throw new Error('asked for TXT');
  }
}

function readRecord(text: string): TlsaRecord {
  const record = parseTlsaText(text);
  if (!record) throw new NotSupported(`TLSA ${text}`);
  return record;
}

/** An answer is as secure as the least secure step to it. */
function resultOf<T>(
  status: string,
  at: { readonly records: readonly T[]; readonly name: string; readonly aliases: readonly Alias[] },
): LookupResult<T> {
  const { records, name, aliases } = at;
  const words = [status, ...aliases.map((alias) => alias.status)];
  const failed = words.find((word) => ['bogus', 'servfail', 'timeout'].includes(word));
  if (failed === 'bogus') return { kind: 'failed', reason: 'SERVFAIL (bogus)', bogus: true };
  if (failed) return { kind: 'failed', reason: failed };
  const unknown = words.find((word) => !['secure', 'insecure', 'nxdomain'].includes(word));
  if (unknown !== undefined) throw new NotSupported(`status ${unknown}`);
  const authenticated = !words.includes('insecure');
  const common = { ttlSeconds: 60, authenticated };
  const nameExists = !words.includes('nxdomain');
  if (records.length === 0 || !nameExists) return { kind: 'absent', nameExists, ...common };
  const canonicalName = (aliases.at(-1)?.target ?? name).toLowerCase();
  return { kind: 'found', records, canonicalName, ...common };
}
