/** Vectors `sts-mx-match`: an MX host and a pattern of a policy (RFC 8461 §4.1). */
import { matchesMxPattern } from '../../../src/protocol/mta-sts/match.ts';
import { onlyKeys, type VectorKind } from './vector.ts';

export const stsMxMatch: VectorKind = {
  answer(input: { readonly pattern: string; readonly host: string }) {
    onlyKeys('input', input, ['pattern', 'host']);
    return matchesMxPattern(input.pattern, input.host);
  },
};
