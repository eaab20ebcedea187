/** DNS of the flow vectors: one TXT record set, the MX records, an address for every host. */
import type {
  Absent,
  Found,
  LookupResult,
  MxRecord,
  Resolver,
} from '../../../src/platform/resolver.ts';
import type { TlsaRecord } from '../../../src/protocol/dane/tlsa.ts';
import type { DomainName } from '../../../src/protocol/domain.ts';
import { lookupResultOf, type TxtAnswer } from './txt-resolver.ts';

export interface FlowZone {
  /** The TXT answer, and the name it stands at. */
  readonly txt: TxtAnswer;
  readonly txtName: string | undefined;
  /** Whose MX records they are. */
  readonly mxOwner: string;
  readonly mx: readonly { readonly host: string; readonly pref: number }[];
  /** The chain at the MX owner. */
  readonly cname: readonly string[];
  /**
   * The SHA2-256 digest in the TLSA record of a host, or that its lookup fails; undefined where DNSSEC says nothing of
   * it. Where it does of any host, the MX records are secure.
   */
  readonly tlsa: (host: string) => Buffer | 'failed' | undefined;
}

export class FlowDns implements Resolver {
  /** TXT look-ups of MTA-STS records, and whether DNS said anything. */
  readonly txtLookups: { readonly name: string; readonly answered: boolean }[] = [];
  readonly #zone: FlowZone;

  constructor(zone: FlowZone) {
    this.#zone = zone;
  }

  async lookupTxt(name: string): Promise<LookupResult<readonly Buffer[]>> {
    const { txt, txtName } = this.#zone;
    const answer = lookupResultOf(name === txtName ? txt : { rcode: 'NXDOMAIN', txt: [] });
    if (name.startsWith('_mta-sts.')) {
      this.txtLookups.push({ name, answered: answer.kind !== 'failed' });
    }
    return answer;
  }

  async lookupMx(name: DomainName): Promise<LookupResult<MxRecord>> {
    const { mx, mxOwner, cname } = this.#zone;
    if (name !== mxOwner || mx.length === 0) return absent();
    const records = mx.map(({ host, pref }) => ({
      preference: pref,
      exchange: host.replace(/\.$/, ''),
    }));
    const secure = mx.some(({ host }) => this.#zone.tlsa(host) !== undefined);
    return { ...found(records, cname.at(-1) ?? name), authenticated: secure };
  }

  async lookupAddress(name: DomainName, family: 4 | 6): Promise<LookupResult<string>> {
    const authenticated = this.#zone.tlsa(name) !== undefined;
    return family === 4 ? { ...found(['192.0.2.1'], name), authenticated } : absent();
  }

  async lookupTlsa(name: string): Promise<LookupResult<TlsaRecord>> {
    const data = this.#zone.tlsa(name.replace(/^_25\._tcp\./, ''));
    if (data === 'failed') return { kind: 'failed', reason: 'SERVFAIL' };
    if (data === undefined) return { ...absent(), authenticated: true };
    const record = { usage: 3, selector: 1, matchingType: 1, data };
    return { ...found([record], name), authenticated: true };
  }

  async lookupCname(): Promise<LookupResult<never>> {
    return absent();
  }
}

function found<T>(records: readonly T[], canonicalName: string): Found<T> {
  return { kind: 'found', records, ttlSeconds: 60, authenticated: false, canonicalName };
}

function absent(): Absent {
  return { kind: 'absent', nameExists: true, ttlSeconds: 60, authenticated: false };
}
