/** Vectors `tlsrpt-txt`: the TLSRPT record (RFC 8460 §3). */
import { parseDomain } from '../../../src/protocol/domain.ts';
import { discoverTlsRptRecord } from '../../../src/protocol/tlsrpt/record.ts';
import { plainHost } from './compare.ts';
import { lookupResultOf, type TxtAnswer } from './txt-resolver.ts';
import { onlyKeys, type VectorKind } from './vector.ts';

interface Input extends TxtAnswer {
  readonly domain: string;
  /** The name that is to be asked. */
  readonly qname: string;
}

export const tlsrptTxt: VectorKind = {
  answer(input: Input) {
    onlyKeys('input', input, ['domain', 'qname', 'rcode', 'txt', 'cname']);
    const name = `_smtp._tls.${parseDomain(input.domain)}`;
    if (name !== plainHost(input.qname)) throw new Error(`asked for ${name}, not ${input.qname}`);
    const answer = lookupResultOf(input);
    if (answer.kind === 'failed') return { outcome: 'error' };
    const found = discoverTlsRptRecord(answer.kind === 'absent' ? [] : answer.records);
    return found.kind === 'record' ? { outcome: 'rua', rua: found.rua } : { outcome: 'none' };
  },
};
