/** Vectors `sts-txt`: the MTA-STS record as a delivery looks it up (RFC 8461 §3.1). */
import { readLiveRecord } from '../../../src/policy/sts-live.ts';
import { parseDomain } from '../../../src/protocol/domain.ts';
import { type TxtAnswer, txtResolver } from './txt-resolver.ts';
import { onlyKeys, type VectorKind } from './vector.ts';

interface Input extends TxtAnswer {
  readonly domain: string;
  /** The name that is to be asked. */
  readonly qname: string;
}

export const stsTxt: VectorKind = {
  async answer(input: Input) {
    onlyKeys('input', input, ['domain', 'qname', 'rcode', 'txt', 'cname']);
    const domain = parseDomain(input.domain);
    if (domain === undefined) throw new Error(`${input.domain} is no domain`);
    const resolver = txtResolver(input.qname, input);
    const live = await readLiveRecord(domain, { resolver }, new AbortController().signal);
    if (live.kind === 'record') return { outcome: 'id', id: live.id };
    return { outcome: live.kind === 'none' ? 'none' : 'error' };
  },
};
